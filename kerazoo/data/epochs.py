"""Which images make up which batch of which epoch: NumPy alone, so that it is the same on every backend."""
import functools
import threading

import numpy as np

from kerazoo.data.checks import is_integer


class Plan:
    """What is in every batch, as a function of (seed, epoch, index of the batch) and of nothing else.

    On several hosts each takes its slice of every batch; a batch that the devices cannot share evenly (the last one) is
    given to all hosts whole, and `whole` says so.

    Args:
        count: images in all.
        batch_size: of all hosts together.
        seed: of the order; None: the stored order, in every epoch.
        host, hosts: this host's number and how many there are.
        devices: of all hosts together.
        trim: drop what the devices cannot share evenly.
    """

    def __init__(self, count, batch_size, seed=None, host=0, hosts=1, devices=1, trim=False):
        self.count, self.batch_size, self.seed, self.host = count, batch_size, seed, host
        starts = np.arange(0, count, batch_size)
        sizes = np.minimum(batch_size, count - starts)
        if trim:
            sizes -= sizes % devices
            starts, sizes = starts[sizes > 0], sizes[sizes > 0]
        self.whole = (sizes % devices != 0) & (hosts > 1)
        share = np.where(self.whole, sizes, sizes // hosts)
        self.starts = starts + np.where(self.whole, 0, host * share)  # places in the order of the epoch
        self.stops = self.starts + share
        # Of 1.3 million images, 10 MB and 0.1 s each.
        self.order, self.draws = (functools.lru_cache(maxsize=2)(each) for each in (self.order, self.draws))

    def __len__(self):
        return len(self.starts)

    def words(self, epoch, stream, count):
        """Random uint64 that NumPy promises never to change, unlike those of its Generator's methods."""
        key = np.array([self.seed, epoch], "uint64")
        return np.random.Philox(counter=np.array([0, 0, 0, stream], "uint64"), key=key).random_raw(count)

    def order(self, epoch):
        """The images of an epoch as they come, int64 (count,)."""
        if self.seed is None:
            return np.arange(self.count)
        return np.argsort(self.words(epoch, 0, self.count), kind="stable")

    def shuffle_seed(self, epoch):
        """For a set that cannot be put in order, but only shuffled while it is read."""
        return np.int64(0 if self.seed is None else self.words(epoch, 1, 1)[0] >> np.uint64(1))

    def draws(self, epoch, layers):
        """A seed for each augmentation layer of each batch, int32 (batches, layers, 2); every host draws its own."""
        if not layers:
            return np.zeros((len(self), 0, 2), "int32")
        own, common = (
            self.words(epoch, 2 + host, len(self) * layers).view("int32").reshape(len(self), layers, 2)
            for host in (self.host, 0)
        )
        return np.where(self.whole[:, None, None], common, own) & np.int32(2**31 - 1)


class Epochs:
    """Which epoch the next iteration is, and from which batch on: iterations may begin in threads of tf.data.

    Args:
        first: the first epoch.
        batch: where that epoch begins, however often it is returned to; all others begin with batch 0.
    """

    def __init__(self, first=0, batch=0):
        self.first, self.batch, self.following = first, batch, first
        self.lock = threading.Lock()

    def begin(self):
        """(epoch, first batch) of an iteration that begins now."""
        with self.lock:
            epoch = self.following
            self.following += 1
        return epoch, self.offset(epoch)

    def offset(self, epoch):
        return self.batch if epoch == self.first else 0

    def set_epoch(self, epoch):
        """Make the next iteration epoch `epoch`, counted from 0.

        Args:
            epoch: an integer that is not negative.

        Raises:
            ValueError: if it is none.
        """
        check_epoch(epoch)
        with self.lock:
            self.following = int(epoch)


def check_epoch(epoch):
    if not is_integer(epoch) or epoch < 0:
        raise ValueError(f"epoch must be an integer that is not negative; got {epoch!r}.")
