"""Loading and saving: from a file's arrays to a model's variables, and back.

The layout of a file is recognized by its names, the whole file is checked, and only then the model is touched.
"""
import collections
import functools
import json
import os

import numpy as np

from kerazoo import registry
from kerazoo.version import __version__
from kerazoo.weights import published, transforms
from kerazoo.weights.about import check_author, check_traits, options_of, saved_options
from kerazoo.weights.matching import HEADS, describe, find_slots, recognize
from kerazoo.weights.readers import WeightsError, read

__all__ = ["load_weights", "make_plan", "save_weights", "saved_options"]


def load_weights(model, path_or_tag, *, architecture=None, fresh_head=False):
    """Load weights into a model: published ones, or a file of kerazoo's, torchvision's, timm's or Keras's.

    Every variable is set exactly once and every array used exactly once, or the model stays as it was, also where
    loading is interrupted. Biases of convolutions in front of a batch norm, and another epsilon of it, are folded into
    its statistics.

    A model for one-channel images gets the sum of the first kernel over its channels. Its logits are those of the RGB
    model for the same gray image where that normalizes with one mean and deviation; where it normalizes each channel by
    its own, they differ by a few percent.

    kerazoo's safetensors files say which activation, norm and normalization of pixels they are for, and a model with
    others is refused. Other files do not. Those that Keras Applications and torchvision publish are known by their name
    or content, and with them their pixels and that some have blue first. What cannot be known of other files, the user
    must see to: the normalization of pixels (`preprocessing`), and blue first, of published weights that were saved
    anew or trained further. Nor do timm's files tell networks apart that pad differently: its tf_efficientnet_b0 loads
    into efficientnet_b0, and its own efficientnet_lite0, which pads symmetrically, into ours, which pads as its
    tf_efficientnet_lite0 does.

    A PyTorch file may be a checkpoint: then the first state dict under "state_dict", "model", "net", "state_dict_ema",
    "model_ema" is taken, averaged (EMA) weights only where there are no others.

    Args:
        model: a model of kerazoo's.
        path_or_tag: "imagenet" or "imagenet/<tag>" (see `kerazoo.list_weights`); or the path of a file: `.safetensors`,
            PyTorch's `.pth` or `.pt`, Keras's `.weights.h5` or `.h5`.
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
    path, tag = published.locate(path_or_tag, builder, model, fresh_head)
    try:
        arrays = read(path)
        plan = make_plan(model, builder, arrays, tag, fresh_head)
    except WeightsError as error:
        raise WeightsError(f"The weights in {path} do not fit {model.name}: {error}") from None
    assign_all(plan)
    registry.serve_as(model, **(published.serving(tag, fresh_head) if tag else {}))


def assign_all(plan):
    """Assign everything, or nothing if memory runs out or somebody interrupts."""
    empty, before = transforms.allocator(), []
    try:
        for variable, make in plan:
            before.append((variable, transforms.snapshot(variable)))
            variable.assign(make(empty))
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise


def find_builder(model, architecture):
    if architecture is not None:
        return registry.check_name(architecture)
    origin = registry.origin(model)
    return origin and origin.name


def make_plan(model, builder, arrays, tag, fresh_head):
    """What to assign, once everything has been checked.

    Returns:
        [(variable, ``make(empty) -> value``)]; `empty` gives new arrays as `np.empty` does.
    """
    slots = find_slots(model)
    if builder and arrays.metadata.get("builder") == builder:
        check_traits(arrays, model)
    match = recognize(builder, slots, arrays)
    if match.layout.axes == "own":
        check_author(arrays, builder)
    elif tag is None:
        tag = published.recognize_published(arrays, builder, model)
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
    # A head that was exchanged there may have more layers than ours.
    heads = match.prefixes(HEADS) if fresh_head else ()
    problems["surplus"] = [
        name for name in match.arrays if name not in used and not match.is_spare(name) and not name.startswith(heads)
        and not published.is_pixels(match.layout, name)
    ]
    if any(problems.values()):
        raise WeightsError(describe(problems, match, fresh_head))
    published.check_pixels(model, match, arrays, tag)
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
            metadata |= {"builder": origin.name, "options": json.dumps(options_of(model, origin.options))}
        writers.write_safetensors(path, {slot.key: slot.variable for slot in find_slots(model)}, metadata)
    else:
        raise ValueError(f"The name of a weight file ends in .safetensors or .weights.h5; got {path!r}.")
