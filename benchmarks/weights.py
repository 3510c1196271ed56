"""Time and memory of loading weights, beside reading the file.

    python benchmarks/weights.py [--rounds 15]

A ResNet-50 of random weights (102 MB) is written as kerazoo's safetensors, as safetensors in torchvision's names, and as
PyTorch's .pth. Each is read whole, `open(path, "rb").read()`, and loaded into a model by `kerazoo.load_weights`, in turns;
medians and their ratio are printed. Files are in the memory of the system (they were just written). Peak memory is measured
in a fresh process: what loading adds to a model that has been built.
"""
import argparse
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import keras

import kerazoo
from kerazoo.weights import writers


def write_files(folder):
    model = kerazoo.resnet50()
    state = writers.to_torchvision(model)
    kerazoo.save_weights(model, folder / "kerazoo.safetensors")
    writers.write_safetensors(folder / "torchvision.safetensors", state)
    writers.write_pytorch(folder / "torchvision.pth", state)
    return [folder / name for name in ("kerazoo.safetensors", "torchvision.safetensors", "torchvision.pth")]


def read_whole(path):
    with open(path, "rb") as file:
        file.read()


def seconds(step, *arguments):
    start = time.perf_counter()
    step(*arguments)
    return time.perf_counter() - start


def peak(path):
    """MB that loading adds to the peak of a process that has built the model."""
    result = subprocess.run([sys.executable, __file__, "--peak", str(path)], capture_output=True, text=True, check=True)
    return float(result.stdout.splitlines()[-1])


def print_peak(path):
    model = kerazoo.resnet50()
    # The optimizer's memory is not loading's; a second model of the same size has raised no mark when it is gone.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    current = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024
    kerazoo.load_weights(model, path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - min(before, current)) / 1024)


def main(args):
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, {args.rounds} rounds, medians")
    print(f"{'file':25} {'MB':>6} {'read (s)':>9} {'load (s)':>9} {'ratio':>6} {'peak (MB)':>10}")
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(pathlib.Path(folder))
        model = kerazoo.resnet50()
        times = {path: ([], []) for path in files}
        for _ in range(args.rounds + 1):
            for path, (reading, loading) in times.items():
                reading.append(seconds(read_whole, path))
                loading.append(seconds(kerazoo.load_weights, model, path))
        for path, (reading, loading) in times.items():
            # The first round loads code.
            read, load = statistics.median(reading[1:]), statistics.median(loading[1:])
            size = path.stat().st_size / 1e6
            print(f"{path.name:25} {size:6.0f} {read:9.3f} {load:9.3f} {load / read:6.2f} {peak(path):10.0f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="counted rounds (default: %(default)s)")
    parser.add_argument("--peak", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    print_peak(arguments.peak) if arguments.peak else main(arguments)
