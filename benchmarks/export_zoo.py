"""Every model of the zoo through `kerazoo.export`, and one of each family into every other format.

    python benchmarks/export_zoo.py [PATTERN] [--only-families]

Each export is tried in a fresh process without kerazoo before the call returns, on random pixels and a photograph; here
are the largest differences from the model's own logits. Weights are random; batch norms have random statistics, so that
folding them is no identity. The images are as small as each model takes. In the deepest networks, random statistics let
activations explode: the B7s get a quarter of their spread, and resnet1202 the statistics of an image.
"""
import argparse
import contextlib
import datetime
import gc
import importlib.metadata
import io
import os
import pathlib
import re
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import kerazoo
from export import settle

RESULTS = pathlib.Path(__file__).parent / "results" / "export-zoo.md"
# One of each family, and every other format with its ending.
FAMILIES = (
    "lenet5", "cnn_mnist", "alexnet", "vgg11_bn", "googlenet_bn", "inception_v3", "resnet18", "resnet20", "densenet121",
    "efficientnet_b0",
)  # fmt: skip
FORMATS = {"onnx": ".onnx", "litert": ".tflite", "openvino": "", "torch": ".pth", "web": ""}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="*", help="wildcards (default: all models)")
    parser.add_argument("--only-families", action="store_true", help=f"only {', '.join(FAMILIES)}")
    parser.add_argument("--no-write", action="store_true", help=f"leave {RESULTS.name} as it is")
    args = parser.parse_args()
    names = [name for name in kerazoo.list_models(args.pattern) if not args.only_families or name in FAMILIES]
    rows = []
    for name in names:
        rows.append([name, *exports(name)])
        print("  ".join(rows[-1]), flush=True)
    columns = ("model", "input", "tf_saved_model", *FORMATS)
    versions = ", ".join(f"{each} {importlib.metadata.version(each)}" for each in (
        "tensorflow", "keras", "tf2onnx", "onnxruntime", "openvino", "ai-edge-litert"))
    text = "\n".join([
        "# Every model through `kerazoo.export`", "",
        f"{datetime.date.today()}, {versions}; written by `python benchmarks/export_zoo.py`. Largest difference from "
        "the model's logits, as a part of the largest logit (at least 1), on random pixels and a photograph, of the "
        "file that a fresh process loaded without kerazoo.", "",
        *("| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)), "",
    ])
    if not args.no_write and args.pattern == "*" and not args.only_families:
        RESULTS.write_text(text)


def exports(name):
    """The input's size, and for each format the difference, or what went wrong."""
    keras.backend.clear_session()
    gc.collect()
    builder = kerazoo.registry.get_builder(name)
    smallest, published = builder.min_size, kerazoo.facts(name).input_shape
    side = published[0] if published[0] <= 32 else max(smallest, 64)
    options = {} if kerazoo.facts(name).family in ("lenet", "baseline") else {"input_shape": (side, side, published[2])}
    keras.utils.set_random_seed(0)
    model = kerazoo.create_model(name, **options)
    if name == "resnet1202":
        settle(model)
    else:
        randomize(model, 0.25 if name.endswith("_b7") else 1.0)
    largest = max(1.0, float(np.abs(model(np.random.default_rng(1).integers(
        0, 256, (1, *model.input_shape[1:])).astype("float32"), training=False)).max()))
    cells = ["x".join(map(str, model.input_shape[1:]))]
    for format, ending in {"tf_saved_model": "", **(FORMATS if name in FAMILIES else {})}.items():
        begun, said = time.monotonic(), io.StringIO()
        with tempfile.TemporaryDirectory() as folder:
            try:
                with contextlib.redirect_stdout(said):
                    kerazoo.export(model, pathlib.Path(folder) / f"model{ending}", format=format)
            except (ValueError, RuntimeError) as error:
                cells.append(str(error)[:60])
                continue
        found = re.search(r"largest difference (\S+)", said.getvalue())
        cells.append(f"{float(found[1]) / largest:.0e}" if found else "not run")
        print(f"  {name}, {format}: {time.monotonic() - begun:.1f} s", flush=True)
    return cells + [""] * (len(FORMATS) + 2 - len(cells))


def randomize(model, spread):
    generator = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        for variable, center, width in (
            (layer.gamma, 1.0, 0.5), (layer.beta, 0.0, 0.2), (layer.moving_mean, 0.0, 0.2),
            (layer.moving_variance, 1.0, 0.5),
        ):
            if variable is not None:
                variable.assign(generator.uniform(center - spread * width, center + spread * width, variable.shape))


if __name__ == "__main__":
    main()
