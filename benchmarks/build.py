"""Time to build a model: kerazoo beside Keras Applications, the same architecture, random weights, in one run.

    python benchmarks/build.py [--rounds 9]

Rounds are interleaved and medians compared, since machines are noisy. Kerazoo should take no longer (ratio up to 1).
Each model is built and dropped; the first build of each, which loads code, is not counted.
"""
import argparse
import gc
import platform
import statistics
import time

import keras

import kerazoo

PAIRS = {
    "ResNet50": (kerazoo.resnet50_v1, keras.applications.ResNet50),
    "VGG16": (kerazoo.vgg16, keras.applications.VGG16),
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
    print(f"{'model':10}  {'kerazoo (s)':>12}  {'Keras Applications (s)':>22}  {'ratio':>6}")
    for name, (ours, theirs) in PAIRS.items():
        times = {ours: [], theirs: []}
        for turn in range(args.rounds + 1):
            # Whoever comes first in a round changes from round to round.
            for build in (ours, theirs) if turn % 2 else (theirs, ours):
                times[build].append(seconds(build))
        mine, peers = (statistics.median(times[build][1:]) for build in (ours, theirs))
        print(f"{name:10}  {mine:12.3f}  {peers:22.3f}  {mine / peers:6.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="counted builds of each (default: %(default)s)")
    main(parser.parse_args())
