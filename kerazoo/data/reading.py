"""From the place of a batch to its pixels, in threads that every pipeline shares."""
import atexit
import dataclasses
import functools
import math
import multiprocessing.pool
import os
import threading
import time
import warnings

import numpy as np

from kerazoo.data import parts
from kerazoo.data.checks import first_line, some
from kerazoo.data.images import fit_array, read_image
from kerazoo.data.progress import progress


class Reading:
    """How many batches are being read, so that Python can wait for them before it exits.

    TensorFlow waits for a read that has begun when it drops an iterator; once Python is shutting down, that read can no
    longer end, and a program that was interrupted in the middle of an epoch would hang.
    """

    def __init__(self):
        self.over, self.count, self.lock = False, 0, threading.Lock()

    def __enter__(self):
        with self.lock:
            self.count += 1

    def __exit__(self, *error):
        with self.lock:
            self.count -= 1

    @functools.cached_property
    def pool(self):
        """Threads: Pillow decodes and resizes without the interpreter lock."""
        pool = multiprocessing.pool.ThreadPool(os.cpu_count() or 1)
        # After the import of multiprocessing, so before it ends its pools: what exits last was registered first.
        atexit.register(self.finish)
        return pool

    def each(self, function, items):
        """What `function` makes of each item, in order."""
        return self.pool.map(function, items) if len(items) > 1 else [function(item) for item in items]

    def finish(self, patience=5.0):
        """Let the buffers fill up with nothing, and return when no read has begun for a while."""
        self.over = True
        quiet, end = 0, time.monotonic() + patience
        while quiet < 10 and time.monotonic() < end:
            time.sleep(0.01)
            quiet = 0 if self.count else quiet + 1


reading = Reading()


class Lost:
    """The files that could be read when the set was loaded and cannot any more; too many of them stop the run.

    Args:
        part: the `Files`.
        limit: the share of the files that may be unreadable, those left out from the start among them.
        skipped: the list that their paths are added to.
    """

    def __init__(self, part, limit, skipped):
        self.part, self.limit, self.skipped = part, limit, skipped
        self.paths, self.lock = set(), threading.Lock()

    def add(self, path, error):
        """Note a file that could not be read.

        Raises:
            ValueError: if it is one too many.
        """
        reason = first_line(error) if os.path.exists(path) else "there is no such file"
        with self.lock:
            first, known = not self.paths, path in self.paths
            if not known:
                self.paths.add(path)
                self.skipped.append(path)
            bad = self.part.spoilt + len(self.paths)
        if bad > self.limit * self.part.total:
            share = math.ceil(bad / self.part.total * 1000) / 1000
            raise ValueError(
                f"{bad} of {self.part.total} image files cannot be read, more than corrupt_limit={self.limit} allows; "
                f"since the set was loaded: {some(sorted(self.paths))} ({reason}). Put them back, or pass a "
                f"corrupt_limit of at least {share}."
            )
        if first:
            warnings.warn(
                f"{path} cannot be read any more ({reason}). Another image takes its place in its batch, as with other "
                "such files; the data set's `skipped` lists them.",
                stacklevel=2,
            )


@dataclasses.dataclass
class Job:
    """All that is to be done for one split, whatever carries it out."""

    part: object
    plan: object
    shape: tuple  # (height, width, channels) as read
    out: tuple  # as handed out
    classes: int = 0  # of one-hot labels; 0: integers
    layers: tuple = ()
    skipped: list = dataclasses.field(default_factory=list)  # paths, also of what is lost later
    lost: object = None  # of Files

    @functools.cached_property
    def pipeline(self):
        """Of tf.data: under TensorFlow, and wherever a set is streamed."""
        from kerazoo.data.tensors import Pipeline

        return Pipeline(self)

    def read(self, epoch, index):
        """(images, integer labels) of a batch, before augmentation, as NumPy arrays."""
        part, plan = self.part, self.plan
        order, places = plan.order(epoch), range(plan.starts[index], plan.stops[index])
        if isinstance(part, parts.Files):
            images = np.empty((len(places), *self.shape), "uint8")
            rows = reading.each(functools.partial(self.read_file, images, order), list(enumerate(places)))
            return images, part.labels[rows]
        rows = part.rows[order[places.start : places.stop]]
        return fit_all(part.pixels, rows, self.shape), part.labels[rows]

    def read_file(self, images, order, item):
        """Put an image into its row of the batch; where it cannot be read, the next one in the order that can be."""
        at, place = item
        *size, channels = self.shape
        for other in range(place, place + len(order)):
            row = self.part.rows[order[other % len(order)]]
            path = self.part.paths[row]
            try:
                images[at] = read_image(path, channels, size)
                return row
            except (ValueError, OSError) as error:
                self.lost.add(path, error)
        raise ValueError(f"None of the {len(order)} image files can be read any more. Put them back.")

    def crop(self, images):
        """The middle of images (..., height, width, channels), arrays or tensors, where that is what is handed out."""
        top, left = ((read - wanted) // 2 for read, wanted in zip(self.shape[:2], self.out[:2]))
        height, width, _ = self.out
        return images if self.out == self.shape else images[..., top : top + height, left : left + width, :]


def fit_all(pixels, rows, shape):
    """Those rows of the pixels, resized and cropped where they are not of that shape."""
    if pixels.shape[1:] == tuple(shape):
        return pixels[rows]
    images = np.empty((len(rows), *shape), "uint8")

    def fit(item):
        at, row = item
        images[at] = fit_array(pixels[row], shape)

    reading.each(fit, list(enumerate(rows)))
    return images


def into_memory(part, shape, name):
    """The part with its pixels in memory, as it wants them, if they fit; else the part as it is."""
    wanted = math.prod((len(part), *shape))
    if isinstance(part, parts.Stream) or wanted > parts.MEMORY_LIMIT:
        return part
    in_memory = isinstance(part, parts.Images)
    if in_memory and part.pixels.shape[1:] == tuple(shape):
        return part
    *size, channels = shape
    images = np.empty((len(part), *shape), "uint8")

    def read(at):
        row = part.rows[at]
        if in_memory:
            images[at] = fit_array(part.pixels[row], shape)
        else:
            images[at] = read_image(part.paths[row], channels, size)

    with progress(f"Reading {name}", len(part), "image") as done:
        for _ in reading.pool.imap_unordered(read, range(len(part)), chunksize=16):
            done()
    return parts.Images(images, part.labels[part.rows], np.arange(len(part)), part.skipped)
