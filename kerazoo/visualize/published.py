"""What is published about models, as a picture."""
import math

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from kerazoo.registry import facts, list_models
from kerazoo.visualize.figures import COLORS, DPI, MARKERS, TITLE, some, wrap
from kerazoo.words import amount

WORK = "multiply-accumulates an image"


def comparison(names=None):
    """Show published accuracy against the work and the size of models, from the table of facts.

    Args:
        names: a list of names from `kerazoo.list_models`, at least one of them with a published accuracy, all on one
            data set; None: all on ImageNet that have one.

    Returns:
        A `matplotlib.figure.Figure`: top-1 accuracy against multiply-accumulates and against parameters, both on a
        logarithmic scale.

    Raises:
        ValueError: if a name is unknown, the data sets differ, or no accuracy is published.

    Example:
        >>> kerazoo.visualize.comparison(["resnet50", "densenet121", "vgg16"]).savefig("comparison.png")
    """
    if names is None:
        chosen = [row for row in map(facts, list_models()) if row.dataset == "ImageNet-1k"]
    else:
        names = [names] if isinstance(names, str) else list(names)
        chosen = [facts(name) for name in dict.fromkeys(names)]
    if not chosen:
        raise ValueError("names: got none, wanted names of models, such as ['resnet50', 'vgg16'].")
    data = list(dict.fromkeys(row.dataset for row in chosen))
    if len(data) > 1:
        which = "; ".join(f"{one}: {', '.join(row.name for row in chosen if row.dataset == one)}" for one in data)
        raise ValueError(f"names: accuracies on several data sets cannot be compared ({which}). Pass those of one.")
    shown, left_out = sort_out([row.name for row in chosen])
    if not shown:
        raise ValueError(f"names: no accuracy is published of {', '.join(row.name for row in chosen)}.")
    return draw(shown, left_out if names is not None else {})


def sort_out(names, others=()):
    """What of several models can be drawn together: those with an accuracy published on the data set of the most.

    Args:
        names: of models in the table of facts.
        others: names of what has no facts, such as files.

    Returns:
        A list of `Facts`, and {name: why} of those that are left out.
    """
    rows = [facts(name) for name in dict.fromkeys(names)]
    data = [row.dataset for row in rows if row.top1 is not None]
    most = max(data, key=data.count, default=None)
    shown = [row for row in rows if row.top1 is not None and row.dataset == most]
    none = "no accuracy is published"
    left_out = {row.name: none if row.top1 is None else f"published on {row.dataset}" for row in rows
                if row not in shown}
    return shown, left_out | dict.fromkeys(others, none)


def in_words(left_out):
    """"mlp, lenet5 (no accuracy is published), resnet20 (published on CIFAR-10)"."""
    return ", ".join(
        f"{some([name for name in left_out if left_out[name] == why], 6)} ({why})"
        for why in dict.fromkeys(left_out.values())
    )


def draw(shown, left_out):
    """The picture of these rows of the table; {name: why} of what is not in it stands in its title."""
    families = list(dict.fromkeys(row.family for row in shown))

    figure = Figure(figsize=(11, 5.4) if len(shown) > 12 else (10, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, value, name in (
        (panels[0], lambda row: 1e9 * row.gmacs, WORK), (panels[1], lambda row: row.parameters, "parameters"),
    ):
        for k, family in enumerate(families):
            rows = [row for row in shown if row.family == family]
            axes.plot([value(row) for row in rows], [row.top1 for row in rows], MARKERS[k % len(MARKERS)],
                      color=COLORS[k % len(COLORS)], label=family, markersize=6, alpha=0.85)
        axes.set(xlabel=name, xscale="log")
        axes.margins(0.12, 0.1)
        tick(axes)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"top-1 accuracy on {shown[0].dataset} (%)")
    if len(families) > 1:
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=len(families), fontsize=8)
    missing = wrap(f"not shown: {in_words(left_out)}", 0.95 * DPI * figure.get_figwidth(), TITLE) if left_out else []
    figure.suptitle(
        "\n".join(["Published accuracy against work and size", *missing]), fontsize=10, parse_math=False
    )
    for axes, value in zip(panels, (lambda row: 1e9 * row.gmacs, lambda row: row.parameters)):
        label(figure, axes, [(value(row), row.top1, row.name) for row in shown])
    return figure


def tick(axes):
    """Label a logarithmic axis at round numbers, as many as can be told apart: 2 M, 5 M, 10 M."""
    low, high = axes.get_xlim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 6, 8)):
        places = [k * 10.0**power for power in powers for k in factors if low <= k * 10.0**power <= high]
        if len(places) > 2:
            break
    else:
        places = [x for x in MaxNLocator(5).tick_values(low, high) if low <= x <= high]
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: amount(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def label(figure, axes, points):
    """Write names beside points where they cover nothing else; those that fit nowhere are left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    taken = [box_around(axes.transData.transform((x, y)), 5) for x, y, _ in points]
    frame = axes.get_window_extent()
    size = 8 if len(points) <= 20 else 6.5
    for x, y, name in sorted(points, key=lambda point: -point[1]):
        for across, up, side, place in (
            (5, 0, "left", "center"), (-5, 0, "right", "center"), (0, 5, "center", "bottom"), (0, -5, "center", "top"),
            (4, 4, "left", "bottom"), (-4, 4, "right", "bottom"), (4, -4, "left", "top"), (-4, -4, "right", "top"),
        ):
            text = axes.annotate(
                name, (x, y), (across, up), textcoords="offset points", ha=side, va=place, fontsize=size, color="0.2"
            )
            box = text.get_window_extent(renderer)
            inside = box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def box_around(point, half):
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(point[0] - half, point[1] - half, point[0] + half, point[1] + half)
