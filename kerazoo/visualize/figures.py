"""What all pictures share: colors, pages, a grid of images, and checks of what they are given."""
import math
import numbers

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from kerazoo.pixels import pixel_problems

# Okabe and Ito's colors, told apart by color-blind readers too; without their yellow, which is faint on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")

DPI = 100
CELL = 128  # pixels of the figure an image may take along its longer side; small images grow by whole factors
MOST = 64  # images on a sheet
LINE = 12  # pixels of the figure from one line of text to the next
FONT = FontProperties(size=7)
TITLE = FontProperties(size=9)
TITLE_LINE = 16


def turn(items, a_page, page):
    """The items of a page, counted from 1, and what the title says of it, nothing where there is one page only."""
    check_whole("page", page, 1, None)
    pages = max(math.ceil(len(items) / a_page), 1)
    if page > pages:
        raise ValueError(f"page: got {page}, and there {'are' if pages > 1 else 'is'} {pages}.")
    return items[(page - 1) * a_page : page * a_page], f", page {page} of {pages}" if pages > 1 else ""


def as_uint8(images):
    return images if images.dtype == "uint8" else np.clip(np.round(images.astype("float32")), 0, 255).astype("uint8")


def as_pictures(images):
    """Images as a model takes them, in whatever range and with any channels, as uint8 pictures to look at."""
    images = images.astype("float32") if images.dtype != "uint8" else images
    if images.shape[-1] not in (1, 3):
        images = images.mean(-1, keepdims=True).astype("float32")
    if images.dtype == "uint8":
        return images
    low, high = images.min(), images.max()
    if low >= 0 and 1 < high <= 255:
        return as_uint8(images)
    if low >= 0 and high <= 1:
        return as_uint8(255 * images)
    # Normalized beforehand: each image by its own darkest and brightest value.
    low, high = (find(images, axis=(1, 2, 3), keepdims=True) for find in (np.min, np.max))
    return as_uint8(255 * (images - low) / np.where(high > low, high - low, 1))


def grid(pictures, captions=None, rows=None, columns=None, cell=CELL, title=None, note=None):
    """A figure of pictures in rows and columns, pixel by pixel where they are small enough.

    Args:
        pictures: list of rows, lists of uint8 arrays (height, width, 1 or 3).
        captions: list of rows of str, above each picture.
        rows, columns: names at the left, of one or more lines, and at the top.
        cell: pixels of the figure for the longest side of all pictures.
        title, note: sentences above and below all.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    every = [picture for row in pictures for picture in row]
    side = max(max(picture.shape[:2]) for picture in every)
    scale = cell // side if side <= cell else cell / side
    width = round(scale * max(picture.shape[1] for picture in every))
    height = round(scale * max(picture.shape[0] for picture in every))
    captions = captions or [[""] * len(row) for row in pictures]
    captions = [[fitted(text, width) for text in row] for row in captions]
    gap = 6
    names = [line for name in rows or [] for line in name.splitlines()]
    left = gap + round(max(map(text_width, names), default=0)) + gap if rows else gap
    across = max(len(row) for row in pictures)
    wide = left + across * (width + gap)
    if title or note:
        wide = max(wide, 360)
    head = wrap(title, wide - 2 * gap, TITLE) if title else []
    foot = wrap(note, wide - 2 * gap, FONT) if note else []
    top = gap + TITLE_LINE * len(head) + 4 * bool(head) + (LINE + 4) * bool(columns)
    above = [LINE * max(len(text.splitlines()) for text in row) for row in captions]
    bottom = LINE * len(foot) + gap * bool(foot)
    total = (wide, top + sum(above) + len(pictures) * (height + gap) + bottom)
    figure = Figure(figsize=(total[0] / DPI, total[1] / DPI), dpi=DPI)

    style = {"fontproperties": FONT, "linespacing": 1.1, "parse_math": False}

    def write(x, y, text, **options):
        figure.text(x / total[0], 1 - y / total[1], text, **{**style, **options})

    for i, line in enumerate(head):
        write(gap, gap + i * TITLE_LINE, line, fontproperties=TITLE, ha="left", va="top")
    for j, name in enumerate(columns or []):
        write(left + j * (width + gap) + width / 2, top - 4, fitted(name, width), ha="center", va="bottom")
    for i, line in enumerate(foot):
        write(gap, total[1] - bottom + i * LINE, line, ha="left", va="top", color="0.35")
    y = top
    for i, row in enumerate(pictures):
        y += above[i]
        if rows:
            write(left - gap, y + height / 2, rows[i], ha="right", va="center")
        for j, picture in enumerate(row):
            high, across = (max(round(scale * n), 1) for n in picture.shape[:2])
            x = left + j * (width + gap) + (width - across) // 2
            place = (x / total[0], 1 - (y + high) / total[1], across / total[0], high / total[1])
            axes = figure.add_axes(place)
            axes.axis("off")
            axes.imshow(
                picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=255, aspect="auto",
                interpolation="nearest" if side <= cell else "antialiased",
            )
            axes.set_title(captions[i][j], pad=2, **style)
        y += height + gap
    return figure


def in_rows(items, across):
    """A list cut into rows of so many."""
    return [items[k : k + across] for k in range(0, len(items), across)]


def text_width(line, font=FONT):
    """Pixels of the figure that a line of text takes."""
    return text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] * DPI / 72 if line else 0


def fitted(text, width, font=FONT, middle=True):
    """Lines of text, each of at most so many pixels: what is too long loses its middle, as names do, or its end."""
    from kerazoo.analyze.tables import cut  # here, because its room loads Keras, and some pictures do without

    lines = text.splitlines()
    for i, line in enumerate(lines):
        length = len(line)
        while length > 2 and text_width(lines[i], font) > width:
            length -= 1
            lines[i] = cut(line, length) if middle else f"{line[: length - 1]}…"
    return "\n".join(lines)


def some(names, most=8):
    """Names in a row, the first ones of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"


def look(k):
    """Color and dashes of the line number k: the first 28 are told apart."""
    return {"color": COLORS[k % len(COLORS)], "linestyle": ("-", "--", ":", "-.")[k // len(COLORS) % 4]}


def legend(place, lines, names, **options):
    """A legend with these names as they are: matplotlib leaves out those that begin with "_", and reads "$" as math."""
    made = place.legend(list(lines), [str(k) for k in range(len(names))], **options)
    for text, name in zip(made.get_texts(), names):
        text.set_parse_math(False)
        text.set_text(str(name))
    return made


def wrap(text, width, font):
    """Text as lines of at most so many pixels; a longer word stays whole."""
    lines = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", font) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def check_images(images):
    """Images of 0 to 255, (n, height, width, 1 or 3), at most `MOST`."""
    images = check_array(images)
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"images: got shape {images.shape}, wanted (n, height, width, channels) with 1 or 3 channels. "
            "For gray images without the last axis, pass images[..., None]; of more channels, those to be seen."
        )
    check_count(images)
    if problems := pixel_problems(images, "images"):
        raise ValueError(problems[0])
    return images


def check_array(images, name="images"):
    return as_array(
        images, name, "an array (n, height, width, channels)",
        "a list of arrays of several sizes, wanted one size. Resize them first",
    )


def as_array(values, name, wanted, uneven=None):
    """An array of what may be a list; `uneven` is what to say of rows that differ in length."""
    if not hasattr(values, "shape") and not isinstance(values, (list, tuple, range)):
        raise ValueError(f"{name}: got {type(values).__name__}, wanted {wanted}.")
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{name}: got {uneven or f'rows of several lengths, wanted {wanted}'}.") from None


def check_count(images):
    if len(images) > MOST:
        raise ValueError(f"images: got {len(images):,} of them, wanted 1 to {MOST}. Pass some, such as images[:8].")


def check_labels(labels, class_names, n):
    """Labels as (n, classes) shares, and the names of the classes; without labels, each image is a class."""
    if labels is None:
        if class_names is not None:
            raise ValueError("class_names: got names, but no labels. Pass both, or neither.")
        return np.eye(n), [f"image {k + 1}" for k in range(n)]
    wanted = f"{n} integers ({n},), or one-hot or soft labels ({n}, classes), one row an image"
    labels = as_array(labels, "labels", wanted)
    kinds = {1: "iu", 2: "iuf"}.get(labels.ndim, "")
    if labels.dtype.kind not in kinds or len(labels) != n or 0 in labels.shape:
        raise ValueError(f"labels: got shape {labels.shape} of {labels.dtype}, wanted {wanted}.")
    check_finite(labels)
    if labels.ndim == 1 and labels.min() < 0:
        raise ValueError(f"labels: got {labels.min()} among them, wanted class indices from 0 on.")
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    if class_names is None:
        class_names = [str(k) for k in range(classes)]
    elif len(class_names) < classes or labels.ndim == 2 and len(class_names) > classes:
        raise ValueError(f"class_names: got {len(class_names)} of them, and labels of {classes} classes.")
    shares = np.eye(len(class_names))[labels] if labels.ndim == 1 else labels.astype("float64")
    return shares, [str(name) for name in class_names]


def check_answers(labels, probabilities, class_names=None):
    """True class indices (n,), one probability a class (n, classes), and a name a class, whatever form they came in."""
    wanted = "numbers (n, classes), as model.predict returns them"
    probabilities = as_array(probabilities, "probabilities", wanted)
    if probabilities.ndim != 2 or probabilities.dtype.kind not in "iuf" or 0 in probabilities.shape:
        raise ValueError(
            f"probabilities: got shape {probabilities.shape} of {probabilities.dtype}, wanted {wanted}."
        )
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities)).any(-1).sum())
        raise ValueError(
            f"probabilities: those of {bad:,} of {len(probabilities):,} images are NaN or infinite. The model's "
            "weights may be: look at its training, or at the images."
        )
    n, classes = probabilities.shape
    labels = check_indices(labels, n, classes)
    if labels.max() >= classes:
        raise ValueError(
            f"labels: got {labels.min()} to {labels.max()} among them, wanted class indices from 0 to {classes - 1}, "
            f"as there are {classes} probabilities an image."
        )
    return labels, probabilities, check_names(class_names, classes)


def check_indices(labels, n, classes=None):
    """True class indices (n,), from indices or from one-hot or soft labels, of so many classes if that is known."""
    wanted = f"{n:,} class indices ({n},) or one-hot labels ({n}, {classes or 'classes'}), one row an image"
    given = as_array(labels, "labels", wanted)
    labels = given
    if given.shape == (n, 1):
        labels = given[:, 0]
    elif given.ndim == 2 and given.dtype.kind in "biuf" and given.shape[1] and classes in (None, given.shape[1]):
        check_finite(given)
        labels = given.argmax(-1)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels: got shape {given.shape} of {given.dtype}, wanted {wanted}.")
    if labels.min() < 0:
        raise ValueError(
            f"labels: got {labels.min()} to {labels.max()} among them, wanted class indices from 0"
            f"{f' to {classes - 1}' if classes else ' on'}."
        )
    return labels


def check_finite(labels):
    if not np.isfinite(labels).all():
        raise ValueError("labels: some are NaN or infinite. Look at where they come from.")


def check_names(class_names, classes):
    if class_names is None:
        return [str(k) for k in range(classes)]
    names = [str(name) for name in class_names]
    if len(names) != classes:
        raise ValueError(f"class_names: got {len(names)} of them, wanted {classes}, one a class.")
    return names


def check_whole(name, value, low, high):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < low or (high and value > high):
        wanted = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
        raise ValueError(f"{name}: got {value!r}, wanted {wanted}.")
