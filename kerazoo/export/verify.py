"""Whether an export gives what the model gives, asked of a fresh process.

This file is both ends: `compare` runs beside the model, and starts this very file as a script, which is the client.
The client has the format's own runtime and NumPy, and cannot import Keras or kerazoo.
"""
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

REFUSED = ("kerazoo", "keras", "tf_keras")
STATE_DICTS = (".pth", ".safetensors")
DTYPES = {"serving_default": "float32", "serving_uint8": "uint8"}
TINY = 1.1754944e-38  # as in signatures.py
# Of the logits of quantized numbers, without the mean of each image: the length of the error, as a part of theirs.
MOST_LOST = 0.7
# The client's exit statuses; EX_CANTCREAT and EX_UNAVAILABLE in sysexits.h.
CANNOT_WRITE, NO_RUNTIME = 73, 69


def compare(export, scratch, classifier, batches, expected, tolerance, floor=-np.inf, loose=False):
    """Run the export in a fresh process on pixels, and hold it against the model's own outputs.

    Args:
        export: the file or folder.
        scratch: an existing folder for what the two processes hand each other.
        classifier: the `Classifier` that was exported.
        batches: uint8 arrays of images.
        expected: for each batch, the model's probabilities and logits, float32 arrays.
        tolerance: of probabilities and logits, as a part of the largest logit (of 1, where that is smaller).
        floor: logits below this count as this.
        loose: whether the numbers are so coarse that only the logits as a whole are compared.

    Returns:
        (the largest difference seen, in logits or probabilities; how many images got the model's own class; of how
        many). None if a state dict could not be tried for want of torchvision.

    Raises:
        RuntimeError: if the export cannot be loaded, or disagrees.
        OSError: if the two processes cannot write what they hand each other.
    """
    from kerazoo import registry

    network, inputs = None, batches
    if export.suffix in STATE_DICTS:
        inputs = [normalized(classifier.original, pixels) for pixels in batches]
        network = {"name": registry.origin(classifier.original).name, "classes": len(classifier.class_names)}
    for index, pixels in enumerate(inputs):
        np.save(scratch / f"pixels{index}.npy", pixels)
    if not network and classifier.preprocessing and classifier.image_shape[2] in (1, 3):
        for index, pixels in enumerate(batches[:3]):
            if pixels.shape[1:3] == classifier.preprocessing.size:
                (scratch / f"image{index}.png").write_bytes(image_file(pixels[0], classifier.preprocessing))
    if not run_client(export, scratch, network):
        return None

    largest, same, images = 0.0, 0, 0
    for file in sorted(scratch.glob("outputs-*.npz")):
        _, signature, index = file.stem.split("-")
        with np.load(file) as arrays:
            got = dict(arrays)
        if signature in ("features", "grad_cam", "decode"):
            check_sight(signature, got, batches[int(index)], classifier, tolerance)
            continue
        # Of a batch, one image is handed over as a file.
        count = 1 if signature == "image_bytes" else None
        probabilities, logits = (array[:count] for array in expected[int(index)])
        if classifier.softmax and (network or loose):
            # torchvision's networks end in logits, and LiteRT's int8 as well.
            got["logits"] = np.maximum(log_softmax(got["logits"]), np.float32(np.log(TINY)))
        difference = max(
            deviation(got["probabilities"], probabilities),
            deviation(np.maximum(got["logits"], floor), np.maximum(logits, floor)),
        )
        if loose:
            check_loose(got["logits"], logits)
        else:
            allowed = tolerance * max(1.0, float(np.abs(logits).max()))
            check_exact(difference, allowed, signature)
            check_labels(got, logits, classifier.class_names, signature, allowed, tolerance)
        largest = max(largest, difference)
        same += int((got["logits"].argmax(-1) == logits.argmax(-1)).sum())
        images += len(logits)
    return largest, same, images


def check_exact(difference, allowed, what):
    if not difference <= allowed:  # a NaN is no agreement
        raise RuntimeError(
            f"the export disagrees with the model: {what} differs by {difference:.2g} where rounding explains "
            f"{allowed:.2g}. The usual reason is a layer that does not do the same twice: one that draws random "
            "numbers in inference, or keeps state outside of its weights."
        )


def check_loose(got, logits):
    """Of what tells the classes of an image apart, no more than so much may be lost."""
    if got.shape != logits.shape:
        raise RuntimeError(f"the export disagrees with the model: logits of shape {got.shape}, not {logits.shape}.")
    got, wanted = (array - array.mean(-1, keepdims=True) for array in (got, logits))
    lost = float(np.linalg.norm(got - wanted) / max(np.linalg.norm(wanted), 1e-30))
    if not lost <= MOST_LOST:
        raise RuntimeError(
            f"the export disagrees with the model: with these small numbers, its logits are off by {100 * lost:.0f} % "
            f"of what tells the classes apart, where {100 * MOST_LOST:.0f} % are allowed. Calibrate with more images, "
            "such as the model was trained on; or store float16, or int8 weights alone (quantize='dynamic')."
        )


def check_labels(got, logits, class_names, signature, allowed, tolerance):
    """Large logits allow much; whatever they are, the probabilities are theirs, and the labels those of the best."""
    best = got["probabilities"].argmax(-1)
    own = [class_names[index] for index in best]
    labels = [label.decode("utf-8") for label in got["label"].tolist()] if "label" in got else own
    inner = deviation(got["probabilities"], softmax(got["logits"]))
    if "top_k_labels" in got:
        count = got["top_k_labels"].shape[1]
        order = np.argsort(-got["probabilities"], -1, kind="stable")[:, :count]
        inner = max(inner, deviation(got["top_k_probabilities"], np.take_along_axis(got["probabilities"], order, -1)))
        named = [[name.decode("utf-8") for name in row] for row in got["top_k_labels"].tolist()]
        labels = labels if named == [[class_names[index] for index in row] for row in order] else named
    # Two classes as probable as each other may change places by rounding.
    same = np.take_along_axis(logits, best[:, None], -1)[:, 0] >= logits.max(-1) - allowed
    if not inner <= 10 * tolerance or labels != own or not same.all():
        wanted = [class_names[index] for index in logits.argmax(-1)]
        raise RuntimeError(
            f"the export disagrees with the model: {signature} labels the images {labels}, the model {wanted}; its "
            f"probabilities differ from the softmax of its logits by {inner:.2g}."
        )


def check_sight(signature, got, pixels, classifier, tolerance):
    """What a SavedModel gives beside answers."""
    import keras

    if signature == "decode":
        return check_exact(deviation(got["images"].astype(int), pixels[:1].astype(int)), 0, signature)
    if signature == "grad_cam":
        heat = got["heatmap"]
        within = heat.shape[0] == len(pixels) and bool((heat >= 0).all() and (heat <= 1.001).all())
        return check_exact(0.0 if within else float("inf"), 0, signature)
    wanted = keras.ops.convert_to_numpy(classifier.features(pixels.astype("float32"), training=False))
    allowed = tolerance * max(1.0, float(np.abs(wanted).max()))
    return check_exact(deviation(got["features"], wanted.astype("float32")), allowed, signature)


def deviation(got, wanted):
    return float(np.abs(got - wanted).max()) if got.shape == wanted.shape else float("inf")


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def photo(shape):
    """A real photograph, (height, width, channels) uint8, from among matplotlib's files; None where they are not."""
    import matplotlib.cbook
    from PIL import Image, ImageOps

    height, width, channels = shape
    try:
        with matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=True) as file, Image.open(file) as image:
            image = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height))
    except FileNotFoundError:
        return None
    pixels = np.asarray(image).reshape(height, width, -1)
    return np.resize(np.moveaxis(pixels, -1, 0), (channels, height, width)).transpose(1, 2, 0)


def image_file(pixels, preprocessing):
    """An image file of which the preprocessing makes exactly these pixels: a margin is cropped, and nothing resized."""
    from PIL import Image

    height, width, channels = pixels.shape
    margin = (preprocessing.resize or min(height, width)) - min(height, width)
    before, after = margin // 2, margin - margin // 2
    pixels = np.pad(pixels, ((before, after), (before, after), (0, 0)), mode="edge")
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, format="png")
    return file.getvalue()


def normalized(model, pixels):
    """Pixels as torchvision's networks take them: what our model makes of them first, channels first."""
    import keras

    pixels = pixels.astype("float32")
    first = next((layer for layer in model.layers if layer.name == "normalize"), None)
    if first is not None:
        pixels = keras.ops.convert_to_numpy(keras.Model(model.inputs[0], first.output)(pixels, training=False))
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def run_client(export, scratch, network=None):
    """Start this file as a script, alone (-I); it gets this process's import path, to find the same runtimes.

    Returns whether the runtime was there.
    """
    orders = {
        "export": str(export), "scratch": str(scratch), "network": network,
        "sys_path": [os.path.abspath(place) for place in sys.path if place],
    }
    try:
        client = subprocess.run(
            [sys.executable, "-I", "-B", str(pathlib.Path(__file__).resolve())],
            input=json.dumps(orders),
            # The GPU's memory may well be all in use by the process that trained the model.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise RuntimeError(f"no fresh Python process could be started to check the export: {error}") from error
    if client.returncode == CANNOT_WRITE:
        raise OSError(client.stderr.strip().splitlines()[-1])
    if client.returncode == NO_RUNTIME:
        return False
    if client.returncode:
        last_lines = "\n".join(client.stderr.strip().splitlines()[-5:])
        raise RuntimeError(
            f"the export could not be loaded and run in a fresh process (exit status {client.returncode}), which "
            f"ended with:\n{last_lines}"
        )
    return True


def shut_out(names):
    """Make these packages, and all in them, impossible to import; Python then says that there is no such module."""
    for name in names:
        sys.modules[name] = None


def client(export, scratch, sys_path, network=None):
    """Write what each signature gives for each batch, as outputs-SIGNATURE-BATCH.npz."""
    # -I leaves out places such as PYTHONPATH and the user's own site-packages, where a runtime may be.
    sys.path[:] = [*sys_path, *(place for place in sys.path if place not in sys_path)]
    shut_out(REFUSED)
    scratch, export = pathlib.Path(scratch), pathlib.Path(export)
    if network:
        for file in sorted(scratch.glob("pixels*.npy")):
            index = file.stem.removeprefix("pixels")
            keep(scratch / f"outputs-torchvision-{index}.npz", run_torchvision(export, np.load(file), **network))
        return
    spec = importlib.util.spec_from_file_location("runtimes", pathlib.Path(__file__).with_name("runtimes.py"))
    sys.modules["runtimes"] = runtimes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runtimes)

    loaded = runtimes.load(export)
    for file in sorted(scratch.glob("pixels*.npy")):
        index, pixels = file.stem.removeprefix("pixels"), np.load(file)
        for name, dtype in DTYPES.items():
            keep(scratch / f"outputs-{name}-{index}.npz", loaded.call(pixels.astype(dtype)))
    if loaded.signatures:
        run_others(loaded.signatures, scratch)


def run_others(signatures, scratch):
    """What a SavedModel has besides."""
    import tensorflow as tf

    for file in scratch.glob("image*.png"):
        index, data = file.stem.removeprefix("image"), tf.constant([file.read_bytes()])
        for name in {"image_bytes", "decode"} & set(signatures):
            keep(scratch / f"outputs-{name}-{index}.npz", numbers(signatures[name](image_bytes=data)))
    pixels = np.load(scratch / "pixels1.npy").astype("float32")
    if "features" in signatures:
        keep(scratch / "outputs-features-1.npz", numbers(signatures["features"](images=tf.constant(pixels))))
    if "grad_cam" in signatures:
        classes = tf.range(len(pixels)) % 2
        heat = signatures["grad_cam"](images=tf.constant(pixels), classes=classes)
        keep(scratch / "outputs-grad_cam-1.npz", numbers(heat))


def numbers(outputs):
    return {name: output.numpy() for name, output in outputs.items()}


def run_torchvision(file, images, name, classes):
    """What torchvision's network of that name gives with a state dict."""
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError, OSError):  # not there, or made for another PyTorch
        sys.exit(NO_RUNTIME)
    if file.suffix == ".safetensors":
        import safetensors.torch

        state = safetensors.torch.load_file(file)
    else:
        state = torch.load(file, weights_only=True)
    name = {"googlenet_bn": "googlenet"}.get(name, name)
    options = {}
    if name in ("googlenet", "inception_v3"):
        auxiliary = any(key.startswith(("aux1.", "AuxLogits.")) for key in state)
        options = {"aux_logits": auxiliary, "transform_input": False, "init_weights": False}
    model = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    model.load_state_dict(state)
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(images)).numpy()
    return {"logits": logits, "probabilities": softmax(logits)}


def keep(file, outputs):
    arrays = {name: array.astype(bytes) if array.dtype == object else array for name, array in outputs.items()}
    try:
        np.savez(file, **arrays)
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(CANNOT_WRITE)


if __name__ == "__main__":
    client(**json.load(sys.stdin))
