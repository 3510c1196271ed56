"""From a source to batches: order, decoding, resizing and prefetching, with tf.data."""
import atexit
import os
import threading
import time
import warnings

import numpy as np

from kerazoo.data.checks import check_size, is_integer, some
from kerazoo.data.images import fit_tensor, read_image
from kerazoo.data.parts import SPLITS, Files, Images
from kerazoo.data.sources import open_source
from kerazoo.pixels import pixel_problems

STREAM_BUFFER = 8192  # undecoded records among which a streamed set is shuffled


def load(
    name,
    split=None,
    batch_size=32,
    image_size=None,
    *,
    label_mode="int",
    validation_split=0.1,
    seed=0,
    corrupt_limit=0.01,
    data_dir=None,
):
    """Load an image classification set as batches that `model.fit`, `evaluate` and `predict` take as they are.

    Splits never overlap, and are the same whatever `seed` is, so that runs over several seeds are compared on the same
    images. Validation is a share of every class of the training part, unless the source has a validation split of its
    own; where it has no (labelled) test split, 10 % of every class is set aside for testing first.

    Only "train" is shuffled. Its order in epoch e depends on (seed, e) alone: every fresh iteration is the next epoch,
    also one that is broken off, and `train.set_epoch(e)` makes the next iteration epoch e. (On JAX and PyTorch, `fit`
    takes a look at one batch before its first epoch; to number epochs alike everywhere, call `train.set_epoch(epoch)`
    in a callback's `on_epoch_begin`.) The last, smaller batch is kept.

    Images that need resizing have their shorter side resized (bilinear, antialiased) and the middle cropped, so that
    the aspect is kept.

    Args:
        name: where the images come from:

            - `"mnist_sample"`: 10,000 + 2,000 digits of MNIST that come with kerazoo; no network.
            - `"folder:PATH"`: one sub-folder a class, sorted by name, with jpg, jpeg, png, bmp, gif (first frame) or
              webp files, upright according to EXIF; hidden files are left alone. Where PATH holds `train` and `test`,
              `val` or `validation`, those are the splits. Images are gray (one channel) if all of them are. Every
              file is decoded once when the set is loaded: those that cannot be are left out, counted in one warning
              and listed in `skipped`.
            - any image classification set of TensorFlow Datasets, such as `"cifar10"`, downloaded if need be. Up to
              2 GB of pixels are read into memory once. Larger sets are streamed: there, splits are slices of the
              stored order (which TFDS shuffles), and an epoch is shuffled through a buffer of 8,192 images.
        split: "train", "validation", "test", or None for all three.
        batch_size: images in a batch, a positive integer.
        image_size: the side in pixels or (height, width). None: the size that all images of the source have, or 224
            where they differ.
        label_mode: "int" for int64 labels (batch,), "categorical" for float32 one-hot labels (batch, classes).
        validation_split: share of the training part, in [0, 1); 0 for no validation.
        seed: of the training order, not negative.
        corrupt_limit: share, in [0, 1], of the image files of a folder (or of its `train`, `test`, ...) that may be
            impossible to decode; more of them stop the run.
        data_dir: where TensorFlow Datasets keeps its sets. None: its own default, ~/tensorflow_datasets.

    Returns:
        A `tf.data.Dataset` of (images, labels), images uint8 (batch, height, width, channels), 0 to 255; or with
        `split=None` the tuple (train, validation, test), validation being None if there is none. Each has `len`, and
        the attributes `classes`, `class_names`, `image_shape` (height, width, channels), `num_examples`, `name`,
        `split`, `skipped` (paths of the files of its folder that were left out); train has `set_epoch` besides.

    Raises:
        ValueError: if an argument is out of range, the name is unknown, a folder does not hold at least two classes of
            images, or more than `corrupt_limit` of its images cannot be decoded.
        FileNotFoundError, NotADirectoryError: if PATH does not exist, or is a file.
        ConnectionError: if a set must be downloaded and cannot be.

    Example:
        >>> train, validation, test = load("mnist_sample", batch_size=128)
        >>> model = kerazoo.lenet5(classes=train.classes)
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        >>> model.fit(train, validation_data=validation, epochs=5, shuffle=False)  # True makes Keras warn, no more
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, or None for all three; got {split!r}.")
    if not is_integer(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, the images in a batch; got {batch_size!r}.")
    if label_mode not in ("int", "categorical"):
        raise ValueError(f'label_mode must be "int" or "categorical" (one-hot); got {label_mode!r}.')
    if not is_number(validation_split) or not 0 <= validation_split < 1:
        raise ValueError(
            f"validation_split must be a share of the training part, from 0 up to but not 1; got {validation_split!r}."
        )
    if not is_number(corrupt_limit) or not 0 <= corrupt_limit <= 1:
        raise ValueError(f"corrupt_limit must be a share of the files, from 0 to 1; got {corrupt_limit!r}.")
    if not is_integer(seed) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be an integer that is not negative; got {seed!r}.")
    image_size = check_size(image_size, "image_size")
    import_tensorflow()

    splits = SPLITS if split is None else (split,)
    source = open_source(name, splits, image_size, validation_split, corrupt_limit, data_dir)
    for part_split, part in source.parts.items():
        if part is not None and not len(part):
            if part_split != "validation":
                raise ValueError(
                    f"{name} is too small: no image is left for its {part_split} split. Wanted: at least three images "
                    "a class, one each for training, validation and testing."
                )
            source.parts[part_split] = None
    if split and source.parts[split] is None:
        raise ValueError(
            f"{name} has no {split} images with validation_split={validation_split}. Pass a share above 0, such as 0.1."
        )
    problems = []
    for part in filter(None, source.parts.values()):
        problems = problems or pixel_problems(first_images(part, source, batch_size), name)
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    if skipped := sorted({path for part in source.parts.values() if part for path in part.skipped}):
        warnings.warn(
            f"{name}: left out, as they cannot be decoded as images: {len(skipped)} of the files, {some(skipped)}. "
            f"The full list is in the `skipped` of each split.",
            stacklevel=2,
        )
    results = []
    for part_split, part in source.parts.items():
        dataset = None
        if part is not None:
            dataset = batches(part, source, batch_size, label_mode, seed if part_split == "train" else None)
            dataset.classes, dataset.class_names = len(source.class_names), list(source.class_names)
            dataset.image_shape, dataset.num_examples = source.image_shape, len(part)
            dataset.name, dataset.split, dataset.skipped = name, part_split, list(part.skipped)
        results.append(dataset)
    return tuple(results) if split is None else results[0]


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def import_tensorflow():
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"kerazoo.data.load needs TensorFlow for its tf.data pipelines, whichever backend Keras runs on, and it "
            f"cannot be imported ({error}). Install it: pip install tensorflow."
        ) from None
    return tf


def batches(part, source, batch_size, label_mode="int", seed=None):
    """The part as a data set of batches, shuffled anew every epoch if a seed is given."""
    tf = import_tensorflow()
    kind = batches_of_images if isinstance(part, Images) else batches_of_files if isinstance(part, Files) else None
    # tf.data runs on the CPU; a variable or a gigabyte of pixels on an accelerator would be out of its reach.
    with tf.device("CPU:0"):
        epochs, set_epoch = epoch_counter()
        dataset = (kind or batches_of_records)(part, source, batch_size, epochs, seed)
        if label_mode == "categorical":
            classes = len(source.class_names)
            dataset = dataset.map(lambda images, labels: (images, tf.one_hot(labels, classes)))
        options = tf.data.Options()
        options.deterministic = True
        count = -(-len(part) // batch_size)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count)).with_options(options)
        dataset = dataset.prefetch(tf.data.AUTOTUNE)
    if seed is not None:
        dataset.set_epoch = set_epoch
    return dataset


def epoch_counter():
    """A data set of one element, the number of the epoch that an iteration stands for, and a function to set it."""
    import tensorflow as tf

    following = tf.Variable(0, trainable=False, dtype=tf.int64)
    epochs = tf.data.Dataset.from_tensors(0).map(lambda _: following.assign_add(1) - 1)

    def set_epoch(epoch):
        """Make the next iteration epoch `epoch`, counted from 0."""
        if not is_integer(epoch) or epoch < 0:
            raise ValueError(f"epoch must be an integer that is not negative; got {epoch!r}.")
        following.assign(epoch)

    return epochs, set_epoch


def order(epoch, rows, seed):
    """The rows as they come in an epoch: sorted by keys that are drawn from (seed, epoch) and nothing else."""
    import tensorflow as tf

    if seed is None:
        return tf.constant(rows)
    keys = tf.random.stateless_uniform(
        [len(rows)], tf.stack([tf.constant(seed, tf.int64), epoch]), None, None, tf.int64, alg="philox"
    )
    return tf.gather(rows, tf.argsort(keys, stable=True))


def batches_of_images(part, source, batch_size, epochs, seed):
    import tensorflow as tf

    pixels, labels = tf.constant(part.pixels), tf.constant(part.labels)

    def batches_of_epoch(epoch):
        rows = order(epoch, part.rows, seed)
        return tf.data.Dataset.range(0, len(part), batch_size).map(lambda start: rows[start : start + batch_size])

    def gather(rows):
        return fit_tensor(tf.gather(pixels, rows), source.image_shape), tf.gather(labels, rows)

    return epochs.flat_map(batches_of_epoch).map(gather, num_parallel_calls=tf.data.AUTOTUNE)


class Reading:
    """How many files are being read, so that Python can wait for them before it exits.

    TensorFlow waits for a read that has begun when it drops an iterator; once Python is shutting down, that read can no
    longer end, and a program that was interrupted in the middle of an epoch would hang.
    """

    def __init__(self):
        self.over, self.count, self.lock = False, 0, threading.Lock()
        atexit.register(self.finish)

    def __enter__(self):
        with self.lock:
            self.count += 1

    def __exit__(self, *error):
        with self.lock:
            self.count -= 1

    @staticmethod
    def skipped(source):
        return np.zeros(source.image_shape, "uint8")

    def finish(self, patience=5.0):
        """Let the buffers fill up with nothing, and return when no read has begun for a while."""
        self.over = True
        quiet, end = 0, time.monotonic() + patience
        while quiet < 10 and time.monotonic() < end:
            time.sleep(0.01)
            quiet = 0 if self.count else quiet + 1


reading = Reading()


def batches_of_files(part, source, batch_size, epochs, seed):
    import tensorflow as tf

    paths, labels = tf.constant([os.fsencode(path) for path in part.paths]), tf.constant(part.labels)
    *size, channels = source.image_shape

    def read(path):
        with reading:
            return reading.skipped(source) if reading.over else read_image(os.fsdecode(path), channels, size)

    def decode(row):
        image = tf.numpy_function(read, [paths[row]], tf.uint8, stateful=False)
        return tf.ensure_shape(image, source.image_shape), labels[row]

    rows = epochs.flat_map(lambda epoch: tf.data.Dataset.from_tensor_slices(order(epoch, part.rows, seed)))
    return rows.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)


def batches_of_records(part, source, batch_size, epochs, seed):
    import tensorflow as tf

    records = part.records()

    def records_of_epoch(epoch):
        # Without this, the shuffle would depend on the global seed of TensorFlow too; it is set in this function alone.
        tf.random.set_seed(1)
        key = tf.random.stateless_uniform(
            [], tf.stack([tf.constant(seed, tf.int64), epoch]), None, None, tf.int64, alg="philox"
        )
        return records.shuffle(STREAM_BUFFER, key, reshuffle_each_iteration=False)

    def decode(record):
        image, label = part.decode(record)
        return fit_tensor(image, source.image_shape), label

    if seed is not None:
        records = epochs.flat_map(records_of_epoch)
    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)


def first_images(part, source, batch_size):
    """The first images of a part in its stored order, so that looking at them starts no epoch."""
    count = min(batch_size, 32)
    if isinstance(part, Images):
        return part.pixels[part.rows[:count]]
    if isinstance(part, Files):
        *size, channels = source.image_shape
        return np.stack([read_image(part.paths[row], channels, size) for row in part.rows[:count]])
    return next(batches(part, source, count).as_numpy_iterator())[0]
