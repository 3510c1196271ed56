"""How training went."""
import math
import numbers
import os

import numpy as np
from matplotlib.figure import Figure

from kerazoo.visualize import runs
from kerazoo.visualize.figures import COLORS, as_array, check_whole, legend, look

POINTS = 1000  # of a schedule
LINE = 0.25  # inches of a legend


def curves(log, title=None):
    """Plot loss and accuracy over the epochs, for training and validation; crosses show where the loss is no number.

    Args:
        log: the folder of a training run, such as "runs/x", or its log.csv; or {name: one number an epoch}, as
            `Run.log` gives it, or the `History` that `model.fit` returns, with "loss", "accuracy" and their "val_"
            twins, or some of them.
        title: above the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if none of these names is in the log, it has no epochs, or its file is damaged.
        FileNotFoundError: if there is no such folder or file.

    Example:
        >>> kerazoo.visualize.curves("runs/lenet5_mnist").savefig("curves.png")
        >>> kerazoo.visualize.curves(model.fit(...)).savefig("curves.png")
    """
    log = runs.read_log_of(log) if isinstance(log, (str, os.PathLike)) else getattr(log, "history", log)
    if not hasattr(log, "get"):
        raise ValueError(
            f"log: got {type(log).__name__}, wanted the folder of a run, {{name: one number an epoch}}, or what "
            "model.fit returns."
        )
    figures = {
        part + name: figures_of(log, part + name) for name in ("loss", "accuracy") for part in ("", "val_")
    }
    shown = [name for name in ("loss", "accuracy") if len(figures[name]) or len(figures[f"val_{name}"])]
    if not shown:
        raise ValueError(f"Nothing to plot: wanted loss or accuracy of at least one epoch; got {sorted(log)}.")
    figure = Figure(figsize=(5 * len(shown), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        for key, label, color, style in (
            (name, "training", COLORS[0], "--"), (f"val_{name}", "validation", COLORS[1], "-"),
        ):
            if len(figures[key]):
                values = figures[key] * (100 if name == "accuracy" else 1)
                axes.plot(range(1, len(values) + 1), values, style, color=color, label=label, marker=".")
        if name == "loss":
            mark_broken(axes, figures)
        axes.set_ylabel("accuracy (%)" if name == "accuracy" else name)
        count_epochs(axes)
        legend(axes, axes.lines, [line.get_label() for line in axes.lines])
    figure.suptitle(title or "", parse_math=False)
    return figure


def mark_broken(axes, figures):
    """A cross at each epoch whose loss is no number; of a validation, NaN says that an epoch had none."""
    broken = np.union1d(
        np.flatnonzero(~np.isfinite(figures["loss"])), np.flatnonzero(np.isinf(figures["val_loss"]))
    )
    if len(broken):
        axes.plot(broken + 1, [0.03] * len(broken), "x", color=COLORS[5], label="loss is no number",
                  transform=axes.get_xaxis_transform())


def figures_of(log, name):
    """What a log holds of a name, as an array, of no epochs where it is not in it."""
    wanted = "a list of one number an epoch"
    values = log.get(name)
    values = as_array([] if values is None else values, f"log: {name!r}", wanted)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise ValueError(f"log: {name!r}: got shape {values.shape} of {values.dtype}, wanted {wanted}.")
    return values


def curves_of_runs(logs):
    """The same figures of several runs in one picture: {name of the run: its log}; None if they have none."""
    wanted = ("val_accuracy", "val_loss", "accuracy", "loss")
    shown = [name for name in wanted if any(usable(log.get(name)) for log in logs.values())]
    if not shown:
        return None
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(5 * columns, 3.9 * rows + LINE * len(logs)), layout="constrained")
    named = {}
    for axes, name in zip(figure.subplots(rows, columns, squeeze=False).flat, shown):
        share = 100 if "accuracy" in name else 1
        named |= lines_of_runs(axes, {run: np.array(log.get(name) or []) * share for run, log in logs.items()})
        part = "validation" if name.startswith("val_") else "training"
        axes.set_ylabel(f"{part} {name.removeprefix('val_')}{' (%)' if 'accuracy' in name else ''}")
        count_epochs(axes)
    for axes in figure.axes[len(shown):]:
        axes.set_axis_off()
    below(figure, named)
    return figure


def below(figure, named):
    """The runs' names below their curves, where long ones, of folders, take no room away from these."""
    legend(figure, named.values(), named, loc="outside lower left")


def lines_of_runs(axes, values):
    """A line for each run, the same one in all pictures of them: {name: line} of those that have one."""
    named = {}
    for k, (run, theirs) in enumerate(values.items()):
        if usable(theirs):
            (named[run],) = axes.plot(range(1, len(theirs) + 1), theirs, **look(k), marker=".")
    return named


def usable(values):
    return values is not None and bool(np.isfinite(values).any())


def count_epochs(axes):
    """Whole numbers along the epochs, also where there is one alone."""
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.grid(alpha=0.3)
    if max(len(line.get_xdata()) for line in axes.lines) == 1:
        axes.set_xlim(0.5, 1.5)
        for line in axes.lines:
            line.set_markersize(12)


def rates(values):
    """The learning rate of each epoch's last batch, as it was logged."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(values) + 1), values, color=COLORS[0], marker=".")
    axes.set(ylabel="learning rate at the end", ylim=(0, None))
    count_epochs(axes)
    return figure


def schedule(schedule, steps):
    """Plot the learning rate over the training.

    Args:
        schedule: a `keras.optimizers.schedules.LearningRateSchedule`, of kerazoo or not, a number or a variable, or a
            dictionary {name: schedule} of several.
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
    epoch = {batches_of_an_epoch(one) for one in several.values()}
    epoch = epoch.pop() if len(epoch) == 1 else 1
    places = np.unique(np.linspace(0, steps - 1, min(steps, POINTS)).round().astype(int))

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for k, (name, one) in enumerate(several.items()):
        rates = rates_of(one, places)
        axes.plot(places / epoch, rates, **look(k), label=str(name))
        if len(several) == 1:
            top = int(rates.argmax())
            axes.set_title(f"highest {rates[top]:.3g}, at the end {rates[-1]:.3g}", fontsize=10)
    axes.set(xlabel=f"epoch ({epoch:,} batches each)" if epoch > 1 else "batch", ylabel="learning rate", ylim=(0, None))
    axes.grid(alpha=0.3)
    if isinstance(schedule, dict):
        legend(axes, axes.lines, several)
    return figure


def batches_of_an_epoch(schedule):
    steps = getattr(schedule, "steps", 1)  # what others call so may be anything
    return int(steps) if isinstance(steps, numbers.Integral) and steps > 0 else 1


def rates_of(schedule, places):
    """The learning rate at each of these batches."""
    from keras import ops

    if callable(schedule):
        rates = [float(ops.convert_to_numpy(schedule(int(step)))) for step in places]
    elif is_scalar(schedule):
        rates = [float(ops.convert_to_numpy(schedule))] * len(places)
    else:
        raise ValueError(
            f"schedule: got {schedule!r}, wanted a learning rate schedule such as kerazoo.train.WarmupCosine(...), a "
            "number, or {name: schedule}."
        )
    if bad := [step for step, rate in zip(places, rates) if not math.isfinite(rate)]:
        raise ValueError(f"schedule: the learning rate at batch {bad[0]} is no finite number.")
    return np.array(rates)


def is_scalar(value):
    """Whether it is one number: Python's, NumPy's, a variable or a tensor."""
    if isinstance(value, numbers.Real):
        return not isinstance(value, bool)
    return getattr(value, "shape", None) == () and any(kind in str(value.dtype) for kind in ("float", "int"))


def rates_of_runs(logs):
    """The logged learning rates of several runs; None if there are none."""
    if not any(usable(log.get("learning_rate")) for log in logs.values()):
        return None
    figure = Figure(figsize=(6, 3.2 + LINE * len(logs)), layout="constrained")
    axes = figure.subplots()
    named = lines_of_runs(axes, {run: log.get("learning_rate") for run, log in logs.items()})
    axes.set(ylabel="learning rate at the end of the epoch", ylim=(0, None))
    count_epochs(axes)
    below(figure, named)
    return figure
