"""A learning rate to begin with: one short training in which it rises."""
import dataclasses
import math

import keras
import numpy as np

from kerazoo.train import cached, state

COLORS = ("#0072B2", "#D55E00", "#BBBBBB")  # Okabe and Ito's, told apart by color-blind readers too
MOMENTUM = 0.9  # of the running mean of the loss, over some ten batches
DIVERGED = 4.0  # times the smallest running mean
RISEN = 0.5, 0.1  # of the fall before, and of the smallest running mean: a rise that is more than noise


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """What `find_learning_rate` saw.

    Attributes:
        rates: (n,) learning rates, one a batch, rising.
        losses: (n,) losses of those batches, before each was trained on.
        smoothed: (n,) running means of them.
        suggestion: the rate at which the running mean falls most steeply over the logarithm of the rate; None where it
            never falls.
        diverged: whether the loss rose beyond all bounds, and ended the test.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None
    diverged: bool

    def __str__(self):
        tried = f"{len(self.rates)} batches at rates from {self.rates[0]:.1e} to {self.rates[-1]:.1e}"
        lowest, peak = rise(self.smoothed)
        low, high = self.smoothed[lowest], self.smoothed[peak]
        fall = max(0.0, self.smoothed[settled(self.rates)] - low)
        if self.diverged:
            end = "then it diverged"
        elif high - low > max(RISEN[0] * fall, RISEN[1] * abs(low)):
            end = f"then it rose from {low:.3g} to {high:.3g} beyond a rate of {self.rates[lowest]:.1e}"
        else:
            end = "it did not clearly rise: the highest rate may be too low to tell"
        if self.suggestion is None:
            return f"No suggestion: the loss did not fall over {tried}; {end}."
        return f"Suggested learning rate: {self.suggestion:.1e}, where the loss fell most steeply over {tried}; {end}."

    def figure(self, title=None):
        """Draw the loss over the learning rate, with the suggestion.

        Args:
            title: above the figure.

        Returns:
            A `matplotlib.figure.Figure`.

        Example:
            >>> find_learning_rate(model, train).figure().savefig("lr_find.png")
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, ".", color=COLORS[2], label="of each batch")
        axes.plot(self.rates, self.smoothed, "-", color=COLORS[0], label="running mean")
        if self.suggestion is not None:
            place = int(np.argmin(np.abs(np.log(self.rates / self.suggestion))))
            axes.plot(self.suggestion, self.smoothed[place], "o", color=COLORS[1],
                      label=f"suggestion: {self.suggestion:.1e}")
        axes.set_xscale("log")
        # A loss that has diverged would press the rest of the curve flat.
        seen = self.smoothed[np.isfinite(self.smoothed)]
        low, high = float(seen.min()), float(max(seen[: max(1, len(seen) // 4)].max(), np.quantile(seen, 0.9)))
        margin = 0.3 * max(high - low, 1e-3 * abs(high), 1e-12)
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss")
        axes.grid(alpha=0.3)
        axes.legend()
        figure.suptitle(title or "")
        return figure


def find_learning_rate(model, data, *, lowest=1e-6, highest=10.0, batches=200, batch_size=32):
    """Train for some batches while the learning rate rises, and see where the loss falls fastest.

    The rate rises from `lowest` to `highest` by the same factor each batch, under the model's own optimizer, loss,
    augmentation and weight decay; `lr_multipliers` of `kerazoo.train.optimizer` go on multiplying. The test ends early
    where the running mean of the loss exceeds four times its smallest value, or is no number. Then the weights, the
    batch norms' statistics and the seeds of dropout and augmentation are those of before to the bit, and so is the
    optimizer, of which a copy was used. The data are read once, or several times where they are shorter; a data set of
    kerazoo's begins again with epoch 0.

    The suggestion is where the running mean falls most steeply over the logarithm of the rate, before its lowest point.
    Take it as the peak of a schedule, or some three times less for a rate that stays.

    Args:
        model: a compiled `keras.Model`.
        data: batches as `fit` takes them, or arrays, (images, labels) or (images, labels, weights), shuffled once.
        lowest, highest: learning rates, above 0.
        batches: at most, from 10.
        batch_size: images in a batch, of arrays.

    Returns:
        A `RangeTest` with `rates`, `losses`, `suggestion` and `figure()`; printed, it is a sentence.

    Raises:
        ValueError: if an argument is out of its range, the model is not compiled, or the data are none or end after one
            iteration.

    Example:
        >>> found = find_learning_rate(model, train)
        >>> print(found)
        Suggested learning rate: 5.2e-03, where the loss fell most steeply over 153 batches at rates from ...
        >>> found.figure().savefig("lr_find.png")

    Reference:
        Smith: Cyclical Learning Rates for Training Neural Networks, 2017,
        https://arxiv.org/abs/1506.01186, section 3.3.
    """
    if not isinstance(model, keras.Model) or not model.compiled or model.optimizer is None:
        raise ValueError("find_learning_rate needs the compiled model: call model.compile(optimizer, loss, ...) first.")
    numbers = [value for value in (lowest, highest) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < 2 or not 0 < lowest < highest < math.inf:
        raise ValueError(
            f"lowest and highest must be learning rates, 0 < lowest < highest; got {lowest!r} and {highest!r}."
        )
    if isinstance(batches, bool) or not isinstance(batches, int) or batches < 10:
        raise ValueError(f"batches must be a whole number from 10; got {batches!r}.")
    cached.check_data(data, "data")
    cached.check_batch_size(batch_size)
    before = [(variable, state.value_of(variable)) for variable in model.variables]
    draws = state.global_draws()
    optimizer = model.optimizer
    rates, losses, smoothed, mean, diverged = [], [], [], 0.0, False
    try:
        model.optimizer, model.train_function = copied(optimizer, lowest, model), None
        for number, batch in zip(range(batches), endless(data, batch_size)):
            rate = lowest * (highest / lowest) ** (number / (batches - 1))
            model.optimizer.learning_rate = rate
            # Keras's figures run on from batch to batch.
            model.reset_metrics()
            x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
            loss = float(model.train_on_batch(x, y, sample_weight=weight, return_dict=True)["loss"])
            mean = MOMENTUM * mean + (1 - MOMENTUM) * loss
            running = mean / (1 - MOMENTUM ** (number + 1))
            diverged = not math.isfinite(running) or (number > 0 and running > DIVERGED * min(smoothed))
            if math.isfinite(running):
                rates.append(rate)
                losses.append(loss)
                smoothed.append(running)
            if diverged:
                break
    finally:
        # A step traced with the copy is of no use; fit makes it anew.
        model.optimizer, model.train_function = optimizer, None
        for variable, value in before:
            variable.assign(value)
        model.reset_metrics()
        state.global_draws(draws)
        if hasattr(data, "set_epoch"):
            data.set_epoch(0)
    if not rates:
        raise ValueError(
            f"The loss was no number in the first batch, at a learning rate of {lowest!r}: the rate is not to blame. "
            "Look for values in the images or labels that are no numbers, or out of range."
        )
    return RangeTest(np.array(rates), np.array(losses), np.array(smoothed), steepest(rates, smoothed), diverged)


def steepest(rates, smoothed):
    """The rate at which the curve falls most steeply; None where it does not fall.

    Steepness is that of a straight line through a tenth of the batches. Left out are the first ten batches, while the
    running mean is one of few, and what comes after the lowest point, where a loss that has begun to jump falls too.
    """
    window, first = max(3, len(rates) // 10), settled(rates)
    logs, last = np.log(rates), rise(smoothed)[0] + 1
    slopes = {
        start: np.polyfit(logs[start : start + window], smoothed[start : start + window], 1)[0]
        for start in range(first, last - window + 1)
    }
    best = min(slopes, key=slopes.get, default=None)
    return None if best is None or slopes[best] >= 0 else float(rates[best + window // 2])


def settled(rates):
    """The first batch of which the running mean is one of more than a few."""
    return min(10, len(rates) // 4)


def rise(smoothed):
    """The places of the lowest point of the running mean, once it has settled, and of the highest one from there on."""
    first = settled(smoothed)
    lowest = first + int(np.argmin(smoothed[first:]))
    return lowest, lowest + int(np.argmax(smoothed[lowest:]))


def copied(optimizer, rate, model):
    """A fresh optimizer like that one, but for its learning rate, which is a number."""
    config = optimizer.get_config()
    inner = config["inner_optimizer"]["config"] if "inner_optimizer" in config else config
    inner["learning_rate"] = rate
    made = type(optimizer).from_config(config)
    made.build(model.trainable_variables)
    return made


def endless(data, batch_size):
    """Batches of arrays, over and over."""
    if isinstance(data, (tuple, list)):
        # Of a generator of its own, so that the global one goes on as if nothing had been.
        rows = np.random.default_rng(0).permutation(len(data[0]))
        size = min(batch_size, len(rows))
        whole = [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
        while True:
            yield from (tuple(np.asarray(part)[chosen] for part in data) for chosen in whole)
    while True:
        seen = 0
        for batch in cached.batches_of(data):
            yield batch
            seen += 1
        if not seen:
            raise ValueError("data must have batches that can be gone through again; got none.")
