"""Time to build a model: kerazoo beside Keras Applications, the same architecture, random weights, in one run.

    python benchmarks/build.py [--rounds 9]

Rounds are interleaved and medians compared, since machines are noisy. Kerazoo should take no longer (ratio up to 1).
Each model is built and dropped; the first build of each, which loads code, is not counted.
"""
import argparse
import functools
import gc
import platform
import statistics
import time

import keras

import kerazoo

BARE = {"dropout": 0, "preprocessing": None}
PAIRS = {
    "ResNet50": (kerazoo.resnet50_v1, {}, keras.applications.ResNet50),
    "VGG16": (kerazoo.vgg16, {}, keras.applications.VGG16),
    # Keras Applications has neither the paper's dropout nor the normalization of the pixels in its VGG16.
    "VGG16, bare": (kerazoo.vgg16, BARE, keras.applications.VGG16),
}


def seconds(build, **options):
    keras.backend.clear_session()
    gc.collect()
    start = time.perf_counter()
    model = build(weights=None, **options)
    # Values of the weights may still be on their way.
    keras.ops.convert_to_numpy(model.weights[-1])
    return time.perf_counter() - start


def main(args):
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, Python {platform.python_version()}, "
          f"{args.rounds} rounds, medians")
    print(f"{'model':12}  {'kerazoo (s)':>12}  {'Keras Applications (s)':>22}  {'ratio':>6}")
    for name, (ours, options, theirs) in PAIRS.items():
        calls = {"kerazoo": functools.partial(seconds, ours, **options), "peer": functools.partial(seconds, theirs)}
        times = {who: [] for who in calls}
        for turn in range(args.rounds + 1):
            # Whoever comes first in a round changes from round to round.
            for who in sorted(calls, reverse=turn % 2 == 1):
                times[who].append(calls[who]())
        mine, peers = (statistics.median(times[who][1:]) for who in ("kerazoo", "peer"))
        print(f"{name:12}  {mine:12.3f}  {peers:22.3f}  {mine / peers:6.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="counted builds of each (default: %(default)s)")
    main(parser.parse_args())
