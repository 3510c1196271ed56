"""Augmentation as Keras layers: in a model, in ``tf.data.Dataset.map``, or by hand on arrays.

See ``AugmentationLayer`` for what every layer takes and gives, and ``presets`` for short lists of them.
"""

from kerazoo.augment import presets
from kerazoo.augment.augmix import AugMix
from kerazoo.augment.choose import EpochCallback, OneOf
from kerazoo.augment.compose import Compose
from kerazoo.augment.geometry import RandomAffine, RandomCrop, RandomFlip, RandomPerspective, RandomResizedCrop
from kerazoo.augment.layer import AugmentationLayer
from kerazoo.augment.mix import CutMix, MixUp
from kerazoo.augment.operations import (
    ColorJitter,
    Cutout,
    ElasticTransform,
    GaussianBlur,
    GaussianNoise,
    RandomErasing,
    RandomGrayscale,
)
from kerazoo.augment.policies import AutoAugment, RandAugment, TrivialAugment

__all__ = [
    "AugMix",
    "AugmentationLayer",
    "AutoAugment",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Cutout",
    "ElasticTransform",
    "EpochCallback",
    "GaussianBlur",
    "GaussianNoise",
    "MixUp",
    "OneOf",
    "RandAugment",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomGrayscale",
    "RandomPerspective",
    "RandomResizedCrop",
    "TrivialAugment",
    "presets",
]
