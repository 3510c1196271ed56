"""The part of accuracy.sh that does the work; see there.

Images travel as strips of 500, packed by WebP without loss, which takes three quarters of what single PNG files take;
they are unpacked into PNG files, one folder a class, for `kerazoo.data.load("folder:...")`. Every recipe is run as a
user runs it, in a process of its own, and leaves its test accuracy in test.json.
"""
import argparse
import concurrent.futures
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time
import typing

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
WORK = ROOT / "build" / "accuracy"
RESULTS = ROOT / "benchmarks" / "results" / "accuracy-gpu.md"
COUNTS = {"train": 5000, "test": 1000}  # images a class
STRIP = 500  # images; WebP's sides end at 16,383 pixels


class Training(typing.NamedTuple):
    recipe: str
    options: tuple
    target: str  # percent, and whose it is


TRAININGS = {
    "ResNet-18": Training("resnet18_cifar10", (), "96, in less than 5 minutes"),
    "ResNet-20": Training("resnet20_cifar10", (), "92.5 (paper: 91.25)"),
    "ResNet-56": Training("resnet20_cifar10", ("--model", "resnet56"), "94.2 (paper: 93.03)"),
    "VGG-16-bn": Training("vgg16_bn_cifar10", (), "92.64 (kuangliu/pytorch-cifar)"),
    "DenseNet-BC-100-12": Training("densenet_bc_cifar10", (), "95.7 (paper: 95.49)"),
    "Wide-ResNet-28-10": Training("wide_resnet_cifar10", ("--mixed-precision",), "97.3 (RandAugment's paper)"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--prepare", action="store_true", help="pack CIFAR-10 of tensorflow_datasets into two parts, and end")
    option("--unpack", action="store_true", help="unpack the parts that are there, and end")
    option("--report", action="store_true", help="write the table of the runs that are there, and end")
    option("--tiny", action="store_true", help="few images and steps, on whatever JAX finds")
    option("--only", nargs="+", choices=TRAININGS, default=list(TRAININGS), metavar="NAME", help=", ".join(TRAININGS))
    option("--work", type=pathlib.Path, default=WORK, help="folder of images and runs (default: build/accuracy)")
    option("--seeds", type=int, default=None, metavar="N", help="seeds 0 to N - 1 (default: 3; tiny: 2)")
    args = parser.parse_args()
    if args.seeds is not None and args.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {args.seeds}")
    args.seeds = args.seeds or (2 if args.tiny else 3)
    work = args.work / "tiny" if args.tiny else args.work
    if args.prepare:
        return prepare(work, args.tiny)
    if args.report:
        return report(args, work)
    if args.tiny:
        shutil.rmtree(work, ignore_errors=True)
        prepare(work, tiny=True)
    counts = {"train": 20, "test": 10} if args.tiny else COUNTS
    missing = unpack(work, counts)
    if args.unpack:
        return print(f"{missing:,} images are still to come" if missing else "All images are there")
    if missing:
        sys.exit(f"error: {missing:,} images of CIFAR-10 are missing in {work / 'cifar10'}. Bring the folders part1 "
                 f"and part2, which `benchmarks/accuracy.sh --prepare` makes, into {work}.")
    import jax

    if not args.tiny and jax.devices()[0].platform == "cpu":
        sys.exit("error: JAX sees no GPU here. `benchmarks/accuracy.sh --tiny` tries the same on the CPU.")
    for name in args.only:
        for seed in range(args.seeds):
            train(work, name, seed, args.tiny)
    report(args, work)


def prepare(work, tiny):
    """Write strips of single classes, half of them into each part."""
    import kerazoo

    arrays = {}
    for split, count in ({"train": 20, "test": 10} if tiny else COUNTS).items():
        data = kerazoo.data.load(
            "mnist_sample" if tiny else "cifar10", split, batch_size=1000, validation_split=0,
            **({"image_size": 32, "limit": 10 * count} if tiny else {}),
        )
        arrays[split] = kerazoo.data.arrays(data)
    names = [f"{label}_{name}" for label, name in enumerate(data.class_names)]
    sizes, place = {1: 0, 2: 0}, 0
    for split, (images, labels) in arrays.items():
        for label, name in enumerate(names):
            chosen = images[labels == label]
            chosen = np.repeat(chosen, 3, axis=-1) if chosen.shape[-1] == 1 else chosen
            for start in range(0, len(chosen), STRIP):
                part = 1 + place % 2
                place += 1
                path = work / f"part{part}" / f"{split}.{name}.{start:05}.webp"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = chosen[start : start + STRIP]
                Image.fromarray(pixels.reshape(-1, *pixels.shape[2:])).save(path, lossless=True)
                sizes[part] += path.stat().st_size
    print(", ".join(f"{work / f'part{part}'}: {size / 2**20:.1f} MiB" for part, size in sizes.items()))


def unpack(work, counts):
    """Unpack the strips that are there; return how many images are missing."""
    def one(path):
        split, name, start = path.stem.split(".")
        folder = work / "cifar10" / split / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(Image.open(path).convert("RGB"))
        for number, image in enumerate(pixels.reshape(-1, pixels.shape[1], pixels.shape[1], 3), int(start)):
            file = folder / f"{number:05}.png"
            if not file.exists():
                Image.fromarray(image).save(file.with_suffix(".part"), format="png", compress_level=1)
                file.with_suffix(".part").replace(file)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(one, sorted(work.glob("part*/*.webp"))))
    return sum(10 * count - len(list(work.glob(f"cifar10/{split}/*/*.png"))) for split, count in counts.items())


def folder_of(work, name, seed):
    return work / "runs" / name / f"seed{seed}"


def train(work, name, seed, tiny):
    training, folder = TRAININGS[name], folder_of(work, name, seed)
    if (folder / "test.json").exists():
        return print(f"{name}, seed {seed}: is there already, {folder}", flush=True)
    print(f"\n==> {name}, seed {seed}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    cut = (folder / "begun").exists()
    (folder / "begun").touch()
    command = [
        sys.executable, ROOT / "recipes" / f"{training.recipe}.py", *training.options,
        "--dataset", f"folder:{work / 'cifar10'}", "--seed", str(seed), "--output", str(folder),
        *(("--epochs", "1", "--batch-size", "20", "--limit", "40", "--mixed-precision", "float32") if tiny else ()),
    ]
    begun = time.monotonic()
    status = subprocess.run(list(map(str, command)), cwd=ROOT).returncode
    if status:
        sys.exit(f"error: {name} with seed {seed} ended with status {status}; what it said stands above.")
    if not cut:
        (folder / "minutes.json").write_text(json.dumps((time.monotonic() - begun) / 60))


def report(args, work):
    """Print the table, and write it where it belongs."""
    rows = []
    for name, training in TRAININGS.items():
        folders = [path.parent for path in sorted(work.glob(f"runs/{name}/seed*/test.json"))]
        found = [json.loads((folder / "test.json").read_text()) for folder in folders]
        times = [json.loads(path.read_text()) for folder in folders for path in folder.glob("minutes.json")]
        command = " ".join((f"recipes/{training.recipe}.py", *training.options))
        if found:
            accuracy = [100 * result["accuracy"] for result in found]
            spread = f" ± {statistics.stdev(accuracy):.2f}" if len(found) > 1 else ""
            shown = [f"{statistics.mean(accuracy):.2f}{spread}", " ".join(f"{x:.2f}" for x in accuracy),
                     str(found[0]["epochs"]), f"{statistics.median(times):.1f}" if times else "run in pieces"]
        else:
            shown = ["not yet run", "", "", ""]
        rows.append([name, f"`{command}`", shown[0], training.target, *shown[1:]])
    columns = ("", "command", "test accuracy, %", "target or published, %", "each seed", "epochs", "minutes a run")
    lines = ["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]
    head = "# Accuracy of the CIFAR-10 recipes on a GPU, under JAX\n\n"
    measured = any("not yet run" not in row for row in rows)
    text = head + (setting() if measured else "Written by `benchmarks/accuracy.sh`. Not yet run on a GPU.") + (
        "\n\nMean and standard deviation over the seeds, of the 10,000 test images; the weights are those of the last "
        "epoch. Minutes count everything, from the start of Python to the test.\n\n"
    ) + "\n".join(lines) + "\n"
    if args.tiny:
        text = text.replace(head, "# A trial on few images: these figures mean nothing\n\n")
    path = work / "table.md" if args.tiny else RESULTS
    path.write_text(text)
    print(f"\n{text}\nWritten to {path}")


def setting():
    import jax

    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "keras", "numpy"))
    kind, cores = jax.devices()[0].device_kind, os.cpu_count()
    return f"{datetime.date.today()}, {kind}, {cores} cores; Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
