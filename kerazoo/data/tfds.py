"""Any image classification set of TensorFlow Datasets."""
import contextlib
import difflib
import functools
import logging
import math
import os
import pathlib
import re

import numpy as np

from kerazoo.data import parts
from kerazoo.data.checks import first_line, some
from kerazoo.data.images import fit_tensor
from kerazoo.data.parts import MIXED_SIZE, SPLITS, Images, Source, Stream, rows_of
from kerazoo.data.progress import progress
from kerazoo.data.tensors import import_tensorflow, parallel_calls, untuned

OFFLINE = 'or use "mnist_sample", which comes with kerazoo and needs no network'


def open_tfds(name, splits, image_size, shares, data_dir):
    import_tensorflow(
        f"{name!r} is neither mnist_sample nor folder:PATH, and other names are read through tensorflow_datasets, "
        "which needs TensorFlow on every backend"
    )
    with quiet():
        builder = find_builder(name, data_dir)
        image_key, label_key = supervised_keys(builder, name)
        prepare(builder, name)
    image, label = builder.info.features[image_key], builder.info.features[label_key]
    if label.num_classes is not None and label.num_classes < 2:
        raise ValueError(f"{name} has one class only: nothing to tell apart. Choose a set with two classes or more.")

    available = [
        split for split in SPLITS if split in builder.info.splits and (split == "train" or labelled(builder, split))
    ]
    if "train" not in available:
        raise ValueError(
            f'{name} has no "train" split; it has {some(sorted(builder.info.splits))}. '
            f"Wanted: a set with a training part."
        )
    own_size = image.shape[:2] if None not in image.shape[:2] else None
    stored_size = own_size or image_size or MIXED_SIZE
    shape = (*(image_size or stored_size), image.shape[2])
    # The whole set decides, not the splits asked for: where an image belongs must not depend on the question.
    total = sum(builder.info.splits[split].num_examples for split in available) * math.prod((*stored_size, shape[2]))

    if total > parts.MEMORY_LIMIT:
        stream = functools.partial(open_stream, builder, available, image_key, label_key, shares)
        found = {split: stream(split) for split in splits}
    else:
        read = functools.cache(lambda split: read_split(builder, name, split, (*stored_size, shape[2])))
        found = {}
        for split in splits:
            place = rows_of(split, available, lambda stored: read(stored)[1], shares)
            found[split] = place and Images(*read(place[0]), rows=place[1])
    return Source(list(label.names), shape, found)


@contextlib.contextmanager
def quiet():
    """TFDS and the libraries under it log much that the user cannot act upon."""
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def find_builder(name, data_dir):
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"{name!r} is neither mnist_sample nor folder:PATH, and other names need tensorflow_datasets, which cannot "
            f"be imported ({error}). Install it (pip install tensorflow-datasets), {OFFLINE}."
        ) from None
    try:
        return tfds.builder(name, data_dir=data_dir and os.path.expanduser(data_dir))
    except (ValueError, AssertionError):  # of the name, its configuration or its version
        pass
    known = ["mnist_sample", *tfds.list_builders(with_community_datasets=False)]
    base = re.split("[:/]", name)[0]
    if base in known and base != name:
        configs = list(tfds.builder_cls(base).builder_configs)
        raise ValueError(
            f"{name!r} cannot be loaded: {base} has no such configuration or version. "
            f"{f'Its configurations: {some(configs, 20)}' if configs else 'It has no configurations'}. "
            f"Wanted: a name such as {'/'.join([base, *configs[:1]])!r}."
        )
    if pathlib.Path(name).expanduser().is_dir():
        raise ValueError(f'Unknown data set {name!r}. To read the folder of that name, load "folder:{name}".')
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known)
    raise ValueError(
        f"Unknown data set {name!r}{f': did you mean {some(near)}?' if near else '.'} "
        f'Wanted: "mnist_sample", "folder:PATH", or a name from https://www.tensorflow.org/datasets/catalog.'
    )


def prepare(builder, name):
    """Download and write the set unless it is there; every failure becomes one error that says what to do."""
    if builder.data_path.exists():
        return
    wanted = f"The data set {name!r} is not in {builder.data_path}"
    advice = f"copy a prepared {builder.info.full_name} to {builder.data_path} (or pass data_dir=...), {OFFLINE}."
    try:
        data_root = builder.data_path.parents[builder.info.full_name.count("/")]
        downloads = [*data_root.glob("downloads/*.INFO"), *data_root.glob("downloads/*/*.INFO")]
        if not downloads:  # else perhaps all of it was downloaded before
            reach(builder)
        builder.download_and_prepare()
    except Exception as error:
        if is_network(error):
            raise ConnectionError(
                f"{wanted}, and it could not be downloaded: {first_line(error)}. Connect to the network and try again, "
                f"{advice}"
            ) from None
        raise RuntimeError(
            f"{wanted}, and tensorflow_datasets could not prepare it: {type(error).__name__}: {first_line(error)}. "
            f"See https://www.tensorflow.org/datasets/catalog/{builder.name} for what it needs, {advice}"
        ) from error


def reach(builder):
    """Fail at once where the first download has no way out: TFDS itself tries again for minutes before it says so."""
    import requests

    for url in builder.url_infos:
        if url.startswith("http"):
            try:
                requests.head(url, timeout=10)
            except requests.exceptions.ReadTimeout:
                pass  # slow is not out of reach
            except requests.exceptions.ConnectionError:
                raise ConnectionError(f"{url} is out of reach") from None
            return


def is_network(error):
    import urllib.error

    import requests
    import tensorflow_datasets as tfds

    kinds = (
        ConnectionError,
        TimeoutError,
        urllib.error.URLError,
        requests.exceptions.RequestException,
        tfds.download.DownloadError,
    )
    while error is not None:
        if isinstance(error, kinds):
            return True
        error = error.__cause__ or error.__context__
    return False


def supervised_keys(builder, name):
    """The names of the image and the label; other sets (detection, text, several labels) are refused."""
    import tensorflow_datasets as tfds

    keys, features = builder.info.supervised_keys, builder.info.features
    pair = isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys)
    image, label = (features[key] for key in keys) if pair else (None, None)
    if not isinstance(image, tfds.features.Image) or not isinstance(label, tfds.features.ClassLabel):
        raise ValueError(
            f"{name} is not an image classification set: wanted supervised keys (image, label), "
            f"got {keys!r} with features {some(sorted(features))}. Choose another set."
        )
    if np.dtype(image.np_dtype) != np.uint8 or image.shape[2] not in (1, 3):
        raise ValueError(
            f"{name} has images of {np.dtype(image.np_dtype)} with {image.shape[2]} channels; "
            f"wanted uint8 with 1 or 3. Choose another set."
        )
    return keys


def labelled(builder, split):
    """Whether a stored split comes with labels: some test splits carry -1 throughout."""
    for _, label in builder.as_dataset(split=split, as_supervised=True, shuffle_files=False).take(1):
        return int(label) >= 0
    return False


def read_split(builder, name, split, shape):
    """(pixels, labels) of a stored split, in memory; images of differing size are brought to `shape`."""
    import tensorflow_datasets as tfds

    count = builder.info.splits[split].num_examples
    pixels, labels = np.empty((count, *shape), "uint8"), np.empty(count, "int64")
    once = tfds.ReadConfig(try_autocache=False)
    records = builder.as_dataset(split=split, as_supervised=True, shuffle_files=False, read_config=once)
    records = records.map(lambda image, label: (fit_tensor(image, shape), label), parallel_calls())
    records = records.with_options(untuned())
    place = 0
    with progress(f"Reading {name} {split}", count, "image") as done:
        for some_pixels, some_labels in records.batch(256).prefetch(2).as_numpy_iterator():
            here = slice(place, place + len(some_labels))
            pixels[here], labels[here] = some_pixels, some_labels
            place += len(some_labels)
            done(len(some_labels))
    return pixels, labels


def open_stream(builder, available, image_key, label_key, shares, split):
    """A slice of a stored split. TFDS writes examples in shuffled order, so a slice is a fair sample of the classes."""
    import tensorflow_datasets as tfds

    count = builder.info.splits["train"].num_examples
    test = 0 if "test" in available else round(shares["test"] * count)
    validation = 0 if "validation" in available else round(shares["validation"] * (count - test))
    if split != "train" and split in available:
        stored, start, stop = split, 0, builder.info.splits[split].num_examples
    elif split == "test":
        stored, start, stop = "train", count - test, count
    elif split == "validation":
        stored, start, stop = "train", count - test - validation, count - test
    else:
        stored, start, stop = "train", 0, count - test - validation
    if stop == start:
        return None
    feature = builder.info.features[image_key]

    def records():
        return builder.as_dataset(
            split=tfds.core.ReadInstruction(stored, from_=start, to=stop, unit="abs"),
            decoders={image_key: tfds.decode.SkipDecoding()},
            shuffle_files=False,
        )

    def decode(record):
        return feature.decode_example(record[image_key]), record[label_key]

    return Stream(records, decode, stop - start)
