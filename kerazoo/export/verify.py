"""Whether an export gives what the model gives, asked of a fresh process.

This file is both ends: `compare` runs beside the model, and starts this very file as a script, which is the client.
The client has TensorFlow and NumPy, and cannot import Keras or kerazoo.
"""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

SIGNATURES = {"serving_default": "float32", "serving_uint8": "uint8"}
REFUSED = ("kerazoo", "keras", "tf_keras")
CANNOT_WRITE = 73  # the client's exit status; EX_CANTCREAT in sysexits.h


def compare(folder, scratch, batches, expected, class_names, tolerance, floor=-np.inf):
    """Run the export in a fresh process on pixels, and hold it against the model's own outputs.

    Args:
        folder: the export.
        scratch: an existing folder for what the two processes hand each other.
        batches: uint8 arrays of images.
        expected: for each batch, the model's probabilities and logits, float32 arrays.
        class_names: what the labels must be.
        tolerance: of probabilities and logits, as a part of the largest logit (of 1, where that is smaller).
        floor: logits below this count as this.

    Returns:
        The largest difference seen, in logits or probabilities.

    Raises:
        RuntimeError: if the export cannot be loaded, or disagrees.
        OSError: if the two processes cannot write what they hand each other.
    """
    for index, pixels in enumerate(batches):
        np.save(scratch / f"pixels{index}.npy", pixels)
    run_client(folder, scratch)

    largest = 0.0
    for index, (probabilities, logits) in enumerate(expected):
        allowed = tolerance * max(1.0, float(np.abs(logits).max()))
        for signature in SIGNATURES:
            with np.load(scratch / f"{signature}{index}.npz") as arrays:
                got = dict(arrays)
            difference = max(
                deviation(got["probabilities"], probabilities),
                deviation(np.maximum(got["logits"], floor), np.maximum(logits, floor)),
            )
            if not difference <= allowed:  # a NaN is no agreement
                raise RuntimeError(
                    f"the export disagrees with the model: {signature} differs by {difference:.2g} on random pixels, "
                    f"where rounding explains {allowed:.2g}. The usual reason is a layer that does not do the same "
                    "twice: one that draws random numbers in inference, or keeps state outside of its weights."
                )
            # Large logits allow much; whatever they are, the probabilities must be theirs.
            inner = deviation(got["probabilities"], softmax(got["logits"]))
            labels = [label.decode("utf-8") for label in got["label"].tolist()]
            best = got["probabilities"].argmax(-1)
            # Two classes as probable as each other may change places by rounding.
            same = np.take_along_axis(logits, best[:, None], -1)[:, 0] >= logits.max(-1) - allowed
            if not inner <= 10 * tolerance or labels != [class_names[index] for index in best] or not same.all():
                wanted = [class_names[index] for index in logits.argmax(-1)]
                raise RuntimeError(
                    f"the export disagrees with the model: {signature} labels random pixels {labels}, the model "
                    f"{wanted}; its probabilities differ from the softmax of its logits by {inner:.2g}."
                )
            largest = max(largest, difference)
    return largest


def deviation(got, wanted):
    return float(np.abs(got - wanted).max()) if got.shape == wanted.shape else float("inf")


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def run_client(folder, scratch):
    """Start this file as a script, alone (-I); it gets this process's import path, to find the same TensorFlow."""
    orders = {"folder": str(folder), "scratch": str(scratch), "sys_path": [os.path.abspath(p) for p in sys.path if p]}
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
    if client.returncode:
        last_lines = "\n".join(client.stderr.strip().splitlines()[-5:])
        raise RuntimeError(
            f"the export could not be loaded and run in a fresh process (exit status {client.returncode}), which "
            f"ended with:\n{last_lines}"
        )


def shut_out(names):
    """Make these packages, and all in them, impossible to import; Python then says that there is no such module."""
    for name in names:
        sys.modules[name] = None


def client(folder, scratch, sys_path):
    # TensorFlow may come from a place that -I leaves out, such as PYTHONPATH or the user's own site-packages.
    sys.path.extend(place for place in sys_path if place not in sys.path)
    shut_out(REFUSED)
    import tensorflow as tf

    signatures = tf.saved_model.load(folder).signatures
    for file in pathlib.Path(scratch).glob("pixels*.npy"):
        index, pixels = file.stem.removeprefix("pixels"), np.load(file)
        for signature, dtype in SIGNATURES.items():
            outputs = signatures[signature](images=tf.constant(pixels.astype(dtype)))
            arrays = {name: output.numpy() for name, output in outputs.items()}
            arrays["label"] = arrays["label"].astype(bytes)
            try:
                np.savez(pathlib.Path(scratch) / f"{signature}{index}.npz", **arrays)
            except OSError as error:
                print(error, file=sys.stderr)
                sys.exit(CANNOT_WRITE)


if __name__ == "__main__":
    client(**json.load(sys.stdin))
