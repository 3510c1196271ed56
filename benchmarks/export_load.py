"""100 threads on one loaded SavedModel for a minute: right answers, errors that name the image, and steady memory.

    python benchmarks/export_load.py [SAVED_MODEL] [--threads 100] [--seconds 60]

Requests go to `image_bytes` and `serving_uint8`, one to four images each; a third of those to `image_bytes` hold one
that is truncated or no image at all. Good ones must get what the same request got alone, bad ones an error that names
the image's place, and memory must not grow from the first half of the time to the second. Without a SavedModel,
kerazoo's ResNet-18 for 64x64 pixels is exported first, with random weights.
"""
import argparse
import io
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("saved_model", nargs="?", help="what `kerazoo export` wrote (default: made for the purpose)")
    parser.add_argument("--threads", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="(default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.saved_model
        if path is None:
            path = pathlib.Path(folder) / "resnet18"
            code = "import sys, kerazoo; kerazoo.export(kerazoo.resnet18(input_shape=(64, 64, 3)), sys.argv[1])"
            subprocess.run([sys.executable, "-c", code, path], check=True)
        wrong = run(str(path), args.threads, args.seconds)
    sys.exit(bool(wrong))


def run(path, threads, seconds):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    images, files = examples(loaded)
    by_pixels, by_file = loaded.signatures["serving_uint8"], loaded.signatures["image_bytes"]
    alone = [by_pixels(images=tf.constant(image[None]))["logits"].numpy()[0] for image in images]
    alone_files = [by_file(image_bytes=tf.constant([file]))["logits"].numpy()[0] for file in files]
    bad = [b"", b"no image", files[0][: len(files[0]) // 2], files[1][:100]]
    counts, lock, problems = {"good": 0, "bad": 0}, threading.Lock(), []
    end = time.monotonic() + seconds

    def client(seed):
        draw = random.Random(seed)
        while time.monotonic() < end and not problems:
            chosen = [draw.randrange(len(files)) for _ in range(draw.randint(1, 4))]
            kind = draw.choice(["pixels", "files", "files", "files with a bad one"])
            try:
                problem = request(kind, chosen, draw)
            except Exception as error:
                problem = f"{kind}: {type(error).__name__}: {error}"
            with lock:
                counts["bad" if "bad" in kind else "good"] += 1
                if problem:
                    problems.append(problem)

    def request(kind, chosen, draw):
        if kind == "pixels":
            got, wanted = by_pixels(images=tf.constant(images[chosen])), [alone[index] for index in chosen]
        else:
            strings, wanted = [files[index] for index in chosen], [alone_files[index] for index in chosen]
            if kind != "files":
                place = draw.randrange(len(strings) + 1)
                strings.insert(place, draw.choice(bad))
                try:
                    by_file(image_bytes=tf.constant(strings))
                except tf.errors.InvalidArgumentError as error:
                    said = re.search(r"image (\d+) of (\d+) \(index (\d+)\)", str(error))
                    right = (str(place + 1), str(len(strings)), str(place))
                    return None if said and said.groups() == right else f"wanted {right}: {error}"
                return "a bad image was answered"
            got = by_file(image_bytes=tf.constant(strings))
        difference = np.abs(got["logits"].numpy() - wanted).max()
        allowed = 1e-4 * max(1, np.abs(wanted).max())
        return None if difference <= allowed else f"{kind}: differs by {difference:.2g}, allowed {allowed:.2g}"

    workers = [threading.Thread(target=client, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    memory = []
    while any(worker.is_alive() for worker in workers):
        time.sleep(seconds / 12)
        memory.append(resident())
        print(f"{counts['good']} good and {counts['bad']} bad requests, {memory[-1]:.0f} MB", flush=True)
    for problem in problems[:5]:
        print("WRONG:", problem)
    half = len(memory) // 2
    before, after = max(memory[:half]), max(memory[half:])
    print(f"{sum(counts.values())} requests of {threads} threads: {len(problems)} wrong; memory {before:.0f} MB at "
          f"most in the first half, {after:.0f} MB in the second")
    if after > 1.1 * before:
        problems.append("memory grows")
        print("WRONG: memory grows")
    return problems


def examples(loaded):
    """Images as pixels, and others as JPEG and PNG files of odd sizes."""
    from PIL import Image

    shape = loaded.signatures["serving_uint8"].structured_input_signature[1]["images"].shape[1:]
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (8, *(side or 64 for side in shape)), dtype="uint8")
    files = []
    for index in range(8):
        small = Image.fromarray(generator.integers(0, 256, (7, 9, 3), dtype="uint8"))
        file = io.BytesIO()
        small.resize((200 + 31 * index, 180)).save(file, format=("jpeg", "png")[index % 2])
        files.append(file.getvalue())
    return images, files


def resident():
    """Megabytes of memory in use."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1e3


if __name__ == "__main__":
    main()
