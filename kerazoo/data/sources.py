"""Where images come from: the embedded sample, a folder, TensorFlow Datasets. Nothing here knows about batches.

Every source ends up as a `Source`: names, a shape, and for each split either `Images` (pixels in memory), `Files`
(paths, decoded when they are needed) or a `Stream` (records read from disk in their stored order).
"""
import collections
import concurrent.futures
import contextlib
import dataclasses
import difflib
import functools
import logging
import math
import os
import pathlib
import re
import warnings

import numpy as np

SPLITS = ("train", "validation", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
MIXED_SIZE = (224, 224)  # for sources whose images differ in size: what most ImageNet networks were published with
MEMORY_LIMIT = 2 * 1024**3  # bytes of decoded pixels; larger TFDS sets are streamed
TEST_SHARE = 0.1
SPLIT_SEED = 0  # fixed: runs with different seeds must be compared on the same validation and test images
OFFLINE = 'or use "mnist_sample", which comes with kerazoo and needs no network'


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


def open_source(name, splits, image_size, validation_split, corrupt_limit, data_dir):
    """The source of that name, with the parts for these splits; the arguments are already checked."""
    if not isinstance(name, str) or not name:
        raise ValueError(
            f'name must be a string: "mnist_sample", "folder:PATH" or a tensorflow_datasets name; got {name!r}.'
        )
    if name == "mnist_sample":
        return open_mnist_sample(splits, image_size, validation_split)
    if name.startswith("folder:"):
        return open_folder(name.removeprefix("folder:"), splits, image_size, validation_split, corrupt_limit)
    return open_tfds(name, splits, image_size, validation_split, data_dir)


# Splits -------------------------------------------------------------------------------------------------------------


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


# The embedded sample ------------------------------------------------------------------------------------------------


def open_mnist_sample(splits, image_size, validation_split):
    with np.load(pathlib.Path(__file__).with_name("mnist_sample.npz"), allow_pickle=False) as arrays:
        stored = {
            split: (arrays[f"x_{split}"][..., None], arrays[f"y_{split}"].astype("int64"))
            for split in ("train", "test")
        }
    parts = {}
    for split in splits:
        place = rows_of(split, stored, lambda stored_split: stored[stored_split][1], validation_split)
        parts[split] = place and Images(*stored[place[0]], rows=place[1])
    return Source([str(digit) for digit in range(10)], (*(image_size or (28, 28)), 1), parts)


# A folder of images -------------------------------------------------------------------------------------------------


def open_folder(path, splits, image_size, validation_split, corrupt_limit):
    root = pathlib.Path(path).expanduser()
    if not path or not root.exists():
        raise FileNotFoundError(
            f'The folder of "folder:{path}" does not exist. Wanted: a folder with one sub-folder of images a class, '
            f'written "folder:PATH" (looked in {root.absolute()}).'
        )
    if not root.is_dir():
        raise NotADirectoryError(
            f'"folder:{path}" is a file. Wanted: the folder above, with one sub-folder of images a class.'
        )
    roots = split_folders(root)
    class_names = class_folders(roots["train"])
    stored = {split: list_files(folder, class_names) for split, folder in roots.items()}
    facts = probe_all([file for files, _, _ in stored.values() for file in files])

    checked, good_facts = {}, []
    for split, (files, labels, others) in stored.items():
        bad = [file for file in files if facts[file].error]
        if len(bad) > corrupt_limit * len(files):
            raise ValueError(
                f"{len(bad)} of {len(files)} image files in {roots[split]} cannot be decoded, more than "
                f"corrupt_limit={corrupt_limit} allows: {some(bad)} ({facts[bad[0]].error}). "
                f"Repair or remove them, or pass a corrupt_limit of at least {rounded_up(len(bad) / len(files))}."
            )
        good = np.array([not facts[file].error for file in files], bool)
        checked[split] = ([file for file, ok in zip(files, good) if ok], labels[good], tuple(sorted(bad + others)))
        good_facts += [facts[file] for file in checked[split][0]]
        missing = set(range(len(class_names))) - set(labels[good].tolist()) if split == "train" else ()
        if missing:
            empty = [class_names[label] for label in sorted(missing)]
            raise ValueError(
                f"No image that can be decoded for {some(empty)} in {roots[split]}. Add images "
                f"({', '.join(suffix[1:] for suffix in SUFFIXES)}), or remove the sub-folder."
            )

    channels = 1 if all(fact.grey for fact in good_facts) else 3
    sizes = {fact.size for fact in good_facts}
    size = image_size or (sizes.pop() if len(sizes) == 1 else MIXED_SIZE)
    parts = {}
    for split in splits:
        place = rows_of(split, checked, lambda stored_split: checked[stored_split][1], validation_split)
        parts[split] = None
        if place:
            files, labels, skipped = checked[place[0]]
            parts[split] = Files(files, labels, place[1], skipped)
    return Source(class_names, (*size, channels), parts)


def visible_folders(folder):
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def split_folders(root):
    """Stored split -> folder: `train` with `test`, `val` or `validation`, or the whole folder as the training part."""
    names = visible_folders(root)
    known = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}
    if "train" not in names or not {"test", "val", "validation"} & set(names):
        return {"train": root}
    if {"val", "validation"} <= set(names):
        raise ValueError(f'{root} holds both "val" and "validation": which one is meant? Rename or remove one.')
    if others := [name for name in names if name not in known]:
        warnings.warn(f"{root} is read by its splits; left alone: {some(others)}.", stacklevel=5)
    return {known[name]: root / name for name in names if name in known}


def class_folders(root):
    names = visible_folders(root)
    wanted = "Wanted: one sub-folder of images a class, at least two of them."
    if not names:
        loose = sum(1 for entry in root.iterdir() if entry.suffix.lower() in SUFFIXES)
        raise ValueError(
            f"{root} has no sub-folders{f', but {loose} images of unknown class' if loose else ''}. {wanted}"
        )
    if len(names) == 1:
        inside = visible_folders(root / names[0])
        hint = f' If its classes are inside, load "folder:{root / names[0]}".' if inside else ""
        raise ValueError(f"{root} has one class only, {names[0]!r}: nothing to tell apart. {wanted}{hint}")
    return names


def list_files(root, class_names):
    """(image files, labels, other files) below the class folders, in sorted order; hidden files are left alone."""
    if unknown := sorted(set(visible_folders(root)) - set(class_names)):
        raise ValueError(
            f"{root} has classes that the training part has not: {some(unknown)}. "
            f"Wanted: sub-folders out of {some(class_names)}."
        )
    files, labels, others = [], [], []
    for label, name in enumerate(class_names):
        for folder, subfolders, entries in os.walk(root / name):
            subfolders[:] = sorted(entry for entry in subfolders if not entry.startswith("."))
            for entry in sorted(entries):
                if entry.startswith("."):
                    continue
                if entry.lower().endswith(SUFFIXES):
                    files.append(os.path.join(folder, entry))
                    labels.append(label)
                else:
                    others.append(os.path.join(folder, entry))
    if not files:
        found = collections.Counter(pathlib.Path(file).suffix or "no ending" for file in others)
        seen = f" Found instead: {', '.join(f'{n} x {suffix}' for suffix, n in found.most_common(5))}." if found else ""
        raise ValueError(
            f"{root} holds no images. Wanted: files ending in {', '.join(suffix[1:] for suffix in SUFFIXES)} "
            f"in its sub-folders.{seen}"
        )
    return files, np.array(labels, "int64"), others


@dataclasses.dataclass
class Fact:
    size: tuple = ()  # (height, width), upright
    grey: bool = False
    error: str = ""


def probe(path):
    """Decode a file once, as cheaply as its format allows, to learn whether training can read it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            size, grey = image.size[::-1], image.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
            if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # EXIF orientation: turned by 90 degrees
                size = size[::-1]
            # At an eighth of the size a JPEG is read to its end all the same, but most of the arithmetic is saved.
            image.draft(None, (image.width // 8, image.height // 8))
            image.load()
        return Fact(size, grey)
    except Exception as error:  # Pillow's plugins raise whatever the bytes lead them to
        return Fact(error=f"{type(error).__name__}: {error}".replace(str(path), pathlib.Path(path).name))


def probe_all(paths):
    """Path -> Fact, in threads (Pillow decodes without the interpreter lock), with a bar if it takes long."""
    from tqdm import tqdm

    facts = {}
    with concurrent.futures.ThreadPoolExecutor(min(32, 2 * (os.cpu_count() or 1))) as pool:
        with tqdm(total=len(paths), desc="Checking images", unit="file", delay=2, leave=False) as bar:
            for start in range(0, len(paths), 4096):
                chunk = paths[start : start + 4096]
                for path, fact in zip(chunk, pool.map(probe, chunk)):
                    facts[path] = fact
                    bar.update()
    return facts


def some(items, limit=5):
    """The first few, and how many more."""
    shown = ", ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def rounded_up(share):
    return math.ceil(share * 1000) / 1000


# TensorFlow Datasets ------------------------------------------------------------------------------------------------


def open_tfds(name, splits, image_size, validation_split, data_dir):
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

    if total > MEMORY_LIMIT:
        stream = functools.partial(open_stream, builder, available, image_key, label_key, validation_split)
        parts = {split: stream(split) for split in splits}
    else:
        read = functools.cache(lambda split: read_split(builder, name, split, (*stored_size, shape[2])))
        parts = {}
        for split in splits:
            place = rows_of(split, available, lambda stored: read(stored)[1], validation_split)
            parts[split] = place and Images(*read(place[0]), rows=place[1])
    return Source(list(label.names), shape, parts)


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


def first_line(error):
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return line if len(line) <= 300 else f"{line[:300]}..."


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
    import tensorflow as tf
    import tensorflow_datasets as tfds
    from tqdm import tqdm

    count = builder.info.splits[split].num_examples
    pixels, labels = np.empty((count, *shape), "uint8"), np.empty(count, "int64")
    once = tfds.ReadConfig(try_autocache=False)
    records = builder.as_dataset(split=split, as_supervised=True, shuffle_files=False, read_config=once)
    records = records.map(lambda image, label: (fit_tensor(image, shape), label), num_parallel_calls=tf.data.AUTOTUNE)
    place = 0
    with tqdm(total=count, desc=f"Reading {name} {split}", unit="image", delay=2, leave=False) as bar:
        for some_pixels, some_labels in records.batch(256).prefetch(2).as_numpy_iterator():
            here = slice(place, place + len(some_labels))
            pixels[here], labels[here] = some_pixels, some_labels
            place += len(some_labels)
            bar.update(len(some_labels))
    return pixels, labels


def open_stream(builder, available, image_key, label_key, validation_split, split):
    """A slice of a stored split. TFDS writes examples in shuffled order, so a slice is a fair sample of the classes."""
    import tensorflow_datasets as tfds

    count = builder.info.splits["train"].num_examples
    test = 0 if "test" in available else round(TEST_SHARE * count)
    validation = 0 if "validation" in available else round(validation_split * (count - test))
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


# Pixels -------------------------------------------------------------------------------------------------------------


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


def read_image(path, channels, size=None):
    """Read one image file, or one array saved by `numpy.save`, as pixels.

    Args:
        path: an image in any format that Pillow reads, upright according to its EXIF orientation; or a `.npy` file
            of shape (height, width) or (height, width, channels).
        channels: 1 (grey) or 3 (RGB). Files are converted, transparency is dropped; of an array, grey is repeated.
        size: None for the image's own size, or the side in pixels, or (height, width): the shorter side is resized
            (bilinear, antialiased), then the middle is cropped, so that the aspect is kept.

    Returns:
        A uint8 array (height, width, channels) of values 0 to 255; float32 for a `.npy` file of floats, as it is.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be decoded, or an argument is out of range.

    Example:
        >>> read_image("seven.png", channels=1, size=28).shape
        (28, 28, 1)
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB); got {channels!r}.")
    size = check_size(size, "size")
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no image {path}. Wanted: the path of an image file or of a .npy array.")
    if not path.is_file():
        raise ValueError(f"{path} is not a file. Wanted: the path of an image file or of a .npy array.")
    return (read_array if path.suffix.lower() == ".npy" else read_picture)(path, channels, size)


def read_picture(path, channels, size):
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would cut off instead of scaling
                image = Image.fromarray((np.asarray(image) / 257 + 0.5).astype("uint8"))
            if image.mode == "P":  # a palette may hold transparent colors, which only RGBA can name
                image = image.convert("RGBA")
            image = image.convert("L" if channels == 1 else "RGB")
            if size and size != image.size[::-1]:
                image = ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
            return np.array(image, "uint8").reshape(image.height, image.width, channels)
    except Exception as error:  # Pillow's plugins raise whatever the bytes lead them to
        reason = f"{type(error).__name__}: {error}".replace(str(path), path.name)
        raise ValueError(f"{path} cannot be decoded as an image ({reason}). Replace or remove it.") from None


def read_array(path, channels, size):
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
    if size and size != pixels.shape[:2]:
        pixels = np.stack([resize_plane(pixels[..., c], size) for c in range(pixels.shape[2])], axis=-1)
    return np.repeat(pixels, channels // pixels.shape[2], axis=2)


def resize_plane(plane, size):
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(plane), size[::-1], Image.Resampling.BILINEAR))


def check_size(size, name):
    """None, or (height, width) from one or two positive integers."""
    pair = (size, size) if is_integer(size) else tuple(size) if isinstance(size, (tuple, list)) else ()
    if size is not None and not (len(pair) == 2 and all(is_integer(side) and side > 0 for side in pair)):
        raise ValueError(f"{name} must be None, a positive integer or (height, width), in pixels; got {size!r}.")
    return None if size is None else (int(pair[0]), int(pair[1]))


def is_integer(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_pixels(images, source):
    """Look at one batch before a model sees it, and warn of pixels that no network here was made for.

    Args:
        images: (batch, height, width, channels), a NumPy array or a tensor in the memory of the CPU.
        source: what to call it in the message, such as a file name.

    Raises:
        ValueError: if the rank is not 4, or the values are not numbers.

    Warns:
        UserWarning: for NaN or infinite values; for values up to 1, where 0 to 255 is wanted.

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
    if values.size and 0 < values.max() <= 1:
        problems.append(
            f"{source}: pixel values lie between {values.min():.3g} and {values.max():.3g}; wanted 0 to 255, as the "
            f"model scales them itself. If they were scaled before, leave that out or multiply them by 255."
        )
    return problems
