"""Loading and saving: from a file's arrays to a model's variables, and back.

The layout of a file is recognized by its names, the whole file is checked, and only then the model is touched.
"""
import collections
import functools
import json
import os
import re

import numpy as np

from kerazoo import registry
from kerazoo.version import __version__
from kerazoo.weights import transforms
from kerazoo.weights.matching import HEADS, describe, find_slots, recognize
from kerazoo.weights.readers import WeightsError, map_file, read

def load_weights(model, path_or_tag, *, architecture=None, fresh_head=False):
    """Load weights into a model: published ones, or a file of kerazoo's, torchvision's, timm's or Keras's.

    Every variable is set exactly once and every array used exactly once, or the model stays as it was. Biases of
    convolutions in front of a batch norm, and another epsilon of it, are folded into its statistics. A model for
    one-channel images gets the sum of the first kernel over its channels.

    Args:
        model: a model of kerazoo's.
        path_or_tag: "imagenet" or "imagenet/<tag>" (see `kerazoo.list_weights`); or the path of a file: `.safetensors`,
            PyTorch's `.pth` or `.pt`, Keras's `.weights.h5` or `.h5`. A file with a name under which Keras
            Applications or torchvision publish weights counts as those.
        architecture: the builder's name, such as "resnet18", of a model that does not bear it.
        fresh_head: leave the last dense layer as it is, and load the rest.

    Returns:
        Nothing; the model's variables are set.

    Raises:
        WeightsError: a ValueError, if the file is damaged or does not fit; it lists what is off.
        ValueError: if there are no such published weights, or `architecture` is needed.
        OSError: if there is no such file, or it cannot be downloaded.

    Example:
        >>> model = kerazoo.resnet18(classes=10)
        >>> kerazoo.load_weights(model, "resnet18.pth", fresh_head=True)
    """
    builder = find_builder(model, architecture)
    path, tag = locate(path_or_tag, builder, model)
    try:
        arrays = read(path)
        plan = make_plan(model, builder, arrays, tag, fresh_head)
    except WeightsError as error:
        raise WeightsError(f"The weights in {path} do not fit {model.name}: {error}") from None
    empty = transforms.allocator()
    for variable, make in plan:
        variable.assign(make(empty))


def find_builder(model, architecture):
    if architecture is not None:
        return registry.check_name(architecture)
    origin = registry.origin(model)
    return origin and origin.name


def locate(path_or_tag, builder, model):
    """The file, and the tag if its weights are published ones."""
    if not isinstance(path_or_tag, (str, os.PathLike)):
        raise ValueError(f"weights must be 'imagenet', 'imagenet/<tag>' or the path of a file; got {path_or_tag!r}.")
    from kerazoo.weights import hub, tags

    path = os.fspath(path_or_tag)
    if tags.is_tag(path):
        if builder is None:
            raise ValueError(f"Published weights are for one network, and which one {model.name} is, is not known. "
                             "Name it, as in architecture='resnet18'.")
        tag = tags.get_tag(builder, path)
        return hub.fetch(tag), tag
    # Keras Applications' files do not say whether their pixels are BGR; their names do. The same without the head.
    name = os.path.basename(path).replace("_notop.h5", ".h5")
    published = (tag for tag in tags.table().values() if tag.model == builder and tag.url)
    return path, next((tag for tag in published if os.path.basename(tag.url) == name), None)


def check_author(arrays, builder):
    """Two networks may have equal names and shapes, and differ in a stride."""
    author = arrays.metadata.get("builder") or author_of_h5(arrays)
    if builder and author != builder and author in registry.table():
        raise WeightsError(f"they were saved by {author}, whose layers are alike but not the same.")


def author_of_h5(arrays):
    """The name of the model that wrote a `.weights.h5`."""
    if arrays.format == "keras":
        import h5py

        from kerazoo.weights.attributes import string_attribute

        with h5py.File(arrays.path) as file:
            if "vars" in file:
                return string_attribute(map_file(arrays.path), h5py.h5o.get_info(file["vars"].id).addr, b"name")


def make_plan(model, builder, arrays, tag, fresh_head):
    """What to assign, once everything has been checked.

    Returns:
        [(variable, ``make(empty) -> value``)]; `empty` gives new arrays as `np.empty` does.
    """
    slots = find_slots(model)
    match = recognize(builder, slots, arrays)
    if match.layout.axes == "own":
        check_author(arrays, builder)
    first = first_convolution(model)
    problems, used, plan = collections.defaultdict(list), collections.Counter(), {}
    for slot in slots:
        name = match.names[slot]
        if fresh_head and slot.layer.name in HEADS:
            used[name] += name in match.arrays
            continue
        if name not in match.arrays:
            problems["missing"].append(name)
            continue
        used[name] += 1
        array = match.arrays[name]
        wanted = tuple(slot.variable.shape)
        turned = match.layout.axes == "pytorch" and slot.role == "kernel"
        flat = transforms.flattened(slot.layer) if turned and len(wanted) == 2 else None
        shape = transforms.pytorch_shape(array.shape, slot.layer, flat) if turned else array.shape
        is_gray = slot.layer is first and slot.role == "kernel" and wanted[2] == 1 and shape and shape[2:3] == (3,)
        if shape is None or (shape if not is_gray else (*shape[:2], 1, *shape[3:])) != wanted:
            problems["head" if slot.layer.name in HEADS else "shape"].append(
                f"{name} {tuple(array.shape)} for {slot.key} {wanted}")
        elif array.dtype.kind not in "fV":
            problems["type"].append(f"{name}: {array.dtype}")
        elif not transforms.is_finite(array, slot.variable.dtype):
            problems["finite"].append(name)
        else:
            make = functools.partial(transforms.make_value, array, slot.variable.dtype, shape if turned else None, flat)
            if slot.layer is first and slot.role == "kernel" and (is_gray or (tag and tag.bgr)):
                make = functools.partial(transforms.first_kernel, make, is_gray, tag and tag.bgr)
            plan[slot.key] = slot.variable, make
    fold(slots, match, plan, used, problems)
    problems["twice"] = [name for name, count in used.items() if count > 1]
    problems["surplus"] = [name for name in match.arrays if name not in used and not match.is_spare(name)
                           and not is_pixels(match.layout, name)]
    if any(problems.values()):
        raise WeightsError(describe(problems, match, fresh_head))
    check_pixels(model, match, tag)
    return list(plan.values())


def first_convolution(model):
    return next((layer for layer in model.layers if len(getattr(layer, "kernel", np.empty(0)).shape) == 4), None)


def fold(slots, match, plan, used, problems):
    """Put biases of convolutions and another epsilon into the statistics of the batch norm behind."""
    if match.layout.axes == "own":
        return
    layers = {slot.layer.name: slot.layer for slot in slots}
    for name, norm in layers.items():
        if f"{name}/moving_mean" not in plan or f"{name}/moving_variance" not in plan:
            continue
        convolution = layers.get("conv".join(name.rsplit("bn", 1)))
        if not getattr(convolution, "use_bias", True) and transforms.reads(norm, convolution):
            bias = match.find(convolution.name, "bias")
            if bias in match.arrays and match.arrays[bias].shape == tuple(norm.moving_mean.shape):
                used[bias] += 1
                if not transforms.is_finite(match.arrays[bias], norm.moving_mean.dtype):
                    problems["finite"].append(bias)
                variable, make = plan[f"{name}/moving_mean"]
                plan[f"{name}/moving_mean"] = variable, functools.partial(transforms.subtract, make, match.arrays[bias])
        if difference := match.layout.epsilon - norm.epsilon:
            variable, make = plan[f"{name}/moving_variance"]
            if (make(np.empty) + difference <= 0).any():
                problems["epsilon"].append(f"{name}: {match.layout.epsilon:g} there, {norm.epsilon:g} here")
            plan[f"{name}/moving_variance"] = variable, functools.partial(transforms.add, make, difference)


def is_pixels(layout, name):
    """Keras Applications' EfficientNets normalize pixels by a layer with variables."""
    return layout.axes == "keras" and re.match(r"normalization(_\d+)?/(mean|variance|count)$", name)


def check_pixels(model, match, tag):
    """The model must normalize pixels as the weights expect, unless with preprocessing=None its user does."""
    layer = next((layer for layer in model.layers if layer.name == "normalize"), None)
    if not hasattr(layer, "scale"):
        return
    std = 1 / (255 * np.atleast_1d(np.array(layer.scale, "float64")))
    mean = -np.atleast_1d(np.array(layer.offset, "float64")) * std
    wanted = [(tag.mean, [tag.std])] if tag else []
    pixels = {name.split("/")[1]: match.arrays[name] for name in match.arrays if is_pixels(match.layout, name)}
    if not tag and {"mean", "variance"} <= set(pixels):
        variance = np.ravel(pixels["variance"])
        # The published files hold the deviation in place of the variance: the code of the time divided by it.
        wanted = [(np.ravel(pixels["mean"]), [np.sqrt(variance), variance])]
    for their_mean, deviations in wanted:
        if len(mean) == 1:
            their_mean, deviations = np.mean(their_mean), [np.mean(each) for each in deviations]
        if not (np.allclose(mean, their_mean, atol=1e-3) and any(np.allclose(std, each, atol=1e-3)
                                                                 for each in deviations)):
            argument = ", ".join(show(each) for each in (their_mean, deviations[0]))
            raise WeightsError(
                f"they are for pixels of mean and deviation {argument}, and the model was built for {show(mean)}, "
                f"{show(std)}. Build it with preprocessing=({argument})."
            )


def show(numbers):
    numbers = [float(f"{number:.6g}") for number in np.ravel(numbers)]
    return str(tuple(numbers) if len(set(numbers)) > 1 else numbers[0])


def save_weights(model, path):
    """Save a model's weights, as a file that `kerazoo.load_weights` and the `weights` of a builder take.

    `.safetensors` is quick to load and names the model and its arguments; `.weights.h5` is what `model.save_weights`
    writes. The file appears in one step, so that an interruption leaves the old one or none.

    Args:
        model: a built `keras.Model`.
        path: ends in ".safetensors" or ".weights.h5".

    Returns:
        Nothing; the file is written.

    Raises:
        ValueError: if it ends otherwise.
        OSError: if the file cannot be written.

    Example:
        >>> kerazoo.save_weights(model, "resnet18.safetensors")
    """
    from kerazoo.weights import writers

    path = os.fspath(path)
    if path.endswith(".weights.h5"):
        with writers.replacing(path) as aside:
            model.save_weights(aside)
    elif path.endswith(".safetensors"):
        origin = registry.origin(model)
        metadata = {"format": "kerazoo", "kerazoo": __version__}
        if origin:
            options = {name: value for name, value in origin.options.items() if is_json(value)}
            metadata |= {"builder": origin.name, "options": json.dumps(options)}
        writers.write_safetensors(path, {slot.key: slot.variable for slot in find_slots(model)}, metadata)
    else:
        raise ValueError(f"The name of a weight file ends in .safetensors or .weights.h5; got {path!r}.")


def is_json(value):
    try:
        return json.loads(json.dumps(value)) is not None or value is None
    except (TypeError, ValueError):
        return False
