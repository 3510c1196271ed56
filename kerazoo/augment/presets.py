"""Short policies from the literature, one a kind of picture: lists of layers for ``augmentation=`` or ``Compose``."""

from kerazoo.augment.choose import OneOf
from kerazoo.augment.geometry import RandomAffine, RandomCrop, RandomFlip, RandomPerspective, RandomResizedCrop
from kerazoo.augment.mix import CutMix, MixUp
from kerazoo.augment.operations import ColorJitter, Cutout, ElasticTransform, GaussianNoise
from kerazoo.augment.policies import AutoAugment, RandAugment


def natural(size=None, classes=None):
    """Photos of things: crops of any size, mirror images, RandAugment, and MixUp or CutMix.

    The recipe A2 of the paper, but for its repeated augmentation.

    Args:
        size: integer or (height, width) of the crops, from larger images; None: the images keep their size and are
            not cropped.
        classes: number of classes, needed for integer labels outside a model only.

    Returns:
        A list of layers.

    Example:
        >>> model = kerazoo.resnet50(augmentation=kerazoo.augment.presets.natural())

    Reference:
        Wightman et al. 2021, ResNet strikes back, https://arxiv.org/abs/2110.00476
    """
    crop = [] if size is None else [RandomResizedCrop(size)]
    mixing = OneOf([MixUp(0.1, classes=classes), CutMix(1.0, classes=classes)])
    return [*crop, RandomFlip(), RandAugment(2, 7, magnitude_std=0.5, operations="increasing"), mixing]


def cifar():
    """CIFAR-10 and its like, 32x32: shifts by up to 4 pixels, mirror images, AutoAugment's policy, and Cutout.

    Returns:
        A list of layers.

    Example:
        >>> model = kerazoo.wide_resnet28_10(augmentation=kerazoo.augment.presets.cifar())

    Reference:
        Cubuk et al. 2018, AutoAugment, https://arxiv.org/abs/1805.09501; DeVries and Taylor 2017, Improved
        Regularization of Convolutional Neural Networks with Cutout, https://arxiv.org/abs/1708.04552
    """
    return [RandomCrop(padding=4), RandomFlip(), AutoAugment("cifar10"), Cutout(16)]


def digits():
    """Digits and text: small turns, shifts, slants and tilts, and noise. No flips: they make other characters.

    Returns:
        A list of layers.

    Example:
        >>> model = kerazoo.lenet5(augmentation=kerazoo.augment.presets.digits())

    Reference:
        Simard et al. 2003, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis,
        https://doi.org/10.1109/ICDAR.2003.1227801
    """
    return [
        RandomAffine(rotation=10, translation=0.1, scale=0.1, shear=10),
        RandomPerspective(0.2),
        GaussianNoise((0, 10)),
    ]


def medical():
    """Scans and micrographs: small turns and zooms, elastic deformation, brightness and contrast. No flips.

    The deformation is by 4 pixels, for pictures of about 200. Left and right differ in most anatomy; where they do not,
    as in cells, add ``RandomFlip("both")``.

    Returns:
        A list of layers.

    Example:
        >>> model = kerazoo.resnet18(input_shape=(224, 224, 1), augmentation=kerazoo.augment.presets.medical())

    Reference:
        Ronneberger et al. 2015, U-Net, section 3.1, https://arxiv.org/abs/1505.04597
    """
    return [
        RandomAffine(rotation=10, translation=0.05, scale=0.1),
        ElasticTransform(alpha=1000.0, sigma=20.0),
        ColorJitter(brightness=0.2, contrast=0.2),
    ]


def satellite(rotation=True, flips=True):
    """Pictures straight from above: any turn, both flips, and light that changes.

    Seen from above, no direction is up. Leave turns or flips out where one means something: shadows that tell the time,
    views from the side, north in a map.

    Args:
        rotation: whether to turn by any angle; the corners are filled with black.
        flips: whether to mirror both ways.

    Returns:
        A list of layers.

    Example:
        >>> model = kerazoo.resnet18(augmentation=kerazoo.augment.presets.satellite(rotation=False))

    Reference:
        Dieleman et al. 2015, Rotation-invariant convolutional neural networks for galaxy morphology prediction,
        section 5.4, https://arxiv.org/abs/1503.07077
    """
    turns = [RandomFlip("both")] if flips else []
    turns += [RandomAffine(rotation=180)] if rotation else []
    return [*turns, ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)]
