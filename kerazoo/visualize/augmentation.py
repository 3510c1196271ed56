"""What augmentation makes of images."""
import numbers

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from kerazoo.pixels import pixel_problems

DPI = 100
CELL = 128  # pixels of the figure an image may take along its longer side; small images grow by whole factors
MOST = 64  # images on a sheet
LINE = 12  # pixels of the figure from one line of text to the next
FONT = FontProperties(size=7)


def augmentation_sheet(layer, images, labels=None, draws=5, seed=0, class_names=None):
    """Show what a layer, or a list of layers, makes of images: one row an image, the original first, then draws.

    Each draw goes through the images as one batch, as in training. Where a layer mixes images, the shares of the mixed
    labels stand above the pictures; without labels, each image is a class of its own there. The draws of kerazoo's own
    layers depend on `seed` alone; other layers draw from where they always do. Images of up to 128 pixels are shown
    pixel by pixel, enlarged by a whole factor, larger ones at a width or height of 128.

    Args:
        layer: a layer of `kerazoo.augment`, of Keras or of KerasCV, or a list of them, which go one after the other, as
            in `kerazoo.augment.Compose`.
        images: (n, height, width, channels), 1 to 64 images, or one (height, width, channels); pixels in 0..255,
            1 channel (gray) or 3.
        labels: (n,) class indices, or (n, classes) one-hot or soft labels; None: none.
        draws: columns beside the original, at least 1.
        seed: integer from 0 to 2**31 - 1; another one shows other draws.
        class_names: a list of str, one a class; None: their indices. They need `labels`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if an argument does not fit.

    Example:
        >>> images, labels = next(train.as_numpy_iterator())
        >>> layers = [kerazoo.augment.RandomFlip(), kerazoo.augment.MixUp()]
        >>> sheet = kerazoo.visualize.augmentation_sheet(layers, images[:6], labels[:6], class_names=train.class_names)
        >>> sheet.savefig("augmentation.png")
    """
    images = check_images(images)
    shares, class_names = check_labels(labels, class_names, len(images))
    check_whole("draws", draws, 1, None)
    check_whole("seed", seed, 0, 2**31 - 1)
    layer = as_layer(layer)

    columns = [(as_uint8(images), None if labels is None else np.eye(len(images)))]
    columns += [draw(layer, images, (seed, k)) for k in range(draws)]
    captions = [
        [""] * len(images) if mixed is None else [caption(row, class_names) for row in mixed @ shares]
        for _, mixed in columns
    ]
    return grid(
        [list(row) for row in zip(*(pictures for pictures, _ in columns))],
        captions=[list(row) for row in zip(*captions)],
        columns=["original", *(f"draw {k + 1}" for k in range(draws))],
    )


def as_layer(layer):
    """The one layer to call: one of ours as it is, others and lists in a `Compose`."""
    # Here, because Keras loads a backend, and the other pictures do without.
    import keras

    from kerazoo.augment import AugmentationLayer, Compose

    layers = layer if isinstance(layer, (list, tuple)) else [layer]
    for one in layers:
        if not isinstance(one, keras.layers.Layer):
            raise ValueError(
                f"layer: got {one!r}, wanted a Keras layer or a list of them, such as kerazoo.augment.RandAugment()."
            )
    if not layers:
        raise ValueError("layer: got an empty list, wanted one or more layers, such as kerazoo.augment.RandAugment().")
    return layer if isinstance(layer, AugmentationLayer) else Compose(layers)


def draw(layer, images, seed):
    """The images after the layer, and what is in each, (n, n) shares of the images; None where they are not mixed."""
    from keras import ops

    if not layer.mixes:
        return as_uint8(ops.convert_to_numpy(layer(images, training=True, seed=seed))), None
    # By hand, a mixing layer wants labels, of as many classes as it was told. Here, only which images it took counts.
    layer.check_channels(images.shape[-1])
    mixed, _ = layer.augment(ops.convert_to_tensor(images), None, ops.convert_to_tensor(np.array(seed, "int32")))
    shares = np.eye(len(images))
    for partner, keep in layer.take_mixing():
        keep = ops.convert_to_numpy(keep)[:, None]
        shares = keep * shares + (1 - keep) * shares[ops.convert_to_numpy(partner)]
    return as_uint8(ops.convert_to_numpy(mixed)), shares


def as_uint8(images):
    return images if images.dtype == "uint8" else np.clip(np.round(images.astype("float32")), 0, 255).astype("uint8")


def caption(shares, names):
    """The classes of mixed labels, the largest share first; a class alone without its share."""
    order = [k for k in np.argsort(-shares, kind="stable") if shares[k] >= 0.005]
    if len(order) == 1 and shares[order[0]] > 0.995:
        return names[order[0]]
    lines = [f"{100 * shares[k]:.0f} % {names[k]}" for k in order]
    return "\n".join(lines if len(lines) <= 3 else [*lines[:2], f"and {len(lines) - 2} more"])


def grid(pictures, captions=None, rows=None, columns=None, cell=CELL):
    """A figure of pictures in rows and columns, pixel by pixel where they are small enough.

    Args:
        pictures: list of rows, lists of uint8 arrays (height, width, 1 or 3).
        captions: list of rows of str, above each picture.
        rows, columns: names at the left and at the top.
        cell: pixels of the figure for the longest side of all pictures.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    every = [picture for row in pictures for picture in row]
    side = max(max(picture.shape[:2]) for picture in every)
    scale = cell // side if side <= cell else cell / side
    width = round(scale * max(picture.shape[1] for picture in every))
    height = round(scale * max(picture.shape[0] for picture in every))
    captions = captions or [[""] * len(row) for row in pictures]
    captions = [[cut(text, width) for text in row] for row in captions]
    gap = 6
    left = gap + round(max(map(text_width, rows))) + gap if rows else gap
    top = gap + (LINE + 4) * bool(columns)
    above = [LINE * max(len(text.splitlines()) for text in row) for row in captions]
    across = max(len(row) for row in pictures)
    total = (left + across * (width + gap), top + sum(above) + len(pictures) * (height + gap))
    figure = Figure(figsize=(total[0] / DPI, total[1] / DPI), dpi=DPI)

    style = {"fontproperties": FONT, "linespacing": 1.1, "parse_math": False}

    def write(x, y, text, **options):
        figure.text(x / total[0], 1 - y / total[1], text, **style, **options)

    for j, name in enumerate(columns or []):
        write(left + j * (width + gap) + width / 2, top - 4, cut(name, width), ha="center", va="bottom")
    y = top
    for i, row in enumerate(pictures):
        y += above[i]
        if rows:
            write(left - gap, y + height / 2, rows[i], ha="right", va="center")
        for j, picture in enumerate(row):
            high, wide = (max(round(scale * n), 1) for n in picture.shape[:2])
            x = left + j * (width + gap) + (width - wide) // 2
            place = (x / total[0], 1 - (y + high) / total[1], wide / total[0], high / total[1])
            axes = figure.add_axes(place)
            axes.axis("off")
            axes.imshow(
                picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=255, aspect="auto",
                interpolation="nearest" if side <= cell else "antialiased",
            )
            axes.set_title(captions[i][j], pad=2, **style)
        y += height + gap
    return figure


def text_width(line):
    """Pixels of the figure that a line of text takes."""
    return text_to_path.get_text_width_height_descent(line, FONT, ismath=False)[0] * DPI / 72


def cut(text, width):
    """Lines of text, shortened to so many pixels."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        while len(line) > 1 and text_width(lines[i]) > width:
            line = line[:-1]
            lines[i] = f"{line}…"
    return "\n".join(lines)


def check_images(images):
    if not hasattr(images, "shape") and not isinstance(images, (list, tuple)):
        raise ValueError(f"images: got {type(images).__name__}, wanted an array (n, height, width, channels).")
    try:
        images = np.asarray(images)
    except ValueError:
        raise ValueError("images: got a list of arrays of several sizes, wanted one size. Resize them first.") from None
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"images: got shape {images.shape}, wanted (n, height, width, channels) with 1 or 3 channels. "
            "For gray images without the last axis, pass images[..., None]; of more channels, those to be seen."
        )
    if len(images) > MOST:
        raise ValueError(f"images: got {len(images):,} of them, wanted 1 to {MOST}. Pass some, such as images[:8].")
    if problems := pixel_problems(images, "images"):
        raise ValueError(problems[0])
    return images


def check_labels(labels, class_names, n):
    """Labels as (n, classes) shares, and the names of the classes; without labels, each image is a class."""
    if labels is None:
        if class_names is not None:
            raise ValueError("class_names: got names, but no labels. Pass both, or neither.")
        return np.eye(n), [f"image {k + 1}" for k in range(n)]
    labels = np.asarray(labels)
    kinds = {1: "iu", 2: "iuf"}.get(labels.ndim, "")
    if labels.dtype.kind not in kinds or len(labels) != n:
        raise ValueError(
            f"labels: got shape {labels.shape} of {labels.dtype}, wanted {n} integers ({n},), or one-hot or soft "
            f"labels ({n}, classes), one row an image."
        )
    if labels.ndim == 1 and labels.min() < 0:
        raise ValueError(f"labels: got {labels.min()} among them, wanted class indices from 0 on.")
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    if class_names is None:
        class_names = [str(k) for k in range(classes)]
    elif len(class_names) < classes or labels.ndim == 2 and len(class_names) > classes:
        raise ValueError(f"class_names: got {len(class_names)} of them, and labels of {classes} classes.")
    shares = np.eye(len(class_names))[labels] if labels.ndim == 1 else labels.astype("float64")
    return shares, [str(name) for name in class_names]


def check_whole(name, value, low, high):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < low or (high and value > high):
        wanted = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
        raise ValueError(f"{name}: got {value!r}, wanted {wanted}.")
