"""Batches under JAX and PyTorch: read ahead by Grain, and a `keras.utils.PyDataset` to Keras."""
import functools

import keras
import numpy as np

from kerazoo.data.augmenting import augment_arrays
from kerazoo.data.epochs import Epochs
from kerazoo.data.parts import Stream

AHEAD = 4  # batches


class Whole(np.ndarray):
    """A batch that every host has whole, as its images cannot be dealt evenly to the devices.

    Whoever distributes batches asks for `every_process` and gives such a batch to every device.
    """

    every_process = True


class Batches(keras.utils.PyDataset):
    """Batches of (images, labels), NumPy arrays: what `load` returns under JAX and PyTorch.

    Give it to `fit`, `evaluate` or `predict`, or iterate over it; both read ahead. (Keras's order of asking does not
    matter, so that `shuffle=True` changes nothing.) By index, `batches[3]` is batch 3 of the epoch that comes next.

    Keras tells where an epoch begins and ends, but not of which of its loops. A callback that evaluates in the middle
    of `fit` on the very set that is trained on would end that epoch: give it a set of its own, `train.start(0, 0)`.
    """

    def __init__(self, job, epochs):
        super().__init__()
        if not isinstance(job.part, Stream):
            import_grain()  # now rather than at the first batch
        self.job, self.epochs = job, epochs
        self.current = None  # while Keras goes through an epoch
        self.left, self.fresh = 0, False

    # Grain reads ahead, in order.
    workers = property(lambda self: 1)
    use_multiprocessing = property(lambda self: False)

    def __len__(self):
        return len(self.job.plan)

    def __iter__(self):
        yield from self.read(*self.epochs.begin())

    def __getitem__(self, index):
        if self.current is not None:
            self.fresh = False
            return next(self.current)
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        return next(self.read(self.epochs.following, index % len(self), ahead=0))

    @property
    def num_batches(self):
        """What Keras asks for: as it begins to go through an epoch, the batches left; else those of a whole one.

        It asks again when it has drawn a batch to see its shape, and counts on that answer in all epochs.
        """
        return self.left if self.fresh else len(self)

    def on_epoch_begin(self):
        epoch, first = self.epochs.begin()
        self.left, self.current, self.fresh = len(self) - first, self.read(epoch, first), True

    def on_epoch_end(self):
        self.current, self.fresh = None, False

    def grain(self, epoch=0, start=0):
        """The batches of an epoch as a `grain.MapDataset`, for loops of your own and iterators that save their place.

        Args:
            epoch: counted from 0.
            start: the first batch, from 0 to `len`.

        Raises:
            ValueError: if the set is streamed, so that there is no way to one batch but through those before it.

        Example:
            >>> iterator = iter(train.grain(epoch=2).to_iter_dataset())
            >>> images, labels = next(iterator)
            >>> state = iterator.get_state()
        """
        grain = import_grain()
        if isinstance(self.job.part, Stream):
            raise ValueError(f"{self.name} is too large for memory and streamed by tf.data; iterate over it instead.")
        return grain.MapDataset.range(start, len(self)).map(functools.partial(batch_of, self.job, epoch))

    def read(self, epoch, first, ahead=AHEAD):
        """An iterator over the batches of an epoch from one on."""
        if isinstance(self.job.part, Stream):
            return self.stream(epoch, first)
        options = import_grain().ReadOptions(num_threads=2 if ahead else 0, prefetch_buffer_size=ahead)
        return iter(self.grain(epoch, first).to_iter_dataset(options))

    def stream(self, epoch, first):
        tensors = self.job.pipeline.dataset(Epochs(epoch, first)).as_numpy_iterator()
        for index, (images, labels) in enumerate(tensors, first):
            yield marked(self.job, index, images, labels)


def batch_of(job, epoch, index):
    """(images, labels) of a batch as they are handed out."""
    images, labels = job.read(epoch, index)
    images = np.ascontiguousarray(job.crop(images))
    if job.classes:
        labels = np.eye(job.classes, dtype="float32")[labels]
    if job.layers:
        images, labels = augment_arrays(job.layers, images, labels, job.plan.draws(epoch, len(job.layers))[index])
    return marked(job, index, images, labels)


def marked(job, index, images, labels):
    return (images.view(Whole), labels.view(Whole)) if job.plan.whole[index] else (images, labels)


def import_grain():
    try:
        import grain
    except ImportError as error:
        raise ImportError(
            f"On {keras.config.backend()}, kerazoo.data.load reads through Grain, and it cannot be imported ({error}). "
            "Install it: pip install grain."
        ) from None
    return grain
