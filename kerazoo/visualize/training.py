"""How training went."""
import math

import numpy as np
from matplotlib.figure import Figure

from kerazoo.visualize.figures import COLORS, check_whole

POINTS = 1000  # of a schedule


def curves(log, title=None):
    """Plot loss and accuracy over the epochs, for training and validation.

    Args:
        log: {name: list of one number an epoch}, as `Run.log` or `history.history` give it, with "loss", "accuracy" and
            their "val_" twins, or some of them.
        title: above the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if none of these names is in the log, or it has no epochs.

    Example:
        >>> kerazoo.visualize.curves(history.history).savefig("curves.png")
    """
    shown = [name for name in ("loss", "accuracy") if log.get(name) or log.get(f"val_{name}")]
    if not shown:
        raise ValueError(f"Nothing to plot: wanted loss or accuracy of at least one epoch; got {sorted(log)}.")
    figure = Figure(figsize=(5 * len(shown), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        for key, label, color, style in (
            (name, "training", COLORS[0], "--"), (f"val_{name}", "validation", COLORS[1], "-"),
        ):
            if log.get(key):
                values = [100 * value for value in log[key]] if name == "accuracy" else log[key]
                axes.plot(range(1, len(values) + 1), values, style, color=color, label=label, marker=".")
        finish(axes, "accuracy (%)" if name == "accuracy" else name)
    figure.suptitle(title or "")
    return figure


def curves_of_runs(logs):
    """The same figures of several runs in one picture: {name of the run: its log}; None if they have none."""
    wanted = ("val_accuracy", "val_loss", "loss")
    shown = [name for name in wanted if any(usable(log.get(name)) for log in logs.values())][:2]
    if not shown:
        return None
    figure = Figure(figsize=(5 * len(shown), 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        for k, (run, log) in enumerate(logs.items()):
            if usable(log.get(name)):
                values = np.array(log[name]) * (100 if "accuracy" in name else 1)
                style = ("-", "--", ":", "-.")[k // len(COLORS) % 4]
                color = COLORS[k % len(COLORS)]
                axes.plot(range(1, len(values) + 1), values, style, color=color, label=run, marker=".")
        part = "validation" if name.startswith("val_") else "training"
        finish(axes, f"{part} {name.removeprefix('val_')}{' (%)' if 'accuracy' in name else ''}")
        for text in axes.get_legend().get_texts():
            text.set_parse_math(False)
    return figure


def usable(values):
    return bool(values) and bool(np.isfinite(values).any())


def finish(axes, name):
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()


def rates(values):
    """The learning rate of each epoch's last batch, as it was logged."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(values) + 1), values, color=COLORS[0], marker=".")
    axes.set(xlabel="epoch", ylabel="learning rate at the end", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    return figure


def schedule(schedule, steps):
    """Plot the learning rate over the training.

    Args:
        schedule: a `keras.optimizers.schedules.LearningRateSchedule`, of kerazoo or not, a number, or a dictionary
            {name: schedule} of several.
        steps: batches of the whole training, at least 1.

    Returns:
        A `matplotlib.figure.Figure`; over epochs, where kerazoo's schedules say how many batches these have, else over
        batches.

    Raises:
        ValueError: if an argument does not fit, or a rate is no number.

    Example:
        >>> rate = kerazoo.train.WarmupCosine(2e-3, epochs=15, warmup=1, steps=len(train))
        >>> kerazoo.visualize.schedule(rate, 15 * len(train)).savefig("schedule.png")
    """
    several = schedule if isinstance(schedule, dict) else {"": schedule}
    check_whole("steps", steps, 1, None)
    if not several:
        raise ValueError("schedule: got an empty dictionary, wanted {name: schedule}.")
    # Batches an epoch, if all agree on it; those that count in batches say 1.
    epoch = {getattr(one, "steps", 1) for one in several.values()}
    epoch = epoch.pop() if len(epoch) == 1 else 1
    places = np.unique(np.linspace(0, steps - 1, min(steps, POINTS)).round().astype(int))

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for k, (name, one) in enumerate(several.items()):
        rates = rates_of(one, places)
        axes.plot(places / epoch, rates, ("-", "--", ":", "-.")[k // len(COLORS) % 4], color=COLORS[k % len(COLORS)],
                  label=name or None)
        if len(several) == 1:
            top = int(rates.argmax())
            axes.set_title(f"highest {rates[top]:.3g}, at the end {rates[-1]:.3g}", fontsize=10)
    axes.set(xlabel=f"epoch ({epoch:,} batches each)" if epoch > 1 else "batch", ylabel="learning rate", ylim=(0, None))
    axes.grid(alpha=0.3)
    if isinstance(schedule, dict):
        axes.legend()
    return figure


def rates_of(schedule, places):
    """The learning rate at each of these batches."""
    from keras import ops

    if isinstance(schedule, (int, float)) and not isinstance(schedule, bool):
        rates = [float(schedule)] * len(places)
    elif callable(schedule):
        rates = [float(ops.convert_to_numpy(schedule(int(step)))) for step in places]
    else:
        raise ValueError(
            f"schedule: got {schedule!r}, wanted a learning rate schedule such as kerazoo.train.WarmupCosine(...), a "
            "number, or {name: schedule}."
        )
    if bad := [step for step, rate in zip(places, rates) if not math.isfinite(rate)]:
        raise ValueError(f"schedule: the learning rate at batch {bad[0]} is no finite number.")
    return np.array(rates)


def rates_of_runs(logs):
    """The logged learning rates of several runs; None if there are none."""
    if not any(usable(log.get("learning_rate")) for log in logs.values()):
        return None
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for k, (run, log) in enumerate(logs.items()):
        if usable(values := log.get("learning_rate")):
            axes.plot(range(1, len(values) + 1), values, color=COLORS[k % len(COLORS)], label=run, marker=".")
    finish(axes, "learning rate at the end of the epoch")
    axes.set_ylim(0, None)
    for text in axes.get_legend().get_texts():
        text.set_parse_math(False)
    return figure
