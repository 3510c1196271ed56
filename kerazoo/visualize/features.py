"""Where images lie in the space of a network's features."""
import numpy as np
from matplotlib.figure import Figure

from kerazoo.visualize.figures import COLORS, MARKERS, as_array, check_indices, check_names, legend

METHODS = ("pca", "tsne")
MOST_CLASSES = len(COLORS) * len(MARKERS)


def embedding(features, labels, class_names=None, method="pca"):
    """Draw a map of features: a point an image, classes by color and shape, near points have similar features.

    "pca" turns the features so that the map shows the two directions in which they vary most; distances are true as far
    as these go. "tsne" keeps neighbors together and bends the rest: distances between groups, and their sizes, mean
    little.

    Args:
        features: (n, d) numbers, such as a network with `include_top=False, pooling="avg"` gives, n from 3 on, d from 2
            on.
        labels: (n,) class indices, or one-hot (n, classes).
        class_names: a list of str, one a class; None: their indices.
        method: "pca" or "tsne".

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if an argument does not fit.
        ImportError: if "tsne" is asked for and scikit-learn is not there.

    Example:
        >>> model = kerazoo.resnet18(weights="imagenet", include_top=False, pooling="avg")
        >>> kerazoo.visualize.embedding(model.predict(images), labels, names).savefig("embedding.png")

    Reference:
        van der Maaten, Hinton: Visualizing Data using t-SNE, JMLR 2008, https://jmlr.org/papers/v9/vandermaaten08a.html
    """
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}, wanted {' or '.join(map(repr, METHODS))}.")
    wanted = "numbers (n, d), a row an image, n from 3 on and d from 2 on"
    features = as_array(features, "features", wanted)
    if features.ndim != 2 or features.dtype.kind not in "biuf" or len(features) < 3 or features.shape[1] < 2:
        raise ValueError(
            f"features: got shape {features.shape} of {features.dtype}, wanted {wanted}. Maps (n, height, width, "
            "channels): take their mean over height and width."
        )
    features = features.astype("float64")
    if not np.isfinite(features).all():
        raise ValueError("features: some are NaN or infinite. Look at the model's weights, or at the images.")
    labels = check_indices(labels, len(features))
    names = check_names(class_names, len(class_names) if class_names is not None else int(labels.max()) + 1)
    if labels.max() >= len(names):
        raise ValueError(f"class_names: got {len(names)} of them, and labels up to {labels.max()}.")
    present = np.unique(labels)
    if len(present) > MOST_CLASSES:
        raise ValueError(
            f"labels: got {len(present)} classes, and the map tells {MOST_CLASSES} apart. Choose some of them."
        )
    places, axis_names, title = principal(features) if method == "pca" else neighbors(features)

    # Of few classes each has a shape of its own, too; of many, color and shape together tell them apart.
    many = len(present) > len(MARKERS)
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    axes = figure.subplots()
    groups, said = [], []
    for index, k in enumerate(present):
        here = labels == k
        said.append(f"{names[k]} ({here.sum():,})")
        groups.append(axes.scatter(
            *places[here].T, s=18, marker=MARKERS[index // len(COLORS) if many else index % len(MARKERS)],
            color=COLORS[index % len(COLORS)], alpha=0.75, linewidths=0,
        ))
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    if method == "tsne":
        axes.set(xticks=[], yticks=[])  # its units mean nothing
    axes.grid(alpha=0.3)
    axes.set_title(title, fontsize=10)
    legend(
        figure, groups, said, loc="outside right upper", fontsize=8, ncols=1 + (len(present) - 1) // 25,
        title="class (images)", title_fontsize=8,
    )
    return figure


def principal(features):
    """The two directions of most variance: (places (n, 2), names of the axes, title)."""
    centered = features - features.mean(0)
    left, sizes, right = np.linalg.svd(centered, full_matrices=False)
    total = (sizes**2).sum()
    if not total:
        raise ValueError("features: all rows are the same, so that there is nothing to map.")
    # The sign of a direction is free: its largest part is positive.
    signs = np.sign(right[np.arange(2), np.abs(right[:2]).argmax(1)])
    shares = 100 * sizes[:2] ** 2 / total
    return (
        left[:, :2] * sizes[:2] * signs,
        [f"principal component {k + 1} ({share:.0f} % of the variance)" for k, share in enumerate(shares)],
        f"{len(features):,} images, {features.shape[1]:,} features each: principal components",
    )


def neighbors(features):
    """t-SNE: (places (n, 2), names of the axes, title)."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError(
            f'method="tsne" needs scikit-learn, which cannot be imported ({error}). Install it: pip install '
            'scikit-learn; or take method="pca".'
        ) from None
    perplexity = min(30.0, (len(features) - 1) / 3)
    places = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(features.astype("float32"))
    return places, ["t-SNE 1 (no unit)", "t-SNE 2 (no unit)"], (
        f"{len(features):,} images, {features.shape[1]:,} features each: t-SNE of perplexity {perplexity:.3g}"
    )
