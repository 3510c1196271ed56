"""The formats there are, each a function; and what they share: written aside, checked, then swapped in."""
import contextlib
import math
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from kerazoo.export import signatures, verify

# What TensorFlow writes into a SavedModel's folder, now and in earlier versions: all that an export may replace.
SAVED_MODEL_FILES = {
    "saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "keras_metadata.pb",
    "variables", "assets", "assets.extra", "debug",
}  # fmt: skip

# Of the largest logit. Half precision rounds at 1e-3 (float16) and 8e-3 (bfloat16), in every layer.
TOLERANCE = {"float16": 1e-2, "bfloat16": 5e-2}
# A side that the model leaves free is tried at these sizes, one per batch: strides of up to 32 divide both.
FREE_SIDES = (224, 256)
BATCHES = (1, 3)


def tf_saved_model(model, path, class_names, verbose):
    """A TensorFlow SavedModel with the signatures of `signatures.py`; see `kerazoo.export` for the arguments."""
    image_shape, classes = signatures.check_classifier(model)
    class_names = signatures.check_class_names(class_names, classes)
    softmax = signatures.ends_in_softmax(model)
    target = check_target(path)

    half = [layer.compute_dtype for layer in model._flatten_layers() if layer.compute_dtype in TOLERANCE]
    tolerance = max((TOLERANCE[dtype] for dtype in half), default=1e-4)
    # In half precision, the logarithm of a small probability is mostly rounding.
    floor = math.log(1e-3) if softmax and half else -math.inf
    batches = [random_pixels(batch, image_shape, side) for batch, side in zip(BATCHES, FREE_SIDES)]
    expected = [own_outputs(model, pixels, softmax, slack=1e-2 if half else 1e-5) for pixels in batches]

    module, endpoints = signatures.serving_module(model, image_shape, softmax, class_names)
    with written_aside(target, needed=sum(4 * math.prod(weight.shape) for weight in model.weights)) as temporary:
        folder, scratch = temporary / "model", temporary / "check"
        scratch.mkdir()
        names_file = scratch / "class_names.txt"
        names_file.write_bytes("".join(f"{name}\n" for name in class_names).encode("utf-8"))
        module.class_names_file = tf.saved_model.Asset(str(names_file))
        with quiet():
            tf.saved_model.save(module, str(folder), signatures=endpoints)
        difference = verify.compare(folder, scratch, batches, expected, class_names, tolerance, floor)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    if verbose:
        print(
            f"exported to {path}: {megabytes(size)}, reloaded in a fresh process without kerazoo: "
            f"largest difference {difference:.1g}"
        )
    return path


FORMATS = {"tf_saved_model": tf_saved_model}


def random_pixels(batch, image_shape, free_side):
    height, width, channels = image_shape
    shape = (batch, height or free_side, width or free_side, channels)
    return np.random.default_rng(batch).integers(0, 256, shape, dtype="uint8")


def own_outputs(model, pixels, softmax, slack):
    """Probabilities and logits as the Keras model itself gives them, on the CPU, where the export is checked too."""
    with tf.device("CPU:0"):
        scores = model(pixels.astype("float32"), training=False)
    scores = np.asarray(keras.ops.convert_to_numpy(scores), "float32")
    if not np.isfinite(scores).all():
        raise ValueError(
            f"the model {model.name!r} gives NaN or infinity on random pixels in 0..255, and so would its export. Has "
            "its training diverged?"
        )
    sums_to_one = bool((scores >= 0).all() and np.allclose(scores.sum(-1), 1, atol=slack))
    if softmax != sums_to_one:
        raise ValueError(
            f"the model {model.name!r} seems to end in {'softmax' if softmax else 'logits'}, but its outputs for one "
            f"image sum to {scores[0].sum():.4g} and the least is {scores.min():.4g}. End it in "
            "keras.layers.Softmax(), over the classes, or in plain logits."
        )
    if softmax:
        return scores, np.log(np.maximum(scores, np.float32(signatures.TINY)))
    return verify.softmax(scores), scores


@contextlib.contextmanager
def written_aside(target, needed):
    """Yield a new hidden folder beside `target`; on success its "model" takes the place, else all stays as it was."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.tmp-", dir=target.parent))
    except OSError as error:
        raise type(error)(
            f"cannot write into the folder {target.parent}: {error.strerror}. Choose a path that you can write to."
        ) from error
    try:
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise OSError("there is not enough room")
        yield temporary
        swap_in(temporary / "model", target)
    except (OSError, tf.errors.OpError) as error:
        # TensorFlow names the function, the temporary file, and then the reason.
        reason = getattr(error, "strerror", None) or str(error).split("; ")[-1].split(" [Op:")[0][:300]
        raise OSError(
            f"could not write the model to {target}: {reason}. It takes about {megabytes(needed)}; that disk had "
            f"{megabytes(free)} free. Free some space there (or raise the limit on file sizes), or export to another "
            f"disk. {'The earlier export is untouched.' if target.exists() else 'Nothing was left behind.'}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_target(path):
    """The place to write, with links followed, if there is nothing there or an earlier SavedModel."""
    target = path.expanduser().resolve()
    for place in target.parents:
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(
                f"cannot export to {target}: {place} is a file, not a folder. Choose another path."
            )
    if not target.exists():
        return target
    if not target.is_dir():
        raise FileExistsError(
            f"cannot export to {target}: a file of that name exists. Choose another path, or remove it."
        )
    content = {entry.name for entry in target.iterdir()}
    others = sorted(content - SAVED_MODEL_FILES)
    if others or content and not content & {"saved_model.pb", "saved_model.pbtxt"}:
        found = ", ".join(others[:3] or sorted(content)) + (", ..." if len(others) > 3 else "")
        raise FileExistsError(
            f"cannot export to {target}: the folder holds {found}, and only an earlier SavedModel is replaced. Choose "
            "another path, or remove the folder."
        )
    return target


def swap_in(new, target):
    previous = target.with_name(f"{new.parent.name}-previous")
    try:
        if target.exists():
            os.rename(target, previous)
        os.rename(new, target)
    except BaseException:
        if previous.exists() and not target.exists():
            os.rename(previous, target)
        raise
    shutil.rmtree(previous, ignore_errors=True)


@contextlib.contextmanager
def quiet():
    """TensorFlow announces each asset that it writes; the one line that `export` prints is enough."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


def megabytes(size):
    return f"{size / 1e6:.2f} MB" if size < 1e8 else f"{size / 1e6:,.0f} MB"
