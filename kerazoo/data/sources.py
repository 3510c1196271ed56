"""Where images come from: the embedded sample, a folder, TensorFlow Datasets. Nothing here knows about batches.

Every source ends up as a `Source`: names, a shape, and for each split either `Images` (pixels in memory), `Files`
(paths, decoded when they are needed) or a `Stream` (records read from disk in their stored order).
"""
import pathlib

import numpy as np

from kerazoo.data.folder import open_folder
from kerazoo.data.parts import Images, Source, rows_of
from kerazoo.data.tfds import open_tfds


def open_source(name, splits, image_size, shares, corrupt_limit, data_dir):
    """The source of that name, with the parts for these splits; the arguments are already checked."""
    if not isinstance(name, str) or not name:
        raise ValueError(
            f'name must be a string: "mnist_sample", "folder:PATH" or a tensorflow_datasets name; got {name!r}.'
        )
    if name == "mnist_sample":
        return open_mnist_sample(splits, image_size, shares)
    if name.startswith("folder:"):
        return open_folder(name.removeprefix("folder:"), splits, image_size, shares, corrupt_limit)
    return open_tfds(name, splits, image_size, shares, data_dir)


def open_mnist_sample(splits, image_size, shares):
    with np.load(pathlib.Path(__file__).with_name("mnist_sample.npz"), allow_pickle=False) as arrays:
        stored = {
            split: (arrays[f"x_{split}"][..., None], arrays[f"y_{split}"].astype("int64"))
            for split in ("train", "test")
        }
    parts = {}
    for split in splits:
        place = rows_of(split, stored, lambda stored_split: stored[stored_split][1], shares)
        parts[split] = place and Images(*stored[place[0]], rows=place[1])
    return Source([str(digit) for digit in range(10)], (*(image_size or (28, 28)), 1), parts)
