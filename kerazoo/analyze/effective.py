"""The effective receptive field: how much each pixel counts, measured by gradients."""
import dataclasses

import numpy as np
from keras import ops

from kerazoo.analyze.analysis import analyze, check_model, makes_maps
from kerazoo.analyze.graph import fixed_shapes
from kerazoo.analyze.questions import whole
from kerazoo.gradients import slope
from kerazoo.networks import named, nodes_by_depth, run, taken_apart
from kerazoo.registry import nearest


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
        layer: the name of a layer whose output is a feature map, as `analyze` shows it, such as "backbone/conv1"; of a
            layer that is used again, "conv1" is its last use. None: the last layer with a feature map; of a model
            without any, whose units all see the whole image, nothing is measured.
        images: (n, height, width, channels), pixels as the model takes them; None: `count` images of random pixels from
            0 to 255.
        unit: (row, column) in the feature map; None: the one in the middle.
        count: how many random images.
        seed: of their pixels.
        input_shape: (height, width, channels) of the random images, for a model that takes any size.

    Returns:
        An `EffectiveField`.

    Raises:
        ValueError: if the model has no such layer or, as an mlp, none with a feature map; if the layer's output is no
            feature map or has no gradient, or has no such unit; or if the images do not fit.

    Example:
        >>> field = kerazoo.analyze.effective_receptive_field(kerazoo.resnet18(), "stage3_block2_out")
        >>> field.extent, field.size

    Reference:
        Luo, Li, Urtasun, Zemel: Understanding the Effective Receptive Field in Deep Convolutional Neural Networks,
        2016, https://arxiv.org/abs/1701.04128
    """
    check_model(model, "analyze.effective_receptive_field")
    network = taken_apart(model, nodes_by_depth)
    call = find_map(network, layer)
    images = check_images(model, images, count, seed, input_shape)
    if layer is None and not makes_maps(analyze(model, images.shape[1:]).rows):
        raise ValueError(
            f"{model.name} has no convolution or pooling, and so no feature map: each unit of its dense layers reads "
            "the whole image, and there is no field to measure. kerazoo.visualize.saliency shows which pixels its "
            "answer depends on."
        )

    def features(image):
        return run(network, call.outputs, {network.inputs[0]: image})[0]

    rows, columns = features(ops.convert_to_tensor(images[:1])).shape[1:3]
    unit = (rows // 2, columns // 2) if unit is None else check_unit(unit, rows, columns, call.numbered)
    total = np.zeros(images.shape[1:3])
    for image in images:
        found = slope(lambda x: ops.sum(features(x)[:, unit[0], unit[1]], axis=-1), ops.convert_to_tensor(image[None]))
        if found is None:
            raise ValueError(
                f"No gradient comes from {call.numbered} back to the image: a layer on the way stops it, or computes "
                "with integers. Name a layer in front of that."
            )
        # In float64, so that products of many small weights do not vanish in the sum.
        total += np.abs(np.asarray(ops.convert_to_numpy(ops.cast(found, "float32")), "float64")[0]).sum(-1)
    highest = total.max()
    counted = np.argwhere(total > 0)
    extent = tuple(int(side) for side in np.ptp(counted, axis=0) + 1) if len(counted) else (0, 0)
    return EffectiveField(
        call.numbered, unit, total / highest if highest else total, extent,
        float(np.sqrt((total > (1 - 0.9545) * highest).sum())), len(images),
    )


def find_map(network, name):
    """The last call of that name, or of all, that gives a feature map."""
    maps = [call for call in network.calls if call.inputs and call.node is not None and call.is_map]
    found = maps[-1] if maps else None
    if maps and name is not None:
        found = next((call for call in maps if call.numbered == name and call.use > 1), None) or named(maps, name)
    if found is None:
        names = list(dict.fromkeys(call.numbered for call in maps))
        what = "no layer with a feature map" if name is None or not names else (
            f"no layer {name!r} with a feature map{nearest(name, names)}")
        raise ValueError(
            f"{network.model.name} has {what.removesuffix('.')}. " + (
                f"Such are: {', '.join(names[:10])}{', ...' * (len(names) > 10)}." if names else
                "The effective receptive field is one of convolutions."
            )
        )
    return found


def check_unit(unit, rows, columns, name):
    """The unit as two integers."""
    wanted = f"unit must be (row, column) in the {rows} x {columns} units of {name}; got {unit!r}."
    try:
        row, column = unit
    except (TypeError, ValueError):
        raise ValueError(wanted) from None
    row, column = whole("unit's row", row, 0), whole("unit's column", column, 0)
    if row >= rows or column >= columns:
        raise ValueError(wanted)
    return row, column


def check_images(model, images, count, seed, input_shape):
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ValueError(
            f"effective_receptive_field is for models of one image; {model.name} takes {', '.join(map(str, shapes))}."
        )
    (shape,) = shapes
    if images is None:
        sides = shape if input_shape is None else fixed_shapes(model, shapes, input_shape)[0]
        if None in sides:
            raise ValueError(f"{model.name} takes images of any size. Give input_shape=(height, width, channels).")
        images = np.random.default_rng(seed).integers(0, 256, (whole("count", count, 1), *sides)).astype("float32")
    images = np.asarray(images, "float32")
    if images.ndim != 4 or not len(images) or any(
        own not in (None, side) for own, side in zip(shape, images.shape[1:])
    ):
        raise ValueError(f"{model.name} takes images (n, {', '.join(map(str, shape))}); got {images.shape}.")
    return images
