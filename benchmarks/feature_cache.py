"""What it saves in `fine_tune`'s first part to compute the features of a frozen backbone once.

    python benchmarks/feature_cache.py [--dataset cifar10] [--images 2000] [--epochs 10] [--rounds 3]

ResNet-18 with random weights (speed does not ask for better ones), images of 112x112 pixels, the head alone is trained,
with `cache=True` and `cache=False` in turns. Printed are the median seconds of each, everything included: tracing,
reading, validation on a tenth of the images; and the median of the ratios within rounds.
"""
import argparse
import os
import statistics
import time


def head_phase(args, cache):
    import keras

    import kerazoo
    from kerazoo.train import fine_tune

    keras.utils.set_random_seed(0)
    train, validation, _ = kerazoo.data.load(args.dataset, image_size=args.image_size, limit=args.images)
    model = kerazoo.resnet18(classes=train.classes, input_shape=train.image_shape)
    begun = time.perf_counter()
    fine_tune(
        model, train, validation, epochs=(args.epochs, 0), learning_rate=(1e-3, None), cache=cache, verbose=0
    )
    return time.perf_counter() - begun


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10", help="(default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=112, help="side in pixels (default: %(default)s)")
    parser.add_argument("--images", type=int, default=2000, help="training images (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="of the head (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    seconds = {True: [], False: []}
    for turn in range(args.rounds):
        for cache in ((True, False), (False, True))[turn % 2]:
            seconds[cache].append(head_phase(args, cache))
            print(f"round {turn + 1}, cache={cache}: {seconds[cache][-1]:.1f} s", flush=True)
    ratio = statistics.median(without / cached for without, cached in zip(seconds[False], seconds[True]))
    print(f"{args.epochs} epochs of the head: {statistics.median(seconds[True]):.1f} s with the cache, "
          f"{statistics.median(seconds[False]):.1f} s without: {ratio:.1f} times")


if __name__ == "__main__":
    main()
