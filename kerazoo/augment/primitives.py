"""The few things that are done to pixels, each for a whole batch at once."""

from keras import ops


def warp(images, matrices, interpolation="bilinear", fill=0.0):
    """Resamples each image of a batch where its matrix points.

    Coordinates are (x, y, 1), in pixels from the center of the image, ((width - 1) / 2, (height - 1) / 2), and a
    matrix takes a place in the output to the place in the input to look at. The center of a pixel is its place, and
    what lies outside the outer edges of the outermost pixels is filled: the convention of Pillow's
    ``Image.transform(size, Image.AFFINE, ...)``.

    Args:
        images: (batch, height, width, channels), any dtype.
        matrices: (batch, 3, 3) float32; the last row is taken to be 0, 0, 1.
        interpolation: "bilinear" or "nearest".
        fill: the value outside.

    Returns:
        Images of the same shape; float32 for "bilinear", the dtype they came in for "nearest".
    """
    batch, height, width, channels = ops.shape(images)
    x = ops.cast(ops.arange(width), "float32") - half(width)
    y = ops.cast(ops.arange(height), "float32")[:, None] - half(height)
    m = matrices[:, :, :, None, None]
    # Not a matrix product: on accelerators that may run in reduced precision and shift pixels.
    u = m[:, 0, 0] * x + m[:, 0, 1] * y + (m[:, 0, 2] + half(width))
    v = m[:, 1, 0] * x + m[:, 1, 1] * y + (m[:, 1, 2] + half(height))

    # One list of pixels: a gather of whole rows is what every backend does fast.
    pixels = ops.reshape(images, (batch * height * width, channels))
    first = (ops.arange(batch, dtype="int32") * (height * width))[:, None, None]

    def tap(row, column):
        row, column = ops.clip(row, 0, height - 1), ops.clip(column, 0, width - 1)
        return ops.take(pixels, first + row * width + column, axis=0)

    if interpolation == "nearest":
        warped = tap(to_int(ops.floor(v + 0.5)), to_int(ops.floor(u + 0.5)))
    else:
        top, left = ops.floor(v), ops.floor(u)
        down, right = (v - top)[..., None], (u - left)[..., None]
        row, column = to_int(top), to_int(left)

        def blend(row):
            start = ops.cast(tap(row, column), "float32")
            return start + right * (ops.cast(tap(row, column + 1), "float32") - start)

        upper = blend(row)
        warped = upper + down * (blend(row + 1) - upper)
    inside = (u >= -0.5) & (u < to_float(width) - 0.5) & (v >= -0.5) & (v < to_float(height) - 0.5)
    if interpolation == "nearest" and "int" in str(images.dtype):
        fill = round(fill)
    return ops.where(inside[..., None], warped, ops.cast(fill, warped.dtype))


def chain(*matrices):
    """The product of (batch, 3, 3) matrices, exact in float32 on every device (see ``warp``)."""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = ops.sum(product[:, :, :, None] * matrix[:, None, :, :], axis=2)
    return product


def rotation(degrees):
    """Turns the picture counter-clockwise; degrees (batch,)."""
    angle = degrees * (3.141592653589793 / 180)
    cos, sin = ops.cos(angle), ops.sin(angle)
    return _matrix(cos, -sin, 0, sin, cos, 0)


def translation(down, right):
    """Moves the picture; pixels, each (batch,)."""
    return _matrix(1, 0, -right, 0, 1, -down)


def zoom(factor):
    """Magnifies the picture; factor (batch,), above 1 is larger."""
    return _matrix(1 / factor, 0, 0, 0, 1 / factor, 0)


def shear(degrees):
    """Slants the picture, its top to the right; degrees (batch,)."""
    return _matrix(1, ops.tan(degrees * (3.141592653589793 / 180)), 0, 0, 1, 0)


def _matrix(a, b, c, d, e, f):
    like = next(x for x in (a, b, c, d, e, f) if not isinstance(x, int))
    row = [x if not isinstance(x, int) else ops.full_like(like, x) for x in (a, b, c, d, e, f, 0, 0, 1)]
    return ops.reshape(ops.stack(row, axis=-1), (-1, 3, 3))


def half(size):
    return to_float(size - 1) / 2


def to_float(x):
    return ops.cast(x, "float32") if not isinstance(x, int) else float(x)


def to_int(x):
    return ops.cast(x, "int32")
