"""What a model gets wrong, and whether it knows."""
import math

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from kerazoo.visualize.figures import (
    CELL, COLORS, as_pictures, check_answers, check_array, check_whole, fitted, text_width, turn,
)

CLASSES = 20  # on a page of a confusion matrix
LONGEST = 24  # characters of a class's name in it
SMALL = FontProperties(size=8)


def mistakes(images, labels, probabilities, class_names=None, count=40):
    """Show misclassified images, the most confident mistake first.

    Args:
        images: (n, height, width, channels), pixels in 0..255.
        labels: (n,) true class indices, or one-hot (n, classes).
        probabilities: (n, classes), from 0 to 1.
        class_names: a list of str, one a class; None: their indices.
        count: images shown at most, at least 1.

    Returns:
        A `matplotlib.figure.Figure`; it says so where there is no mistake.

    Raises:
        ValueError: if the lengths disagree, a label is out of range, an image cannot be shown, or the model's answers
            are no probabilities.

    Example:
        >>> kerazoo.visualize.mistakes(images, labels, probabilities, test.class_names).savefig("mistakes.png")
    """
    labels, probabilities, class_names = check_answers(labels, probabilities, class_names)
    # A row may add up to anything: of a model with a sigmoid for each class, each is a share of its own.
    check_shares(probabilities, adding_up=False)
    check_whole("count", count, 1, None)
    images = check_array(images)
    if images.ndim != 4 or len(images) != len(labels) or 0 in images.shape:
        raise ValueError(
            f"images: got shape {images.shape}, wanted ({len(labels)}, height, width, channels), one image a row of "
            "probabilities. For gray images without the last axis, pass images[..., None]."
        )
    predicted = probabilities.argmax(-1)
    wrong = np.flatnonzero(predicted != labels)
    shown = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:count]
    columns = min(8, max(len(shown), 1))
    rows = max(math.ceil(len(shown) / columns), 1)
    figure = Figure(figsize=(max(1.4 * columns, 6), (1.9 * rows if len(shown) else 0) + 0.6), layout="constrained")
    figure.suptitle(f"{len(wrong):,} of {len(labels):,} wrong"
                    + (f", shown: the most confident {len(shown)}" if len(shown) < len(wrong) else ""))
    if not len(shown):
        return figure
    try:
        images = images[shown] if images.dtype == "uint8" else images[shown].astype("float32")
    except (TypeError, ValueError):
        raise ValueError(f"images: got {images.dtype}, wanted pixels as numbers.") from None
    if not np.isfinite(images).all():
        raise ValueError("images: some pixels are NaN or infinite. Repair those images, or leave them out.")
    pictures = as_pictures(images)
    for axes, i in zip(figure.subplots(rows, columns, squeeze=False).flat, range(rows * columns)):
        axes.axis("off")
        if i >= len(shown):
            continue
        k, image = shown[i], pictures[i]
        axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        share = f"({100 * probabilities[k, predicted[k]]:.0f} %)"
        lines = ("is", class_names[labels[k]], ""), ("says", class_names[predicted[k]], share)
        axes.set_title("\n".join(
            f"{before} {fitted(name, CELL - text_width(f'{before} {behind}', SMALL), SMALL)} {behind}".rstrip()
            for before, name, behind in lines
        ), fontproperties=SMALL, parse_math=False)
    return figure


def confusion_matrix(labels, probabilities, class_names=None, page=1):
    """Show which classes a model takes for which: one row a true class, one column an answer, numbers of images.

    The color is the share of the row, so that rare classes show as well. Of more than 20 classes, a page has 20 of them
    as rows and as columns; answers that are none of these are counted in a last column, "others".

    Args:
        labels: (n,) true class indices, or one-hot (n, classes).
        probabilities: (n, classes), as `model.predict` returns them, or logits: the largest is the answer.
        class_names: a list of str, one a class; None: their indices.
        page: counted from 1; 20 classes are on one.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the lengths disagree, a label is out of range, a number is NaN, or there is no such page.

    Example:
        >>> kerazoo.visualize.confusion_matrix(labels, probabilities, test.class_names).savefig("confusion.png")
    """
    from kerazoo.analyze.tables import cut  # here, because its room loads Keras

    labels, probabilities, names = check_answers(labels, probabilities, class_names)
    predicted = probabilities.argmax(-1)
    chosen, said = turn(range(len(names)), CLASSES, page)
    counts = np.zeros((len(chosen), len(names)), int)
    inside = (labels >= chosen[0]) & (labels <= chosen[-1])
    np.add.at(counts, (labels[inside] - chosen[0], predicted[inside]), 1)
    here = counts[:, chosen[0] : chosen[-1] + 1]
    columns = [cut(names[k], LONGEST) for k in chosen]
    if said:
        here = np.concatenate([here, counts.sum(1, keepdims=True) - here.sum(1, keepdims=True)], 1)
        columns.append("others")
    totals = counts.sum(1)
    shares = here / np.maximum(totals, 1)[:, None]

    size = max(0.42 * len(chosen), 2.2)
    figure = Figure(figsize=(size + 3.2, size + 2.2), layout="constrained")
    axes = figure.subplots()
    colors = colormaps["Blues"]
    image = axes.imshow(100 * shares, cmap=colors, vmin=0, vmax=100, aspect="auto")
    for i, j in zip(*np.nonzero(here)):
        axes.text(j, i, f"{here[i, j]:,}", ha="center", va="center", fontsize=8 if here.max() < 1000 else 7,
                  color="white" if shares[i, j] > 0.6 else "black")
    text = {"fontsize": 8, "parse_math": False}
    axes.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) > 2 else 0, **text)
    rows = [f"{cut(names[k], LONGEST)} ({n:,})" for k, n in zip(chosen, totals)]
    axes.set_yticks(range(len(chosen)), rows, **text)
    axes.set_xlabel("answer of the model")
    axes.set_ylabel("true class (images)")
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(chosen) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.85", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    figure.colorbar(image, label="share of the true class (%)", shrink=0.8)
    right = int((labels == predicted).sum())
    figure.suptitle(f"{right:,} of {len(labels):,} right ({100 * right / len(labels):.2f} %){said}", fontsize=11)
    return figure


def calibration(labels, probabilities, bins=15):
    """Show whether a model is right as often as it says: accuracy against confidence, and the images at each.

    The expected calibration error (ECE) is the mean distance of accuracy from confidence over the bins, each weighing
    as many images as it has.

    Args:
        labels: (n,) true class indices, or one-hot (n, classes).
        probabilities: (n, classes), each row adding up to 1.
        bins: of confidence between 0 and 1, equally wide, at least 2.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the lengths disagree, or the rows are no probabilities.

    Example:
        >>> kerazoo.visualize.calibration(labels, probabilities).savefig("calibration.png")

    Reference:
        Guo et al.: On Calibration of Modern Neural Networks, ICML 2017, https://arxiv.org/abs/1706.04599
    """
    labels, probabilities, _ = check_answers(labels, probabilities)
    check_whole("bins", bins, 2, 100)
    check_shares(probabilities)
    error, table = calibration_error(labels, probabilities, bins)
    edges = np.linspace(0, 1, bins + 1)
    centers = 100 * (edges[:-1] + edges[1:]) / 2
    counts, confidence, accuracy = table.T
    filled = counts > 0

    figure = Figure(figsize=(5, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 100], [0, 100], "--", color="0.5", label="right as often as it says")
    upper.bar(centers, 100 * np.where(filled, accuracy, 0), 100 / bins, color=COLORS[5], edgecolor="white",
              label="accuracy of the bin")
    upper.plot(100 * confidence[filled], 100 * accuracy[filled], "o", color=COLORS[0], label="at its mean confidence")
    upper.set(ylabel="accuracy (%)", ylim=(0, 100), xlim=(0, 100))
    upper.legend(loc="upper left", fontsize=8)
    upper.grid(alpha=0.3)
    lower.bar(centers, 100 * counts / counts.sum(), 100 / bins, color=COLORS[0], edgecolor="white")
    lower.set(ylabel="images (%)", xlabel="confidence of the answer (%)")
    lower.grid(alpha=0.3)
    mean = (counts * confidence)[filled].sum() / counts.sum()
    right = (counts * accuracy)[filled].sum() / counts.sum()
    figure.suptitle(
        f"Says {100 * mean:.1f} % on average, is right in {100 * right:.1f} %\n"
        f"expected calibration error {100 * error:.2f} % ({bins} bins, {len(labels):,} images)", fontsize=10,
    )
    return figure


def calibration_error(labels, probabilities, bins):
    """(ECE as a share, an array of one row a bin: images, mean confidence, accuracy)."""
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    # A bin holds its upper edge, as in the paper.
    places = np.clip(np.ceil(confidence.astype("float64") * bins - 1e-9).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    sums = [np.bincount(places, values, bins) / np.maximum(counts, 1) for values in (confidence, right)]
    error = (counts * np.abs(sums[0] - sums[1])).sum() / counts.sum()
    return float(error), np.stack([counts, *sums], -1)


def check_shares(probabilities, adding_up=True):
    sums = probabilities.sum(-1)
    outside = probabilities.min() < -1e-3 or probabilities.max() > 1 + 1e-3
    if outside or adding_up and np.abs(sums - 1).max() > 0.02:
        raise ValueError(
            f"probabilities: got values from {probabilities.min():.3g} to {probabilities.max():.3g} in rows that add "
            f"up to {sums.min():.3g} to {sums.max():.3g}, wanted 0 to 1{', adding up to 1' * adding_up}. If they are "
            "logits, take keras.ops.softmax(logits) first."
        )
