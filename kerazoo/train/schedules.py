"""Learning rates over time, counted in epochs (`steps` is the batches of one) or, with steps=1, in batches."""
import math
import numbers

import keras
from keras import ops

register = keras.saving.register_keras_serializable(package="kerazoo")


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A straight rise from 0 to the peak, then what `decay` says of it.

    Args:
        peak: the highest learning rate, above 0.
        steps: batches an epoch, a whole number.
        warmup: epochs of the rise, from 0.
        name: a name for the logs.
    """

    def __init__(self, peak, steps, warmup, name):
        super().__init__()
        self.peak = number(peak, "peak", "a learning rate above 0", above=0)
        self.steps = number(steps, "steps", "the batches of an epoch, a whole number from 1 on", least=1, whole=True)
        self.warmup = number(warmup, "warmup", "a number of epochs from 0 on", least=0)
        self.rise = round(self.warmup * self.steps)
        self.name = name

    def __call__(self, step):
        # float32 holds every whole number up to 2^24; a batch more would not count any longer.
        step = ops.cast(step, "float32")
        rate = self.peak * self.decay(step)
        if self.rise:
            rate = ops.where(step < self.rise, self.peak * (step / self.rise), rate)
        return rate

    def decay(self, step):
        """Which share of the peak is left at a step, a float32 scalar; of no matter during the rise."""
        raise NotImplementedError


class Ending(Schedule):
    """A schedule that knows its end, and stays at its last value from there on.

    Args:
        epochs: of the whole training, warm-up included.
    """

    def __init__(self, peak, epochs, warmup, steps, name):
        super().__init__(peak, steps, warmup, name)
        self.epochs = number(epochs, "epochs", "a number of epochs above 0", above=0)
        if not self.warmup < self.epochs:
            raise ValueError(
                f"warmup must be below epochs, which count it in; got warmup={warmup!r}, epochs={epochs!r}."
            )
        # At least one step: what is shorter has no rate in between.
        self.fall = max(1, round((self.epochs - self.warmup) * self.steps))

    @property
    def end(self):
        """Batches after which the rate does not change any more."""
        return self.rise + self.fall

    def left(self, step):
        """Which share of the way from the peak to the end is left: 1 to 0."""
        # Whole numbers are taken from each other before they are divided, so that the last steps are exact.
        return ops.maximum(self.end - step, 0.0) / self.fall

    def get_config(self):
        return {
            "peak": self.peak, "epochs": self.epochs, "warmup": self.warmup, "steps": self.steps, "name": self.name,
        }


@register
class WarmupCosine(Ending):
    """A linear rise to the peak, then half a cosine down to zero.

    Args:
        peak: the highest learning rate, above 0.
        epochs: of the whole training, warm-up included.
        warmup: epochs of the rise, from 0 to below `epochs`.
        steps: batches an epoch, as `len(train)` gives them; 1 to give `epochs` and `warmup` in batches.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> rate = WarmupCosine(2e-3, epochs=15, warmup=1, steps=len(train))
        >>> model.compile(kerazoo.train.optimizer(model, "adamw", rate, weight_decay=0.05), ...)

    Reference:
        Loshchilov, Hutter: SGDR, 2017, https://arxiv.org/abs/1608.03983; Goyal et al.: Accurate, Large Minibatch SGD,
        2017, https://arxiv.org/abs/1706.02677 (warm-up).
    """

    def __init__(self, peak, epochs, warmup=0, steps=1, name="WarmupCosine"):
        super().__init__(peak, epochs, warmup, steps, name)

    def decay(self, step):
        # In this order Keras's CosineDecay computes it: the very same figures.
        done = ops.minimum(step - self.rise, float(self.fall)) / self.fall
        return 0.5 * (1.0 + ops.cos(math.pi * done))


@register
class WarmupPolynomial(Ending):
    """A linear rise to the peak, then down to zero as a power of what is left of the training.

    Args:
        peak: the highest learning rate, above 0.
        epochs: of the whole training, warm-up included.
        power: of the share that is left, above 0. 1: a straight line; 2, as large batches take it: fast at first.
        warmup: epochs of the rise, from 0 to below `epochs`.
        steps: batches an epoch, as `len(train)` gives them; 1 to give `epochs` and `warmup` in batches.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> rate = WarmupPolynomial(0.4, epochs=90, power=2.0, warmup=5, steps=len(train))

    Reference:
        You, Gitman, Ginsburg: Large Batch Training of Convolutional Networks, 2017, https://arxiv.org/abs/1708.03888.
    """

    def __init__(self, peak, epochs, power=2.0, warmup=0, steps=1, name="WarmupPolynomial"):
        super().__init__(peak, epochs, warmup, steps, name)
        self.power = number(power, "power", "a number above 0", above=0)

    def decay(self, step):
        return self.left(step) ** self.power

    def get_config(self):
        return {**super().get_config(), "power": self.power}


@register
class WarmupLinear(Ending):
    """A linear rise to the peak, then a straight line down to zero.

    Args:
        peak: the highest learning rate, above 0.
        epochs: of the whole training, warm-up included.
        warmup: epochs of the rise, from 0 to below `epochs`.
        steps: batches an epoch, as `len(train)` gives them; 1 to give `epochs` and `warmup` in batches.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> rate = WarmupLinear(0.1, epochs=30, warmup=2, steps=len(train))

    Reference:
        Devlin et al.: BERT, 2019, https://arxiv.org/abs/1810.04805 (appendix A.2).
    """

    def __init__(self, peak, epochs, warmup=0, steps=1, name="WarmupLinear"):
        super().__init__(peak, epochs, warmup, steps, name)

    def decay(self, step):
        return self.left(step)


@register
class WarmupStep(Schedule):
    """A linear rise to the peak, which is then multiplied by a factor at each boundary.

    Args:
        peak: the highest learning rate, above 0.
        boundaries: ends of epochs, counted from the start of the training, ascending; the default divides by 10
            after 30, 60 and 90 epochs. A boundary of 30 means that the 31st epoch is the first at the lower rate.
        factor: what the rate is multiplied by, above 0 and below 1.
        warmup: epochs of the rise, from 0 to the first boundary.
        steps: batches an epoch, as `len(train)` gives them; 1 to give `boundaries` and `warmup` in batches.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> rate = WarmupStep(0.1, boundaries=(91, 136), warmup=1, steps=len(train))

    Reference:
        He et al.: Deep Residual Learning, 2015, https://arxiv.org/abs/1512.03385; Goyal et al.: Accurate, Large
        Minibatch SGD, 2017, https://arxiv.org/abs/1706.02677 (warm-up; 30, 60 and 80 epochs).
    """

    def __init__(self, peak, boundaries=(30, 60, 90), factor=0.1, warmup=0, steps=1, name="WarmupStep"):
        super().__init__(peak, steps, warmup, name)
        wanted = "ends of epochs above 0, each above the one before, such as (30, 60, 90)"
        if not isinstance(boundaries, (list, tuple)):
            raise ValueError(f"boundaries must be {wanted}; got {boundaries!r}.")
        self.boundaries = tuple(number(boundary, "boundaries", wanted, above=0) for boundary in boundaries)
        if any(after <= before for before, after in zip(self.boundaries, self.boundaries[1:])):
            raise ValueError(f"boundaries must be {wanted}; got {boundaries!r}.")
        if self.boundaries and self.warmup > self.boundaries[0]:
            raise ValueError(
                f"warmup must end at the first boundary at the latest; got warmup={warmup!r}, "
                f"boundaries={boundaries!r}."
            )
        self.factor = number(factor, "factor", "a number above 0 and below 1", above=0, below=1)

    def decay(self, step):
        share = ops.ones_like(step)
        for passed, boundary in enumerate(self.boundaries, 1):
            # Powers are taken here, in 64 bits, and the last one passed holds.
            share = ops.where(step >= round(boundary * self.steps), self.factor**passed, share)
        return share

    def get_config(self):
        return {
            "peak": self.peak, "boundaries": list(self.boundaries), "factor": self.factor, "warmup": self.warmup,
            "steps": self.steps, "name": self.name,
        }


@register
class WarmupInverseSquareRoot(Schedule):
    """A linear rise to the peak, then down with one over the square root of the steps done, without an end.

    Args:
        peak: the highest learning rate, above 0.
        warmup: epochs of the rise, above 0: the rate is half the peak after four times as many.
        steps: batches an epoch, as `len(train)` gives them; 1 to give `warmup` in batches.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> rate = WarmupInverseSquareRoot(1e-3, warmup=4000)

    Reference:
        Vaswani et al.: Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762 (section 5.3).
    """

    def __init__(self, peak, warmup, steps=1, name="WarmupInverseSquareRoot"):
        number(warmup, "warmup", "a number of epochs above 0, by which the decay is measured as well", above=0)
        super().__init__(peak, steps, warmup, name)
        self.rise = max(1, self.rise)

    def decay(self, step):
        return ops.sqrt(self.rise / ops.maximum(step, float(self.rise)))

    def get_config(self):
        return {"peak": self.peak, "warmup": self.warmup, "steps": self.steps, "name": self.name}


@register
class OneCycle(Ending):
    """Half a cosine up to the peak, another one down to next to nothing: one cycle for the whole training.

    The figures are those of PyTorch's `OneCycleLR`, for the rate alone: momentum stays as it is.

    Args:
        peak: the highest learning rate, above 0; larger than other schedules bear.
        epochs: of the whole training.
        pct_start: share of the training in which the rate rises, from 0 to below 1.
        div_factor: what the peak is divided by for the first rate, at least 1.
        final_div_factor: what the first rate is divided by for the last one, at least 1.
        steps: batches an epoch, as `len(train)` gives them; 1 to give `epochs` in batches.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> rate = OneCycle(0.5, epochs=30, steps=len(train))

    Reference:
        Smith, Topin: Super-Convergence, 2018, https://arxiv.org/abs/1708.07120.
    """

    def __init__(self, peak, epochs, pct_start=0.3, div_factor=25.0, final_div_factor=1e4, steps=1, name="OneCycle"):
        super().__init__(peak, epochs, 0, steps, name)
        self.pct_start = number(pct_start, "pct_start", "a share from 0 to below 1", least=0, below=1)
        self.div_factor = number(div_factor, "div_factor", "a number from 1 on", least=1)
        self.final_div_factor = number(final_div_factor, "final_div_factor", "a number from 1 on", least=1)

    def decay(self, step):
        # The last of n steps is n - 1, and the top comes one step before the share is over, as in PyTorch.
        last = self.fall - 1
        top = max(self.pct_start * self.fall - 1, 0)
        first, end = 1 / self.div_factor, 1 / (self.div_factor * self.final_div_factor)
        left = ops.clip((last - step) / max(last - top, 1), 0.0, 1.0)
        # sin^2 where others take 1 + cos: near the end that is a difference of two figures that hardly differ.
        share = end + (1 - end) * ops.sin(0.5 * math.pi * left) ** 2
        if top:
            done = ops.minimum(step / top, 1.0)
            share = ops.where(step < top, first + (1 - first) * ops.sin(0.5 * math.pi * done) ** 2, share)
        return share

    def get_config(self):
        return {
            "peak": self.peak, "epochs": self.epochs, "pct_start": self.pct_start, "div_factor": self.div_factor,
            "final_div_factor": self.final_div_factor, "steps": self.steps, "name": self.name,
        }


def number(value, name, wanted, *, least=None, above=None, below=None, whole=False):
    """A figure as a plain Python number, which a configuration file can hold.

    Args:
        value: what the caller was given.
        name: the argument, for the error.
        wanted: what it must be, for the error.
        least, above, below: bounds, the first of them included.
        whole: whether it must be a whole number, be it written as a float.

    Raises:
        ValueError: if it is something else.
    """
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
    if (
        not isinstance(plain, numbers.Real) or isinstance(plain, bool) or not math.isfinite(plain)
        or (least is not None and not plain >= least)
        or (above is not None and not plain > above)
        or (below is not None and not plain < below)
        or (whole and plain != int(plain))
    ):
        raise ValueError(f"{name} must be {wanted}; got {value!r}.")
    return int(plain) if whole else plain
