"""What training data look like before a model has seen them: a sample that stays, and what their labels say."""
import itertools
import math
import time

import keras
import numpy as np

from kerazoo.train import cached

IMAGES = 64  # in the sample
LARGE = 10_000  # pixels, from which on a sample of fewer images tells enough
LABELS = 1024  # that are looked at in a data set
PATIENCE = 5.0  # seconds to look for a second class in data that have shown one


def look(data):
    """Take the sample and the facts.

    Args:
        data: (images, labels) or (images, labels, weights), arrays of one length, or a data set of such batches.

    Returns:
        (images, labels, facts): at most 64 images that are all finite, with their labels; and of what was looked at
        {"labels": how many, "counts": {class: images}, "lowest", "highest": label or None, "values": channel values,
        "broken": those of them that are no number, "images": how many, "alike": whether all images are equal}.

    Raises:
        ValueError: if the data are no images with labels, or have none.
    """
    if isinstance(data, (tuple, list)):
        cached.check_data(data, "data")
        x, y = (np.asarray(part) for part in data[:2])
        facts = about_labels(y)
        # All of them: what is wrong with one image in a thousand may be what ends the training.
        facts["total"] = len(x)
        facts.update(about_pixels([x[start : start + 1024] for start in range(0, len(x), 1024)]))
        rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), 4 * IMAGES)).astype(int))
        return (*sample(x[rows], y[rows]), facts)
    if hasattr(data, "shape") or not hasattr(data, "__iter__") or hasattr(data, "__next__"):
        cached.check_data(data, "data")
    batches, labels, begun = [], [], time.monotonic()
    for batch in cached.batches_of(data):
        if len(batch) < 2:
            raise ValueError(
                "data must be batches of (images, labels), as fit takes them; got batches without labels."
            )
        labels.append(np.asarray(batch[1]))
        if sum(map(len, labels)) <= LABELS or not batches:
            batches.append(batch)
        elif len(classes_of(np.concatenate(labels))) > 1 or time.monotonic() - begun > PATIENCE:
            break
    if hasattr(data, "set_epoch"):
        data.set_epoch(0)  # looking at them is no epoch
    if not batches:
        raise ValueError("data must have at least one batch; got none.")
    facts = about_labels(np.concatenate(labels))
    facts["total"] = getattr(data, "num_examples", None)
    facts.update(about_pixels([batch[0] for batch in batches]))
    few = list(itertools.islice(batches, 0, max(1, 4 * IMAGES // max(1, len(labels[0])))))
    x = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *[batch[0] for batch in few])
    return (*sample(x, np.concatenate([batch[1] for batch in few])), facts)


def sample(x, y):
    """Some of the images, evenly over them and whole."""
    first = keras.tree.flatten(x)[0]
    good = np.flatnonzero([np.isfinite(image.astype("float32")).all() for image in first])
    good = good if len(good) else np.arange(len(first))
    count = IMAGES if math.prod(first.shape[1:3]) <= LARGE else IMAGES // 4
    rows = good[np.unique(np.linspace(0, len(good) - 1, min(len(good), count)).astype(int))]
    return keras.tree.map_structure(lambda part: part[rows], x), y[rows]


def classes_of(labels):
    """One number an image, whether the labels are integers or one-hot."""
    labels = np.asarray(labels)
    if labels.ndim > 1 and labels.shape[-1] > 1:
        return np.unique(labels.reshape(-1, labels.shape[-1]).argmax(-1))
    return np.unique(labels)


def about_labels(labels):
    labels = np.asarray(labels)
    one_hot = labels.ndim > 1 and labels.shape[-1] > 1
    numbers = labels.reshape(-1, labels.shape[-1]).argmax(-1) if one_hot else labels.reshape(-1)
    whole = numbers.dtype.kind in "iub" or (
        numbers.dtype.kind == "f" and np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    )
    if not whole:  # a regression's, of which there is nothing to count
        return {"labels": len(numbers), "counts": {}, "lowest": None, "highest": None}
    found, counts = np.unique(numbers.astype("int64"), return_counts=True)
    return {
        "labels": int(counts.sum()), "counts": {str(one): int(count) for one, count in zip(found, counts)},
        "lowest": int(found[0]), "highest": int(found[-1]),
    }


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
            alike = bool((np.asarray(leaves[0]) == first).all())
    return {"values": values, "broken": broken, "images": images, "alike": alike and images > 1}
