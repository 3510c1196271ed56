"""The Keras side of `builder`: normalization, checks and heads."""
import inspect
import os

import keras
import numpy as np

from kerazoo.models import layers
from kerazoo.models.builder import PREPROCESSING
from kerazoo.models.kit import ACTIVATIONS, INITIALIZERS
from kerazoo.weights import about, tags


def normalize(x, preprocessing):
    """Pixels in 0..255 to what the weights were trained on: a Rescaling layer, without weights, inside the export.

    A layer of this name marks where augmentation ends and the network begins, also where it does nothing.
    """
    if preprocessing is None:
        return keras.layers.Identity(dtype=full_precision(), name="normalize")(x)
    channels = x.shape[-1]
    mean, std = check_preprocessing(preprocessing, channels)
    scale, offset = 1 / (255 * std), -mean / std
    if channels == 1:
        scale, offset = scale[0], offset[0]
    # In float32 under any policy: 0.485 in bfloat16 is off by one gray level.
    return keras.layers.Rescaling(scale.tolist(), offset.tolist(), dtype=full_precision(), name="normalize")(x)


def check_preprocessing(preprocessing, channels):
    """(mean, std) as arrays of one number a channel."""
    wanted = (
        f"preprocessing must be one of {', '.join(map(repr, PREPROCESSING))}, None, or (mean, std) for pixels in 0..1, "
        f"one number or one for each of the {channels} channels"
    )
    if isinstance(preprocessing, str):
        if preprocessing not in PREPROCESSING:
            raise ValueError(f"{wanted}; got {preprocessing!r}.")
        pair = [np.array(values, "float64") for values in PREPROCESSING[preprocessing]]
        if channels == 1:
            # A gray image is the mean of three equal channels.
            pair = [values.mean(keepdims=True) for values in pair]
        elif len(pair[0]) not in (1, channels):
            raise ValueError(
                f"preprocessing={preprocessing!r} is for 3 channels, and the images have {channels}. Give 'unit', or "
                "(mean, std), one number or one a channel."
            )
    else:
        try:
            mean, std = preprocessing
            pair = [np.atleast_1d(np.array(values, "float64")) for values in (mean, std)]
        except (TypeError, ValueError):
            raise ValueError(f"{wanted}; got {preprocessing!r}.") from None
    if any(values.ndim != 1 or len(values) not in (1, channels) for values in pair) or (pair[1] <= 0).any():
        raise ValueError(f"{wanted}; got {preprocessing!r}.")
    return [np.broadcast_to(values, (channels,)) for values in pair]


def check_activation(activation, argument="activation"):
    known = isinstance(activation, (str, keras.layers.Layer)) or callable(activation)
    if isinstance(activation, type):
        known = issubclass(activation, keras.layers.Layer) and not any(
            parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            for parameter in inspect.signature(activation).parameters.values()
        )
    if isinstance(activation, str) and activation not in ACTIVATIONS:
        try:
            keras.activations.get(activation)
        except ValueError:
            known = False
    if not known:
        raise ValueError(
            f"{argument} must be the name of a Keras activation such as 'relu' or 'gelu', a function, a Keras layer, "
            f"or a layer class such as keras.layers.PReLU, without arguments that it needs; got {activation!r}."
        )
    return activation


def pool(x, kind):
    if len(x.shape) != 4:
        raise ValueError(f"This network's features are a vector already; use pooling=None, not {kind!r}.")
    layer = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}[kind]
    return layer(name="pool")(x)


def dense_head(x, kit, classes, activation, name="head"):
    # Under mixed precision the logits stay in float32, or the loss overflows.
    return keras.layers.Dense(
        classes, activation=activation, kernel_initializer=INITIALIZERS[kit.head_initializer](),
        dtype=full_precision(), name=name,
    )(x)


def full_precision():
    """The type that weights have, whatever a mixed policy computes in."""
    return keras.config.dtype_policy().variable_dtype


def find_published(name, weights):
    """The facts of the published weights that "imagenet" or "imagenet/<tag>" stands for; None for a path or nothing."""
    if weights is None:
        return None
    if not isinstance(weights, (str, os.PathLike)):
        raise ValueError(
            f"weights must be None, 'imagenet', 'imagenet/<tag>' or the path of a file; got {weights!r}."
        )
    return tags.get_tag(name, weights) if tags.is_tag(weights) else None


def preprocessing_of(weights, tag, channels, otherwise):
    """The normalization of pixels that weights want: published ones say so, and so do kerazoo's own files."""
    if tag is None:
        own = (about.saved_options(weights) or {}).get("preprocessing", otherwise)
        return own if own is None or isinstance(own, str) or channels != 1 else average(own)
    if channels not in (1, 3):
        raise ValueError(
            f"Published weights are for images of 3 channels, or of 1 (gray); got an input_shape with {channels}. Use "
            "weights=None, or images of 3 channels."
        )
    return average((tag.mean, tag.std)) if channels == 1 else (tag.mean, tag.std)


def average(pair):
    """(mean, std) of gray images from those of the channels."""
    return [float(np.mean(values)) for values in pair]


def join(logits, others, weight):
    """The model's output: the logits, and beside them, in training, those of the auxiliary heads for the loss."""
    return layers.AuxiliaryHeads(weight, dtype=full_precision(), name="auxiliary_heads")([logits, *others])
