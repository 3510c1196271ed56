"""What a model gets wrong."""
import math

import numpy as np
from matplotlib.figure import Figure


def mistakes(images, labels, probabilities, class_names, count=40):
    """Show misclassified images, the most confident mistake first.

    Args:
        images: (n, height, width, channels), pixels in 0..255.
        labels: (n,) true class indices.
        probabilities: (n, classes).
        class_names: a list of str.
        count: images shown at most.

    Returns:
        A `matplotlib.figure.Figure`; it says so where there is no mistake.

    Raises:
        ValueError: if the lengths disagree.

    Example:
        >>> kerazoo.visualize.mistakes(images, labels, probabilities, test.class_names).savefig("mistakes.png")
    """
    images, labels, probabilities = np.asarray(images), np.asarray(labels), np.asarray(probabilities)
    if not len(images) == len(labels) == len(probabilities) or probabilities.shape[-1] != len(class_names):
        raise ValueError(
            "images, labels and probabilities must have one row an image, and probabilities one column a class name; "
            f"got {images.shape}, {labels.shape}, {probabilities.shape} and {len(class_names)} names."
        )
    predicted = probabilities.argmax(-1)
    wrong = np.flatnonzero(predicted != labels)
    shown = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:count]
    columns = min(8, max(len(shown), 1))
    rows = max(math.ceil(len(shown) / columns), 1)
    figure = Figure(figsize=(max(1.4 * columns, 6), 1.9 * rows + 0.6), layout="constrained")
    figure.suptitle(f"{len(wrong):,} of {len(labels):,} wrong"
                    + (f", shown: the most confident {len(shown)}" if len(shown) < len(wrong) else ""))
    for axes, k in zip(figure.subplots(rows, columns, squeeze=False).flat, [*shown, *[None] * (rows * columns)]):
        axes.axis("off")
        if k is None:
            continue
        image = np.clip(images[k], 0, 255).astype("uint8")
        axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"is {class_names[labels[k]]}\nsays {class_names[predicted[k]]} "
                       f"({100 * probabilities[k, predicted[k]]:.0f} %)", fontsize=8)
    return figure
