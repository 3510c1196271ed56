"""Batches as a tf.data pipeline: what a split is under TensorFlow, and how streamed sets are read everywhere."""
import math
import os

import numpy as np

from kerazoo.data.augmenting import augment_tensors
from kerazoo.data.images import fit_tensor
from kerazoo.data.parts import Images, Stream
from kerazoo.data.reading import reading

STREAM_BUFFER = 8192  # undecoded records among which a streamed set is shuffled
AHEAD = 2  # batches that are ready before they are asked for
ROOM = 1 << 30  # bytes of the batches that are made at the same time


def import_tensorflow(what):
    """TensorFlow, or a sentence about what cannot do without it."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"{what}, and it cannot be imported ({error}). Install it: pip install tensorflow."
        ) from None
    import keras

    if keras.config.backend() != "tensorflow":
        try:
            tf.config.set_visible_devices([], "GPU")  # it would take the memory that the backend needs
        except RuntimeError:
            pass  # in use already, by someone's choice
    return tf


def parallel_calls(size=0):
    """As many as there are cores, as far as what each makes, so many bytes, has room."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, max(2, ROOM // size)) if size else cores


def untuned():
    """Options of a data set for whose iterators nobody waits when they end.

    TensorFlow 2.21 tunes a data set's parallelism in a thread that, when an iterator ends, may miss that it is to stop:
    then it sleeps on, up to as long as the iterator has lived and a minute at most, and the training waits for it.
    `benchmarks/iterators.py` shows it.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return options


class Pipeline:
    """The tf.data pipelines of a job, one for each place to begin at; they share what is in memory."""

    def __init__(self, job):
        tf = import_tensorflow("kerazoo.data.load needs TensorFlow for its tf.data pipelines")
        self.job, part = job, job.part
        # tf.data runs on the CPU; a gigabyte of pixels on an accelerator would be out of its reach.
        with tf.device("CPU:0"):
            self.starts, self.stops = tf.constant(job.plan.starts), tf.constant(job.plan.stops)
            self.read = self.records if isinstance(part, Stream) else self.through_python
            if isinstance(part, Images) and part.pixels.shape[1:] == tuple(job.shape):
                rows = part.rows if len(part) < len(part.pixels) else slice(None)
                self.pixels, self.labels = (tf.constant(array[rows]) for array in (part.pixels, part.labels))
                self.read = self.gather

    def dataset(self, epochs):
        """Batches from where `epochs` begins on."""
        import tensorflow as tf

        with tf.device("CPU:0"):
            begins = tf.data.Dataset.from_tensors(0).map(lambda _: self.begin(epochs))
            dataset = self.read(begins).map(self.finish, parallel_calls(self.batch_bytes()))
            options = untuned()
            options.deterministic = True
            count = len(self.job.plan)
            if not epochs.batch:
                dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
            dataset = dataset.with_options(options).prefetch(AHEAD)
        if epochs.batch:
            # An asserted length would not let the first, shorter epoch pass. Keras asks for that of the others.
            dataset.cardinality = lambda: tf.constant(count, tf.int64)
        return dataset

    def batch_bytes(self):
        """Of a batch's pixels, as they come and as bytes."""
        return self.job.plan.batch_size * math.prod(self.job.shape)

    def begin(self, epochs):
        """An iteration begins: (epoch, its first batch, its order, seeds of its augmentation, seed of its shuffle)."""
        import tensorflow as tf

        plan, layers = self.job.plan, len(self.job.layers)

        def facts():
            epoch, first = epochs.begin()
            return (
                np.int64(epoch), np.int64(first), plan.order(epoch), plan.draws(epoch, layers), plan.shuffle_seed(epoch)
            )

        dtypes = [tf.int64, tf.int64, tf.int64, tf.int32, tf.int64]
        epoch, first, order, draws, key = tf.numpy_function(facts, [], dtypes)
        for scalar in (epoch, first, key):
            scalar.set_shape([])
        order.set_shape([None])
        draws.set_shape([None, layers, 2])
        return epoch, first, order, draws, key

    def gather(self, begins):
        """(images, labels, seeds) of each batch, from pixels in memory."""
        import tensorflow as tf

        def places(epoch, first, order, draws, key):
            indices = tf.data.Dataset.range(first, len(self.job.plan))
            return indices.map(lambda index: (order[self.starts[index] : self.stops[index]], draws[index]))

        def pick(rows, draws):
            return tf.gather(self.pixels, rows), tf.gather(self.labels, rows), draws

        return begins.flat_map(places).map(pick, num_parallel_calls=2)  # as fast as memory is

    def through_python(self, begins):
        """The same, from files that Pillow decodes, or pixels that it resizes; its threads share the work."""
        import tensorflow as tf

        def places(epoch, first, order, draws, key):
            indices = tf.data.Dataset.range(first, len(self.job.plan))
            return indices.map(lambda index: (epoch, index, draws[index]))

        def read(epoch, index):
            with reading:
                if reading.over:
                    return np.zeros((1, *self.job.shape), "uint8"), np.zeros(1, "int64")
                try:
                    return self.job.read(int(epoch), int(index))
                except ValueError as error:
                    # TensorFlow makes the whole traceback part of its message; the sentence is to be found in it.
                    raise ValueError(str(error)) from None

        def pick(epoch, index, draws):
            images, labels = tf.numpy_function(read, [epoch, index], [tf.uint8, tf.int64])
            images.set_shape([None, *self.job.shape])
            labels.set_shape([None])
            return images, labels, draws

        return begins.flat_map(places).map(pick, num_parallel_calls=2)

    def records(self, begins):
        """The same, from records that are shuffled as they stream by; those before the first batch stay undecoded."""
        import tensorflow as tf

        job, plan = self.job, self.job.plan
        stored, sizes = job.part.records(), self.stops - self.starts

        def places(epoch, first, order, draws, key):
            records = stored
            if plan.seed is not None:
                # Else the shuffle would depend on the global seed of TensorFlow too; it is set in this function alone.
                tf.random.set_seed(1)
                records = records.shuffle(STREAM_BUFFER, key, reshuffle_each_iteration=False)
            records = records.enumerate().skip(first * plan.batch_size).filter(lambda place, _: self.is_ours(place))
            return records.map(lambda place, record: (place // plan.batch_size, record, draws))

        def decode(index, record, draws):
            image, label = job.part.decode(record)
            return index, fit_tensor(image, job.shape), tf.cast(label, tf.int64), draws[index]

        def batch(index, group):
            return group.batch(plan.batch_size)

        decoded = begins.flat_map(places).map(decode, num_parallel_calls=parallel_calls())
        grouped = decoded.group_by_window(
            lambda index, *_: index, batch, window_size_func=lambda index: tf.gather(sizes, index)
        )
        return grouped.map(lambda index, images, labels, draws: (images, labels, draws[0]))

    def is_ours(self, place):
        """Whether the record in this place of the epoch belongs to this host's slice of a batch."""
        import tensorflow as tf

        index = tf.minimum(place // self.job.plan.batch_size, len(self.job.plan) - 1)
        return (place >= self.starts[index]) & (place < self.stops[index])

    def finish(self, images, labels, draws):
        """What is handed out of a batch."""
        import tensorflow as tf

        job = self.job
        images = job.crop(images)
        if job.classes:
            labels = tf.one_hot(labels, job.classes)
        if job.layers:
            images, labels = augment_tensors(job.layers, images, labels, draws)
        return images, labels


def stored_images(job, count):
    """The first images of a streamed part in its stored order, as read."""
    stored = job.part.records().take(count).map(lambda record: fit_tensor(job.part.decode(record)[0], job.shape))
    return np.stack(list(stored.as_numpy_iterator()))
