"""kerazoo's exports beside Keras's own of Keras Applications' same network, and beside each other.

    python benchmarks/export.py [NAME ...] [--rounds 7] [--photos FOLDER] [--weights resnet18=resnet18.pth]

For each network: latency of one image and throughput in batches of 8, size, and the ratio to what `keras.Model.export`
writes of Keras Applications' network (of kerazoo's own unfolded one, where Keras Applications has none). Each export
runs in a process of its own, in turns; see `kerazoo.export.benchmark`. Weights are random, which changes no time, but
for those that --weights names. With --photos, a folder of labeled images (one folder a class, called by its index), the
share of photos labeled right is measured for the networks with --weights, and for all how many photos get the class
that the network in float32 gives them. int8 is calibrated on CIFAR-10, resized.
"""
import argparse
import datetime
import importlib.metadata
import os
import pathlib
import platform
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

RESULTS = pathlib.Path(__file__).parent / "results" / "export-cpu.md"
NETWORKS = {
    "ResNet-18": ("resnet18", None),
    "ResNet-50": ("resnet50_v1", "ResNet50"),
    "DenseNet-121": ("densenet121", "DenseNet121"),
    "EfficientNet-B0": ("tf_efficientnet_b0", "EfficientNetB0"),
    "VGG-16": ("vgg16", "VGG16"),
}
KINDS = {
    "SavedModel": ("tf_saved_model", "", None),
    "ONNX Runtime": ("onnx", ".onnx", None),
    "OpenVINO": ("openvino", "_openvino", None),
    "LiteRT": ("litert", ".tflite", None),
    "LiteRT int8": ("litert", "_int8.tflite", "int8"),
}
PEER = "Keras"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="a turn and batch size (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND",
                        help=f"beside Keras's: {', '.join(KINDS)} (default: all)")
    parser.add_argument("--photos", type=pathlib.Path, help="labeled images, one folder a class")
    parser.add_argument("--weights", nargs="*", default=[], metavar="MODEL=FILE", help="trained weights")
    parser.add_argument("--no-write", action="store_true", help=f"leave {RESULTS.name} as it is")
    args = parser.parse_args()
    names = args.names or list(NETWORKS)
    if unknown := set(names) - set(NETWORKS):
        parser.error(f"unknown: {', '.join(unknown)}; there is: {', '.join(NETWORKS)}")
    if not all("=" in pair for pair in args.weights):
        parser.error("--weights takes MODEL=FILE")
    weights = dict(pair.split("=", 1) for pair in args.weights)
    rows, text = [], ""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(name, pathlib.Path(folder), weights, args)
        text = page(rows, args)
        if not args.no_write:  # after each, so that a run that is cut leaves what it has
            RESULTS.write_text(text)
    print(text)


def page(rows, args):
    columns = ("", "by", "1 image, ms", "8 images, images/s", "speed, 1", "speed, 8", "MB", "top-1 right",
               "as in float32")
    lines = ["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]
    return "\n".join([
        "# Exports on a CPU, beside Keras's own", "", setting(), "",
        f"Written by `python benchmarks/export.py`. {PEER}: what `keras.Model.export` makes of Keras Applications' "
        "network (of kerazoo's, for ResNet-18), run by TensorFlow. Speed is relative to it: above 1 is faster. Medians "
        f"of {args.rounds} interleaved rounds of {args.seconds:g} s. \"As in float32\": photos that get the class that "
        "the Keras model gives them; for random weights it says little.", "", *lines, "",
    ])


def measure(name, folder, weights, args):
    import keras
    import kerazoo
    from kerazoo.export.benchmark import benchmark

    ours, theirs = NETWORKS[name]
    print(f"{name}: exporting", flush=True)
    keras.utils.set_random_seed(0)
    if ours in weights:
        from kerazoo.weights.convert import build_for

        model, _ = build_for(os.path.expanduser(weights[ours]), ours)
    else:
        model = kerazoo.create_model(ours)
        settle(model)
    peer = getattr(keras.applications, theirs)(weights=None, classifier_activation=None) if theirs else model
    peer.export(str(folder / "peer"), verbose=False)
    images, labels = photos(args.photos, model)
    exports = {PEER: (load_peer, (str(folder / "peer"),))}
    for kind in args.kinds:
        format, ending, quantize = KINDS[kind]
        calibration = cifar10(model.input_shape[1:3]) if quantize == "int8" else None
        path = folder / f"ours{ending}"
        try:
            exports[kind] = kerazoo.export(model, path, format=format, quantize=quantize, calibration=calibration)
        except RuntimeError as error:  # random weights may be beyond int8
            print(f"{name}, {kind}: {error}", flush=True)
    expected = np.concatenate([np.argmax(model(image[None].astype("float32"), training=False), -1) for image in images])
    timings = benchmark(exports, images, batches=(1, 8), rounds=args.rounds, seconds=args.seconds)
    rows, base = [], timings[PEER]
    for kind, timing in timings.items():
        best = timing.probabilities.argmax(-1)
        right = f"{sum(best == labels)} of {len(labels)}" if ours in weights and labels is not None else ""
        same = "" if kind == PEER and theirs else f"{sum(best == expected)} of {len(expected)}"
        rows.append([
            name, kind, f"{timing.latency(1):.1f}", f"{timing.throughput(8):.1f}",
            f"{base.latency(1) / timing.latency(1):.2f}", f"{timing.throughput(8) / base.throughput(8):.2f}",
            f"{timing.megabytes:.1f}", right, same,
        ])
        print("  ".join(rows[-1]), flush=True)
    return rows


def settle(model):
    """Give batch norms the statistics of an image, so that random weights have activations as trained ones."""
    import keras

    image = np.random.default_rng(0).integers(0, 256, (4, *model.input_shape[1:])).astype("float32")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(image, training=True)
    for norm, momentum in zip(norms, kept):
        norm.momentum = momentum


def photos(folder, model):
    """Images and labels; without a folder, random pixels."""
    from kerazoo.data import read_image

    size = model.input_shape[1:3]
    if folder is None:
        return np.random.default_rng(1).integers(0, 256, (8, *size, 3), dtype="uint8"), None
    files = sorted(file for file in folder.expanduser().glob("*/*") if file.is_file())
    images = [read_image(file, 3, size, resize=round(size[0] / 0.875)) for file in files]
    return np.stack(images), np.array([int(file.parent.name) for file in files])


def cifar10(size, count=200):
    import kerazoo
    import tensorflow as tf

    images, _ = kerazoo.data.arrays(kerazoo.data.load("cifar10", "test", batch_size=100, limit=count))
    resized = tf.image.resize(images, size, method="bicubic", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8).numpy()


class Peer:
    """What `keras.Model.export` wrote, with the one method that the benchmark calls."""

    def __init__(self, path):
        import tensorflow as tf

        self.tf, self.loaded = tf, tf.saved_model.load(path)
        self.call = self.loaded.signatures["serving_default"]
        (self.name,) = self.call.structured_input_signature[1]

    def run(self, images):
        (outputs,) = self.call(**{self.name: self.tf.constant(images, self.tf.float32)}).values()
        return {"probabilities": outputs.numpy()}


def load_peer(path):
    return Peer(path)


def setting():
    names = ("tensorflow", "keras", "onnxruntime", "openvino", "ai-edge-litert")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    python = platform.python_version()
    return f"{datetime.date.today()}, {os.cpu_count()} cores of an {processor()}; Python {python}, {versions}"


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "CPU"


if __name__ == "__main__":
    main()
