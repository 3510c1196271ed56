"""Models that a server can take as they are: `kerazoo.export(...)` writes one, `predict.Predictor` loads it."""
import os
import pathlib

from kerazoo.callable_module import make_callable

NEEDS_TENSORFLOW = (
    "TensorFlow, which cannot be imported here. Install it with: pip install tensorflow (CPU), or pip install "
    "'tensorflow[and-cuda]' (NVIDIA GPUs)."
)


def export(
    model, path, *, format="tf_saved_model", class_names=None, preprocessing=None, quantize=None, calibration=None,
    runtime=None, verbose=True,
):
    """Write an image classifier as a model that a server, a phone or a browser can run without Keras.

    What is for training alone is left out: dropout, augmentation, auxiliary heads, the optimizer. Batch norms are
    folded into the convolutions and dense layers beside them.

    | `format` | `path` | run by |
    |---|---|---|
    | "tf_saved_model" | a folder | TensorFlow, TensorFlow Serving |
    | "onnx" | a file, .onnx | ONNX Runtime and others |
    | "litert" | a file, .tflite | LiteRT (TensorFlow Lite) |
    | "openvino" | a folder | OpenVINO |
    | "torch" | a file, .pth or .safetensors | torchvision's model of the same name: a state dict |
    | "web" | a folder | a browser: a page that classifies pictures |

    All take pixels in 0..255, channels last, any batch (the signature `serving_default`, float32 `images`), and answer
    with `probabilities` and `logits`, float32 of shape (batch, classes); but for "torch", whose model answers to what
    torchvision's does. Class names and preprocessing are inside. With quantize="int8", the `logits` of a model that
    ends in softmax are its scores before it. A SavedModel has more outputs (`label`, `top_k_labels`,
    `top_k_probabilities`) and more signatures: `serving_uint8`; `image_bytes`, which takes the contents of image files;
    `decode`; `features`; `grad_cam`. saved_models/README.md describes them.

    Before the call returns, a fresh Python process that can import neither kerazoo nor Keras loads the files with the
    format's own runtime and must give what the model gives, on random pixels and on a photograph. Everything is written
    to a hidden folder beside `path` and moved into place at the end, so that an export which fails, or is interrupted,
    leaves nothing behind and an earlier one untouched.

    Args:
        model: a functional or sequential `keras.Model`, from kerazoo or not, with one image input of shape
            (batch, height, width, channels) and one output of shape (batch, classes) that ends in softmax or in plain
            logits. A model that ends in softmax is taken at its word: its output is `probabilities`, and `logits` are
            their logarithm (not below -87.3, the logarithm of the smallest float32).
        path: the file or folder to write. An earlier export of the same format there is replaced; anything else there
            is refused.
        format: see the table.
        class_names: one string per class, in the order of the outputs. None: ImageNet's for a model with published
            weights and their head, otherwise the index of the class, as a string.
        preprocessing: how an image file becomes pixels, a dictionary of `size` (height, width), `resize` (the shorter
            side before `size` is cropped out of the middle; None: the crop is as large as fits) and `interpolation`
            ("bilinear" or "bicubic"). None: as the weights were published, or else the model's input size without
            `resize`, as `kerazoo.data.load` does it.
        quantize: None for float32; for "litert" "float16" or "dynamic" (int8 weights) or "int8" (weights and
            activations), for "openvino" "float16".
        calibration: for quantize="int8": uint8 images (batch, height, width, channels) as the network will see, an
            array or a list of them; some hundred.
        runtime: for "web": a folder node_modules/onnxruntime-web/dist, to be copied beside the page. None: the page
            loads it from jsDelivr.
        verbose: whether to print one line about what was written.

    Returns:
        The path of the export, a `pathlib.Path`.

    Raises:
        TypeError: if `model` is not a Keras model, or another argument is of the wrong type.
        ValueError: if the model is not a classifier as above or cannot be converted, `class_names` or `preprocessing`
            do not fit it, or the format or its numbers are unknown.
        OSError: if `path` holds something else than an export of that format, or cannot be written (a full disk, say).
        RuntimeError: if Keras does not run on TensorFlow, or the reloaded export disagrees with the model.
        ImportError: if TensorFlow, or the format's converter or runtime, is not installed.

    Example:
        >>> kerazoo.export(model, "saved_models/lenet5_mnist", class_names=[str(digit) for digit in range(10)])
        >>> served = tf.saved_model.load("saved_models/lenet5_mnist")
        >>> served.signatures["serving_uint8"](images=images)["label"]
    """
    check(path, format=format, quantize=quantize)
    from kerazoo.export import formats

    return formats.write(
        model, pathlib.Path(path), format, class_names, preprocessing, quantize, calibration, runtime, verbose
    )


def check(path, *, format="tf_saved_model", quantize=None):
    """Raise at once what `export` would raise about the backend, the place and the format, before hours of training.

    Args:
        path: the file or folder to write.
        format: as for `export`.
        quantize: as for `export`.

    Raises:
        TypeError, ValueError, OSError, RuntimeError, ImportError: as `export` does.

    Example:
        >>> kerazoo.export.check("saved_models/lenet5_mnist")
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise TypeError(f"path must be the place to write, as a string or a pathlib.Path; got {path!r}.")
    if "://" in str(path):
        raise ValueError(f"path must be a local place; got {str(path)!r}. Export to one, then copy it there.")
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise ImportError(f"kerazoo.export needs {NEEDS_TENSORFLOW}") from error
    from kerazoo.export import formats, placing, signatures

    chosen = formats.get_format(format, quantize)
    signatures.check_backend()
    placing.check_target(pathlib.Path(path), chosen)
    chosen.check_installed()


make_callable(__name__, export)
