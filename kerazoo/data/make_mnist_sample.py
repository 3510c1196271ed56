"""Draw the MNIST sample that comes with kerazoo out of the real MNIST.

    python -m kerazoo.data.make_mnist_sample [--data-dir ~/tensorflow_datasets]

Takes 10,000 of the 60,000 training images and 2,000 of the 10,000 test images, each class in its own proportion, and
writes mnist_sample.npz beside this file. The same images are drawn whatever order the data set is stored in: they are
sorted by their bytes before the draw. MNIST_SAMPLE.md states source and terms.
"""
import argparse
import pathlib

import numpy as np

SEED = 20240612
SIZES = {"train": 10_000, "test": 2_000}


def shares(counts, total):
    """Integers in the proportion of `counts` that add up to `total`, by largest remainder."""
    exact = counts * total / counts.sum()
    result = np.floor(exact).astype(int)
    result[np.argsort(result - exact, kind="stable")[: total - result.sum()]] += 1
    return result


def draw(images, labels, total, rng):
    """(images, labels) of a stratified sample in random order."""
    chosen = []
    for label, count in enumerate(shares(np.bincount(labels), total)):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort([images[i].tobytes() for i in members], kind="stable")]
        chosen.append(rng.choice(members, count, replace=False, shuffle=False))
    chosen = rng.permutation(np.concatenate(chosen))
    return images[chosen], labels[chosen].astype("uint8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="where TensorFlow Datasets keeps mnist (default: its own)")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).with_name("mnist_sample.npz"))
    arguments = parser.parse_args()
    import tensorflow_datasets as tfds

    rng = np.random.default_rng(SEED)
    arrays = {}
    for split, total in SIZES.items():
        images, labels = tfds.as_numpy(
            tfds.load("mnist:3.*.*", split=split, as_supervised=True, batch_size=-1, data_dir=arguments.data_dir)
        )
        arrays[f"x_{split}"], arrays[f"y_{split}"] = draw(images[..., 0], labels, total, rng)
        print(split, "images per class:", np.bincount(arrays[f"y_{split}"]).tolist())
    np.savez_compressed(arguments.output, **arrays)
    print(arguments.output, arguments.output.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
