"""Random rectangles, for crops and for erasing."""

import math

import numpy as np
from keras import ops

from kerazoo.augment import exact, primitives

TRIES = 10  # windows that are drawn before giving up


def pick(drawn, n):
    """Integers from 0 to n - 1, int32, by numbers drawn from [0, 1); n an integer or int32 tensor, 1 if it is less."""
    index = ops.cast(ops.floor(drawn * primitives.to_float(n)), "int32")
    return ops.maximum(ops.minimum(index, n - 1), 0)


def boxes(drawn, scale, ratio, height, width):
    """Sizes of random boxes: (heights, widths), int32 (batch, TRIES), of areas and ratios (width over height) drawn."""
    area = exact.between(drawn[:, :TRIES], *scale) * (primitives.to_float(height) * primitives.to_float(width))
    steps = np.arange(0.5, 4096) / 4096
    roots = np.exp(0.5 * (math.log(ratio[0]) * (1 - steps) + math.log(ratio[1]) * steps))
    side, index = ops.sqrt(area), exact.choice(drawn[:, TRIES:], 4096)

    def times(factors):
        # Rounded down before: no compiler can join the product and the rounding.
        product = side * ops.take(ops.convert_to_tensor(factors.astype("float32")), index, axis=0)
        return ops.cast(ops.round(exact.rounded(product, 10)), "int32")

    return times(1 / roots), times(roots)


def first_that_fits(rows, columns, height, width):
    """Whether any of the boxes fits into height and width, and rows and columns of the first that does; (batch,)."""
    fits = ops.cast((rows > 0) & (columns > 0) & (rows <= height) & (columns <= width), "int32")
    first = ops.cast(ops.argmax(fits, axis=1), "int32")[:, None]
    rows, columns = (ops.take_along_axis(n, first, axis=1)[:, 0] for n in (rows, columns))
    return ops.max(fits, axis=1) > 0, rows, columns
