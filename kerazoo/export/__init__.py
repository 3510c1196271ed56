"""Models that a server can take as they are: `kerazoo.export(...)` writes one, `predict.Predictor` loads it."""
import os
import pathlib

from kerazoo.callable_module import make_callable

NEEDS_TENSORFLOW = (
    "TensorFlow, which cannot be imported here. Install it with: pip install tensorflow (CPU), or pip install "
    "'tensorflow[and-cuda]' (NVIDIA GPUs)."
)


def export(model, path, *, format="tf_saved_model", class_names=None, verbose=True):
    """Write an image classifier as a model that a server, or a few lines of TensorFlow, can run without Keras.

    The SavedModel has two signatures: `serving_default` takes float32 pixels, `serving_uint8` takes uint8 pixels, both
    in 0..255 and of shape (batch, height, width, channels), any batch. Both answer with `probabilities` and `logits`
    (float32, shape (batch, classes)) and `label` (string, shape (batch,)), the name of the most probable class.
    Dropout and augmentation are not in it.

    Before the call returns, a fresh Python process that can import neither kerazoo nor Keras loads the files and must
    give what the model gives. Everything is written to a hidden folder beside `path` and moved into place at the end,
    so that an export which fails, or is interrupted, leaves nothing behind and an earlier one untouched.

    Args:
        model: a functional or sequential `keras.Model`, from kerazoo or not, with one image input of shape
            (batch, height, width, channels) and one output of shape (batch, classes) that ends in softmax or in plain
            logits. A model that ends in softmax is taken at its word: its output is `probabilities`, and `logits` are
            their logarithm (not below -87.3, the logarithm of the smallest float32).
        path: the folder to write. An earlier SavedModel there is replaced; anything else there is refused.
        format: "tf_saved_model", the one format so far.
        class_names: one string per class, in the order of the outputs. None: the index of the class, as a string.
        verbose: whether to print one line about what was written.

    Returns:
        The path of the export, a `pathlib.Path`.

    Raises:
        TypeError: if `model` is not a Keras model, or `path` or `class_names` are of the wrong type.
        ValueError: if the model is not a classifier as above, `class_names` do not fit it, or the format is unknown.
        OSError: if `path` holds something else than a SavedModel, or cannot be written (a full disk, say).
        RuntimeError: if Keras does not run on TensorFlow, or the reloaded export disagrees with the model.
        ImportError: if TensorFlow is not installed.

    Example:
        >>> kerazoo.export(model, "saved_models/lenet5_mnist", class_names=[str(digit) for digit in range(10)])
        >>> served = tf.saved_model.load("saved_models/lenet5_mnist")
        >>> served.signatures["serving_uint8"](images=images)["label"]
    """
    check(path, format=format)
    from kerazoo.export import formats

    return formats.FORMATS[format](model, pathlib.Path(path), class_names, verbose)


def check(path, *, format="tf_saved_model"):
    """Raise at once what `export` would raise about the backend and the place, before hours of training.

    Args:
        path: the folder to write.
        format: "tf_saved_model", the one format so far.

    Raises:
        TypeError, ValueError, OSError, RuntimeError, ImportError: as `export` does.

    Example:
        >>> kerazoo.export.check("saved_models/lenet5_mnist")
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise TypeError(f"path must be the folder to write, as a string or a pathlib.Path; got {path!r}.")
    if "://" in str(path):
        raise ValueError(f"path must be a local folder; got {str(path)!r}. Export to one, then copy it there.")
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise ImportError(f"kerazoo.export needs {NEEDS_TENSORFLOW}") from error
    from kerazoo.export import formats, signatures

    if format not in formats.FORMATS:
        raise ValueError(f"unknown export format {format!r}; there is: {', '.join(map(repr, formats.FORMATS))}.")
    signatures.check_backend()
    formats.check_target(pathlib.Path(path))


make_callable(__name__, export)
