"""Published weights: where a tag's file is, which files are published ones, and the pixels that they are for."""
import os
import pathlib
import re

import numpy as np

from kerazoo.registry import nearest
from kerazoo.weights import tags
from kerazoo.weights.about import pixels_of, well_formed
from kerazoo.weights.readers import WeightsError

# Keras Applications' files without the head, of networks whose pixels are not ImageNet's: the whole file's MD5 ->
# its own. From the code of keras.applications in Keras 3.15.1.
WITHOUT_HEAD = {
    "md5:64373286793e3c8b2b4e3219cbf3544b": "md5:6d6bbae143d832006294945121d1f1fc",  # vgg16
    "md5:cbe5617147190e668d6c5d5026f83318": "md5:253f8cb515780f3b799900260a226db6",  # vgg19
    "md5:2cb95161c43110f7111970584f804107": "md5:4d473c1dd8becc155b73f8504c6f6626",  # resnet50_v1
    "md5:f1aeb4b969a6efcfb50fad2f0c20cfc5": "md5:88cf7a10940856eca736dc7b7e228a21",  # resnet101_v1
    "md5:100835be76be38e30d865e96f2aaae62": "md5:ee4c566cf9a93f14d82f913c2dc6dd0c",  # resnet152_v1
    "md5:3ef43a0b657b3be2300d5770ece849e0": "md5:fac2f116257151a9d068a22e544a4917",  # tf_resnet50_v2
    "md5:6343647c601c52e1368623803854d971": "md5:c0ed64b8031c3730f411d2eb4eea35b5",  # tf_resnet101_v2
    "md5:a49b44d1979771252814e80f8ec446f9": "md5:ed17cf2e0169df9d443503ef94b23b33",  # tf_resnet152_v2
    "md5:9a0d58056eeedaa3f26cb7ebd46da564": "md5:bcbd6486424b2319ff4ef7d526e38f63",  # tf_inception_v3
}
FORMATS = {"torchvision": "pytorch", "keras_applications": "keras"}


def locate(path_or_tag, builder, model, fresh_head):
    """The path of a file; and the tag, if published weights are named."""
    if not isinstance(path_or_tag, (str, os.PathLike)):
        raise ValueError(f"weights must be 'imagenet', 'imagenet/<tag>' or the path of a file; got {path_or_tag!r}.")
    path = os.path.expanduser(os.fspath(path_or_tag))
    if not tags.is_tag(path):
        if builder and not os.path.exists(path) and os.path.basename(path) == path and "." not in path:
            # No name of a file: a tag, misspelled?
            known = ["imagenet", *tags.list_weights(builder)]
            close = nearest(path if path.startswith("imag") else f"imagenet/{path}", known)
            raise FileNotFoundError(f"There are no weights {path!r}{close} Wanted: the path of a file, or one of "
                                    f"{', '.join(map(repr, known)) if known[1:] else 'none that are published'}.")
        return path, None
    if builder is None:
        raise ValueError(f"Published weights are for one network, and which one {model.name} is, is not known. "
                         "Name it, as in architecture='resnet18'.")
    from kerazoo.weights import hub

    tag = tags.get_tag(builder, path)
    head = next((layer for layer in model.layers if layer.name == "head"), None)
    outputs = head.kernel.shape[-1] if hasattr(head, "kernel") else tag.classes
    if outputs != tag.classes and not fresh_head:
        # Before the download, not behind it.
        raise WeightsError(
            f"The weights {tag.name} of {builder} are for {tag.classes} classes, and {model.name} has {outputs}. "
            "kerazoo.load_weights(model, ..., fresh_head=True) leaves the model's head as it is and loads the rest.")
    return hub.fetch(tag), tag


def recognize_published(arrays, builder, model=None):
    """The tag of a published file, by its name or its content.

    Hashing takes as long as reading the file. It is done where it matters: if the file may have blue first, or be for
    other pixels than the model; without a model always.
    """
    from kerazoo.weights import hub

    candidates = [tag for tag in tags.table().values() if tag.model == builder and tag.url]
    # Keras Applications' files without the head differ in the end of the name.
    name = os.path.basename(arrays.path).replace("_notop.h5", ".h5")
    if found := next((tag for tag in candidates if os.path.basename(tag.url) == name), None):
        return found
    size, digests = os.path.getsize(arrays.path) / 1e6, {}
    for tag in candidates:
        if FORMATS.get(tag.layout) != arrays.format or tag.megabytes and abs(size - tag.megabytes) > 0.2:
            continue
        # What Keras 3 saves counts variables, and has been saved anew.
        if arrays.format == "keras" and any(key.endswith("/0") for key in arrays):
            continue
        if model is None or tag.bgr or not fits(pixels_of(model), tag.mean, [tag.std]):
            for known in (tag.hash, WITHOUT_HEAD.get(tag.hash)):
                algorithm, _, wanted = (known or "").partition(":")
                if algorithm and algorithm not in digests:
                    digests[algorithm] = hub.digest_of(pathlib.Path(arrays.path), algorithm)
                if wanted and digests[algorithm].startswith(wanted):
                    return tag


def serving(tag, fresh_head):
    """What an export of a model with these weights should tell its clients."""
    from kerazoo.weights.imagenet import class_names

    return {
        "preprocessing": {
            "size": (tag.input_size,) * 2,
            "resize": tag.resize_size,
            "interpolation": tag.interpolation or "bilinear",
        },
        **({} if fresh_head or tag.classes != len(class_names()) else {"class_names": class_names()}),
    }


def is_pixels(layout, name):
    """Keras Applications' EfficientNets normalize pixels by a layer with variables."""
    return layout.axes == "keras" and re.match(r"normalization(_\d+)?/(mean|variance|count)$", name)


def pixel_statistics(match):
    """The variables of that layer, {"mean", "variance", "count": array}; empty if the file has none."""
    return {
        name.split("/")[1]: np.ravel(array) for name, array in match.arrays.items() if is_pixels(match.layout, name)
    }


def check_pixels(model, match, arrays, tag):
    """The model must normalize pixels as the weights expect, unless with preprocessing=None its user does."""
    ours = pixels_of(model)
    if ours is None:
        return
    saved = well_formed(arrays.metadata) or {}
    pixels = pixel_statistics(match)
    if tag:
        mean, deviations = tag.mean, [tag.std]
    elif saved.get("preprocessing"):
        mean, deviations = saved["preprocessing"][0], saved["preprocessing"][1:]
    elif "preprocessing" in saved:
        raise WeightsError(f"they are for pixels as they come, and the model was built for mean and deviation "
                           f"{show(ours[0])}, {show(ours[1])}. Build it with preprocessing=None.")
    elif {"mean", "variance"} <= set(pixels):
        # The published files hold the deviation in place of the variance: the code of the time divided by it.
        mean, variance = pixels["mean"], pixels["variance"]
        deviations = [np.sqrt(variance), variance]
    else:
        return
    if not fits(ours, mean, deviations):
        if len(ours[0]) == 1:
            mean, deviations = np.mean(mean), [np.mean(each) for each in deviations]
        argument = ", ".join(show(each) for each in (mean, deviations[0]))
        raise WeightsError(
            f"they are for pixels of mean and deviation {argument}, and the model was built for {show(ours[0])}, "
            f"{show(ours[1])}. Build it with preprocessing=({argument})."
        )


def fits(ours, mean, deviations):
    """Whether a model's (means, deviations) are those of weights, for which there may be several readings."""
    if ours is None:
        return True
    if len(ours[0]) == 1:
        # A gray image is the mean of three equal channels.
        mean, deviations = np.mean(mean), [np.mean(each) for each in deviations]
    return all(np.size(each) in (1, len(ours[0])) for each in (mean, *deviations)) and np.allclose(
        ours[0], mean, atol=1e-3) and any(np.allclose(ours[1], each, atol=1e-3) for each in deviations)


def show(numbers):
    numbers = [float(f"{number:.6g}") for number in np.ravel(numbers)]
    return str(tuple(numbers) if len(set(numbers)) > 1 else numbers[0])
