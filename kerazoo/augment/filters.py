"""More that is done to pixels: hue, gray, boxes, noise, blur and elastic displacement. See ``primitives``."""

import dataclasses
import functools
import math

import numpy as np
from keras import ops

from kerazoo.augment import engine, exact
from kerazoo.augment.canvas import WORD, fetch
from kerazoo.augment.primitives import fill_of, grid, luma, sample

TURN = 6 * 4096  # a full circle of hues, six sectors of 4096 steps
NORMALS = 1024  # entries of the table of normal numbers, for 10 bits
KERNELS = 256  # standard deviations that a blur chooses from


@dataclasses.dataclass(frozen=True)
class Gray:
    """Every channel becomes the gray level (ITU-R 601-2), as in Pillow's ``convert("L")``."""

    needs = ()

    def __call__(self, canvas, params):
        return canvas.with_planes([luma(canvas.planes())] * canvas.channels)


@dataclasses.dataclass(frozen=True)
class Hue:
    """Turns the hue by ``turn`` (batch,), int32 steps of 1 / 24576 of the circle, from 0; value and saturation stay.

    The largest and the smallest of the three channels stay as they are, and each channel follows a trapezoid between
    them around the circle (HSV). Computed without going through hue and saturation, so that nothing is lost where the
    turn is 0.
    """

    needs = ("turn",)

    def __call__(self, canvas, params):
        if canvas.channels == 1:
            return canvas
        turn = params["turn"][:, None, None]
        unit = 4096 if canvas.packed else 1.0
        if not canvas.packed:
            turn = ops.cast(turn, "float32") * (1 / 4096)
        red, green, blue = canvas.planes()
        highest = ops.maximum(ops.maximum(red, green), blue)
        spread = highest - ops.minimum(ops.minimum(red, green), blue)
        circle = 6 * spread
        # The hue times the spread: no division.
        hue = ops.where(
            red == highest,
            ops.where(green < blue, green - blue + circle, green - blue),
            ops.where(green == highest, blue - red + 2 * spread, red - green + 4 * spread),
        )
        hue, end, circle = hue * unit, spread * unit, circle * unit
        planes = []
        for sector, plane in zip((5, 3, 1), (red, green, blue)):
            shift = turn + sector * unit
            place = hue + spread * ops.where(shift >= 6 * unit, shift - 6 * unit, shift)
            place = ops.where(place >= circle, place - circle, place)
            less = ops.maximum(ops.minimum(ops.minimum(place, 4 * end - place), end), 0)
            if canvas.packed:
                planes.append(ops.right_shift(highest * 4096 - less + 2048, 12))
            else:
                planes.append(ops.where(turn == 0, plane, highest - less))  # but for rounding, the same
        return canvas.with_planes(planes)


@dataclasses.dataclass(frozen=True)
class Erase:
    """Fills a box of each image: the rows from ``top`` to before ``bottom``, the columns from ``left`` to ``right``.

    Args:
        fill: a tuple of one number or of one a channel; None: noise, uniform from 0 to 255, by the ``key`` (batch,) of
            each image.
    """

    fill: tuple = (0.0,)

    @property
    def needs(self):
        return ("top", "bottom", "left", "right", *(("key",) if self.fill is None else ()))

    def __call__(self, canvas, params):
        x, y = (ops.convert_to_tensor(axis) for axis in grid(*canvas.size))
        top, bottom, left, right = (params[side][:, None, None] for side in ("top", "bottom", "left", "right"))
        inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
        fills = self.noise(canvas, params["key"]) if self.fill is None else fill_of(canvas, self.fill)
        return canvas.like(ops.where(inside, fill, array) for fill, array in zip(fills, canvas.arrays))

    def noise(self, canvas, key):
        words = [hashed(canvas, key, i) for i in range(-(-canvas.channels // WORD))]
        if canvas.packed:
            used = [min(WORD, canvas.channels - WORD * i) for i in range(len(words))]
            return [word if n == WORD else ops.bitwise_and(word, 2 ** (8 * n) - 1) for n, word in zip(used, words)]
        bits = (ops.right_shift(words[i // WORD], 8 * (i % WORD)) for i in range(canvas.channels))
        return [ops.cast(ops.bitwise_and(part, 255), "float32") for part in bits]


def hashed(canvas, key, stream):
    """32 bits for every pixel, int32 (batch, height, width), by the ``key`` (batch,) of each image and a stream."""
    height, width = canvas.size
    x, y = grid(height, width)
    return scrambled(key[:, None, None], y * width + x, stream)


def scrambled(key, index, stream):
    """32 bits from a key, an index and the number of a stream, all int32.

    int32 serves as uint32; products wrap around alike. The mixing is Wellons' "lowbias32"
    (https://nullprogram.com/blog/2018/07/31/), for each pixel a tenth of what ``draws.threefry`` costs.
    """
    x = ops.convert_to_tensor(index) * signed(0x9E3779B9) + (key + signed(0x85EBCA6B * stream))
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None)):
        # int32 shifts its sign in from the left; the mask takes it out again.
        x = ops.bitwise_xor(x, ops.bitwise_and(ops.right_shift(x, shift), 2 ** (32 - shift) - 1))
        x = x if factor is None else x * signed(factor)
    return x


def signed(word):
    """The int32 of the same 32 bits."""
    return (word + 2**31) % 2**32 - 2**31


def keys(drawn):
    """int32 keys from two columns drawn from [0, 1): (batch, 2) to (batch,)."""
    high, low = (ops.cast(drawn[:, i] * 2.0**24, "int32") for i in (0, 1))
    return ops.bitwise_xor(ops.left_shift(high, 8), low)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Adds normal noise to every channel of every pixel, by the ``key`` (batch,) of each image.

    ``std`` (batch,), int32, is the standard deviation in units of 2 ** -8. The noise is rounded to integers where
    pixels are.
    """

    needs = ("key", "noise")

    def prepare(self, params, height, width):
        # In units of 2 ** -18: integers, so that no compiler can round otherwise.
        return {**params, "noise": params["std"][..., None] * ops.convert_to_tensor(normals())}

    def __call__(self, canvas, params):
        noise = params["noise"]
        if canvas.packed:
            noise = ops.right_shift(noise + 2**17, 18)
        else:
            noise = ops.cast(noise, "float32") * 2.0**-18
        batch, flat = ops.shape(noise)[0], ops.reshape(noise, (-1,))
        first = ops.arange(batch, dtype="int32")[:, None, None] * NORMALS
        planes = []
        for i, plane in enumerate(canvas.planes()):
            if i % 3 == 0:
                word = hashed(canvas, params["key"], i // 3)
            index = ops.bitwise_and(ops.right_shift(word, 10 * (i % 3)), NORMALS - 1)
            planes.append(ops.clip(plane + fetch(flat, index if batch == 1 else first + index), 0, 255))
        return canvas.with_planes(planes)


@functools.cache
def normals():
    """Equally likely normal numbers, int32 in units of 2 ** -10: the mean of each of 1024 slices of the bell.

    Scaled so that their own standard deviation is 1; the largest is 3.3.
    """
    x = np.linspace(-8, 8, 160001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    edges = np.interp(np.arange(1, NORMALS) / NORMALS, below / below[-1], x)
    bell = np.concatenate([[0], np.exp(-(edges**2) / 2) / math.sqrt(2 * math.pi), [0]])
    means = (bell[:-1] - bell[1:]) * NORMALS  # the integral of x times the density
    return np.round(means / means.std() * 1024).astype("int32")


@dataclasses.dataclass(frozen=True)
class Blur:
    """Blurs along rows and columns with a symmetric ``kernel`` (batch, 1 + radius): its center, and one side.

    Entries are multiples of 2 ** -12, and the whole kernel sums to 1. The image is mirrored at the centers of its
    outermost pixels. Sums are exact in float32, so that it does not matter in which order they are computed.
    """

    radius: int
    needs = ("kernel",)

    def __call__(self, canvas, params):
        kernel, radius = params["kernel"], self.radius
        height, width = canvas.size
        stride = width + 2 * radius
        rows, columns = (
            mirrored(ops.arange(-radius, radius + extent, dtype="int32"), extent) for extent in (height, width)
        )
        padded = canvas.like(ops.take(ops.take(array, rows, axis=1), columns, axis=2) for array in canvas.arrays)
        # One row after the other in one line, where a step down is a step of ``stride``: compilers write slices of a
        # line as vector instructions. The last columns, 2 * radius of them, mix two rows, and are cut off below.
        across = (height + 2 * radius) * stride - 2 * radius
        lines = [ops.cast(ops.reshape(plane, (-1, padded.size[0] * stride)), "float32") for plane in padded.planes()]
        lines = [self.along(line, 1, across, kernel) for line in lines]
        if canvas.packed:
            lines = [ops.floor(line * 16.0 + 0.5) * (1 / 16) for line in lines]
        lines = [self.along(line, stride, height * stride - 2 * radius, kernel) for line in lines]
        if canvas.packed:
            lines = settled([ops.cast(line + 0.5, "int32") for line in lines])
        lines = [ops.pad(line, [[0, 0], [0, 2 * radius]]) for line in lines]
        return canvas.with_planes([ops.reshape(line, (-1, height, stride))[:, :, :width] for line in lines])

    def along(self, line, stride, length, kernel):
        def shifted(by):
            start = (self.radius + by) * stride
            return line[:, start : start + length]

        total = kernel[:, 0, None] * shifted(0)
        for i in range(1, self.radius + 1):
            total = total + kernel[:, i, None] * (shifted(-i) + shifted(i))
        return total


def settled(lines):
    """int32 arrays of at least 0 as they are, but written to memory: XLA will not look through a condition.

    It would compute what follows as one loop with what goes before, anew for each byte of a pixel: six times slower.
    """
    if engine.is_eager():
        return lines
    return ops.cond(lines[0][0, 0] >= 0, lambda: list(lines), lambda: [line + 1 for line in lines])


def mirrored(index, size):
    """Places before 0 and from ``size`` on, reflected at the centers of the outermost pixels; once, then clipped."""
    index = (size - 1) - ops.abs((size - 1) - ops.abs(index))
    return ops.clip(index, 0, size - 1)


def kernels(low, high, radius):
    """Kernels for ``Blur`` of standard deviations from low to high, float32 (KERNELS, 1 + radius)."""
    deviations = np.linspace(low, high, KERNELS)[:, None]
    side = np.exp(-0.5 * (np.arange(radius + 1) / np.maximum(deviations, 1e-3)) ** 2)
    side /= side[:, :1] + 2 * side[:, 1:].sum(1, keepdims=True)
    side = np.round(side * 4096)
    side[:, 0] = 4096 - 2 * side[:, 1:].sum(1)
    return (side / 4096).astype("float32")


@dataclasses.dataclass(frozen=True)
class Elastic:
    """Displaces every pixel by a smooth random field, by the ``key`` (batch,) of each image.

    The field is white noise under a Gaussian, as in Simard et al., but the noise lies on a grid as wide as the
    Gaussian's standard deviation: neighboring sums are then as alike as those over all pixels (the variance waves by
    1e-4), and two small products of matrices make them. Noise has 8 bits, weights 10 and the first sums 9 after the
    point, so that float32 sums are exact in any order.

    Args:
        scale: pixels for the standard deviation that the field has: its amplitude.
        sigma: pixels, how smooth it is.
        interpolation, fill: see ``Warp``.
    """

    scale: float
    sigma: float
    interpolation: str = "bilinear"
    fill: tuple = (0.0,)
    needs = ("key",)

    def __call__(self, canvas, params):
        height, width = canvas.size
        down, across = self.weights(height), self.weights(width)
        rows, columns = (ops.shape(weights)[1] for weights in (down, across))
        index = ops.arange(rows, dtype="int32")[:, None] * columns + ops.arange(columns, dtype="int32")
        bits = scrambled(params["key"][:, None, None], index, 0)
        x, y = (ops.convert_to_tensor(axis) for axis in grid(height, width))
        places = []
        for i, axis in enumerate((x, y)):
            noise = ops.bitwise_and(ops.right_shift(bits, 8 * i), 255)
            noise = ops.cast(2 * noise - 255, "float32") * 2.0**-8
            partial = exact.rounded(ops.matmul(down, noise), 9)
            field = ops.matmul(partial, ops.transpose(across))
            shift = ops.cast(ops.floor(field * float(np.float32(self.scale / self.spread * 65536))), "int32")
            places.append(axis * 65536 + 32768 + shift)
        return sample(canvas, *places, self.interpolation, self.fill)

    @property
    def step(self):
        """The distance of the grid's points, in 16ths of a pixel."""
        return max(16, round(16 * self.sigma))

    @property
    def reach(self):
        """How far a point of the grid is felt, in its own distances."""
        return max(1, math.ceil(4 * 16 * self.sigma / self.step))

    @functools.cached_property
    def profile(self):
        """The weights by distance in 16ths of a pixel, at most 1."""
        distance = np.arange((self.reach + 1) * self.step + 1) / 16
        weights = np.exp(-0.5 * (distance / max(self.sigma, 1e-3)) ** 2)
        return (np.round(weights * 1024) / 1024).astype("float32")

    @functools.cached_property
    def spread(self):
        """The standard deviation of the field as the matrices make it."""
        point = self.step * np.arange(-self.reach - 1, self.reach + 2)
        place = 16 * np.arange(self.step)[:, None] % self.step
        distance = np.minimum(np.abs(place - point), len(self.profile) - 1)
        noise = np.mean(((2 * np.arange(256) - 255) / 256) ** 2)
        return float(np.sqrt(noise) * (self.profile[distance].astype("float64") ** 2).sum(1).mean())

    def weights(self, size):
        """(size, points): how much each point of the grid counts in each place."""
        library = np if isinstance(size, int) else ops
        points = 2 * self.reach + 1 + (16 * (size - 1)) // self.step
        place = library.arange(size, dtype="int32")[:, None] * 16
        point = (library.arange(points, dtype="int32") - self.reach) * self.step
        distance = library.minimum(library.abs(place - point), len(self.profile) - 1)
        return ops.take(ops.convert_to_tensor(self.profile), ops.convert_to_tensor(distance), axis=0)
