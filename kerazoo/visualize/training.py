"""How training went."""
from matplotlib.figure import Figure

# Okabe and Ito's colors, told apart by color-blind readers too.
COLORS = ("#0072B2", "#D55E00")


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
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy (%)" if name == "accuracy" else name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title or "")
    return figure
