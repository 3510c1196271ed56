"""Images and labels, from wherever they are, as batches that `model.fit` takes as they are.

`load` answers with tf.data under TensorFlow and reads through Grain under JAX and PyTorch; either is imported when it
is called.
"""
from kerazoo.data.images import read_image
from kerazoo.data.pipeline import arrays, load
from kerazoo.pixels import check_pixels

__all__ = ["arrays", "check_pixels", "load", "read_image"]
