"""Time and memory of loading weights, beside reading the file.

    python benchmarks/weights.py [--rounds 15]

A ResNet-50 of random weights (102 MB) is written as kerazoo's safetensors, as safetensors in torchvision's names, and
as PyTorch's .pth. Each is read whole, `open(path, "rb").read()`, and loaded into a model by `kerazoo.load_weights`, in
turns; medians and their ratio are printed. Files are in the memory of the system (they were just written).

Peak memory is measured in a fresh process, as what loading adds at most to a model that has been built: "own" is the
memory of the process (RssAnon, looked at every millisecond), "with the file" counts the mapped pages of the file too
(VmHWM), which the system can take back at any time.
"""
import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
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


def peaks(path):
    """MB that loading adds at most to a process that has built the model: its own, and with the file's pages."""
    result = subprocess.run([sys.executable, __file__, "--peak", str(path)], capture_output=True, text=True, check=True)
    return [float(number) for number in result.stdout.splitlines()[-1].split()]


def print_peaks(path):
    model, other = kerazoo.resnet50(), pathlib.Path(path).with_name("small.safetensors")
    # What is imported for loading is imported now.
    small = kerazoo.resnet20()
    kerazoo.save_weights(small, other)
    kerazoo.load_weights(small, other)
    seen, done = [], threading.Event()

    def watch():
        while not done.wait(0.001):
            seen.append(status("RssAnon"))

    pathlib.Path("/proc/self/clear_refs").write_text("5")
    own, whole = status("RssAnon"), status("VmRSS")
    thread = threading.Thread(target=watch)
    thread.start()
    kerazoo.load_weights(model, path)
    done.set()
    thread.join()
    print(max(seen) - own, status("VmHWM") - whole)


def status(key):
    """A figure of this process in MB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(key))


def main(args):
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, {args.rounds} rounds, medians")
    print(f"{'file':25} {'MB':>6} {'read (s)':>9} {'load (s)':>9} {'ratio':>6} {'peak: own, with the file (MB)':>30}")
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
            own, whole = peaks(path)
            print(f"{path.name:25} {size:6.0f} {read:9.3f} {load:9.3f} {load / read:6.2f} {own:22.0f}, {whole:.0f}",
                  flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="counted rounds (default: %(default)s)")
    parser.add_argument("--peak", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    print_peaks(arguments.peak) if arguments.peak else main(arguments)
