"""What the layers' arguments may be; errors say what was received and what was wanted."""

import numbers

import numpy as np


def check_range(name, value, low, high, *, around=None):
    """``value`` as a (low, high) pair of floats: a pair itself, or a number n that means ``around`` - n to + n.

    Args:
        name: what the message calls it.
        value: the argument as the user gave it.
        low, high: what both ends must lie in.
        around: the center for a single number; None: only a pair makes sense.

    Returns:
        (low, high).

    Raises:
        ValueError: if the value is not a number or an ordered pair, or leaves the limits.
    """
    wanted = f"{name}: received {value!r}, wanted "
    if is_number(value) and around is not None:
        if value < 0:
            raise ValueError(f"{wanted}a number of at least 0 (the largest deviation) or a (low, high) pair.")
        pair = (around - value, around + value)
    elif isinstance(value, (tuple, list)) and len(value) == 2 and all(map(is_number, value)):
        pair = tuple(value)
    else:
        one = "" if around is None else "a number or "
        raise ValueError(f"{wanted}{one}a (low, high) pair of numbers.")
    if pair[0] > pair[1]:
        raise ValueError(f"{wanted}a pair with the lower number first. Swap the two.")
    if pair[0] < low or pair[1] > high:
        raise ValueError(f"{wanted}a range within {low:g} to {high:g}; it spans {pair[0]:g} to {pair[1]:g}.")
    return float(pair[0]), float(pair[1])


def check_number(name, value, low, high):
    """``value`` as a float, if it is a number from low to high; a ValueError otherwise."""
    if not is_number(value) or not low <= value <= high:
        raise ValueError(f"{name}: received {value!r}, wanted a number from {low:g} to {high:g}.")
    return float(value)


def check_choice(name, value, choices):
    """``value``, if it is one of the choices; a ValueError otherwise."""
    if value not in choices:
        raise ValueError(f"{name}: received {value!r}, wanted one of {', '.join(map(repr, choices))}.")
    return value


def is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and np.isfinite(value)


def check_size(name, value):
    """``value`` as (height, width): one positive integer for both, or two."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(is_count(n) and n > 0 for n in pair):
        raise ValueError(f"{name}: received {value!r}, wanted a positive integer or a (height, width) pair of them.")
    return int(pair[0]), int(pair[1])


def check_padding(value):
    """(top, bottom, left, right) of one integer, a (height, width) pair, or four."""
    sides = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(sides) not in (1, 2, 4) or not all(is_count(n) and n >= 0 for n in sides):
        raise ValueError(
            f"padding: received {value!r}, wanted an integer of at least 0, a (height, width) pair, or "
            "(top, bottom, left, right)."
        )
    sides = tuple(int(n) for n in sides)
    return sides if len(sides) == 4 else (sides[0], sides[0], sides[-1], sides[-1])


def check_fill(name, value, otherwise=""):
    """``value`` as a tuple of floats from 0 to 255: of one number, or of one a channel."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    try:
        if not values:
            raise ValueError
        return tuple(check_number(name, number, 0, 255) for number in values)
    except ValueError:
        raise ValueError(
            f"{name}: received {value!r}, wanted a number from 0 to 255, a tuple of one a channel{otherwise}."
        ) from None


def check_fill_channels(name, fill, channels):
    """Raises a ValueError if there are neither one fill value nor as many as channels."""
    if len(fill) not in (1, channels):
        raise ValueError(
            f"{name}: received images of {channels} channels and a fill of {len(fill)} values, wanted one value a "
            "channel, or one number for all."
        )


def check_color(name, channels):
    """Raises a ValueError if images are neither gray nor RGB."""
    if channels not in (1, 3):
        raise ValueError(
            f"{name}: received images of {channels} channels, wanted 3 (RGB) or 1 (gray). Split off the others first, "
            "for example images[..., :3]."
        )


def check_factors(name, value):
    """``value`` as a (low, high) pair of factors: a pair itself, or a number n for 1 - n, or 0, to 1 + n."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 1:
        value = (0.0, 1.0 + check_number(name, value, 0, 99))
    return check_range(name, value, 0, 100, around=1)


def check_fixed_or_range(name, value, low, high):
    """``value`` as a (low, high) pair: a pair itself, or one number for both."""
    if isinstance(value, (tuple, list)):
        return check_range(name, value, low, high)
    return (check_number(name, value, low, high),) * 2


def is_count(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
