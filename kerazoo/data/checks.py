"""Small checks and phrases that the files of this room share."""
import numpy as np


def check_size(size, name):
    """None, or (height, width) from one or two positive integers."""
    pair = (size, size) if is_integer(size) else tuple(size) if isinstance(size, (tuple, list)) else ()
    if size is not None and not (len(pair) == 2 and all(is_integer(side) and side > 0 for side in pair)):
        raise ValueError(f"{name} must be None, a positive integer or (height, width), in pixels; got {size!r}.")
    return None if size is None else (int(pair[0]), int(pair[1]))


def is_integer(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def some(items, limit=5):
    """The first few, and how many more."""
    shown = ", ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def first_line(error):
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return line if len(line) <= 300 else f"{line[:300]}..."
