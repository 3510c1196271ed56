"""What a source consists of, and how its images are dealt into splits."""
import dataclasses
import itertools

import numpy as np

SPLITS = ("train", "validation", "test")
MIXED_SIZE = (224, 224)  # for sources whose images differ in size: what most ImageNet networks were published with
MEMORY_LIMIT = 2 * 1024**3  # bytes of decoded pixels; larger sets are decoded as they are needed
SPLIT_SEED = 0  # fixed: runs with different seeds must be compared on the same validation and test images


@dataclasses.dataclass
class Images:
    """Pixels in memory; a split is a choice of rows, so that splits of one source share one array."""

    pixels: np.ndarray  # (n, height, width, channels) uint8
    labels: np.ndarray  # (n,) int64
    rows: np.ndarray
    skipped: tuple = ()

    def __len__(self):
        return len(self.rows)


@dataclasses.dataclass
class Files:
    """Paths of files that were found decodable; `skipped` are those of the same folder that were not."""

    paths: list
    labels: np.ndarray
    rows: np.ndarray
    skipped: tuple = ()
    spoilt: int = 0  # image files of the folder that cannot be decoded
    total: int = 0  # image files of the folder

    def __len__(self):
        return len(self.rows)


@dataclasses.dataclass
class Stream:
    """Undecoded TFDS records from `start` to `stop` of a stored split; `decode` turns one into (image, label)."""

    records: object  # () -> tf.data.Dataset
    decode: object  # record -> (image, label)
    count: int
    skipped: tuple = ()

    def __len__(self):
        return self.count


def limited(part, limit):
    """At most so many images of a part, always the same ones, dealt evenly over the classes as far as they go."""
    if limit is None or len(part) <= limit:
        return part
    if isinstance(part, Stream):
        # Stored in shuffled order, so the first ones are a fair sample.
        return dataclasses.replace(part, records=lambda: part.records().take(limit), count=limit)
    labels = part.labels[part.rows]
    rounds = []
    for label in np.unique(labels):
        members = part.rows[labels == label]
        rounds.append(np.random.default_rng([SPLIT_SEED, 3, int(label)]).permutation(members))
    turns = itertools.chain.from_iterable(itertools.zip_longest(*rounds, fillvalue=-1))
    rows = list(itertools.islice((row for row in turns if row >= 0), limit))
    return dataclasses.replace(part, rows=np.sort(rows))


@dataclasses.dataclass
class Source:
    class_names: list
    image_shape: tuple  # of the images as they are read
    parts: dict  # split -> Images, Files, Stream, or None for an empty validation split


def deal(labels, rows, share, salt):
    """Deal the rows in two, (kept, held out), with that share of every class held out; order is that of the rows.

    Of each class with two images or more at least one is held out, and at least one is always kept.
    """
    held = []
    for label in np.unique(labels[rows]):
        members = rows[labels[rows] == label]
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held.append(np.random.default_rng([SPLIT_SEED, salt, int(label)]).permutation(members)[:count])
    held = np.sort(np.concatenate(held))
    return np.setdiff1d(rows, held, assume_unique=True), held


def rows_of(split, available, labels_of, shares):
    """Which stored split the images of `split` stand in, and in which of its rows.

    Args:
        split: "train", "validation" or "test".
        available: the splits that the source has of its own, "train" among them.
        labels_of: stored split -> its labels.
        shares: {"validation": share of the training part, "test": likewise, dealt out first}.

    Returns:
        (stored split, rows), or None where no such split is wanted.
    """
    if split != "train" and split in available:
        return split, np.arange(len(labels_of(split)))
    labels = labels_of("train")
    rows = np.arange(len(labels))
    for salt, held in ((1, "test"), (2, "validation")):
        if held not in available and shares[held]:
            rows, those = deal(labels, rows, shares[held], salt)
            if split == held:
                return "train", those
        elif split == held:
            return None
    return "train", rows
