"""Policies: which operations an image goes through, and how strongly. The strengths are those of the papers."""

import difflib
import math
import statistics
import typing

import keras
import numpy as np
from keras import ops

from kerazoo.augment import engine, exact
from kerazoo.augment.checks import check_choice, check_fill, check_fill_channels, check_number
from kerazoo.augment.draws import uniform
from kerazoo.augment.layer import AugmentationLayer
from kerazoo.augment.primitives import (
    AutoContrast,
    Blend,
    Equalize,
    Identity,
    Invert,
    Posterize,
    Solarize,
    SolarizeAdd,
    Warp,
)

LEVELS = 256  # strengths that are drawn from a continuous distribution are its 256 equally likely quantiles
TOP = {"standard": 30, "increasing": 10}  # the largest magnitude


class Operation(typing.NamedTuple):
    """What an operation does at a magnitude.

    Attributes:
        primitive: what carries it out; the class ``Warp`` itself, which learns of interpolation and fill later.
        params: function of the strength that gives the primitive's parameters.
        strength: function of a magnitude and of the largest one that gives the strength.
        signed: whether the strength goes either way.
    """

    primitive: object
    params: object = lambda strength: {}
    strength: object = lambda magnitude, top: 0.0
    signed: bool = False


def straight(first, last):
    """Strengths from ``first`` at magnitude 0 to ``last`` at the top, float32 as ``torch.linspace`` has them.

    To the last bit: whether 10 * 1.9 is 18 or 19 when truncated, and which of two levels is solarized, hangs on it.
    """

    def strength(magnitude, top):
        step = float(np.float32(last - first) / np.float32(top))
        if magnitude < (top + 1) // 2:
            return float(np.float32(first + step * magnitude))
        return float(np.float32(float(np.float32(last)) - step * (top - magnitude)))

    return strength


def share(strongest, convert=float):
    """Strengths in proportion to the magnitude, as in timm and the code of AugMix."""
    return lambda magnitude, top: convert(magnitude / top * strongest)


def linear(a, b, c, d, x=(0, 0), y=(0, 0), whole=(0, 0), pixels=(0, 0)):
    """A warp: its linear part, and its shift: in widths and heights, in shares cut to whole pixels, in pixels."""
    return {"linear": (a, b, c, d), "x": x, "y": y, "whole": whole, "pixels": pixels}


def turn(degrees):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return linear(cos, -sin, sin, cos)


def warps(shear, rotation, strengths=straight):
    """Shears about the upper left corner, as in the authors' code, and rotation."""
    return {
        "shear_x": Operation(Warp, lambda s: linear(1, s, 0, 1, x=(0, s / 2)), strengths(0, shear), True),
        "shear_y": Operation(Warp, lambda s: linear(1, 0, s, 1, y=(s / 2, 0)), strengths(0, shear), True),
        "rotate": Operation(Warp, turn, strengths(0, rotation), True),
    }


def translations(strength, shift):
    return {
        "translate_x": Operation(Warp, lambda s: linear(1, 0, 0, 1, **shift(s, 0)), strength, True),
        "translate_y": Operation(Warp, lambda s: linear(1, 0, 0, 1, **shift(0, s)), strength, True),
    }


def blends(strength, weakest=-math.inf):
    bases = {"brightness": "black", "color": "gray", "contrast": "mean", "sharpness": "smooth"}
    return {
        name: Operation(Blend(base), lambda s: {"factor": max(weakest, 1 + s)}, strength, True)
        for name, base in bases.items()
    }


def levels(posterize, solarize):
    """``posterize`` gives how many bits are lost, ``solarize`` the level from which on all are inverted."""
    return {
        "posterize": Operation(Posterize(), lambda bits: {"step": 2.0**bits}, posterize),
        "solarize": Operation(Solarize(), lambda level: {"threshold": math.ceil(level)}, solarize),
    }


def falling(magnitude, top):
    # torchvision has 255 at magnitude 0, and so turns white black.
    return 255 * straight(1, 0)(magnitude, top) if magnitude else 256


PLAIN = {"auto_contrast": Operation(AutoContrast()), "equalize": Operation(Equalize())}
ADD = {"solarize_add": Operation(SolarizeAdd(), lambda s: {"addition": s}, share(110, int))}
INVERT = {"invert": Operation(Invert())}

# torchvision's, which are those of the papers on AutoAugment and RandAugment.
STANDARD = {
    "identity": Operation(Identity()),
    **warps(0.3, 30.0),
    # In shares of the side, cut to whole pixels. The grain more makes up for float32 where the product is whole.
    **translations(share(150 / 331 * (1 + 2**-22)), lambda x, y: {"whole": (-x, -y)}),
    **blends(straight(0, 0.9)),
    **levels(lambda magnitude, top: round(4 * magnitude / top), falling),
    **PLAIN,
}
# What a list of names may hold.
KNOWN = {**STANDARD, **INVERT, **ADD}

# TrivialAugment's "wide" ranges, as in torchvision.
WIDE = {
    "identity": Operation(Identity()),
    **warps(0.99, 135.0),
    **translations(lambda magnitude, top: int(straight(0, 32)(magnitude, top)), lambda x, y: {"pixels": (-x, -y)}),
    **blends(straight(0, 0.99)),
    **levels(lambda magnitude, top: round(6 * magnitude / top), falling),
    **PLAIN,
}

# From 4 bits to none, from no level to all: timm's "increasing" strengths, and AugMix's.
INCREASING_LEVELS = levels(
    lambda magnitude, top: 4 + int(magnitude / top * 4), lambda magnitude, top: 256 - int(magnitude / top * 256)
)

# timm's "increasing" set, as in its "rand-m9-inc1".
INCREASING = {
    **PLAIN,
    **INVERT,
    **warps(0.3, 30.0, lambda _, strongest: share(strongest)),
    **translations(share(0.45), lambda x, y: {"x": (x, 0), "y": (0, y)}),
    **INCREASING_LEVELS,
    **ADD,
    **blends(share(0.9), 0.1),
}


class Table:
    """Parameters of operations at given strengths, computed once by NumPy, so that a draw is a look into it.

    A row holds an operation at a strength with a sign: the rows are those of the first operation, at the first
    strength, plus, then minus, and so on; operations without a sign have both rows alike.

    Args:
        operations: list of ``Operation``.
        strengths: one row a list entry, (operations, levels).
        interpolation, fill: of the warps.
    """

    def __init__(self, operations, strengths, interpolation, fill):
        warp = Warp(interpolation, fill)
        own = [warp if operation.primitive is Warp else operation.primitive for operation in operations]
        # The first is what an image goes through that is left alone.
        self.primitives = tuple(dict.fromkeys([Identity(), *own]))
        entries = [
            (primitive, operation.params(-strength if negative and operation.signed else strength))
            for primitive, operation, levels in zip(own, operations, strengths)
            for strength in levels
            for negative in (False, True)
        ]
        self.kind = np.array([self.primitives.index(primitive) for primitive, _ in entries], "int32")
        blank = {"factor": 1.0, "step": 1.0, "threshold": 256.0, "addition": 0.0}
        if warp in self.primitives:
            blank.update(linear(1, 0, 0, 1))
        used = {name for _, params in entries for name in params}
        self.columns, self.rows, at = {}, [], 0
        for name in sorted(used):
            values = np.array([{**blank, **params}[name] for _, params in entries], "float32")
            self.rows.append(values.reshape(len(entries), -1))
            self.columns[name] = slice(at, at + self.rows[-1].shape[1]) if values.ndim > 1 else at
            at += self.rows[-1].shape[1]
        self.rows = np.concatenate(self.rows or [np.zeros((len(entries), 1), "float32")], axis=1)

    def __len__(self):
        return len(self.rows)

    def step(self, row, height, width, applied=None):
        """The step in which each image goes through what its rows say.

        Args:
            row: int32 (batch, rounds).
            height, width: of the images.
            applied: bool (batch, rounds), whether anything is done at all; None: always.
        """
        drawn = ops.take(ops.convert_to_tensor(self.rows), row, axis=0)
        params = {name: drawn[..., column] for name, column in self.columns.items()}
        if "linear" in params:
            a, b, c, d = (params["linear"][..., i] for i in range(4))
            side = [ops.cast(n, "float32") for n in (width, height)]
            # One term of each sum at most is not 0.
            x, y = (
                params[axis][..., 0] * side[0]
                + params[axis][..., 1] * side[1]
                + cut(params["whole"][..., i] * side[i])
                + params["pixels"][..., i]
                for i, axis in enumerate("xy")
            )
            zero, one = ops.zeros_like(a), ops.ones_like(a)
            entries = ops.stack([a, b, x, c, d, y, zero, zero, one], axis=-1)
            params = {name: value for name, value in params.items() if name not in linear(1, 0, 0, 1)}
            params["matrix"] = ops.reshape(entries, (-1, row.shape[1], 3, 3))
        choice = ops.take(ops.convert_to_tensor(self.kind), row, axis=0)
        return engine.Step(self.primitives, params, choice if applied is None else ops.where(applied, choice, 0))


def cut(x):
    """x without what is behind the point, as Python's ``int``."""
    return ops.sign(x) * ops.floor(ops.abs(x))


class PolicyLayer(AugmentationLayer):
    """What the policies have in common.

    Args:
        names: the names of the operations that may be drawn.
        interpolation, fill: as the user gave them.
    """

    def __init__(self, names, interpolation, fill, seed, name):
        super().__init__(seed=seed, name=name)
        self.grays = tuple(sorted({"color", "contrast"} & set(names)))
        self.interpolation = check_choice("interpolation", interpolation, ("nearest", "bilinear"))
        self.fill = check_fill("fill", fill)

    def check_channels(self, channels):
        if self.grays and channels not in (1, 3):
            raise ValueError(
                f"{self.name}: received images of {channels} channels, wanted 1 or 3: {' and '.join(self.grays)} need "
                "gray levels. Take three of the channels, or name operations without them, for example "
                'RandAugment(operations=["rotate", "brightness"]).'
            )
        check_fill_channels(self.name, self.fill, channels)

    def get_config(self):
        fill = self.fill[0] if len(self.fill) == 1 else list(self.fill)
        return {**super().get_config(), "interpolation": self.interpolation, "fill": fill}


def check_operation(name, argument="operations"):
    if not isinstance(name, str) or name not in KNOWN:
        close = difflib.get_close_matches(str(name).lower(), KNOWN, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{argument}: received {name!r}, wanted one of {', '.join(map(repr, KNOWN))}.{hint}")
    return name


def normal(mean, deviation, top):
    """The equally likely quantiles of a normal distribution, clipped to 0..top; the mean alone without deviation."""
    if not deviation:
        return [mean]
    quantile = statistics.NormalDist(mean, deviation).inv_cdf
    return [min(max(quantile((i + 0.5) / LEVELS), 0.0), top) for i in range(LEVELS)]


@keras.saving.register_keras_serializable(package="kerazoo")
class RandAugment(PolicyLayer):
    """Each image goes through operations drawn at random, all at one magnitude.

    In each round an image draws one of the operations, each as likely as any other, and its direction where it has
    one. Pixels of uint8 come out as Pillow makes them: to the last bit where levels change, but for a few pixels
    where the picture is moved by whole pixels ("nearest"), within a level on average in between ("bilinear"). See
    ``AugmentationLayer`` for what goes in and comes out.

    "standard" are the 14 operations of the paper, at torchvision's strengths (31 of them, 0 to 30): identity, shear_x,
    shear_y, translate_x, translate_y, rotate, brightness, color, contrast, sharpness, posterize, solarize,
    auto_contrast, equalize. At magnitude 0 all but the last two leave the image as it is.
    "increasing" are the 15 of timm's "rand-m9-inc1", at its strengths (0 to 10): without identity, with invert and
    solarize_add; for the rest of its recipe, pass ``probability=0.5`` and ``magnitude_std=0.5``.

    Args:
        num_ops: rounds, 1 or more.
        magnitude: strength; 0 to 30, or 0 to 10 for "increasing". It need not be whole.
        magnitude_std: standard deviation of the magnitude, which is then drawn for each image and round from a normal
            distribution (its 256 equally likely quantiles) and clipped to the limits above.
        probability: how often a round does anything, 0 to 1.
        operations: "standard", "increasing", or a list of names of those above, at the strengths of "standard"; a name
            may come twice, and is then drawn twice as often. Without color and contrast, images may have any number
            of channels, else 1 or 3.
        interpolation: "nearest" (the published code's) or "bilinear".
        fill: pixel value outside the image, 0 to 255; one number or one a channel. 128, as in the authors' code and in
            timm; torchvision's default is 0.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or the number of channels does not fit.

    Example:
        >>> layer = kerazoo.augment.RandAugment(num_ops=2, magnitude=9, seed=1)
        >>> dataset = dataset.batch(64).map(lambda x, y: (layer(x), y), num_parallel_calls=8)

    Reference:
        Cubuk et al. 2019, RandAugment: Practical automated data augmentation with a reduced search space,
        https://arxiv.org/abs/1909.13719
    """

    def __init__(
        self,
        num_ops=2,
        magnitude=9,
        magnitude_std=0.0,
        probability=1.0,
        operations="standard",
        interpolation="nearest",
        fill=128,
        seed=None,
        name=None,
    ):
        if isinstance(operations, str):
            check_choice("operations", operations, tuple(TOP))
            named = STANDARD if operations == "standard" else INCREASING
            names, self_operations = list(named), operations
        else:
            if not isinstance(operations, (list, tuple)) or not operations:
                raise ValueError(
                    f"operations: received {operations!r}, wanted 'standard', 'increasing' or a list of one or more of "
                    f"{', '.join(map(repr, KNOWN))}."
                )
            names = [check_operation(one) for one in operations]
            named, self_operations = KNOWN, tuple(names)
        super().__init__(names, interpolation, fill, seed, name)
        self.operations = self_operations
        if isinstance(num_ops, bool) or not isinstance(num_ops, (int, np.integer)) or num_ops < 1:
            raise ValueError(f"num_ops: received {num_ops!r}, wanted an integer of at least 1.")
        self.num_ops = int(num_ops)
        top = TOP["increasing" if operations == "increasing" else "standard"]
        self.magnitude = check_number("magnitude", magnitude, 0, top)
        self.magnitude_std = check_number("magnitude_std", magnitude_std, 0, 1e6)
        self.probability = check_number("probability", probability, 0, 1)
        chosen = [named[one] for one in names]
        magnitudes = normal(self.magnitude, self.magnitude_std, top)
        strengths = [[one.strength(magnitude, top) for magnitude in magnitudes] for one in chosen]
        self.table = Table(chosen, strengths, self.interpolation, self.fill)

    def plan(self, seed, batch, height, width, channels):
        if self.probability == 0:
            return []
        drawn = uniform(seed, batch, (1 if self.probability == 1 else 2) * self.num_ops)
        row = exact.choice(drawn[:, : self.num_ops], len(self.table))
        applied = None if self.probability == 1 else drawn[:, self.num_ops :] < self.probability
        return [self.table.step(row, height, width, applied)]

    def get_config(self):
        return {
            **super().get_config(),
            "num_ops": self.num_ops,
            "magnitude": self.magnitude,
            "magnitude_std": self.magnitude_std,
            "probability": self.probability,
            "operations": self.operations if isinstance(self.operations, str) else list(self.operations),
        }


@keras.saving.register_keras_serializable(package="kerazoo")
class TrivialAugment(PolicyLayer):
    """Each image goes through one operation at one strength, both drawn at random.

    The operations are ``RandAugment``'s 14, at 31 equally likely strengths over the paper's "wide" ranges, as in
    torchvision's ``TrivialAugmentWide``: shears up to 0.99, translations up to 32 pixels whatever the size of the
    image, rotations up to 135 degrees, factors from 0.01 to 1.99, posterize down to 2 bits. There is nothing to tune.
    Images have 1 or 3 channels.

    Args:
        interpolation: "nearest" (the published code's) or "bilinear".
        fill: pixel value outside the image, 0 to 255; one number or one a channel. torchvision's default is 0.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or the number of channels does not fit.

    Example:
        >>> layer = kerazoo.augment.TrivialAugment(seed=1)
        >>> images = layer(images)

    Reference:
        Mueller and Hutter 2021, TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation,
        https://arxiv.org/abs/2103.10158
    """

    def __init__(self, interpolation="nearest", fill=128, seed=None, name=None):
        super().__init__(list(WIDE), interpolation, fill, seed, name)
        strengths = [[one.strength(magnitude, 30) for magnitude in range(31)] for one in WIDE.values()]
        self.table = Table(list(WIDE.values()), strengths, self.interpolation, self.fill)

    def plan(self, seed, batch, height, width, channels):
        return [self.table.step(exact.choice(uniform(seed, batch, 1), len(self.table)), height, width)]


@keras.saving.register_keras_serializable(package="kerazoo")
class AutoAugment(PolicyLayer):
    """Each image goes through one of a policy's sub-policies, which were found by a search.

    A sub-policy is a row of operations; each is carried out with a probability of its own, at a fixed strength and, if
    it has a direction, in either. The policies are those of the paper, 25 sub-policies of two operations each, as in
    torchvision. Images have 1 or 3 channels, unless a policy of your own does without color and contrast.

    Args:
        policy: "imagenet", "cifar10" or "svhn", or a list of sub-policies, each a list of (name, probability,
            magnitude): the names are ``RandAugment``'s, with invert and solarize_add; the magnitude goes from 0 to 9
            over ``RandAugment``'s range of strengths, and is None where there is none to choose.
        interpolation: "nearest" (the published code's) or "bilinear".
        fill: pixel value outside the image, 0 to 255; one number or one a channel. torchvision's default is 0.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or the number of channels does not fit.

    Example:
        >>> layer = kerazoo.augment.AutoAugment("cifar10", seed=1)
        >>> digits = kerazoo.augment.AutoAugment([[("shear_x", 0.9, 4), ("invert", 0.2, None)], [("rotate", 0.5, 3)]])

    Reference:
        Cubuk et al. 2018, AutoAugment: Learning Augmentation Policies from Data, https://arxiv.org/abs/1805.09501
    """

    def __init__(self, policy="imagenet", interpolation="nearest", fill=128, seed=None, name=None):
        rows = check_policy(policy)
        super().__init__({one for row in rows for one, _, _ in row}, interpolation, fill, seed, name)
        self.policy = policy if isinstance(policy, str) else rows
        self.rounds = max(map(len, rows))
        rows = [row + (("identity", 0.0, None),) * (self.rounds - len(row)) for row in rows]
        self.probabilities = np.array([[probability for _, probability, _ in row] for row in rows], "float32")
        operations = [KNOWN[one] for row in rows for one, _, _ in row]
        strengths = [[KNOWN[one].strength(magnitude or 0, 9)] for row in rows for one, _, magnitude in row]
        self.table = Table(operations, strengths, self.interpolation, self.fill)

    def plan(self, seed, batch, height, width, channels):
        drawn = uniform(seed, batch, 1 + 2 * self.rounds)
        policy = exact.choice(drawn[:, :1], len(self.probabilities))
        sign = exact.choice(drawn[:, 1 : 1 + self.rounds], 2)
        row = (policy * self.rounds + ops.arange(self.rounds, dtype="int32")) * 2 + sign
        wanted = ops.take(ops.convert_to_tensor(self.probabilities), policy[:, 0], axis=0)
        return [self.table.step(row, height, width, drawn[:, 1 + self.rounds :] < wanted)]

    def get_config(self):
        policy = self.policy
        if not isinstance(policy, str):
            policy = [[list(one) for one in row] for row in policy]
        return {**super().get_config(), "policy": policy}


def check_policy(policy):
    """The sub-policies as tuples."""
    if isinstance(policy, str):
        return POLICIES[check_choice("policy", policy, tuple(POLICIES))]
    wanted = "wanted 'imagenet', 'cifar10', 'svhn' or a list of lists of (name, probability, magnitude)"
    if not isinstance(policy, (list, tuple)) or not policy:
        raise ValueError(f"policy: received {policy!r}, {wanted}, one or more.")
    for row in policy:
        if not isinstance(row, (list, tuple)) or not row:
            raise ValueError(f"policy: received the sub-policy {row!r}, {wanted}, each with one or more.")
    return tuple(tuple(map(check_entry, row)) for row in policy)


def check_entry(entry):
    if not isinstance(entry, (list, tuple)) or len(entry) != 3:
        raise ValueError(
            f"policy: received {entry!r} in a sub-policy, wanted (name, probability, magnitude), for example "
            '("rotate", 0.7, 2).'
        )
    name, probability, magnitude = entry
    operation = KNOWN[check_operation(name, "policy")]
    probability = check_number(f"policy: the probability of {name!r}", probability, 0, 1)
    strengthless = operation.params(0.0) == {}
    if strengthless and magnitude is None:
        return name, probability, None
    return name, probability, check_number(f"policy: the magnitude of {name!r}", magnitude, 0, 9)


# The paper's, tables 7 to 9, as torchvision has them.
POLICIES = {
    "imagenet": (
        (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
        (("solarize", 0.6, 5), ("auto_contrast", 0.6, None)),
        (("equalize", 0.8, None), ("equalize", 0.6, None)),
        (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
        (("equalize", 0.4, None), ("solarize", 0.2, 4)),
        (("equalize", 0.4, None), ("rotate", 0.8, 8)),
        (("solarize", 0.6, 3), ("equalize", 0.6, None)),
        (("posterize", 0.8, 5), ("equalize", 1.0, None)),
        (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
        (("equalize", 0.6, None), ("posterize", 0.4, 6)),
        (("rotate", 0.8, 8), ("color", 0.4, 0)),
        (("rotate", 0.4, 9), ("equalize", 0.6, None)),
        (("equalize", 0.0, None), ("equalize", 0.8, None)),
        (("invert", 0.6, None), ("equalize", 1.0, None)),
        (("color", 0.6, 4), ("contrast", 1.0, 8)),
        (("rotate", 0.8, 8), ("color", 1.0, 2)),
        (("color", 0.8, 8), ("solarize", 0.8, 7)),
        (("sharpness", 0.4, 7), ("invert", 0.6, None)),
        (("shear_x", 0.6, 5), ("equalize", 1.0, None)),
        (("color", 0.4, 0), ("equalize", 0.6, None)),
        (("equalize", 0.4, None), ("solarize", 0.2, 4)),
        (("solarize", 0.6, 5), ("auto_contrast", 0.6, None)),
        (("invert", 0.6, None), ("equalize", 1.0, None)),
        (("color", 0.6, 4), ("contrast", 1.0, 8)),
        (("equalize", 0.8, None), ("equalize", 0.6, None)),
    ),
    "cifar10": (
        (("invert", 0.1, None), ("contrast", 0.2, 6)),
        (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
        (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
        (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
        (("auto_contrast", 0.5, None), ("equalize", 0.9, None)),
        (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
        (("color", 0.4, 3), ("brightness", 0.6, 7)),
        (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
        (("equalize", 0.6, None), ("equalize", 0.5, None)),
        (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
        (("color", 0.7, 7), ("translate_x", 0.5, 8)),
        (("equalize", 0.3, None), ("auto_contrast", 0.4, None)),
        (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
        (("brightness", 0.9, 6), ("color", 0.2, 8)),
        (("solarize", 0.5, 2), ("invert", 0.0, None)),
        (("equalize", 0.2, None), ("auto_contrast", 0.6, None)),
        (("equalize", 0.2, None), ("equalize", 0.6, None)),
        (("color", 0.9, 9), ("equalize", 0.6, None)),
        (("auto_contrast", 0.8, None), ("solarize", 0.2, 8)),
        (("brightness", 0.1, 3), ("color", 0.7, 0)),
        (("solarize", 0.4, 5), ("auto_contrast", 0.9, None)),
        (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
        (("auto_contrast", 0.9, None), ("solarize", 0.8, 3)),
        (("equalize", 0.8, None), ("invert", 0.1, None)),
        (("translate_y", 0.7, 9), ("auto_contrast", 0.9, None)),
    ),
    "svhn": (
        (("shear_x", 0.9, 4), ("invert", 0.2, None)),
        (("shear_y", 0.9, 8), ("invert", 0.7, None)),
        (("equalize", 0.6, None), ("solarize", 0.6, 6)),
        (("invert", 0.9, None), ("equalize", 0.6, None)),
        (("equalize", 0.6, None), ("rotate", 0.9, 3)),
        (("shear_x", 0.9, 4), ("auto_contrast", 0.8, None)),
        (("shear_y", 0.9, 8), ("invert", 0.4, None)),
        (("shear_y", 0.9, 5), ("solarize", 0.2, 6)),
        (("invert", 0.9, None), ("auto_contrast", 0.8, None)),
        (("equalize", 0.6, None), ("rotate", 0.9, 3)),
        (("shear_x", 0.9, 4), ("solarize", 0.3, 3)),
        (("shear_y", 0.8, 8), ("invert", 0.7, None)),
        (("equalize", 0.9, None), ("translate_y", 0.6, 6)),
        (("invert", 0.9, None), ("equalize", 0.6, None)),
        (("contrast", 0.3, 3), ("rotate", 0.8, 4)),
        (("invert", 0.8, None), ("translate_y", 0.0, 2)),
        (("shear_y", 0.7, 6), ("solarize", 0.4, 8)),
        (("invert", 0.6, None), ("rotate", 0.8, 4)),
        (("shear_y", 0.3, 7), ("translate_x", 0.9, 3)),
        (("shear_x", 0.1, 6), ("invert", 0.6, None)),
        (("solarize", 0.7, 2), ("translate_y", 0.6, 7)),
        (("shear_y", 0.8, 4), ("invert", 0.8, None)),
        (("shear_x", 0.7, 9), ("translate_y", 0.8, 3)),
        (("shear_y", 0.8, 5), ("auto_contrast", 0.7, None)),
        (("shear_x", 0.7, 2), ("invert", 0.1, None)),
    ),
}
