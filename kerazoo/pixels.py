"""What pixels should look like before a model sees them."""
import warnings

import numpy as np


def check_pixels(images, source):
    """Look at one batch before a model sees it, and warn of pixels that no network here was made for.

    Args:
        images: (batch, height, width, channels), a NumPy array or a tensor in the memory of the CPU.
        source: what to call it in the message, such as a file name.

    Raises:
        ValueError: if the rank is not 4, or the values are not numbers.

    Warns:
        UserWarning: for NaN or infinite values; for values up to 1, or outside of 0 to 255, which is wanted.

    Example:
        >>> check_pixels(np.zeros((32, 28, 28, 1), "uint8"), "digits.npy")
    """
    for problem in pixel_problems(images, source):
        warnings.warn(problem, stacklevel=2)


def pixel_problems(images, source):
    """What is odd about a batch, in sentences; see `check_pixels`."""
    values = np.asarray(images)
    if values.ndim != 4:
        hint = " For a single image, add the batch axis: images[None]." if values.ndim == 3 else ""
        raise ValueError(
            f"{source}: wanted images of shape (batch, height, width, channels), got {values.shape}.{hint}"
        )
    if values.dtype.kind not in "buif":
        try:
            values = values.astype("float32")  # bfloat16 and its like
        except (TypeError, ValueError):
            raise ValueError(f"{source}: wanted pixels as numbers from 0 to 255, got {values.dtype}.") from None
    problems = []
    finite = np.isfinite(values)
    if not finite.all():
        problems.append(
            f"{source}: {int((~finite).sum())} of {values.size} pixel values are NaN or infinite, and so will be the "
            f"output. Find the images that hold them, and repair or remove them."
        )
        values = values[finite]
    if values.size and (values.min() < 0 or 0 < values.max() <= 1 or values.max() > 255):
        problems.append(
            f"{source}: pixel values lie between {values.min():.3g} and {values.max():.3g}; wanted 0 to 255, as the "
            f"model scales them itself. If they were scaled before, leave that out or multiply them by 255."
        )
    return problems
