"""Random numbers that are the same everywhere.

``keras.random`` gives other numbers for the same seed when TensorFlow compiles a function with XLA than when it does
not, and others again on each backend. These depend on the seed alone: integer additions, rotations and exclusive ors,
which every backend and compiler does alike.
"""

import numpy as np
from keras import ops


def uniform(seed, batch, columns):
    """Numbers in [0, 1), multiples of 2^-24, each row a function of the seed and its own index alone.

    Args:
        seed: int32 tensor (2,). The same seed gives the same numbers: draw once a layer and call.
        batch: number of rows, an integer or an int32 tensor.
        columns: number of columns, an integer.

    Returns:
        float32 (batch, columns).
    """
    row = ops.cast(ops.arange(batch), "int32")[:, None]
    column = ops.convert_to_tensor(np.arange((columns + 1) // 2, dtype="int32"))[None]
    words = threefry(seed, row + 0 * column, column + 0 * row)
    bits = ops.bitwise_and(ops.right_shift(ops.concatenate(words, axis=1), 8), 2**24 - 1)
    return ops.cast(bits[:, :columns], "float32") * 2.0**-24


def fold(seed, place):
    """The seed of one part of a whole, by its place, apart from all that ``uniform`` draws for the whole.

    Args:
        seed: int32 tensor (2,).
        place: an integer of at least 0, or an int32 tensor.
    """
    first, second = (ops.reshape(ops.cast(n, "int32"), (1,)) for n in (-1 - place, -1))
    return ops.concatenate(threefry(seed, first, second), axis=0)


def threefry(key, first, second):
    """Threefry-2x32 with 20 rounds: a pair of words for each counter, under a key.

    int32 serves as uint32: sums wrap around alike.

    Args:
        key: int32 tensor (2,).
        first, second: int32 tensors of one shape, the counter.

    Returns:
        Two int32 tensors of that shape.

    Reference:
        Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3, https://doi.org/10.1145/2063384.2063405
    """
    keys = [key[0], key[1], ops.bitwise_xor(ops.bitwise_xor(key[0], key[1]), 0x1BD11BDA)]
    first, second = first + keys[0], second + keys[1]
    for group in range(5):
        for bits in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            first = first + second
            # int32 shifts its sign in from the left; the mask takes it out again.
            low = ops.bitwise_and(ops.right_shift(second, 32 - bits), 2**bits - 1)
            second = ops.bitwise_xor(ops.bitwise_or(ops.left_shift(second, bits), low), first)
        first, second = first + keys[(group + 1) % 3], second + keys[(group + 2) % 3] + (group + 1)
    return first, second
