"""The few things that are done to pixels. Operations draw parameters; these carry them out.

A primitive is called with a ``Canvas`` and a dictionary of parameters, tensors of shape (batch, ...), and returns a
canvas. It may be called with one image or with many. ``needs`` names the parameters that it takes; ``prepare``, where
there is one, makes them from those of the operation, for all images and rounds at once, before any pixel is looked at.
"""

import dataclasses
import functools

import numpy as np
from keras import ops

from kerazoo.augment import exact
from kerazoo.augment.canvas import fetch

MAX_PIXELS = 2**23  # sums of gray levels fit into int32
MAX_SIDE = 2**13  # and so do coordinates


@dataclasses.dataclass(frozen=True)
class Identity:
    """Leaves the image as it is."""

    needs = ()

    def __call__(self, canvas, params):
        return canvas


@dataclasses.dataclass(frozen=True)
class Mirror:
    """Turns the image around, to the bit: a third of what a ``Warp`` costs.

    A step of these alone carries a ``matrix`` for each image as well, so that it can become part of a neighboring
    ``Warp``.

    Args:
        across: left becomes right.
        down: the top becomes the bottom.
    """

    across: bool = False
    down: bool = False
    needs = ()

    def __call__(self, canvas, params):
        if not (self.across or self.down):
            return canvas
        axes = [axis for axis, turned in ((1, self.down), (2, self.across)) if turned]
        return canvas.like(ops.flip(array, axis=axes) for array in canvas.arrays)


@dataclasses.dataclass(frozen=True)
class Warp:
    """Resamples each image where ``matrix`` (batch, 3, 3) points.

    Coordinates are (x, y, 1), in pixels from the center of the image, ((width - 1) / 2, (height - 1) / 2), and a
    matrix takes a place in the output to the place in the input to look at. The center of a pixel is its place, and
    what lies outside the outer edges of the outermost pixels is filled: the convention of Pillow's
    ``Image.transform(size, Image.AFFINE, ...)``. Coordinates are fixed-point numbers with 16 bits after the point, as
    in Pillow; uint8 pixels are blended with weights of 8 bits.

    Args:
        interpolation: "bilinear" or "nearest".
        fill: the value outside, a tuple of one number or of one a channel; None: no place looked at is outside.
        size: (height, width) of the output; None: as the input.
        projective: whether the matrix's last row is more than 0, 0, 1.
        reflect: mirror the image at the centers of its outermost pixels instead of filling; once, so that no place
            looked at may be further away than the image is large.
    """

    interpolation: str = "bilinear"
    fill: tuple = (0.0,)
    size: tuple = None
    projective: bool = False
    reflect: bool = False

    @property
    def needs(self):
        return ("matrix",) if self.projective else ("fixed",)

    def prepare(self, params, height, width):
        if self.projective:
            return params
        rows, columns = self.size or (height, width)
        m = exact.fixed(params["matrix"])
        # What rounding took from the entries, in steps of 2 ** -8: Pillow goes to the corner of the first pixel before
        # it rounds, and places on the edge of two pixels, a whole row of them in a shear, hang on it.
        lost = exact.rounded(params["matrix"] * 65536.0 - ops.cast(m, "float32"), 8)
        right, down = (to_float(n - 1) for n in (columns, rows))
        shift = []
        for row, extent in enumerate((width, height)):
            # From that corner, where the matrix counts from the center of both images; twice that, for the halves.
            twice = extent * 65536 - (columns - 1) * m[..., row, 0] - (rows - 1) * m[..., row, 1]
            rest = 2.0 * lost[..., row, 2] - right * lost[..., row, 0] - down * lost[..., row, 1]
            shift.append(ops.right_shift(twice + ops.cast(ops.floor(rest + 1.0), "int32"), 1))
        shift = ops.stack(shift, axis=-1)[..., None]
        return {**params, "fixed": ops.concatenate([m[..., :2, :2], m[..., :2, 2:] + shift], -1)}

    def __call__(self, canvas, params):
        height, width = canvas.size
        rows, columns = self.size or (height, width)
        x, y = grid(rows, columns)
        if self.projective:
            u, v = project(params["matrix"], x, y, (rows, columns), (height, width))
        else:
            m = params["fixed"][..., None, None]
            u, v = [m[:, row, 0] * x + m[:, row, 1] * y + m[:, row, 2] for row in (0, 1)]
        return sample(canvas, u, v, self.interpolation, self.fill, self.reflect)


def grid(rows, columns):
    """The column and the row of every pixel, int32, in shapes that broadcast to (rows, columns)."""
    if isinstance(rows, int) and isinstance(columns, int) and rows * columns <= 2**18:
        # Read, not computed: XLA would divide by the width for every pixel, which takes longer than all the rest.
        y, x = np.divmod(np.arange(rows * columns, dtype="int32").reshape(rows, columns), columns)
        return x, y
    return ops.arange(columns, dtype="int32"), ops.arange(rows, dtype="int32")[:, None]


def project(matrix, x, y, size, extent):
    """Fixed-point coordinates under a projective matrix, from the corner of the first pixel of the input."""
    m = matrix[:, :, :, None, None]
    # In half pixels, integers: times the upper half of an entry, exact.
    x, y = (ops.cast(2 * axis - (n - 1), "float32") for axis, n in ((x, size[1]), (y, size[0])))

    def form(row, bits):
        high = [exact.rounded(m[:, row, column], bits) for column in (0, 1)]
        low = [m[:, row, column] - part for column, part in enumerate(high)]
        return 0.5 * ((high[0] * x + high[1] * y) + (low[0] * x + low[1] * y)) + m[:, row, 2]

    depth = ops.maximum(form(2, 20), 1e-3)
    return tuple(
        exact.fixed(ops.clip(form(row, 10) / depth + to_float(extent[1 - row]) * 0.5, -16384.0, 16384.0))
        for row in (0, 1)
    )


def sample(canvas, u, v, interpolation="bilinear", fill=(0.0,), reflect=False):
    """The canvas seen at other places.

    Args:
        canvas: what to look at.
        u, v: column and row, int32 (batch, rows, columns) in units of 2 ** -16 pixels, from the corner of the first.
        interpolation, fill, reflect: see ``Warp``.

    Returns:
        A canvas of (batch, rows, columns).
    """
    height, width = canvas.size
    batch = ops.shape(canvas.arrays[0])[0]
    pixels = [ops.reshape(array, (-1,)) for array in canvas.arrays]
    first = ops.arange(batch, dtype="int32")[:, None, None] * (height * width)
    inside = None
    if not reflect and fill is not None:
        row, column = ops.right_shift(v, 16), ops.right_shift(u, 16)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)

    def within(index, extent):
        if reflect:
            index = (extent - 1) - ops.abs((extent - 1) - ops.abs(index))
        return ops.clip(index, 0, extent - 1)

    def taps(row, column):
        index = within(row, height) * width + within(column, width)
        return [fetch(array, index if batch == 1 else first + index) for array in pixels]

    if interpolation == "nearest":
        result = taps(ops.right_shift(v, 16), ops.right_shift(u, 16))
    else:
        u, v = u - 32768, v - 32768
        column, row = ops.right_shift(u, 16), ops.right_shift(v, 16)
        corners = [taps(row + down, column + right) for down in (0, 1) for right in (0, 1)]
        blend = blend_words if canvas.packed else blend_floats
        right, down = (ops.bitwise_and(axis, 65535) for axis in (u, v))
        result = [blend(*four, right, down) for four in zip(*corners)]
    if inside is None:
        return canvas.like(result)
    return canvas.like(ops.where(inside, array, value) for array, value in zip(result, fill_of(canvas, fill)))


def blend_words(upper_left, upper_right, lower_left, lower_right, right, down):
    """Bilinear interpolation of packed pixels, two channels at a time in the two halves of an int32."""
    right, down = ops.right_shift(right, 8), ops.right_shift(down, 8)

    def lerp(start, end, share):
        mixed = start * (256 - share) + end * share + 0x800080
        return ops.bitwise_and(ops.right_shift(mixed, 8), 0xFF00FF)

    halves = []
    for shift in (0, 8):
        four = [
            ops.bitwise_and(ops.right_shift(word, shift) if shift else word, 0xFF00FF)
            for word in (upper_left, upper_right, lower_left, lower_right)
        ]
        halves.append(lerp(lerp(four[0], four[1], right), lerp(four[2], four[3], right), down))
    return ops.bitwise_or(halves[0], ops.left_shift(halves[1], 8))


def blend_floats(upper_left, upper_right, lower_left, lower_right, right, down):
    right, down = (ops.cast(share, "float32") * 2.0**-16 for share in (right, down))
    upper = upper_left + right * (upper_right - upper_left)
    lower = lower_left + right * (lower_right - lower_left)
    return upper + down * (lower - upper)


def fill_of(canvas, fill):
    """A value for each array of the canvas: packed words, or floats."""
    fill = np.broadcast_to(np.asarray(fill, "float32"), (canvas.channels,))
    if not canvas.packed:
        return [float(value) for value in fill]
    levels = np.floor(fill + 0.5).astype("int64")
    words = [sum(int(value) << 8 * i for i, value in enumerate(levels[at : at + 4])) for at in range(0, len(levels), 4)]
    return [np.array(word, "uint32").view("int32")[()] for word in words]


def luma(planes):
    """Gray levels of RGB planes, as Pillow's ``convert("L")`` has them (ITU-R 601-2)."""
    if len(planes) == 1:
        return planes[0]
    red, green, blue = planes
    if "int" in str(red.dtype):
        return ops.right_shift(red * 19595 + green * 38470 + blue * 7471 + 32768, 16)
    return 0.299 * red + 0.587 * green + 0.114 * blue


@dataclasses.dataclass(frozen=True)
class Blend:
    """``base + factor * (image - base)``, with one ``factor`` (batch,) an image: Pillow's ``ImageEnhance``.

    A factor of 1 is the image itself, 0 the base; above 1, the difference is exaggerated.

    Args:
        toward: the base. "black" (brightness), "mean" (contrast: the mean gray level), "gray" (saturation) or "smooth"
            (sharpness: a 3x3 average that leaves the outermost pixels alone).
    """

    toward: str
    needs = ("high", "low")

    def prepare(self, params, height, width):
        high, low = exact.split(params["factor"])
        return {**params, "high": high, "low": low}

    def __call__(self, canvas, params):
        planes = canvas.planes()
        if self.toward == "gray" and canvas.channels == 1:
            return canvas
        bases = {"black": self.black, "mean": self.mean, "gray": self.gray, "smooth": smooth}[self.toward](canvas)
        high, low = (params[part][:, None, None] for part in ("high", "low"))
        blended = []
        for base, plane in zip(bases, planes):
            base, plane = (ops.cast(x, "float32") for x in (base, plane))
            difference = plane - base
            blended.append(base + (high * difference + low * difference))
        return canvas.with_planes(blended)

    def black(self, canvas):
        return [ops.zeros((), "int32")] * canvas.channels

    def gray(self, canvas):
        return [luma(canvas.planes())] * canvas.channels

    def mean(self, canvas):
        gray = luma(canvas.planes())
        height, width = canvas.size
        if canvas.packed:
            total = ops.sum(ops.sum(gray, axis=1), axis=1)
            mean = (total + height * width // 2) // (height * width)
        else:
            mean = ops.mean(gray, axis=(1, 2))
        return [mean[:, None, None]] * canvas.channels


def smooth(canvas):
    """Each channel averaged 3x3 with the center five times, as Pillow's ``ImageFilter.SMOOTH``."""
    height, width = canvas.size

    def total(array):
        padded = ops.pad(array, [[0, 0], [1, 1], [1, 1]])
        across = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
        return across[:, :-2] + across[:, 1:-1] + across[:, 2:] + 4 * array

    x, y = grid(height, width)
    border = (x == 0) | (x == width - 1) | (y == 0) | (y == height - 1)
    if canvas.packed:
        totals = []
        for word in canvas.arrays:
            # Sums of 13 levels fit into 16 bits: two channels at a time.
            even, odd = (total(ops.bitwise_and(part, 0xFF00FF)) for part in (word, ops.right_shift(word, 8)))
            for half in (even, odd):
                totals += [ops.bitwise_and(half, 0xFFFF), ops.bitwise_and(ops.right_shift(half, 16), 0xFFFF)]
            totals[-4:] = [totals[-4], totals[-2], totals[-3], totals[-1]]
        averages = [ops.floor((ops.cast(x, "float32") + 6.5) * (1 / 13)) for x in totals[: canvas.channels]]
    else:
        averages = [total(array) / 13.0 for array in canvas.arrays]
    return [
        ops.where(border, ops.cast(plane, "float32"), average) for plane, average in zip(canvas.planes(), averages)
    ]


@dataclasses.dataclass(frozen=True)
class Posterize:
    """Keeps only the levels that are multiples of ``step`` (batch,), a power of two: 8 - log2(step) bits."""

    needs = ("step",)

    def __call__(self, canvas, params):
        step = params["step"][:, None, None]
        if canvas.packed:
            mask = (256 - ops.cast(step, "int32")) * 0x01010101
            return canvas.like(ops.bitwise_and(word, mask) for word in canvas.arrays)
        return canvas.like(ops.floor(plane / step) * step for plane in canvas.arrays)


@dataclasses.dataclass(frozen=True)
class Solarize:
    """Inverts the levels from ``threshold`` (batch,) on."""

    needs = ("threshold",)

    def __call__(self, canvas, params):
        threshold = params["threshold"][:, None, None]
        if canvas.packed:
            threshold = ops.cast(ops.ceil(threshold), "int32")
        return canvas.with_planes([ops.where(plane >= threshold, 255 - plane, plane) for plane in canvas.planes()])


@dataclasses.dataclass(frozen=True)
class SolarizeAdd:
    """Adds ``addition`` (batch,), an integer, to the levels below 128."""

    needs = ("addition",)

    def __call__(self, canvas, params):
        addition = params["addition"][:, None, None]
        if canvas.packed:
            addition = ops.cast(addition, "int32")
        return canvas.with_planes(
            [ops.where(plane < 128, ops.clip(plane + addition, 0, 255), plane) for plane in canvas.planes()]
        )


@dataclasses.dataclass(frozen=True)
class Invert:
    """255 minus each level."""

    needs = ()

    def __call__(self, canvas, params):
        return canvas.with_planes([255 - plane for plane in canvas.planes()])


@dataclasses.dataclass(frozen=True)
class AutoContrast:
    """Stretches each channel so that its darkest level is 0 and its brightest 255."""

    needs = ()

    def __call__(self, canvas, params):
        planes = canvas.planes()
        lowest = [ops.min(ops.min(plane, axis=1), axis=1) for plane in planes]
        highest = [ops.max(ops.max(plane, axis=1), axis=1) for plane in planes]
        if not canvas.packed:
            stretched = []
            for plane, low, high in zip(planes, lowest, highest):
                low, span = low[:, None, None], (high - low)[:, None, None]
                stretched.append(ops.where(span > 0, (plane - low) * (255.0 / ops.maximum(span, 1e-6)), plane))
            return canvas.with_planes(stretched)
        low, high = (ops.concatenate(ends)[:, None] for ends in (lowest, highest))
        level = ops.arange(256, dtype="int32")
        scaled, span = (level - low) * 255, ops.maximum(high - low, 1)
        stretched = ops.cast(ops.floor(ops.cast(scaled, "float32") / ops.cast(span, "float32")), "int32")
        # Some compilers multiply by the reciprocal instead: one off at most.
        rest = scaled - stretched * span
        stretched = stretched + ops.cast(rest >= span, "int32") - ops.cast(rest < 0, "int32")
        # Pillow computes in float64, and falls one short of the quotient now and then.
        code = (low * 256 + high) * 256 + level
        flags = ops.cast(fetch(ops.convert_to_tensor(shortfalls()), ops.right_shift(code, 3)), "int32")
        flag = ops.bitwise_and(ops.right_shift(flags, ops.bitwise_and(code, 7)), 1)
        stretched = ops.clip(stretched - flag, 0, 255)
        return look_up(canvas, planes, ops.where(high > low, stretched, level))


def look_up(canvas, planes, tables):
    """The canvas with each of the planes sent through its table; tables (channels * batch, 256), channel by channel."""
    batch = ops.shape(planes[0])[0]
    flat = ops.reshape(tables, (-1, 1))
    # Written out: a compiler that saves memory would compute an entry anew for every pixel that looks it up.
    flat = ops.scatter(ops.arange(ops.shape(flat)[0], dtype="int32")[:, None], flat[:, 0], (ops.shape(flat)[0],))
    return canvas.with_planes([fetch(flat, rows_of(plane, i, batch)) for i, plane in enumerate(planes)])


def rows_of(plane, channel, batch):
    """256 times the row of each image and channel in a table of them all, plus the level."""
    return plane + 256 * (ops.arange(batch, dtype="int32") + channel * batch)[:, None, None]


@functools.cache
def shortfalls():
    """Bits (low, high, level): where ``int(level * scale + offset)`` in float64 is less than the exact quotient."""
    bits = np.zeros((256, 256, 256), bool)
    level = np.arange(256)
    for low in range(256):
        high = np.arange(low + 1, 256)[:, None]
        scale = 255.0 / (high - low)
        floats = (level * scale + -low * scale).astype("int64")
        exactly = (level - low) * 255 // (high - low)
        bits[low, low + 1 :] = (floats < exactly) & (level > low) & (level <= high)
    return np.packbits(bits.reshape(-1), bitorder="little")


@dataclasses.dataclass(frozen=True)
class Equalize:
    """Spreads the levels of each channel so that all are about equally frequent, as Pillow does.

    Float pixels are counted, and come out, as the integers next to them.
    """

    needs = ()

    def __call__(self, canvas, params):
        planes = canvas.planes()
        if not canvas.packed:
            planes = [ops.cast(ops.round(ops.clip(plane, 0.0, 255.0)), "int32") for plane in planes]
        batch = ops.shape(planes[0])[0]
        height, width = canvas.size
        places = [ops.reshape(rows_of(plane, i, batch), (-1, 1)) for i, plane in enumerate(planes)]
        places = ops.concatenate(places, axis=0)
        counts = ops.scatter(places, ops.ones_like(places[:, 0]), (batch * canvas.channels * 256,))
        tables = equalizing_tables(ops.reshape(counts, (-1, 256)), height * width)
        return look_up(canvas, planes, tables)


def equalizing_tables(counts, pixels):
    """Pillow's tables for histograms (rows, 256)."""
    below = ops.cumsum(counts, axis=1) - counts
    # All but the brightest level's pixels, which are those below it; below what does not occur are all.
    step = ops.max(ops.where(below < pixels, below, 0), axis=1, keepdims=True) // 255
    spread = (below + step // 2) // ops.maximum(step, 1)
    # One level alone, or too few pixels for a step: nothing to spread.
    return ops.where(step > 0, ops.minimum(spread, 255), np.arange(256, dtype="int32"))


def chain(*matrices):
    """The product of (batch, 3, 3) matrices, the same to the bit wherever it is computed (see ``exact``).

    Entries are kept to 2 ** -18 (the linear part), 2 ** -10 pixels (the shift) and 2 ** -30 (the projective part).
    """
    bits = np.array([[18, 18, 10], [18, 18, 10], [30, 30, 18]], "float32")
    up, down = 2.0**bits, 2.0**-bits
    product = matrices[0]
    for matrix in matrices[1:]:
        terms = ops.floor(product[:, :, :, None] * matrix[:, None, :, :] * up[:, None, :]) * down[:, None, :]
        product = ops.sum(terms, axis=2)
    return product


def rotation(degrees):
    """Turns the picture counter-clockwise; degrees (batch,)."""
    cos, sin = exact.cos_sin(degrees)
    return matrix(cos, -sin, 0, sin, cos, 0)


def translation(down, right):
    """Moves the picture; pixels, each (batch,)."""
    return matrix(1, 0, -right, 0, 1, -down)


def zoom(factor):
    """Magnifies the picture; factor (batch,), above 1 is larger."""
    return matrix(1 / factor, 0, 0, 0, 1 / factor, 0)


def shear(degrees):
    """Slants the picture, its top to the right; degrees (batch,)."""
    cos, sin = exact.cos_sin(degrees)
    return matrix(1, sin / cos, 0, 0, 1, 0)


def matrix(a, b, c, d, e, f, g=0, h=0):
    """(batch, 3, 3) from its entries, row by row: tensors (batch,) or integers."""
    entries = (a, b, c, d, e, f, g, h, 1)
    like = next(x for x in entries if not isinstance(x, int))
    row = [x if not isinstance(x, int) else ops.full_like(like, x) for x in entries]
    return ops.reshape(ops.stack(row, axis=-1), (-1, 3, 3))


def to_float(x):
    return ops.cast(x, "float32") if not isinstance(x, int) else float(x)
