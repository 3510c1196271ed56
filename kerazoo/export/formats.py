"""The formats there are; and what they share: written aside, checked in a fresh process, then swapped in."""
import dataclasses
import importlib.util
import json
import math
import typing

import keras
import numpy as np
import tensorflow as tf

from kerazoo.export import converters, placing, signatures, verify, warmup
from kerazoo.export.classifier import classifier, weight_bytes
from kerazoo.export.runtimes import quiet


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        title: what to call it in a sentence.
        write: ``write(classifier, target, *, quantize, calibration)``; for "web" also `runtime`.
        needs: the packages that it imports, beyond kerazoo's own dependencies.
        suffixes: how the name of its file ends; empty for a folder.
        content: of a folder, all that an export may replace.
        marks: of a folder, the files by one of which it is known.
        quantize: the kinds of numbers that it can store instead of float32.
    """

    title: str
    write: typing.Callable
    needs: tuple = ()
    suffixes: tuple = ()
    content: frozenset = frozenset()
    marks: frozenset = frozenset()
    quantize: tuple = ()

    def check_installed(self):
        missing = [name.replace("_", "-") for name in self.needs if not is_installed(name)]
        if missing:
            raise ImportError(
                f"exporting {self.title} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
                f"installed. Install with: pip install {' '.join(missing)}"
            )


def is_installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # shut out, or half there
        return False


def tf_saved_model(classifier, target, **_):
    """A TensorFlow SavedModel with the signatures of `signatures.py`."""
    module, endpoints = signatures.serving_module(classifier)
    # TensorFlow copies assets from files, whose names it keeps.
    aside = target.parent.parent / "assets"
    aside.mkdir()
    names, preprocessing = aside / "class_names.txt", aside / "preprocessing.json"
    names.write_bytes("".join(f"{name}\n" for name in classifier.class_names).encode("utf-8"))
    described = classifier.preprocessing and dataclasses.asdict(classifier.preprocessing)
    preprocessing.write_text(json.dumps(described) + "\n")
    module.files = [tf.saved_model.Asset(str(file)) for file in (names, preprocessing)]
    # The heatmap's gradients are in the graph; those of its operations are nobody's affair.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(target), signatures=endpoints, options=options)
    warmup.write(target, endpoints, classifier)


FORMATS = {
    "tf_saved_model": Format(
        "a SavedModel", tf_saved_model, marks=frozenset({"saved_model.pb", "saved_model.pbtxt"}),
        # What TensorFlow writes into a SavedModel's folder, now and in earlier versions.
        content=frozenset({
            "saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "keras_metadata.pb", "variables", "assets",
            "assets.extra", "debug",
        }),
    ),
    "onnx": Format(
        "an ONNX model", converters.onnx, suffixes=(".onnx",), needs=("tf2onnx", "onnx", "onnxruntime")
    ),
    "litert": Format(
        "a LiteRT model", converters.litert, suffixes=(".tflite",), needs=("ai_edge_litert",),
        quantize=("float16", "dynamic", "int8"),
    ),
    "openvino": Format(
        "an OpenVINO model", converters.openvino, content=frozenset({"model.xml", "model.bin"}),
        marks=frozenset({"model.xml"}), needs=("openvino",), quantize=("float16",),
    ),
    "torch": Format("a PyTorch state dict", converters.torch, suffixes=(".pth", ".safetensors")),
    "web": Format(
        "a web page", converters.web, content=frozenset({"index.html", "model.onnx", "model.json", "runtime"}),
        marks=frozenset({"index.html"}), needs=("tf2onnx", "onnx", "onnxruntime"),
    ),
}  # fmt: skip

# Of the largest logit. Half precision rounds at 1e-3 (float16) and 8e-3 (bfloat16), in every layer.
TOLERANCE = {None: 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
# Numbers so coarse that the logits are compared as a whole.
LOOSE = ("dynamic", "int8")
# A side that the model leaves free is tried at these sizes, one per batch: strides of up to 32 divide all.
FREE_SIDES = (224, 256, 224)
BATCHES = (1, 3)


def get_format(name, quantize=None):
    """The `Format` of a name, if it has such numbers."""
    if name not in FORMATS:
        raise ValueError(f"unknown export format {name!r}; there is: {', '.join(map(repr, FORMATS))}.")
    format = FORMATS[name]
    if quantize is not None and quantize not in format.quantize:
        there = f"there is: {', '.join(map(repr, format.quantize))}" if format.quantize else "it has float32 only"
        raise ValueError(f"quantize={quantize!r} is none of format={name!r}; {there}. None means float32.")
    return format


def write(model, path, name, class_names, preprocessing, quantize, calibration, runtime, verbose):
    """See `kerazoo.export`."""
    format = get_format(name, quantize)
    for argument, value, user in (
        ("calibration", calibration, quantize == "int8"), ("runtime", runtime, name == "web"),
    ):
        if value is not None and not user:
            wanted = "quantize='int8'" if argument == "calibration" else "format='web'"
            raise ValueError(f"{argument} is for {wanted}; got format={name!r}, quantize={quantize!r}.")
    given = classifier(model, class_names, preprocessing)
    if name == "web":
        converters.check_web(given, runtime)
    target = placing.check_target(path, format)
    tolerance = tolerance_of(model, quantize)
    # In half precision, the logarithm of a small probability is mostly rounding.
    floor = math.log(1e-3) if given.softmax and tolerance > TOLERANCE[None] else -math.inf
    shapes = [sides(given, free) for free in FREE_SIDES]
    batches = [random_pixels(batch, shape) for batch, shape in zip(BATCHES, shapes)]
    photo = verify.photo(shapes[-1])
    batches += [] if photo is None else [photo[None]]
    if quantize == "int8":
        batches += sample(converters.check_calibration(calibration, given.image_shape))
    expected = [own_outputs(given, pixels, slack=1e-2 if tolerance > TOLERANCE[None] else 1e-5) for pixels in batches]

    with placing.written_aside(target, format, weight_bytes(model)) as aside:
        new, scratch = aside / "new" / target.name, aside / "check"
        scratch.mkdir()
        more = {} if runtime is None else {"runtime": runtime}
        with quiet():
            format.write(given, new, quantize=quantize, calibration=calibration, **more)
        compared = verify.compare(new, scratch, given, batches, expected, tolerance, floor, quantize in LOOSE)
        size = placing.size_of(new)

    path = path.expanduser()
    if verbose:
        checked = "NOT run, since torchvision cannot be imported here"
        if compared is not None:
            difference, same, images = compared
            checked = f"reloaded in a fresh process without kerazoo: largest difference {difference:.1g}"
            checked += f", the same class for {100 * same / images:.1f} % of images" if quantize else ""
        print(f"exported to {path}: {placing.megabytes(size)}, {checked}")
    return path


def sample(batches, count=64, size=16):
    """So many of the images, spread over all, in batches of a size that any network bears."""
    total = sum(map(len, batches))
    wanted = set(np.linspace(0, total - 1, min(count, total)).astype(int).tolist())
    images = [image for place, image in enumerate(image for batch in batches for image in batch) if place in wanted]
    if len({image.shape for image in images}) > 1:
        return [image[None] for image in images]
    return [np.stack(images[start : start + size]) for start in range(0, len(images), size)]


def tolerance_of(model, quantize):
    """How much of the largest logit rounding may change."""
    dtypes = {quantize, *(layer.compute_dtype for layer in model._flatten_layers())}
    return max(TOLERANCE.get(dtype, TOLERANCE[None]) for dtype in dtypes)


def sides(classifier, free):
    """The shape of one image to try."""
    known = classifier.preprocessing.size if classifier.preprocessing else (free, free)
    height, width, channels = classifier.image_shape
    return height or known[0], width or known[1], channels


def random_pixels(batch, shape):
    return np.random.default_rng(batch).integers(0, 256, (batch, *shape), dtype="uint8")


def own_outputs(classifier, pixels, slack):
    """Probabilities and logits as the Keras model itself gives them, on the CPU, where the export is checked too."""
    name, softmax = classifier.original.name, classifier.softmax
    with tf.device("CPU:0"):
        (scores,) = keras.tree.flatten(classifier.original(pixels.astype("float32"), training=False))
    scores = np.asarray(keras.ops.convert_to_numpy(scores), "float32")
    if not np.isfinite(scores).all():
        raise ValueError(
            f"the model {name!r} gives NaN or infinity on pixels in 0..255, and so would its export. Has its training "
            "diverged?"
        )
    sums_to_one = bool((scores >= 0).all() and np.allclose(scores.sum(-1), 1, atol=slack))
    if softmax != sums_to_one:
        raise ValueError(
            f"the model {name!r} seems to end in {'softmax' if softmax else 'logits'}, but its outputs for one "
            f"image sum to {scores[0].sum():.4g} and the least is {scores.min():.4g}. End it in "
            "keras.layers.Softmax(), over the classes, or in plain logits."
        )
    if softmax:
        return scores, np.log(np.maximum(scores, np.float32(signatures.TINY)))
    return verify.softmax(scores), scores

