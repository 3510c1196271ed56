"""Layers that change one image at a time: each draws its parameters and hands them to a primitive."""

import keras
from keras import ops

from kerazoo.augment import primitives
from kerazoo.augment.draws import uniform
from kerazoo.augment.layer import AugmentationLayer, check_choice, check_number, check_range


@keras.saving.register_keras_serializable(package="kerazoo")
class RandomAffine(AugmentationLayer):
    """Rotates, moves, scales and slants each image at random, in one resampling.

    The picture is slanted, scaled and turned about its center, then moved. All four are drawn uniformly and
    independently. See ``AugmentationLayer`` for what goes in and comes out.

    Args:
        rotation: degrees, counter-clockwise; the largest angle either way, or a (low, high) pair, within -360 to 360.
        translation: share of the side, 0 to 1, either way; one number, or a (height, width) pair.
        scale: 0.1 draws factors from 0.9 to 1.1 (a number below 1), or a (low, high) pair of factors, 0.01 to 100.
        shear: degrees, rows slide so that the top goes right; the largest angle either way, or a (low, high) pair,
            within -80 to 80.
        interpolation: "bilinear" or "nearest".
        fill: pixel value outside the image, 0 to 255.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> layer = kerazoo.augment.RandomAffine(rotation=10, translation=0.1, scale=0.1, seed=1)
        >>> images = layer(images)

    Reference:
        Simard et al. 2003, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis,
        https://doi.org/10.1109/ICDAR.2003.1227801
    """

    def __init__(
        self,
        rotation=0.0,
        translation=0.0,
        scale=0.0,
        shear=0.0,
        interpolation="bilinear",
        fill=0.0,
        seed=None,
        name=None,
    ):
        super().__init__(seed=seed, name=name)
        pair = translation if isinstance(translation, (tuple, list)) else (translation, translation)
        if len(pair) != 2:
            raise ValueError(f"translation: received {translation!r}, wanted a number or a (height, width) pair.")
        self.height, self.width = (check_number("translation", share, 0, 1) for share in pair)
        self.rotation = check_range("rotation", rotation, -360, 360, around=0)
        self.scale = check_range("scale", scale, 0.01, 100, around=1)
        self.shear = check_range("shear", shear, -80, 80, around=0)
        self.interpolation = check_choice("interpolation", interpolation, ("bilinear", "nearest"))
        self.fill = check_number("fill", fill, 0, 255)

    def augment(self, images, labels, seed):
        if self._is_identity():
            return images, labels
        batch, height, width, _ = ops.shape(images)
        drawn = uniform(seed, batch, 5)

        def between(column, low, high):
            return low + drawn[:, column] * (high - low)

        matrices = primitives.chain(
            primitives.shear(between(0, *self.shear)),
            primitives.zoom(between(1, *self.scale)),
            primitives.rotation(between(2, *self.rotation)),
            primitives.translation(
                between(3, -self.height, self.height) * primitives.to_float(height),
                between(4, -self.width, self.width) * primitives.to_float(width),
            ),
        )
        return primitives.warp(images, matrices, self.interpolation, self.fill), labels

    def _is_identity(self):
        ranges = (*self.rotation, *self.scale, *self.shear, self.height, self.width)
        return ranges == (0, 0, 1, 1, 0, 0, 0, 0)

    def get_config(self):
        return {
            **super().get_config(),
            "rotation": tuple(self.rotation),
            "translation": (self.height, self.width),
            "scale": tuple(self.scale),
            "shear": tuple(self.shear),
            "interpolation": self.interpolation,
            "fill": self.fill,
        }
