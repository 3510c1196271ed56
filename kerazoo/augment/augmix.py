"""AugMix: several short chains of operations, and a mixture of what comes of them."""

import dataclasses

import keras
import numpy as np
from keras import ops

from kerazoo.augment import engine, exact
from kerazoo.augment.checks import check_number
from kerazoo.augment.draws import uniform
from kerazoo.augment.policies import (
    INCREASING_LEVELS,
    LEVELS,
    PLAIN,
    PolicyLayer,
    Table,
    share,
    translations,
    warps,
)

SHARES = 4096  # shares are multiples of 2 ** -12: times a level, and summed, float32 holds them exactly

# The authors' nine operations, without those that resemble the corruptions of ImageNet-C.
OPERATIONS = {
    **PLAIN,
    **warps(0.3, 30, lambda _, strongest: share(strongest, int if strongest == 30 else float)),
    **INCREASING_LEVELS,
    **translations(share((1 + 2**-22) / 3), lambda x, y: {"whole": (x, y)}),
}


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Sends each image through several chains of rounds, and mixes the image and what comes of it.

    Its parameters are ``shares`` (batch, 1 + chains), which sum to one, the image's own first; ``choice`` (batch,
    chains, rounds), the primitives drawn; and those of the primitives, (batch, chains, rounds, ...).
    """

    primitives: tuple

    @property
    def needs(self):
        return ("shares", "choice", *sorted({name for primitive in self.primitives for name in primitive.needs}))

    def prepare(self, params, height, width):
        for primitive in self.primitives:
            params = primitive.prepare(params, height, width) if hasattr(primitive, "prepare") else params
        return params

    def __call__(self, canvas, params):
        batch, chains = ops.shape(params["shares"])[0], params["shares"].shape[1] - 1
        # The chains are images of their own.
        each = {
            name: ops.reshape(value, (batch * chains, *value.shape[2:]))
            for name, value in params.items()
            if name != "shares"
        }
        choice = each.pop("choice")
        copies = canvas.like(ops.repeat(array, chains, axis=0) for array in canvas.arrays)
        results = self.run([engine.Step(self.primitives, each, choice)], copies, batch)
        mixed = []
        for own, other in zip(canvas.planes(), results.planes()):
            own, other = (ops.cast(x, "float32") for x in (own, other))
            other = ops.reshape(other, (batch, chains, *ops.shape(own)[1:]))
            total = params["shares"][:, 0, None, None] * own
            for chain in range(chains):
                total = total + params["shares"][:, chain + 1, None, None] * other[:, chain]
            mixed.append(ops.floor(total + 0.5) if canvas.packed else total)
        return canvas.with_planes(mixed)

    def run(self, steps, canvas, batch):
        """The steps, carried out as those around them are."""
        if engine.is_eager():
            return engine.in_groups(steps, canvas)
        if isinstance(batch, int) and batch == 1 and not engine.on_accelerator():
            return engine.one_by_one(steps, canvas)
        return engine.all_at_once(steps, canvas)


@keras.saving.register_keras_serializable(package="kerazoo")
class AugMix(PolicyLayer):
    """Each image is mixed with what several short chains of random operations make of it.

    An image goes through ``width`` chains of ``depth`` operations, each operation, its strength and direction drawn
    anew: shear, translate and rotate, posterize, solarize, auto_contrast and equalize, with the strengths of the
    authors' code. The results are mixed with shares from Dirichlet(alpha, ..., alpha), and the mixture with the image
    itself, with a share from Beta(alpha, alpha). Shares are multiples of 1/4096; the mixture is rounded once. The
    operations that the authors left out, as they resemble the corruptions that their robustness benchmark adds
    (brightness, color, contrast, sharpness), are left out here; torchvision and timm draw them as well.

    The loss on the consistency of three such pictures, which the paper adds, is not part of the layer: call it
    several times on the same images.

    Args:
        severity: the largest magnitude, 0.1 to 10; it is drawn uniformly from 0.1 on.
        width: the number of chains, 1 or more.
        depth: operations in a chain; -1: drawn from 1, 2 and 3 for each.
        alpha: of the Dirichlet and Beta distributions, 0.1 to 100; large values mix evenly.
        interpolation: "bilinear" (the authors' choice) or "nearest".
        fill: pixel value outside the image, 0 to 255; one number or one a channel. The authors' is 0.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or the number of channels does not fit.

    Example:
        >>> layer = kerazoo.augment.AugMix(severity=3, seed=1)
        >>> images = layer(images)

    Reference:
        Hendrycks et al. 2019, AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty,
        https://arxiv.org/abs/1912.02781
    """

    def __init__(
        self, severity=3, width=3, depth=-1, alpha=1.0, interpolation="bilinear", fill=128, seed=None, name=None
    ):
        super().__init__(list(OPERATIONS), interpolation, fill, seed, name)
        self.severity = check_number("severity", severity, 0.1, 10)
        self.alpha = check_number("alpha", alpha, 0.1, 100)
        for what, value, least in (("width", width, 1), ("depth", depth, 1)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                if not (what == "depth" and value == -1):
                    also = ", or -1 for 1 to 3" if what == "depth" else ""
                    raise ValueError(f"{what}: received {value!r}, wanted an integer of at least 1{also}.")
        self.width, self.depth = int(width), int(depth)
        magnitudes = [0.1 + (self.severity - 0.1) * (i + 0.5) / LEVELS for i in range(LEVELS)]
        strengths = [[one.strength(magnitude, 10) for magnitude in magnitudes] for one in OPERATIONS.values()]
        self.table = Table(list(OPERATIONS.values()), strengths, self.interpolation, self.fill)
        # How much of what is left each chain takes; the last takes all. Then how much of it all is not the image.
        rest = [self.alpha * (self.width - 1 - i) for i in range(self.width - 1)]
        self.quantiles = [beta_quantiles(self.alpha, other) for other in (*rest, self.alpha)]

    def plan(self, seed, batch, height, width, channels):
        rounds = 3 if self.depth == -1 else self.depth
        count = self.width * rounds
        drawn = uniform(seed, batch, count + 2 * self.width)
        row = exact.choice(drawn[:, :count], len(self.table))
        applied = None
        if self.depth == -1:
            depth = exact.choice(drawn[:, count : count + self.width], 3)
            applied = ops.reshape(depth[:, :, None] >= ops.arange(3, dtype="int32"), (-1, count))
        step = self.table.step(row, height, width, applied)
        params = {name: ops.reshape(x, (-1, self.width, rounds, *x.shape[2:])) for name, x in step.params.items()}
        choice = ops.reshape(step.choice, (-1, self.width, rounds))
        shares = self.shares(drawn[:, count + self.width :])
        return [engine.always(Mixture(step.primitives), shares=shares, choice=choice, **params)]

    def shares(self, drawn):
        """float32 (batch, 1 + width), multiples of 1/4096 that sum to one, the image's own first."""
        parts = [exact.table(drawn[:, i], quantiles) for i, quantiles in enumerate(self.quantiles)]
        left = ops.ones_like(drawn[:, 0])
        taken = []
        for part in parts[:-1]:
            taken.append(to_share(left * part))
            left = left - taken[-1]
        # Products of multiples of 1/4096 up to 1: exact before they are rounded.
        mixed = [to_share(parts[-1] * one) for one in (*taken, left)]
        return ops.stack([1.0 - sum(mixed), *mixed], axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "severity": self.severity,
            "width": self.width,
            "depth": self.depth,
            "alpha": self.alpha,
        }


def to_share(x):
    return ops.floor(x * SHARES + 0.5) * (1 / SHARES)


def beta_quantiles(a, b):
    """The 4096 equally likely quantiles of Beta(a, b), float32, rounded to multiples of 1/4096."""
    probabilities = (np.arange(SHARES) + 0.5) / SHARES

    def half(a, b):
        """x from 0 to 1/2 and the mass below, up to a factor; in t = x ** a, as the density may be infinite at 0."""
        power = min(a, 1.0)
        t = np.linspace(0, 0.5**power, 2**16 + 1)
        middle = ((t[1:] + t[:-1]) / 2) ** (1 / power)
        density = np.exp((a - power) * np.log(middle) + (b - 1) * np.log1p(-middle)) / power
        return t ** (1 / power), np.concatenate([[0.0], np.cumsum(density * (t[1] - t[0]))])

    (x, below), (y, above) = half(a, b), half(b, a)
    total = below[-1] + above[-1]
    places = np.concatenate([x, 1 - y[-2::-1]])
    mass = np.concatenate([below, total - above[-2::-1]]) / total
    quantiles = np.interp(probabilities, mass, places)
    return (np.round(quantiles * SHARES) / SHARES).astype("float32")
