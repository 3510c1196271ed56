"""What a source consists of, and how its images are dealt into splits."""
import dataclasses

import numpy as np

SPLITS = ("train", "validation", "test")
MIXED_SIZE = (224, 224)  # for sources whose images differ in size: what most ImageNet networks were published with
TEST_SHARE = 0.1
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


@dataclasses.dataclass
class Source:
    class_names: list
    image_shape: tuple  # of the images that `load` returns
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


def rows_of(split, available, labels_of, validation_split):
    """Which stored split the images of `split` stand in, and in which of its rows.

    Args:
        split: "train", "validation" or "test".
        available: the splits that the source has of its own, "train" among them.
        labels_of: stored split -> its labels.
        validation_split: share of the training part.

    Returns:
        (stored split, rows), or None where no validation is wanted.
    """
    if split != "train" and split in available:
        return split, np.arange(len(labels_of(split)))
    labels = labels_of("train")
    rows = np.arange(len(labels))
    if "test" not in available:
        rows, test = deal(labels, rows, TEST_SHARE, salt=1)
        if split == "test":
            return "train", test
    if "validation" not in available and (validation_split or split == "validation"):
        if not validation_split:
            return None
        rows, validation = deal(labels, rows, validation_split, salt=2)
        if split == "validation":
            return "train", validation
    return "train", rows
