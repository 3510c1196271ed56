"""How pixels are held while operations run over them: one read, one write."""

import keras
import numpy as np
from keras import ops

WORD = 4  # channels in an int32


class Canvas:
    """A batch of images on its way through a chain of operations.

    uint8 pixels are packed, up to four channels in an int32: one gather then fetches a whole pixel, and arithmetic on
    channels runs along contiguous memory, eight or sixteen pixels at a time. Float pixels lie in one float32 array a
    channel. Either way an array is (batch, height, width).

    Attributes:
        arrays: tuple of int32 or float32 tensors.
        channels: how many channels the images have.
        packed: whether the arrays are packed. Values are integers then, as in Pillow, and truncated as there.
    """

    def __init__(self, arrays, channels, packed):
        self.arrays, self.channels, self.packed = tuple(arrays), channels, packed

    @property
    def size(self):
        """(height, width): integers where they are known, tensors where they are not."""
        return tuple(ops.shape(self.arrays[0])[1:3])

    def like(self, arrays):
        """Another canvas of the same kind."""
        return Canvas(arrays, self.channels, self.packed)

    def planes(self):
        """The channels, each (batch, height, width): int32 from 0 to 255 if packed, else float32."""
        if not self.packed:
            return list(self.arrays)
        return [byte(self.arrays[i // WORD], i % WORD) for i in range(self.channels)]

    def with_planes(self, planes):
        """This canvas with other channels: clipped to 0..255 and, if packed, truncated."""
        if not self.packed:
            return self.like(ops.clip(ops.cast(plane, "float32"), 0.0, 255.0) for plane in planes)
        planes = [
            ops.cast(ops.clip(plane, 0.0, 255.0), "int32") if "float" in dtype_of(plane) else plane for plane in planes
        ]
        return self.like(join(planes[i : i + WORD]) for i in range(0, self.channels, WORD))


def pack(images):
    """The canvas of images (batch, height, width, channels), uint8 or float."""
    channels = images.shape[-1]
    packed = dtype_of(images) == "uint8"
    images = ops.cast(images, "int32" if packed else "float32")
    planes = [images[..., i] for i in range(channels)]
    if packed:
        planes = [join(planes[i : i + WORD]) for i in range(0, channels, WORD)]
    return Canvas(planes, channels, packed)


def unpack(canvas):
    """Images (batch, height, width, channels), uint8 or float32, from a canvas."""
    if not canvas.packed:
        return ops.stack(canvas.arrays, axis=-1)
    shifts = np.arange(canvas.channels, dtype="int32")
    # Not a stack of planes, which XLA writes slowly on the last axis.
    words = [
        ops.bitwise_and(ops.right_shift(word[..., None], 8 * shifts[i * WORD : (i + 1) * WORD] % 32), 255)
        for i, word in enumerate(canvas.arrays)
    ]
    return ops.cast(words[0] if len(words) == 1 else ops.concatenate(words, axis=-1), "uint8")


def fetch(flat, index):
    """``flat[index]``; every index lies within. Twice as fast as ``ops.take``, which looks after negative ones."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.gather(flat, index)
    if backend == "jax":
        return flat.at[index].get(mode="promise_in_bounds")
    return flat[index] if backend == "torch" else ops.take(flat, index, axis=0)


def byte(word, index):
    """One of the four bytes of int32 words, as int32 from 0 to 255."""
    return ops.bitwise_and(ops.right_shift(word, 8 * index) if index else word, 255)


def join(planes):
    """int32 words from up to four int32 planes of 0 to 255."""
    word = planes[0]
    for i, plane in enumerate(planes[1:], start=1):
        word = ops.bitwise_or(word, ops.left_shift(plane, 8 * i))
    return word


def dtype_of(x):
    return keras.backend.standardize_dtype(x.dtype)
