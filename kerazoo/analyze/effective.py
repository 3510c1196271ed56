"""The effective receptive field: how much each pixel counts, measured by gradients."""
import dataclasses

import keras
import numpy as np

from kerazoo.analyze.analysis import check_model
from kerazoo.deep_graphs import deep_graphs


@dataclasses.dataclass(frozen=True)
class EffectiveField:
    """How much each pixel of the image counts for one unit of a feature map.

    Attributes:
        layer: the layer's name.
        unit: (row, column) of the unit.
        map: (height, width) mean of the gradient's absolute value over images and color channels, the highest being 1.
        extent: (height, width) of the smallest box around all pixels that count at all; at most the theoretical
            receptive field, less what lies outside of the image.
        size: side in pixels of a square of as many pixels as count more than 1 - 95.45 % of the highest, the measure
            of Luo et al.
        images: how many images it was averaged over.
    """

    layer: str
    unit: tuple
    map: np.ndarray
    extent: tuple
    size: float
    images: int

    def __str__(self):
        height, width = self.map.shape
        return (
            f"unit {self.unit} of {self.layer}: pixels that count lie in {self.extent[0]} x {self.extent[1]} of "
            f"{height} x {width}; those that count more than 4.55 % of the highest would fill a square of "
            f"{self.size:.1f} pixels ({self.images} images)"
        )


def effective_receptive_field(model, layer=None, images=None, *, unit=None, count=16, seed=0, input_shape=None):
    """Measure how much each pixel counts for one unit of a feature map, by the gradient of the unit.

    The theoretical receptive field says which pixels can count at all; few paths lead to those at its border, so that
    they count little (Luo et al. 2016).

    Args:
        model: a functional or sequential `keras.Model` on images.
        layer: the name of a layer whose output is a feature map; None: the last such one.
        images: (n, height, width, channels), pixels as the model takes them; None: `count` images of random pixels from
            0 to 255.
        unit: (row, column) in the feature map; None: the one in the middle.
        count: how many random images.
        seed: of their pixels.
        input_shape: (height, width, channels) of the random images, for a model that takes any size.

    Returns:
        An `EffectiveField`.

    Raises:
        ValueError: if the model has no such layer, its output is no feature map, it has no such unit, or the images do
            not fit.

    Example:
        >>> field = kerazoo.analyze.effective_receptive_field(kerazoo.resnet18(), "stage3_block2_out")
        >>> field.extent, field.size

    Reference:
        Luo, Li, Urtasun, Zemel: Understanding the Effective Receptive Field in Deep Convolutional Neural Networks,
        2016, https://arxiv.org/abs/1701.04128
    """
    check_model(model)
    layer = find_map(model, layer)
    images = check_images(model, images, count, seed, input_shape)
    with deep_graphs():
        features = keras.Model(model.inputs, layer.output, name=f"{model.name}_to_{layer.name}")
    rows, columns = features.compute_output_shape(images.shape)[1:3]
    unit = (rows // 2, columns // 2) if unit is None else tuple(unit)
    if len(unit) != 2 or not (0 <= unit[0] < rows and 0 <= unit[1] < columns):
        raise ValueError(f"unit must be (row, column) in the {rows} x {columns} units of {layer.name}; got {unit!r}.")
    total = np.zeros(images.shape[1:3])
    for image in images:
        # In float64, so that products of many small weights do not vanish in the sum.
        total += np.abs(gradient(features, image[None], unit)[0].astype("float64")).sum(-1)
    highest = total.max()
    counted = np.argwhere(total > 0)
    extent = tuple(int(side) for side in np.ptp(counted, axis=0) + 1) if len(counted) else (0, 0)
    return EffectiveField(
        layer.name, unit, total / highest if highest else total, extent,
        float(np.sqrt((total > (1 - 0.9545) * highest).sum())), len(images),
    )


def find_map(model, name):
    """The layer of that name, or the last one with a feature map."""
    maps = [
        layer for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer) and len(getattr(layer.output, "shape", ())) == 4
        and layer.output.shape[1:3] != (1, 1)
    ]
    if name is None and maps:
        return maps[-1]
    found = next((layer for layer in maps if layer.name == name), None)
    if found is None:
        from kerazoo.registry import nearest

        names = [layer.name for layer in maps]
        what = "no layer with a feature map" if name is None or not names else (
            f"no layer {name!r} with a feature map{nearest(name, names)}")
        raise ValueError(
            f"{model.name} has {what.removesuffix('.')}. " + (f"Such are: {', '.join(names[:10])}, ..." if names else
            "The effective receptive field is one of convolutions.")
        )
    return found


def check_images(model, images, count, seed, input_shape):
    shape = tuple(model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or len(shape) != 3:
        raise ValueError(f"effective_receptive_field is for models of one image; {model.name} takes {shape}.")
    if images is None:
        sides = shape if input_shape is None else tuple(input_shape)
        if None in sides:
            raise ValueError(f"{model.name} takes images of any size. Give input_shape=(height, width, channels).")
        images = np.random.default_rng(seed).integers(0, 256, (count, *sides)).astype("float32")
    images = np.asarray(images, "float32")
    if images.ndim != 4 or not len(images) or any(
        own not in (None, side) for own, side in zip(shape, images.shape[1:])
    ):
        raise ValueError(f"{model.name} takes images (n, {', '.join(map(str, shape))}); got {images.shape}.")
    return images


def gradient(features, image, unit):
    """The gradient of one unit, summed over its channels, with respect to the image."""
    def value(image):
        return keras.ops.sum(features(image, training=False)[:, unit[0], unit[1]])

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        image = tf.convert_to_tensor(image)
        with tf.GradientTape() as tape:
            tape.watch(image)
            result = value(image)
        found = tape.gradient(result, image)
    elif backend == "jax":
        import jax

        found = jax.grad(value)(jax.numpy.asarray(image))
    elif backend == "torch":
        import torch

        image = keras.ops.convert_to_tensor(image).detach().requires_grad_()
        (found,) = torch.autograd.grad(value(image), image)
    else:
        raise ValueError(f"Gradients need TensorFlow, JAX or PyTorch as Keras's backend; it is {backend}.")
    return np.asarray(keras.ops.convert_to_numpy(found), "float32")
