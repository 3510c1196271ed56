"""Layers that change colors or parts of one image at a time."""

import itertools
import math

import keras
import numpy as np
from keras import ops

from kerazoo.augment import engine, exact, filters, primitives
from kerazoo.augment.boxes import TRIES, boxes, first_that_fits, pick
from kerazoo.augment.checks import (
    check_choice,
    check_color,
    check_factors,
    check_fill,
    check_fill_channels,
    check_fixed_or_range,
    check_number,
    check_range,
    check_size,
)
from kerazoo.augment.draws import uniform
from kerazoo.augment.layer import AugmentationLayer


@keras.saving.register_keras_serializable(package="kerazoo")
class ColorJitter(AugmentationLayer):
    """Changes brightness, contrast, saturation and hue of each image at random, in random order.

    Brightness, contrast and saturation are Pillow's ``ImageEnhance`` to the bit. The hue turns exactly, where Pillow
    goes by way of 256 hues: that differs by a few levels in strong colors. Gray images (one channel) have neither
    saturation nor hue. See ``AugmentationLayer`` for what goes in and comes out.

    Args:
        brightness: 0.4 draws factors from 0.6 to 1.4 (not below 0), or a (low, high) pair of factors, 0 to 100.
        contrast: as brightness.
        saturation: as brightness.
        hue: share of the circle, 0 to 0.5, either way, or a (low, high) pair within -0.5 to 0.5.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or if images have neither one nor three channels.

    Example:
        >>> images = kerazoo.augment.ColorJitter(0.4, 0.4, 0.4, hue=0.1, seed=1)(images)

    Reference:
        Howard 2013, Some Improvements on Deep CNN Based Image Classification, https://arxiv.org/abs/1312.5402
    """

    def __init__(self, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.brightness = check_factors("brightness", brightness)
        self.contrast = check_factors("contrast", contrast)
        self.saturation = check_factors("saturation", saturation)
        self.hue = check_range("hue", hue, -0.5, 0.5, around=0)

    def check_channels(self, channels):
        check_color(self.name, channels)

    def plan(self, seed, batch, height, width, channels):
        kinds = [
            (primitives.Blend("black"), self.brightness),
            (primitives.Blend("mean"), self.contrast),
            (primitives.Blend("gray"), self.saturation),
        ]
        kinds = [(kind, span) for kind, span in kinds if span != (1, 1)]
        turns = self.hue != (0, 0)
        if channels == 1:
            kinds, turns = [kind for kind in kinds if kind[0].toward != "gray"], False
        n = len(kinds) + turns
        if not n:
            return []
        drawn, params, used = uniform(seed, batch, 5), {}, [kind for kind, _ in kinds]
        if kinds:
            # Multiples of 2 ** -12: products with levels are then exact in float32, here and in Pillow.
            factors = [exact.rounded(exact.between(drawn[:, i], *span), 12) for i, (_, span) in enumerate(kinds)]
            params["factor"] = ops.stack(factors + [ops.ones_like(drawn[:, 0])] * turns, axis=1)
        if turns:
            used.append(filters.Hue())
            steps = ops.cast(ops.floor(exact.between(drawn[:, 3], *self.hue) * float(filters.TURN)), "int32")
            params["turn"] = ops.stack([ops.where(steps < 0, steps + filters.TURN, steps)] * n, axis=1)
        if n == 1:
            return [engine.Step(tuple(used), params)]
        choice = exact.table(drawn[:, 4], np.array(list(itertools.permutations(range(n))), "int32"))
        if kinds:
            params["factor"] = ops.take_along_axis(params["factor"], choice, axis=1)
        return [engine.Step(tuple(used), params, choice)]

    def get_config(self):
        return {
            **super().get_config(),
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "hue": self.hue,
        }


@keras.saving.register_keras_serializable(package="kerazoo")
class RandomGrayscale(AugmentationLayer):
    """Takes the color from each image at random; the channels stay three, all alike.

    The gray level is Pillow's ``convert("L")``, to the bit. See ``AugmentationLayer`` for what goes in and comes out.

    Args:
        probability: how often, 0 to 1.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or if images have neither one nor three channels.

    Example:
        >>> images = kerazoo.augment.RandomGrayscale(0.2, seed=1)(images)

    Reference:
        Chen et al. 2020, A Simple Framework for Contrastive Learning, appendix A, https://arxiv.org/abs/2002.05709
    """

    def __init__(self, probability=0.1, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.probability = check_number("probability", probability, 0, 1)

    def check_channels(self, channels):
        check_color(self.name, channels)

    def plan(self, seed, batch, height, width, channels):
        if channels == 1:
            return []
        return [engine.sometimes(uniform(seed, batch, 1)[:, 0], self.probability, filters.Gray())]

    def get_config(self):
        return {**super().get_config(), "probability": self.probability}


@keras.saving.register_keras_serializable(package="kerazoo")
class RandomErasing(AugmentationLayer):
    """Fills a random box of each image; drawn as torchvision does.

    Of ten boxes of random area and aspect ratio the first that fits is taken; where none does, nothing is erased. See
    ``AugmentationLayer`` for what goes in and comes out.

    Args:
        probability: how often, 0 to 1.
        scale: share of the image's area that the box has, a (low, high) pair above 0, up to 1.
        ratio: height over width of the box, a (low, high) pair; drawn log-uniformly.
        fill: pixel value, 0 to 255, one a channel, or "noise": uniform from 0 to 255, for every pixel and channel its
            own.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> images = kerazoo.augment.RandomErasing(0.25, fill="noise", seed=1)(images)

    Reference:
        Zhong et al. 2017, Random Erasing Data Augmentation, https://arxiv.org/abs/1708.04896
    """

    def __init__(self, probability=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), fill=0, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.probability = check_number("probability", probability, 0, 1)
        self.scale = check_range("scale", scale, 1e-6, 1)
        self.ratio = check_range("ratio", ratio, 0.01, 100)
        self.fill = fill if isinstance(fill, str) and fill == "noise" else check_fill("fill", fill, ' or "noise"')

    def check_channels(self, channels):
        if self.fill != "noise":
            check_fill_channels(self.name, self.fill, channels)

    def plan(self, seed, batch, height, width, channels):
        if not self.probability:
            return []
        drawn = uniform(seed, batch, 2 * TRIES + 5)
        columns, rows = boxes(drawn[:, 5:], self.scale, self.ratio, height, width)
        # Smaller than the image in both directions, as there.
        fits, rows, columns = first_that_fits(rows, columns, height - 1, width - 1)
        top, left = pick(drawn[:, 0], height - rows + 1), pick(drawn[:, 1], width - columns + 1)
        never = ops.ones_like(drawn[:, 2])
        box = {"top": top, "bottom": top + rows, "left": left, "right": left + columns}
        if self.fill == "noise":
            box["key"] = filters.keys(drawn[:, 3:5])
        erase = filters.Erase(None if self.fill == "noise" else self.fill)
        return [engine.sometimes(ops.where(fits, drawn[:, 2], never), self.probability, erase, **box)]

    def get_config(self):
        return {
            **super().get_config(),
            "probability": self.probability,
            "scale": self.scale,
            "ratio": self.ratio,
            "fill": self.fill,
        }


@keras.saving.register_keras_serializable(package="kerazoo")
class Cutout(AugmentationLayer):
    """Fills a square of each image, its center anywhere, what is outside cut off.

    See ``AugmentationLayer`` for what goes in and comes out.

    Args:
        size: pixels of the side, or a (height, width) pair. The paper: 16 for CIFAR-10, 8 for CIFAR-100.
        fill: pixel value, 0 to 255, or one a channel.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> images = kerazoo.augment.Cutout(16, seed=1)(images)

    Reference:
        DeVries and Taylor 2017, Improved Regularization of Convolutional Neural Networks with Cutout,
        https://arxiv.org/abs/1708.04552
    """

    def __init__(self, size, fill=0, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.size = check_size("size", size)
        self.fill = check_fill("fill", fill)

    def check_channels(self, channels):
        check_fill_channels(self.name, self.fill, channels)

    def plan(self, seed, batch, height, width, channels):
        drawn = uniform(seed, batch, 2)
        rows, columns = self.size
        top, left = pick(drawn[:, 0], height) - rows // 2, pick(drawn[:, 1], width) - columns // 2
        box = {"top": top, "bottom": top + rows, "left": left, "right": left + columns}
        return [engine.always(filters.Erase(self.fill), **box)]

    def get_config(self):
        return {**super().get_config(), "size": self.size, "fill": self.fill}


@keras.saving.register_keras_serializable(package="kerazoo")
class GaussianNoise(AugmentationLayer):
    """Adds normal noise to every channel of every pixel, of a strength drawn for each image.

    The normal numbers come from a table of 1024, which ends at 3.3 standard deviations; integers stay integers. See
    ``AugmentationLayer`` for what goes in and comes out.

    Args:
        std: standard deviation in gray levels, 0 to 255; a (low, high) pair, or one number for all images.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> images = kerazoo.augment.GaussianNoise((0, 10), seed=1)(images)
    """

    def __init__(self, std=(0.0, 10.0), seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.std = check_fixed_or_range("std", std, 0, 255)

    def plan(self, seed, batch, height, width, channels):
        if self.std == (0, 0):
            return []
        drawn = uniform(seed, batch, 3)
        std = ops.cast(ops.floor(exact.between(drawn[:, 0], *self.std) * 256.0), "int32")
        return [engine.always(filters.Noise(), std=std, key=filters.keys(drawn[:, 1:]))]

    def get_config(self):
        return {**super().get_config(), "std": self.std}


@keras.saving.register_keras_serializable(package="kerazoo")
class GaussianBlur(AugmentationLayer):
    """Blurs each image by a Gaussian of its own width.

    Images are mirrored at their borders, and the Gaussian ends at three of the largest standard deviations. See
    ``AugmentationLayer`` for what goes in and comes out.

    Args:
        sigma: standard deviation in pixels, 0 to 20; a (low, high) pair, or one number for all images.
        probability: how often, 0 to 1.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> images = kerazoo.augment.GaussianBlur((0.1, 2.0), probability=0.5, seed=1)(images)

    Reference:
        Chen et al. 2020, A Simple Framework for Contrastive Learning, appendix A, https://arxiv.org/abs/2002.05709
    """

    def __init__(self, sigma=(0.1, 2.0), probability=1.0, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.sigma = check_fixed_or_range("sigma", sigma, 0, 20)
        self.probability = check_number("probability", probability, 0, 1)

    def plan(self, seed, batch, height, width, channels):
        radius = math.ceil(3 * self.sigma[1])
        if not radius or not self.probability:
            return []
        drawn = uniform(seed, batch, 2)
        blur, kernel = filters.Blur(radius), exact.table(drawn[:, 0], filters.kernels(*self.sigma, radius))
        if self.probability == 1:
            return [engine.always(blur, kernel=kernel)]
        return [engine.sometimes(drawn[:, 1], self.probability, blur, kernel=kernel)]

    def get_config(self):
        return {**super().get_config(), "sigma": self.sigma, "probability": self.probability}


@keras.saving.register_keras_serializable(package="kerazoo")
class ElasticTransform(AugmentationLayer):
    """Displaces pixels by a smooth random field, as if the image were drawn on rubber.

    The field is as strong and as smooth as torchvision's for the same numbers: uniform noise under a Gaussian, times
    half of ``alpha``. See ``AugmentationLayer`` for what goes in and comes out.

    Args:
        alpha: strength, 0 to 10,000. Pixels move by about 0.081 alpha / sigma along each axis (the standard
            deviation, for sigma of 1 and more): with 50 and 5, by 0.81.
        sigma: smoothness in pixels, 0.5 to 100.
        interpolation: "bilinear" or "nearest".
        fill: pixel value outside the image, 0 to 255, or one a channel.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> images = kerazoo.augment.ElasticTransform(alpha=120.0, sigma=4.0, seed=1)(images)

    Reference:
        Simard et al. 2003, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis,
        https://doi.org/10.1109/ICDAR.2003.1227801
    """

    def __init__(self, alpha=50.0, sigma=5.0, interpolation="bilinear", fill=0, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.alpha = check_number("alpha", alpha, 0, 10_000)
        self.sigma = check_number("sigma", sigma, 0.5, 100)
        self.interpolation = check_choice("interpolation", interpolation, ("bilinear", "nearest"))
        self.fill = check_fill("fill", fill)

    def check_channels(self, channels):
        check_fill_channels(self.name, self.fill, channels)

    def plan(self, seed, batch, height, width, channels):
        if not self.alpha:
            return []
        elastic = filters.Elastic(self._deviation(), self.sigma, self.interpolation, self.fill)
        return [engine.always(elastic, key=filters.keys(uniform(seed, batch, 2)))]

    def _deviation(self):
        """How far pixels move: of uniform noise, from -1 to 1, under a normalized Gaussian along both axes."""
        x = np.arange(-math.ceil(4 * self.sigma), math.ceil(4 * self.sigma) + 1)
        gaussian = np.exp(-0.5 * (x / self.sigma) ** 2)
        return float(self.alpha / 2 / math.sqrt(3) * (gaussian**2).sum() / gaussian.sum() ** 2)

    def get_config(self):
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "sigma": self.sigma,
            "interpolation": self.interpolation,
            "fill": self.fill,
        }
