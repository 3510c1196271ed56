"""What training data look like before a model has seen them: a sample that stays, and what their labels say."""
import contextlib
import itertools
import math
import random
import sys
import time

import keras
import numpy as np

from kerazoo.train import cached

IMAGES = 64  # in the sample
LARGE = 10_000  # pixels, from which on a sample of fewer images tells enough
LABELS = 1024  # that are looked at in a data set, and images that are compared with each other
THUMBNAIL = 16  # pixels of a side, to compare images by
PATIENCE = 5.0  # seconds to look for a second class in data that have shown one


def look(data):
    """Take the sample and the facts.

    Args:
        data: (images, labels) or (images, labels, weights), arrays of one length, or a data set of such batches.

    Returns:
        (images, labels, facts): at most 64 images that are all finite, with their labels; and of what was looked at
        {"labels": how many, "counts": {class: images}, "lowest", "highest": label or None, "values": channel values,
        "broken": those of them that are no number, "images": how many, "alike": whether all images are equal,
        "neighbors": as of `about_neighbors`, "in_a_row": of a data set, the share of images with the label of the one
        before}. Where there are several labels an image (of several outputs), none of them are counted.

    Raises:
        ValueError: if the data are no images with labels, or have none.
    """
    if isinstance(data, (tuple, list)):
        cached.check_data(tuple(map(first_of, data)), "data")
        x = keras.tree.map_structure(np.asarray, data[0])
        y, single = np.asarray(first_of(data[1])), single_of(data[1])
        facts = about_labels(y, single)
        # All of them: what is wrong with one image in a thousand may be what ends the training.
        facts["total"] = len(y)
        facts.update(about_pixels([rows_of(x, slice(start, start + 1024)) for start in range(0, len(y), 1024)]))
        some = np.unique(np.linspace(0, len(y) - 1, min(len(y), LABELS)).astype(int))
        parts = (rows_of(x, some[start : start + IMAGES]) for start in range(0, len(some), IMAGES))
        facts["neighbors"] = about_neighbors(parts, y[some], single)
        rows = np.unique(np.linspace(0, len(y) - 1, min(len(y), 4 * IMAGES)).astype(int))
        return (*sample(rows_of(x, rows), y[rows]), facts)
    if isinstance(data, str) or hasattr(data, "shape") or not hasattr(data, "__iter__") or hasattr(data, "__next__"):
        cached.check_data(data, "data")
    batches, labels, single, begun = [], [], True, time.monotonic()
    with as_it_was(data) as data:
        for batch in cached.batches_of(data):
            if len(batch) < 2:
                raise ValueError(
                    "data must be batches of (images, labels), as fit takes them; got batches without labels."
                )
            labels.append(np.asarray(first_of(batch[1])))
            single = single and single_of(batch[1])
            if sum(map(len, labels)) <= LABELS or not batches:
                batches.append(batch[0])
            elif any((one != labels[0][:1]).any() for one in labels) or time.monotonic() - begun > PATIENCE:
                break
    if not batches:
        raise ValueError("data must have at least one batch; got none.")
    y = np.concatenate(labels)
    facts = about_labels(y, single)
    facts["total"] = getattr(data, "num_examples", None)
    numbers = classes_of(y) if single else None
    if numbers is not None and len(numbers) > 1:
        facts["in_a_row"] = float((numbers[1:] == numbers[:-1]).mean())  # arrays are shuffled by fit
    facts.update(about_pixels(batches))
    facts["neighbors"] = about_neighbors(batches, y, single)
    few = batches[: max(1, 4 * IMAGES // max(1, len(labels[0])))]
    few = list(itertools.takewhile(lambda batch: sizes_of(batch) == sizes_of(few[0]), few))
    x = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *few)
    return (*sample(x, y[: sum(map(len, labels[: len(few)]))]), facts)


@contextlib.contextmanager
def as_it_was(data):
    """The data to be gone through, so that what they and what Python, NumPy and PyTorch draw next stays the same.

    kerazoo's own data sets open a second one, and the epochs of the first are not counted. One that has an `epoch` and
    `set_epoch` is set back. What else counts its own iterations, as tf.data's `shuffle` does, has been gone through.
    """
    torch = sys.modules.get("torch")
    generators = [torch.default_generator] if torch else []
    for owner in (data, getattr(data, "sampler", None)):
        if torch and isinstance(one := getattr(owner, "generator", None), torch.Generator):
            generators.append(one)
    states, python, numbers = [one.get_state() for one in generators], random.getstate(), np.random.get_state()
    epoch = getattr(data, "epoch", None)
    try:
        yield data.start(0, 0) if hasattr(data, "start") and hasattr(data, "set_epoch") else data
    finally:
        if epoch is not None and hasattr(data, "set_epoch"):
            data.set_epoch(epoch)
        for one, state in zip(generators, states):
            one.set_state(state)
        random.setstate(python)
        np.random.set_state(numbers)


def first_of(labels):
    """Those of the first output; what is one array is that."""
    return next(iter(keras.tree.flatten(labels)), labels)


def single_of(labels):
    return len(keras.tree.flatten(labels)) == 1


def sizes_of(x):
    return [np.shape(part)[1:] for part in keras.tree.flatten(x)]


def rows_of(x, rows):
    return keras.tree.map_structure(lambda part: part[rows], x)


def sample(x, y):
    """Some of the images, evenly over them and whole."""
    first = keras.tree.flatten(x)[0]
    good = np.flatnonzero([np.isfinite(image.astype("float32")).all() for image in first])
    good = good if len(good) else np.arange(len(first))
    count = IMAGES if math.prod(first.shape[1:3]) <= LARGE else IMAGES // 4
    rows = good[np.unique(np.linspace(0, len(good) - 1, min(len(good), count)).astype(int))]
    return rows_of(x, rows), y[rows]


def classes_of(labels):
    """One whole number an image, whether the labels are integers or shares of the classes; None where they are none."""
    if labels.dtype.kind not in "iubf":
        return None
    if labels.ndim == 2 and labels.shape[-1] > 1:
        # Not boxes, pixels, or several classes at once, whose largest number says nothing.
        shares = labels.astype("float32", copy=False)
        return labels.argmax(-1) if (shares >= 0).all() and np.allclose(shares.sum(-1), 1, atol=1e-3) else None
    if labels.size != len(labels):
        return None
    numbers = labels.reshape(-1)
    whole = numbers.dtype.kind != "f" or np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    return numbers.astype("int64") if whole else None  # or a regression's, of which there is nothing to count


def about_labels(labels, single=True):
    """What is counted of labels; single: whether there are no others beside them."""
    numbers = classes_of(labels) if single else None
    if numbers is None:
        return {"labels": len(labels), "counts": {}, "lowest": None, "highest": None}
    found, counts = np.unique(numbers, return_counts=True)
    return {
        "labels": len(labels), "counts": {str(one): int(count) for one, count in zip(found, counts)},
        "lowest": int(found[0]), "highest": int(found[-1]),
    }


def about_neighbors(parts, labels, single=True):
    """Whether images that look alike have the same label more often than chance has it.

    Returns:
        {"images": how many, "right": those whose nearest neighbor among the others has their label, "chance": the share
        of them were labels drawn among images, "deviations": standard ones by which right is above that}, or None where
        there is nothing to compare.
    """
    classes = classes_of(labels) if single else None
    images = (np.asarray(keras.tree.flatten(part)[0]) for part in parts)
    small = [thumbnails(one) if one.ndim == 4 else None for one in images] if classes is not None else []
    # Sizes may differ from batch to batch.
    if not small or any(one is None or one.shape[1:] != small[0].shape[1:] for one in small):
        return None
    x = np.concatenate(small)[:LABELS]
    classes = classes[: len(x)]
    if len(x) < 2 or not np.isfinite(x).all():
        return None
    x -= x.mean(0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    likeness = x @ x.T
    np.fill_diagonal(likeness, -np.inf)
    right = int((classes[likeness.argmax(1)] == classes).sum())
    _, counts = np.unique(classes, return_counts=True)
    chance = float((counts / len(x) * (counts - 1) / (len(x) - 1)).sum())
    # Twice the variance of independent draws: two images are often each other's neighbors.
    deviation = math.sqrt(max(2 * len(x) * chance * (1 - chance), 1e-9))
    return {"images": len(x), "right": right, "chance": chance, "deviations": (right - len(x) * chance) / deviation}


def thumbnails(images):
    """Each image as at most 16 x 16 means of blocks, in a row; of large images, of some of their pixels."""
    images = images[:, :: max(1, images.shape[1] // (4 * THUMBNAIL)), :: max(1, images.shape[2] // (4 * THUMBNAIL))]
    height, width = images.shape[1:3]
    down, across = -(-height // THUMBNAIL), -(-width // THUMBNAIL)
    images = images[:, : height // down * down, : width // across * across].astype("float32")
    blocks = images.reshape(len(images), height // down, down, width // across, across, -1)
    return blocks.mean((2, 4)).reshape(len(images), -1)


def about_pixels(parts):
    """What is seen of pixels, part by part, so that large arrays are not copied whole."""
    values = broken = images = 0
    alike, first = True, None
    for part in parts:
        leaves = keras.tree.flatten(part)
        images += len(leaves[0])
        for leaf in leaves:
            leaf = np.asarray(leaf)
            values += leaf.size
            if leaf.dtype.kind not in "iub":
                broken += int((~np.isfinite(leaf.astype("float32", copy=False))).sum())
        if alike:
            first = np.asarray(leaves[0][:1]) if first is None else first
            alike = np.shape(leaves[0])[1:] == first.shape[1:] and bool((np.asarray(leaves[0]) == first).all())
    return {"values": values, "broken": broken, "images": images, "alike": alike and images > 1}
