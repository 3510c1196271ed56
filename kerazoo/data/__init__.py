"""Images and labels, from wherever they are, as batches that `model.fit` takes as they are.

`load` needs TensorFlow (tf.data) and imports it when it is called; `check_pixels` and `read_image` do without.
"""
from kerazoo.data.images import read_image
from kerazoo.data.pipeline import load
from kerazoo.pixels import check_pixels

__all__ = ["check_pixels", "load", "read_image"]
