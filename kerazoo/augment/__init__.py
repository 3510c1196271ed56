"""Augmentation as Keras layers: in a model, in ``tf.data.Dataset.map``, or by hand on arrays.

See ``AugmentationLayer`` for what every layer takes and gives.
"""

from kerazoo.augment.layer import AugmentationLayer
from kerazoo.augment.mix import MixUp
from kerazoo.augment.operations import RandomAffine

__all__ = ["AugmentationLayer", "MixUp", "RandomAffine"]
