"""Single images: from files to pixels, and to a wanted size."""
import functools
import pathlib

import numpy as np

from kerazoo.data.checks import check_size, first_line, is_integer


def fit_tensor(images, shape):
    """Resize the shorter side (bilinear, antialiased), crop the middle: (..., h, w, c) uint8 to (..., *shape) uint8."""
    import tensorflow as tf

    height, width, channels = shape
    if images.shape[-3:-1] != (height, width):
        own = tf.cast(tf.shape(images)[-3:-1], tf.float64)
        wanted = tf.constant([height, width], tf.int32)
        scale = tf.reduce_max(tf.cast(wanted, tf.float64) / own)
        size = tf.maximum(tf.cast(tf.round(own * scale), tf.int32), wanted)
        top, left = tf.unstack((size - wanted) // 2)
        images = tf.image.resize(images, size, antialias=True)[..., top : top + height, left : left + width, :]
        images = tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)
    return tf.ensure_shape(images, [*images.shape[:-3], height, width, channels])


def fit_array(pixels, shape):
    """Resize the shorter side (bilinear, antialiased), crop the middle: (h, w, c) uint8 to `shape` uint8."""
    from PIL import Image

    image = fit_picture(Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels), shape[:2])
    return np.asarray(image).reshape(shape)


def read_image(path, channels, size=None, *, resize=None, interpolation="bilinear"):
    """Read one image file, or one array saved by `numpy.save`, as pixels.

    Args:
        path: an image in any format that Pillow reads, upright according to its EXIF orientation; or a `.npy` file
            of shape (height, width) or (height, width, channels).
        channels: 1 (gray) or 3 (RGB). Files are converted, transparency is dropped; of an array, gray is repeated.
        size: None for the image's own size, or the side in pixels, or (height, width): the shorter side is resized
            (antialiased), then the middle is cropped, so that the aspect is kept.
        resize: make the shorter side so many pixels first and then crop `size` out of the middle, as published weights
            expect it; at least as large as `size`. None: the crop is as large as fits.
        interpolation: "bilinear" or "bicubic".

    Returns:
        A uint8 array (height, width, channels) of values 0 to 255; float32 for a `.npy` file of floats, as it is.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be decoded, or an argument is out of range.

    Example:
        >>> read_image("seven.png", channels=1, size=28).shape
        (28, 28, 1)
        >>> read_image("cat.jpg", channels=3, size=224, resize=256).shape  # most of ImageNet's published accuracies
        (224, 224, 3)
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (gray) or 3 (RGB); got {channels!r}.")
    size = check_size(size, "size")
    if resize is not None and not (is_integer(resize) and size and resize >= max(size)):
        raise ValueError(
            f"resize must be None or the pixels of the shorter side, at least as many as size has; got {resize!r} with "
            f"size={size!r}."
        )
    if interpolation not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolation must be 'bilinear' or 'bicubic'; got {interpolation!r}.")
    fit = functools.partial(fit_picture, size=size, resize=resize, interpolation=interpolation) if size else None
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no image {path}. Wanted: the path of an image file or of a .npy array.")
    if not path.is_file():
        raise ValueError(f"{path} is not a file. Wanted: the path of an image file or of a .npy array.")
    return (read_array if path.suffix.lower() == ".npy" else read_picture)(path, channels, fit)


def fit_picture(image, size, resize=None, interpolation="bilinear"):
    """Resize and crop a Pillow image."""
    from PIL import Image, ImageOps

    kind = Image.Resampling[interpolation.upper()]
    if resize is None:
        return image if image.size == tuple(size[::-1]) else ImageOps.fit(image, size[::-1], kind)
    shorter = min(image.size)
    sides = [resize if side == shorter else int(resize * side / shorter) for side in image.size]
    image = image if sides == list(image.size) else image.resize(sides, kind)
    left, top = (round((side - wanted) / 2) for side, wanted in zip(image.size, size[::-1]))
    return image.crop((left, top, left + size[1], top + size[0]))


def pixels_of(image, channels, fit=None):
    """The pixels of an open Pillow image, uint8 (height, width, channels), upright."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would cut off instead of scaling
        image = Image.fromarray((np.asarray(image) / 257 + 0.5).astype("uint8"))
    if image.mode == "P":  # a palette may hold transparent colors, which only RGBA can name
        image = image.convert("RGBA")
    image = image.convert("L" if channels == 1 else "RGB")
    image = fit(image) if fit else image
    return np.array(image, "uint8").reshape(image.height, image.width, channels)


def read_picture(path, channels, fit):
    from PIL import Image

    try:
        with Image.open(path) as image:
            return pixels_of(image, channels, fit)
    except Exception as error:  # Pillow's plugins raise whatever the bytes lead them to
        reason = f"{type(error).__name__}: {error}".replace(str(path), path.name)
        raise ValueError(f"{path} cannot be decoded as an image ({reason}). Replace or remove it.") from None


def read_array(path, channels, fit):
    try:
        pixels = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a NumPy array ({first_line(error)}).") from None
    wanted = f"wanted (height, width) or (height, width, {channels})"
    if not isinstance(pixels, np.ndarray) or pixels.dtype.kind not in "buif":
        raise ValueError(f"{path} is not an array of numbers; {wanted}, values 0 to 255.")
    if pixels.ndim not in (2, 3) or pixels.ndim == 3 and pixels.shape[2] not in (1, channels) or 0 in pixels.shape:
        raise ValueError(f"{path} has shape {pixels.shape}; {wanted}. One file holds one image, without a batch axis.")
    if pixels.dtype.kind == "f":
        pixels = pixels.astype("float32")
    elif pixels.min() < 0 or pixels.max() > 255:
        raise ValueError(f"{path} has integers from {pixels.min()} to {pixels.max()}; wanted pixels, 0 to 255.")
    else:
        pixels = pixels.astype("uint8")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if fit:
        from PIL import Image

        planes = [fit(Image.fromarray(pixels[..., c])) for c in range(pixels.shape[2])]
        pixels = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    return np.repeat(pixels, channels // pixels.shape[2], axis=2)
