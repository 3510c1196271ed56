"""What a model is made of, and what a safetensors file of kerazoo's says about the model that it was saved from.

A file only describes. What it says is compared with a model; to build one after it, `convert` takes the options of
`VALID`, checked, and nothing else.
"""
import json
import os
import re

import numpy as np

from kerazoo import registry
from kerazoo.weights.readers import WeightsError, map_file, quote, read_safetensors

UNKNOWN = "unknown"  # what JSON cannot hold, such as a function of the user's
NORMS = {"BatchNormalization": "batch", "GroupNormalization": "group", "LayerNormalization": "layer"}
# A few options take 300 characters; the normalization of a thousand channels takes 30,000.
MAX_OPTIONS = 100_000
# Without these a network cannot be built again; the others have defaults.
NEEDED = ("classes", "input_shape", "include_top", "activation", "norm", "preprocessing")


def traits(model):
    """What a model computes with, read off its layers, as builders' options: activation, norm, preprocessing."""
    activations = [describe_activation(layer) for layer in model.layers if re.search(r"_(act\d*|out)$", layer.name)]
    norms = {NORMS[type(layer).__name__] for layer in model.layers if type(layer).__name__ in NORMS}
    layer, pixels = normalization(model), pixels_of(model)
    return {
        "activation": alike(activations) if activations else None,
        "norm": alike(list(norms)) if norms else "none",
        "preprocessing": pixels or (None if type(layer).__name__ == "Identity" else UNKNOWN),
    }


def alike(values):
    return values[0] if all(value == values[0] for value in values) else UNKNOWN


def describe_activation(layer):
    """The name of a function of Keras's or ours, what JSON can say of another layer, or "unknown"."""
    if type(layer).__name__ == "Activation":
        module = getattr(layer.activation, "__module__", None) or ""
        name = getattr(layer.activation, "__name__", UNKNOWN)
        return name if module.split(".")[0] in ("keras", "kerazoo") else UNKNOWN
    import keras

    try:
        said = json.loads(json.dumps(keras.saving.serialize_keras_object(layer), allow_nan=False))
    except (TypeError, ValueError, NotImplementedError):
        return UNKNOWN
    # How it started and whether it trains does not matter; the axes are the image's.
    own = {key: value for key, value in said["config"].items()
           if key not in ("name", "dtype", "trainable", "shared_axes")
           and not key.endswith(("initializer", "regularizer", "constraint"))}
    return {"module": said["module"], "class_name": said["class_name"], "config": own}


def normalization(model):
    """The layer where augmentation ends and the network begins; None in a model that is not ours."""
    return next((layer for layer in model.layers if layer.name == "normalize"), None)


def pixels_of(model):
    """[means, deviations] of pixels in 0..1 by which a model normalizes, plain lists; None if it does not."""
    layer = normalization(model)
    if not hasattr(layer, "scale"):
        return None
    std = 1 / (255 * np.atleast_1d(np.array(layer.scale, "float64")))
    mean = -np.atleast_1d(np.array(layer.offset, "float64")) * std
    return [[float(f"{number:.12g}") + 0.0 for number in numbers] for numbers in np.broadcast_arrays(mean, std)]


def options_of(model, options):
    """What a file says of a model: the options of its builder, and its traits in their place."""
    return {name: plain(value) for name, value in options.items()} | traits(model)


def plain(value):
    """A value as JSON gives it back."""
    try:
        value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return describe_function(value)


def describe_function(value):
    module = getattr(value, "__module__", None) or ""
    return getattr(value, "__name__", UNKNOWN) if module.startswith("keras.src.activations") else UNKNOWN


def is_whole(value, largest):
    return type(value) is int and 1 <= value <= largest


def is_number(value):
    return type(value) in (int, float) and -1e6 <= value <= 1e6


def is_rate(value):
    return is_number(value) and 0 <= value < 1


def is_shape(value):
    return type(value) is list and len(value) == 3 and is_whole(value[2], 1 << 14) and all(
        side is None or is_whole(side, 1 << 14) for side in value[:2])


def is_pair(value):
    return type(value) is list and len(value) == 2 and all(
        type(numbers) is list and 0 < len(numbers) == len(value[0]) and all(map(is_number, numbers))
        for numbers in value) and min(value[1]) >= 1e-6


def is_name(value):
    return type(value) is str and bool(re.fullmatch(r"[A-Za-z]\w{0,49}", value))


# The options that a file may speak of, and how each must look.
VALID = {
    "classes": lambda value: is_whole(value, 1_000_000),
    "input_shape": is_shape,
    "include_top": lambda value: type(value) is bool,
    "pooling": lambda value: value is None or is_name(value),
    "classifier_activation": lambda value: value is None or is_name(value),
    "dropout": lambda value: value is None or is_rate(value),
    "activation": lambda value: value is None or is_name(value) or type(value) is dict,
    "norm": lambda value: value is None or is_name(value),
    "preprocessing": lambda value: value is None or is_pair(value),
    "aux_heads": lambda value: type(value) is bool,
    "stochastic_depth": is_rate,
    "block_dropout": is_rate,
    "units": lambda value: is_whole(value, 1_000_000) or type(value) is list and 0 < len(value) < 100 and all(
        is_whole(width, 1_000_000) for width in value),
}


def saved_options(path):
    """What a safetensors file of kerazoo's says about the model that it was saved from; only its header is read.

    Args:
        path: any file.

    Returns:
        {option of the builder: value} of what is well-formed: "preprocessing" is None or [means, deviations], one
        number a channel. None for any other file, also one that is not there: whoever loads it will hear.

    Example:
        >>> saved_options("resnet18.safetensors")["classes"]
        1000
    """
    try:
        path = os.path.expanduser(os.fspath(path))
        data = map_file(path)
        metadata = read_safetensors(data, path).metadata if data[8:9] == b"{" else {}
    except (OSError, ValueError, RecursionError):
        return None
    return well_formed(metadata)


def well_formed(metadata):
    if metadata.get("format") != "kerazoo":
        return None
    options = parse(metadata) or {}
    return {name: value for name, value in options.items() if name in VALID and VALID[name](value)}


def parse(metadata):
    """The options in a file's metadata as it has them; None where they are no JSON object, or too long."""
    text = metadata.get("options", "")
    try:
        options = json.loads(text) if len(text) <= MAX_OPTIONS else None
    except (ValueError, RecursionError):
        return None
    return options if type(options) is dict else None


def options_to_build(arrays, builder, known):
    """The options of a builder that a file asks for, or an error that says why a model is not built after it."""
    start, end = f"{arrays.path} says that its model was built with", "Save it anew with kerazoo.save_weights."
    options = parse(arrays.metadata)
    if options is None or (missing := [name for name in NEEDED if name not in options]):
        lacking = "" if options is None else f": {', '.join(missing)} is not there"
        raise WeightsError(f"{arrays.path} does not say in JSON with which options {builder} was built{lacking}. Build "
                           "the model in Python, load the file, and save the model: kerazoo.save_weights.")
    for name, value in options.items():
        if name not in VALID or name not in known:
            raise WeightsError(f"{start} {quote(name)}, which no file may choose for {builder}. {end}")
        if value == UNKNOWN or type(value) is dict:
            raise WeightsError(f"{start} {name}={named(value)}, and no code is built after a file. Build the model in "
                               "Python, load the file, and save from there: kerazoo.save_weights.")
        if not VALID[name](value):
            raise WeightsError(f"{start} {name}={quote(value)}, which cannot be. {end}")
    return options | {"input_shape": tuple(options["input_shape"])}


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


def check_traits(arrays, model):
    """Another activation or norm may have the same variables, and is another network."""
    saved, ours = well_formed(arrays.metadata) or {}, traits(model)
    for name in ("activation", "norm"):
        if None not in (saved.get(name), ours[name]) and saved[name] != ours[name]:
            wanted = "the same" if type(saved[name]) is dict or saved[name] == UNKNOWN else f"{name}={saved[name]!r}"
            raise WeightsError(f"they are those of a model with {name}={named(saved[name])}, and this one has "
                               f"{name}={named(ours[name])}. Build it with {wanted}.")


def named(value):
    if type(value) is dict:
        name = value.get("class_name")
        return f"a layer {name}" if is_name(name) else "a layer"
    return "something that has no name in Keras" if value == UNKNOWN else repr(value)
