"""Layers that move pixels: each draws a matrix, and neighbors in a ``Compose`` become one."""

import math

import keras
import numpy as np
from keras import ops

from kerazoo.augment import engine, exact, primitives
from kerazoo.augment.boxes import TRIES, boxes, first_that_fits, pick
from kerazoo.augment.checks import (
    check_choice,
    check_fill,
    check_fill_channels,
    check_number,
    check_padding,
    check_range,
    check_size,
)
from kerazoo.augment.draws import uniform
from kerazoo.augment.layer import AugmentationLayer


@keras.saving.register_keras_serializable(package="kerazoo")
class RandomAffine(AugmentationLayer):
    """Rotates, moves, scales and slants each image at random, in one resampling.

    The picture is slanted, scaled and turned about its center, then moved. All four are drawn uniformly and
    independently. See ``AugmentationLayer`` for what goes in and comes out.

    Args:
        rotation: degrees, counter-clockwise; the largest angle either way, or a (low, high) pair, within -360 to 360.
        translation: share of the side, 0 to 1, either way; one number, or a (height, width) pair.
        scale: 0.1 draws factors from 0.9 to 1.1 (a number below 1), or a (low, high) pair of factors, 0.01 to 100.
        shear: degrees, rows slide so that the top goes right; the largest angle either way, or a (low, high) pair,
            within -80 to 80.
        interpolation: "bilinear" or "nearest".
        fill: pixel value outside the image, 0 to 255, or one a channel.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> layer = kerazoo.augment.RandomAffine(rotation=10, translation=0.1, scale=0.1, seed=1)
        >>> images = layer(images)

    Reference:
        Simard et al. 2003, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis,
        https://doi.org/10.1109/ICDAR.2003.1227801
    """

    def __init__(
        self,
        rotation=0.0,
        translation=0.0,
        scale=0.0,
        shear=0.0,
        interpolation="bilinear",
        fill=0.0,
        seed=None,
        name=None,
    ):
        super().__init__(seed=seed, name=name)
        pair = translation if isinstance(translation, (tuple, list)) else (translation, translation)
        if len(pair) != 2:
            raise ValueError(f"translation: received {translation!r}, wanted a number or a (height, width) pair.")
        self.height, self.width = (check_number("translation", share, 0, 1) for share in pair)
        self.rotation = check_range("rotation", rotation, -360, 360, around=0)
        self.scale = check_range("scale", scale, 0.01, 100, around=1)
        self.shear = check_range("shear", shear, -80, 80, around=0)
        self.interpolation = check_choice("interpolation", interpolation, ("bilinear", "nearest"))
        self.fill = check_fill("fill", fill)

    def plan(self, seed, batch, height, width, channels):
        if self._is_identity():
            return []
        drawn = uniform(seed, batch, 5)

        def shift(column, share, side):
            return exact.between(drawn[:, column], -share, share) * primitives.to_float(side)

        matrix = primitives.chain(
            primitives.shear(exact.between(drawn[:, 0], *self.shear)),
            primitives.zoom(exact.between(drawn[:, 1], *self.scale)),
            primitives.rotation(exact.between(drawn[:, 2], *self.rotation)),
            primitives.translation(shift(3, self.height, height), shift(4, self.width, width)),
        )
        # Where fixed-point coordinates could overflow, the float ones of projective maps, which are slower.
        far = self._reach(*(side if isinstance(side, int) else 4096 for side in (height, width))) > 2**14
        return [engine.always(primitives.Warp(self.interpolation, self.fill, projective=far), matrix=matrix)]

    def check_channels(self, channels):
        check_fill_channels(self.name, self.fill, channels)

    def _reach(self, height, width):
        """A bound on how many pixels away from the center is looked at."""
        slant = 1 + math.tan(math.radians(max(map(abs, self.shear))))
        return ((height + width) * slant + self.height * height + self.width * width) / self.scale[0]

    def _is_identity(self):
        ranges = (*self.rotation, *self.scale, *self.shear, self.height, self.width)
        return ranges == (0, 0, 1, 1, 0, 0, 0, 0)

    def get_config(self):
        return {
            **super().get_config(),
            "rotation": tuple(self.rotation),
            "translation": (self.height, self.width),
            "scale": tuple(self.scale),
            "shear": tuple(self.shear),
            "interpolation": self.interpolation,
            "fill": list(self.fill),
        }


FLIPS = {"horizontal": (True, False), "vertical": (False, True), "both": (True, True)}


@keras.saving.register_keras_serializable(package="kerazoo")
class RandomFlip(AugmentationLayer):
    """Mirrors each image at random, to the bit.

    See ``AugmentationLayer`` for what goes in and comes out.

    Args:
        mode: "horizontal" (left becomes right), "vertical", or "both", each drawn independently.
        probability: how often, 0 to 1.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> images = kerazoo.augment.RandomFlip(seed=1)(images)

    Reference:
        Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Neural Networks, section 4.1
    """

    def __init__(self, mode="horizontal", probability=0.5, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.mode = check_choice("mode", mode, tuple(FLIPS))
        self.probability = check_number("probability", probability, 0, 1)

    def plan(self, seed, batch, height, width, channels):
        across, down = FLIPS[self.mode]
        flipped = ops.cast(uniform(seed, batch, 2) < self.probability, "int32")
        signs = ops.cast(1 - 2 * flipped, "float32")
        matrix = primitives.matrix(signs[:, 0] if across else 1, 0, 0, 0, signs[:, 1] if down else 1, 0)
        mirrors = [primitives.Mirror(x, y) for y in (False, True)[: 1 + down] for x in (False, True)[: 1 + across]]
        choice = flipped[:, 0] + 2 * flipped[:, 1] if across and down else flipped[:, 0 if across else 1]
        return [engine.Step(tuple(mirrors), {"matrix": matrix[:, None]}, choice[:, None])]

    def get_config(self):
        return {**super().get_config(), "mode": self.mode, "probability": self.probability}


@keras.saving.register_keras_serializable(package="kerazoo")
class RandomCrop(AugmentationLayer):
    """Cuts a window out of each image, padded before, at a random place, to the bit.

    See ``AugmentationLayer`` for what goes in and comes out.

    Args:
        size: (height, width) of the window, or one number for both; None: as the images came.
        padding: pixels added around before; one number, (height, width), or (top, bottom, left, right).
        padding_mode: "constant" (``fill``) or "reflect" (mirrored at the centers of the outermost pixels; less padding
            than the image is large).
        fill: pixel value of the padding, 0 to 255, or one a channel.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or if the padded image is smaller than the window. Where sizes
            are unknown until it runs, nothing can be raised, and what is missing is filled.

    Example:
        >>> images = kerazoo.augment.RandomCrop(padding=4, seed=1)(images)  # CIFAR's

    Reference:
        Lee et al. 2015, Deeply-Supervised Nets, https://arxiv.org/abs/1409.5185
    """

    def __init__(self, size=None, padding=0, padding_mode="constant", fill=0, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.size = None if size is None else check_size("size", size)
        self.padding = check_padding(padding)
        self.padding_mode = check_choice("padding_mode", padding_mode, ("constant", "reflect"))
        self.fill = check_fill("fill", fill)

    def output_size(self, height, width):
        return self.size or (height, width)

    def check_channels(self, channels):
        check_fill_channels(self.name, self.fill, channels)

    def plan(self, seed, batch, height, width, channels):
        self._check_room(height, width)
        known = isinstance(height, int) and isinstance(width, int)
        if not any(self.padding) and (self.size is None or known and self.size == (height, width)):
            return []
        drawn = uniform(seed, batch, 2)
        rows, columns = self.size or (height, width)
        top, bottom, left, right = self.padding
        down = pick(drawn[:, 0], height + top + bottom - rows + 1) - top
        across = pick(drawn[:, 1], width + left + right - columns + 1) - left
        reflect = self.padding_mode == "reflect" and any(self.padding)
        fill = None if known and not any(self.padding) else self.fill
        warp = primitives.Warp("nearest", fill, self.size, reflect=reflect)
        return [engine.always(warp, matrix=window(across, down, columns, rows, width, height))]

    def _check_room(self, height, width):
        for side, extent, first, last, wanted in (
            ("height", height, *self.padding[:2], self.size and self.size[0]),
            ("width", width, *self.padding[2:], self.size and self.size[1]),
        ):
            if not isinstance(extent, int):
                continue
            if wanted is not None and wanted > extent + first + last:
                raise ValueError(
                    f"{self.name}: received images of {side} {extent}, with the padding {extent + first + last}, "
                    f"wanted at least {wanted} for crops of size {self.size}. Enlarge padding, or resize the images."
                )
            if self.padding_mode == "reflect" and max(first, last) >= extent:
                raise ValueError(
                    f"{self.name}: received images of {side} {extent}, wanted more than the padding of "
                    f'{max(first, last)}: there is nothing to reflect. Use less padding, or padding_mode="constant".'
                )

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "padding": self.padding,
            "padding_mode": self.padding_mode,
            "fill": self.fill,
        }


@keras.saving.register_keras_serializable(package="kerazoo")
class RandomResizedCrop(AugmentationLayer):
    """Cuts a window of random area, aspect ratio and place out of each image, and resizes it: Inception's crop.

    Drawn as torchvision does: of ten windows the first that fits, or else the largest central one within the ratios.
    The two resizings of a chain of kerazoo's layers are one.

    Every pixel is interpolated from its four neighbors, also where the image shrinks: there is no antialiasing.
    Pillow's own ``resize`` averages over all the pixels that fall into one. See ``AugmentationLayer`` for what goes in
    and comes out.

    Args:
        size: (height, width) of what comes out, or one number for both.
        scale: share of the image's area that the window has, a (low, high) pair above 0, up to 1.
        ratio: width over height of the window, a (low, high) pair; drawn log-uniformly.
        interpolation: "bilinear" or "nearest".
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> layer = kerazoo.augment.RandomResizedCrop(224, seed=1)
        >>> dataset = dataset.map(lambda image, label: (layer(image), label)).batch(64)

    Reference:
        Szegedy et al. 2014, Going Deeper with Convolutions, section 6, https://arxiv.org/abs/1409.4842
    """

    def __init__(
        self, size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), interpolation="bilinear", seed=None, name=None
    ):
        super().__init__(seed=seed, name=name)
        self.size = check_size("size", size)
        self.scale = check_range("scale", scale, 1e-6, 1)
        self.ratio = check_range("ratio", ratio, 0.01, 100)
        self.interpolation = check_choice("interpolation", interpolation, ("bilinear", "nearest"))

    def output_size(self, height, width):
        return self.size

    def plan(self, seed, batch, height, width, channels):
        drawn = uniform(seed, batch, 2 * TRIES + 2)
        rows, columns = boxes(drawn[:, 2:], self.scale, self.ratio, height, width)
        fits, rows, columns = first_that_fits(rows, columns, height, width)
        central_rows, central_columns = self._largest(height, width)
        top = ops.where(fits, pick(drawn[:, 0], height - rows + 1), (height - central_rows) // 2)
        left = ops.where(fits, pick(drawn[:, 1], width - columns + 1), (width - central_columns) // 2)
        rows = ops.where(fits, rows, central_rows)
        columns = ops.where(fits, columns, central_columns)
        warp = primitives.Warp(self.interpolation, None, self.size)
        return [engine.always(warp, matrix=window(left, top, columns, rows, width, height, *self.size))]

    def _largest(self, height, width):
        """(height, width) of the largest window whose aspect ratio is allowed; int32."""
        low, high = (np.float32(end) for end in self.ratio)
        rows = ops.round(primitives.to_float(width) * float(1 / low))
        columns = ops.round(primitives.to_float(height) * float(high))
        return tuple(
            ops.maximum(ops.minimum(ops.cast(n, "int32"), most), 1) for n, most in ((rows, height), (columns, width))
        )

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "scale": self.scale,
            "ratio": self.ratio,
            "interpolation": self.interpolation,
        }


@keras.saving.register_keras_serializable(package="kerazoo")
class RandomPerspective(AugmentationLayer):
    """Tilts each image at random, as if seen from aside; drawn as torchvision does.

    Each corner moves inward, by a whole number of pixels, up to ``distortion`` times half the side, uniformly and
    independently along both axes. See ``AugmentationLayer`` for what goes in and comes out.

    Args:
        distortion: 0 to 1; at 0 nothing moves. From about 0.9 on, corners may meet, and the picture may collapse.
        probability: how often, 0 to 1.
        interpolation: "bilinear" or "nearest".
        fill: pixel value outside the image, 0 to 255, or one a channel.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> images = kerazoo.augment.RandomPerspective(0.3, seed=1)(images)

    Reference:
        Heckbert 1989, Fundamentals of Texture Mapping and Image Warping, section 2.2.3 (the matrix)
    """

    def __init__(self, distortion=0.5, probability=0.5, interpolation="bilinear", fill=0, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.distortion = check_number("distortion", distortion, 0, 1)
        self.probability = check_number("probability", probability, 0, 1)
        self.interpolation = check_choice("interpolation", interpolation, ("bilinear", "nearest"))
        self.fill = check_fill("fill", fill)

    def check_channels(self, channels):
        check_fill_channels(self.name, self.fill, channels)

    def plan(self, seed, batch, height, width, channels):
        if not self.distortion or not self.probability:
            return []
        drawn = uniform(seed, batch, 9)
        most = [ops.cast(primitives.to_float(n // 2) * self.distortion, "int32") for n in (width, height)]
        inward = [pick(drawn[:, i : i + 4], n + 1) for i, n in zip((0, 4), most)]
        inward = [ops.where(drawn[:, 8:] < self.probability, n, ops.zeros_like(n)) for n in inward]
        warp = primitives.Warp(self.interpolation, self.fill, projective=True)
        return [engine.always(warp, matrix=tilted(*inward, height, width))]

    def get_config(self):
        return {
            **super().get_config(),
            "distortion": self.distortion,
            "probability": self.probability,
            "interpolation": self.interpolation,
            "fill": self.fill,
        }


def window(left, top, columns, rows, width, height, to_rows=None, to_columns=None):
    """The matrix that shows a window of an image; int32 (batch,) or integers, in pixels.

    Args:
        left, top, columns, rows: the window.
        width, height: of the image.
        to_rows, to_columns: the size that the window gets, integers; None: as it is.
    """
    # Between the centers of window and image: multiples of a half.
    across, down = (
        ops.cast(2 * first + extent - whole, "float32") * 0.5
        for first, extent, whole in ((left, columns, width), (top, rows, height))
    )
    if to_rows is None:
        return primitives.matrix(1, 0, across, 0, 1, down)
    # Rounded to what ``chain`` keeps; a division by a constant is not the same everywhere.
    zoom = [
        ops.round(ops.cast(extent, "float32") * float(np.float32(2**18 / to))) * 2.0**-18
        for extent, to in ((columns, to_columns), (rows, to_rows))
    ]
    return primitives.matrix(zoom[0], 0, across, 0, zoom[1], down)


def tilted(right, down, height, width):
    """The matrix that takes four corners to those of the image; as torchvision and Pillow have it.

    Args:
        right, down: int32 (batch, 4), how far the corners move inward: top left, top right, bottom right, bottom left.
        height, width: integers or int32 tensors.
    """
    wide, high = primitives.to_float(width), primitives.to_float(height)
    per_x, per_y = reciprocal(width), reciprocal(height)

    def times(a, b):
        return ops.round(a * b * 2.0**21) * 2.0**-21

    # Corners in widths and heights from the center: the first pixel and the last, by their upper left corners.
    right, down = (ops.cast(n, "float32") for n in (right, down))
    signs_x, signs_y = (np.array(signs, "float32") for signs in ((1, -1, -1, 1), (1, 1, -1, -1)))
    x = times(right * signs_x - 0.5 * signs_x * wide - (1 - signs_x) * 0.5, per_x)
    y = times(down * signs_y - 0.5 * signs_y * high - (1 - signs_y) * 0.5, per_y)
    (x0, x1, x2, x3), (y0, y1, y2, y3) = ([n[:, i] for i in range(4)] for n in (x, y))
    # From the unit square to the corners.
    ax, bx, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    ay, by, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = times(ax, by) - times(bx, ay)
    area = ops.where(ops.abs(area) < 1e-3, 1e-3, area)
    g, h = (times(sx, by) - times(bx, sy)) / area, (times(ax, sy) - times(sx, ay)) / area
    a, b, c = x1 - x0 + times(g, x1), x3 - x0 + times(h, x3), x0
    d, e, f = y1 - y0 + times(g, y1), y3 - y0 + times(h, y3), y0
    # Back: the adjugate.
    rows = [
        [e - times(f, h), times(c, h) - b, times(b, f) - times(c, e)],
        [times(f, g) - d, a - times(c, g), times(c, d) - times(a, f)],
        [times(d, h) - times(e, g), times(b, g) - times(a, h), times(a, e) - times(b, d)],
    ]
    # Onto the first and last pixels: half a width lower, and shorter by one.
    short_x, short_y = 1 - per_x, 1 - per_y
    last = rows[2]
    rows[0] = [times(short_x, n) - 0.5 * w for n, w in zip(rows[0], last)]
    rows[1] = [times(short_y, n) - 0.5 * w for n, w in zip(rows[1], last)]
    whole = ops.where(ops.abs(last[2]) < 1e-3, 1e-3, last[2])
    (a, b, c), (d, e, f), (g, h, _) = ([n / whole for n in row] for row in rows)
    matrix = primitives.matrix(
        a, b * per_y * wide, c * wide, d * per_x * high, e, f * high, g * per_x, h * per_y
    )
    moved = ops.max(right + down, axis=1) > 0
    return ops.where(moved[:, None, None], matrix, np.eye(3, dtype="float32"))


def reciprocal(n):
    """1 / n in float32, the same for an integer and for a tensor."""
    return float(np.float32(1) / np.float32(n)) if isinstance(n, int) else 1.0 / primitives.to_float(n)
