"""Arithmetic that gives the same bits everywhere.

Compilers may turn ``a * b + c`` into one operation with one rounding, and each has sines of its own. A seed should
give the same picture eager, compiled, and on every backend; so products are exact or rounded on purpose before
anything is added to them, and sines come from a table.
"""

import math

import numpy as np
from keras import ops

TURN = 4096  # steps of a full circle
SINE = np.sin(2 * np.pi * np.arange(TURN) / TURN).astype("float32")


def rounded(x, bits):
    """x rounded down to a multiple of ``2 ** -bits``; sums of such numbers below ``2 ** (24 - bits)`` are exact."""
    return ops.floor(x * 2.0**bits) * 2.0**-bits


def between(drawn, low, high):
    """Numbers from low to high, two Python floats, from numbers drawn from [0, 1)."""
    if low == high:
        return ops.full_like(drawn, low)
    bits = 22 - math.ceil(math.log2(max(high - low, abs(low), abs(high))))
    return low + rounded(drawn * (high - low), bits)


def table(drawn, values):
    """Entries of a table, a NumPy array (n, ...), each as likely as any other, by numbers drawn from [0, 1)."""
    return ops.take(ops.convert_to_tensor(values), choice(drawn, len(values)), axis=0)


def choice(drawn, n):
    """Integers from 0 to n - 1, equally likely, from numbers drawn from [0, 1)."""
    return ops.minimum(ops.cast(ops.floor(drawn * float(n)), "int32"), n - 1)


def cos_sin(degrees):
    """Cosine and sine, to about 3e-7."""
    turn = degrees * (TURN / 360)
    step = ops.round(turn)
    rest = (turn - step) * (2 * math.pi / TURN)
    sine, index = ops.convert_to_tensor(SINE), ops.cast(step, "int32")
    cos, sin = (ops.take(sine, ops.bitwise_and(index + shift, TURN - 1)) for shift in (TURN // 4, 0))
    return cos - rounded(rest * sin, 24), sin + rounded(rest * cos, 24)


def split(x):
    """(high, low), high a multiple of 2 ** -11, high + low == x: times an integer of 8 bits, both are exact."""
    high = rounded(x, 11)
    return high, x - high


def fixed(x):
    """x as int32 in units of 2 ** -16, as Pillow counts coordinates."""
    return ops.cast(ops.floor(x * 65536.0 + 0.5), "int32")
