"""kerazoo's models beside those of Keras Applications: the same architecture, random weights, one run.

    python benchmarks/models.py [NAME ...] [--rounds 7] [--batch 8]

Four figures a model: time to build it, time of its first training step (tracing and compiling included), and the
throughput of training and of inference. Ratios are kerazoo's speed over the peer's: above 1, kerazoo is faster. Rounds
are interleaved and medians compared, since machines are noisy. Both sides get float32 pixels of the published size and
are compiled alike; kerazoo normalizes them inside the model, the peer (but for EfficientNet) does not.
"""
import argparse
import gc
import platform
import statistics
import time

import keras
import numpy as np

import kerazoo

PAIRS = {
    "ResNet50": ("resnet50_v1", keras.applications.ResNet50, {}),
    "ResNet50V2": ("tf_resnet50_v2", keras.applications.ResNet50V2, {}),
    # Keras Applications has neither the paper's dropout nor a normalization in its VGG16, and no auxiliary head.
    "VGG16": ("vgg16", keras.applications.VGG16, {"dropout": 0}),
    "DenseNet121": ("densenet121", keras.applications.DenseNet121, {}),
    "EfficientNetB0": ("tf_efficientnet_b0", keras.applications.EfficientNetB0, {}),
    "InceptionV3": ("tf_inception_v3", keras.applications.InceptionV3, {}),
}


class Contestant:
    """One side: builds its model, and takes training and prediction steps with it."""

    def __init__(self, build):
        self.build, self.times = build, {"build": [], "first step": [], "training": [], "inference": []}

    def clock(self, what, step):
        start = time.perf_counter()
        step()
        self.times[what].append(time.perf_counter() - start)

    def time_build(self):
        keras.backend.clear_session()
        gc.collect()

        def step():
            self.model = self.build()
            # Values of the weights may still be on their way.
            keras.ops.convert_to_numpy(self.model.weights[-1])

        self.clock("build", step)

    def time_first_step(self, images, labels):
        self.model.compile(
            keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        self.images, self.labels = images, labels
        self.clock("first step", self.train)
        self.predict()

    def train(self):
        self.model.train_on_batch(self.images, self.labels)

    def predict(self):
        self.model.predict_on_batch(self.images)


def measure(name, rounds, batch):
    ours, theirs, options = PAIRS[name]
    sides = {
        "kerazoo": Contestant(lambda: kerazoo.create_model(ours, **options)),
        "peer": Contestant(lambda: theirs(weights=None, classifier_activation=None)),
    }
    for turn in range(rounds + 1):
        for side in ordered(sides, turn):
            side.time_build()
    for side in sides.values():
        # The first build loads code.
        del side.times["build"][0]

    height, width, channels = kerazoo.facts(ours).input_shape
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (batch, height, width, channels)).astype("float32")
    labels = rng.integers(0, 1000, batch)
    for turn in range(3):
        for side in ordered(sides, turn):
            side.time_build()
            del side.times["build"][-1]
            side.time_first_step(images, labels)
    for turn in range(rounds):
        for side in ordered(sides, turn):
            side.clock("training", side.train)
        for side in ordered(sides, turn):
            for _ in range(3):
                side.clock("inference", side.predict)
    return {
        what: tuple(statistics.median(sides[who].times[what]) for who in ("kerazoo", "peer"))
        for what in sides["peer"].times
    }


def ordered(sides, turn):
    """Whoever comes first in a round changes from round to round."""
    return [sides[who] for who in sorted(sides, reverse=turn % 2 == 1)]


def main(args):
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, Python {platform.python_version()}, batches of "
          f"{args.batch}, {args.rounds} rounds, medians; kerazoo / peer, and the ratio of speeds")
    print(f"{'model':15} {'build (s)':>22} {'first step (s)':>22} {'training (images/s)':>22} "
          f"{'inference (images/s)':>22}")
    for name in args.names or PAIRS:
        cells = []
        for what, (mine, peers) in measure(name, args.rounds, args.batch).items():
            values = (args.batch / mine, args.batch / peers) if what in ("training", "inference") else (mine, peers)
            cells.append("{:.3g} / {:.3g} {:6.2f}".format(*values, peers / mine).rjust(22))
        print(f"{name:15} {' '.join(cells)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(PAIRS)}; none: all")
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="images a step (default: %(default)s)")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(PAIRS)):
        parser.error(f"unknown model {unknown[0]!r}; there are: {', '.join(PAIRS)}")
    main(arguments)
