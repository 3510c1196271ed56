"""The 1000 classes of ImageNet, and what a model's outputs say in their names."""
import functools
import pathlib

# One line a class, in the order of the models' outputs: the WordNet identifier, a tab, the name. The order is that of
# the identifiers. The names are those that torchvision lists; they tell apart what WordNet calls the same: "crane bird"
# and "crane", "maillot" and "maillot tank suit".
NAMES = pathlib.Path(__file__).with_name("imagenet_classes.txt")


@functools.cache
def class_names():
    """Return the names of ImageNet's classes, in the order of the models' outputs.

    Returns:
        A tuple of 1000 different names.

    Example:
        >>> class_names()[207]
        'golden retriever'
    """
    return tuple(line.split("\t")[1] for line in NAMES.read_text(encoding="utf-8").splitlines())


def decode_predictions(logits, top=5, class_names=None):
    """Name the most likely classes.

    Args:
        logits: what a model returned for a batch, shape (images, classes), or for one image, (classes,); an array, or a
            tensor of any backend. Where every row has no negative number and sums to 1 within 1e-3, the rows are taken
            for probabilities; otherwise for logits, which are put through a softmax.
        top: how many classes to name for each image.
        class_names: the names, in the order of the outputs; None: ImageNet's.

    Returns:
        A list with one entry an image: a list of `top` pairs (name, probability), the most likely first.

    Raises:
        ValueError: if `logits` has another shape, another number of classes than there are names, or numbers that are
            not finite; if `top` is not between 1 and the number of classes.

    Example:
        >>> kerazoo.decode_predictions([0.0, 3.0, 1.0], top=2, class_names=["cat", "dog", "bird"])
        [[('dog', 0.8437947034835815), ('bird', 0.11419519782066345)]]
    """
    import numpy as np

    # Before reading the outputs, which may have to come from an accelerator.
    names = tuple(class_names) if class_names is not None else imagenet_names()
    values = to_numpy(logits)
    if values.ndim not in (1, 2):
        raise ValueError("decode_predictions takes outputs of shape (images, classes), or (classes,) for one image; "
                         f"got shape {values.shape}.")
    values = np.atleast_2d(values)
    if values.shape[1] != len(names):
        whose = "ImageNet has" if class_names is None else "class_names holds"
        raise ValueError(f"The outputs are for {values.shape[1]:,} classes; {whose} {len(names):,}. Give the names of "
                         "the model's own classes: decode_predictions(outputs, class_names=[...]).")
    if isinstance(top, bool) or not isinstance(top, (int, np.integer)) or not 1 <= top <= len(names):
        raise ValueError(f"top must be a whole number from 1 to the number of classes, {len(names):,}; got {top!r}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(values)):,} of {values.size:,} outputs are NaN or infinite. "
                         "Look at the model's weights and at its input: a NaN in either spreads to all outputs.")
    if not ((values >= 0).all() and (abs(values.sum(axis=1) - 1) < 1e-3).all()):
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    # Stable: of equally likely classes, the first.
    order = np.argsort(-values, axis=1, kind="stable")[:, :top]
    return [[(names[index], float(row[index])) for index in best] for row, best in zip(values, order)]


imagenet_names = class_names  # under a name that the argument does not hide


def to_numpy(values):
    import numpy as np

    if not isinstance(values, (np.ndarray, list, tuple)):
        import keras

        # A tensor of PyTorch may be on a GPU or need gradients; the backend knows how to read its own.
        if keras.ops.is_tensor(values):
            values = keras.ops.convert_to_numpy(values)
    try:
        # bfloat16 and float16 sum up too roughly to tell probabilities from logits.
        return np.asarray(values).astype("float32")
    except (TypeError, ValueError) as error:
        raise ValueError(f"decode_predictions takes an array of numbers; got {type(values).__name__}.") from error
