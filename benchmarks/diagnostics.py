"""Whether `kerazoo.train.Diagnostics` tells what is wrong, and what it costs.

    python benchmarks/diagnostics.py runs development      # the runs on which the rules were developed
    python benchmarks/diagnostics.py runs held             # the others: other data or architectures, not looked at before
    python benchmarks/diagnostics.py overhead [--rounds 3] # the time of epochs with it and without it, in turns
    python benchmarks/diagnostics.py table                 # both as Markdown, from what was written to --folder

Broken runs are broken on purpose in one way each, on real data (MNIST, Fashion-MNIST, CIFAR-10); healthy ones are short
trainings with sensible settings. A broken run counts as told where the first finding, or one of those expected, comes
first; a healthy one where there is none.
"""
import argparse
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import typing

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
FOLDER = pathlib.Path("runs/diagnostics")


@dataclasses.dataclass(frozen=True)
class Case:
    """A training: `make()` returns (model, images, labels, validation, epochs, batch size)."""

    half: str
    name: str
    expected: str  # the kind that is to come first; "" for healthy ones
    make: typing.Callable


CASES = []


def case(half, expected=""):
    def note(function):
        CASES.append(Case(half, function.__name__, expected, function))
        return function

    return note


@functools.lru_cache
def images(name, train, validation=500):
    """((images, labels), (images, labels)) as arrays, the same ones each time."""
    import kerazoo

    sets = [
        kerazoo.data.arrays(kerazoo.data.load(name, part, batch_size=500, limit=limit, seed=0))
        for part, limit in (("train", train), ("validation", validation))
    ]
    return sets[0], sets[1]


def ready(model, rule="adamw", rate=1e-3, one_hot=False, **options):
    """The model, compiled."""
    import keras

    from kerazoo.train import optimizer

    kind = "CategoricalCrossentropy" if one_hot else "SparseCategoricalCrossentropy"
    smoothing = {"label_smoothing": options.pop("label_smoothing", 0.0)} if one_hot else {}
    model.compile(
        optimizer(model, rule, rate, verbose=False, **options),
        getattr(keras.losses, kind)(from_logits=True, **smoothing), metrics=["accuracy"],
    )
    return model


def stacked(shape, layer, depth, classes=10, scale=1 / 255):
    """A plain network, layer upon layer."""
    import keras

    image = keras.Input(shape)
    x = keras.layers.Rescaling(scale)(image)
    for number in range(1, depth + 1):
        x = layer(number)(x)
        if number % 7 == 0:
            x = keras.layers.AveragePooling2D(2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, name="head")(x), name="stacked")


def weights_named(model, *kinds):
    return [weight for weight in model.trainable_weights if weight.path.split("/")[-1] in kinds]


# Broken, development.

@case("development", "vanishing")
def sigmoid_mlp():
    """20 dense layers of sigmoids without norms."""
    import kerazoo

    data, validation = images("mnist_sample", 3000)
    model = kerazoo.mlp(units=[64] * 20, activation="sigmoid", dropout=0.0)
    return ready(model), *data, validation, 3, 64


@case("development", "rate_high")
def rate_10_lenet():
    """LeNet-5 by SGD at a learning rate of 10."""
    import kerazoo

    data, validation = images("mnist_sample", 3000)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1)), "sgd", 10.0), *data, validation, 3, 64


@case("development", "dead")
def negative_biases_cnn():
    """All biases at -3, under ReLU."""
    import kerazoo

    data, validation = images("fashion_mnist", 3000)
    model = kerazoo.cnn_mnist()
    for bias in weights_named(model, "bias")[:-1]:
        bias.assign(bias * 0 - 3.0)
    return ready(model), *data, validation, 3, 64


@case("development", "overfitting")
def few_digits():
    """200 training images."""
    import kerazoo

    data, validation = images("mnist_sample", 200)
    return ready(kerazoo.cnn_mnist(dropout=0.0), rate=2e-3), *data, validation, 40, 32


@case("development", "labels")
def constant_labels_lenet():
    """All labels are 3."""
    import kerazoo

    (x, y), validation = images("mnist_sample", 3000)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1))), x, y * 0 + 3, validation, 3, 64


@case("development", "inputs")
def pixels_0_to_1_lenet():
    """Pixels from 0 to 1 for a model that wants 0 to 255."""
    import kerazoo

    (x, y), (vx, vy) = images("fashion_mnist", 3000)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1))), x / 255.0, y, (vx / 255.0, vy), 3, 64


@case("development", "rate_low")
def small_rate_lenet():
    """SGD at a learning rate of 1e-6."""
    import kerazoo

    data, validation = images("mnist_sample", 3000)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1)), "sgd", 1e-6), *data, validation, 4, 64


@case("development", "exploding")
def linear_mlp():
    """20 linear layers whose kernels are three times as large as they should be."""
    import kerazoo

    data, validation = images("mnist_sample", 3000)
    model = kerazoo.mlp(units=[64] * 20, activation="linear", dropout=0.0)
    for kernel in weights_named(model, "kernel"):
        kernel.assign(kernel * 3)
    return ready(model, "sgd", 0.01), *data, validation, 3, 64


@case("development", "inputs")
def nan_pixels():
    """One pixel each of five images is NaN."""
    import kerazoo

    (x, y), validation = images("mnist_sample", 3000)
    x = x.astype("float32")
    x[[7, 300, 999, 1500, 2600], 14, 14] = float("nan")
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1))), x, y, validation, 3, 64


@case("development", "underfitting")
def one_unit():
    """A hidden layer of one unit."""
    import kerazoo

    data, validation = images("fashion_mnist", 3000)
    return ready(kerazoo.mlp(units=1, dropout=0.0, activation="tanh"), rate=2e-2), *data, validation, 30, 64


@case("development", "rate_low")
def schedule_in_epochs():
    """A cosine that counts epochs where it is to count batches."""
    import kerazoo

    data, validation = images("mnist_sample", 3000)
    rate = kerazoo.train.WarmupCosine(2e-3, 8, warmup=1, steps=1)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1)), rate=rate), *data, validation, 8, 64


@case("development", "imbalance")
def one_class_digits():
    """97 % of the images are of one class."""
    import numpy as np

    import kerazoo

    (x, y), validation = images("mnist_sample", 9000)
    one, others = np.flatnonzero(y == 1), np.flatnonzero(y != 1)[:27]
    rows = np.random.default_rng(0).permutation(np.concatenate([one, others]))
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1))), x[rows], y[rows], validation, 4, 64


# Broken, held aside.

@case("held", "vanishing")
def sigmoid_convolutions():
    """20 convolutions with sigmoids, without norms."""
    import keras

    data, validation = images("cifar10", 1500)
    model = stacked((32, 32, 3), lambda i: keras.layers.Conv2D(
        16, 3, padding="same", activation="sigmoid", name=f"conv{i}"), 20)
    return ready(model, "sgd", 0.05), *data, validation, 3, 64


@case("held", "rate_high")
def rate_10_resnet():
    """ResNet-20 by SGD at a learning rate of 10."""
    import kerazoo

    data, validation = images("cifar10", 1500, 300)
    return ready(kerazoo.resnet20(), "sgd", 10.0), *data, validation, 3, 64


@case("held", "dead")
def negative_offsets_resnet():
    """All offsets of ResNet-20's batch norms at -5, under ReLU."""
    import kerazoo

    data, validation = images("cifar10", 1500, 300)
    model = kerazoo.resnet20()
    for beta in weights_named(model, "beta"):
        beta.assign(beta * 0 - 5.0)
    return ready(model, "sgd", 0.01), *data, validation, 3, 64


@case("held", "overfitting")
def few_photos():
    """200 training images of CIFAR-10."""
    import kerazoo

    data, validation = images("cifar10", 200)
    return ready(kerazoo.cnn_mnist(input_shape=(32, 32, 3), dropout=0.0)), *data, validation, 40, 32


@case("held", "labels")
def constant_labels_resnet():
    """All labels, one-hot, are those of class 7."""
    import numpy as np

    import kerazoo

    (x, y), (vx, vy) = images("cifar10", 1000, 300)
    one_hot = np.eye(10, dtype="float32")
    return ready(kerazoo.resnet20(), one_hot=True), x, one_hot[y * 0 + 7], (vx, one_hot[vy]), 3, 64


@case("held", "inputs")
def pixels_0_to_1_resnet():
    """Pixels from 0 to 1 for a model that wants 0 to 255."""
    import kerazoo

    (x, y), (vx, vy) = images("cifar10", 1000, 300)
    return ready(kerazoo.resnet20(), "sgd", 0.05), x / 255.0, y, (vx / 255.0, vy), 3, 64


@case("held", "rate_low")
def small_rate_cnn():
    """AdamW at a learning rate of 1e-8."""
    import kerazoo

    data, validation = images("cifar10", 2000)
    return ready(kerazoo.cnn_mnist(input_shape=(32, 32, 3)), rate=1e-8), *data, validation, 4, 64


@case("held", "exploding")
def linear_convolutions():
    """20 linear convolutions with kernels that are too large."""
    import keras

    data, validation = images("cifar10", 1500)
    start = keras.initializers.VarianceScaling(9.0, "fan_in")
    model = stacked((32, 32, 3), lambda i: keras.layers.Conv2D(
        16, 3, padding="same", kernel_initializer=start, name=f"conv{i}"), 20)
    return ready(model, "sgd", 1e-3), *data, validation, 3, 64


@case("held", "nan")
def square_root():
    """A square root in the network, which has no derivative at 0."""
    import keras

    data, validation = images("fashion_mnist", 2000)
    image = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(16, 3, 2, activation="relu", name="conv1")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Activation(keras.ops.sqrt, name="root")(x)
    x = keras.layers.Conv2D(32, 3, 2, activation="relu", name="conv2")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return ready(keras.Model(image, keras.layers.Dense(10, name="head")(x))), *data, validation, 3, 64


@case("held", "underfitting")
def two_units():
    """A hidden layer of two units, on CIFAR-10."""
    import kerazoo

    data, validation = images("cifar10", 3000)
    model = kerazoo.mlp(input_shape=(32, 32, 3), units=2, dropout=0.0, activation="tanh")
    return ready(model, rate=5e-3), *data, validation, 40, 64


@case("held", "rate_low")
def decay_in_batches():
    """A rate that halves every ten batches, where ten epochs were meant."""
    import keras

    import kerazoo

    data, validation = images("fashion_mnist", 3000)
    rate = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.5)
    return ready(kerazoo.cnn_mnist(), rate=rate), *data, validation, 10, 64


@case("held", "imbalance")
def one_class_photos():
    """97 % of the images are of one class."""
    import numpy as np

    import kerazoo

    (x, y), validation = images("cifar10", 10_000)
    one, others = np.flatnonzero(y == 4), np.flatnonzero(y != 4)[:30]
    rows = np.random.default_rng(0).permutation(np.concatenate([one, others]))
    return ready(kerazoo.cnn_mnist(input_shape=(32, 32, 3))), x[rows], y[rows], validation, 4, 64


# Healthy, development.

@case("development")
def lenet_mnist():
    import kerazoo
    from kerazoo.augment import Compose, MixUp, RandomAffine

    (x, y), (vx, vy) = images("mnist_sample", 6000)
    layers = Compose([RandomAffine(rotation=6, translation=0.04, scale=0.05), MixUp(0.1)], seed=0)
    model = kerazoo.lenet5(input_shape=(28, 28, 1), augmentation=layers)
    rate = kerazoo.train.WarmupCosine(2e-3, 10, warmup=0.5, steps=-(-len(x) // 64))
    import numpy as np

    one_hot = np.eye(10, dtype="float32")
    return ready(model, rate=rate, one_hot=True, label_smoothing=0.02, weight_decay=1e-2), x, one_hot[y], (
        vx, one_hot[vy]), 10, 64


@case("development")
def cnn_fashion():
    import kerazoo

    data, validation = images("fashion_mnist", 6000)
    return ready(kerazoo.cnn_mnist()), *data, validation, 6, 64


@case("development")
def mlp_mnist():
    import kerazoo

    data, validation = images("mnist_sample", 8000)
    return ready(kerazoo.mlp(), "sgd", 0.1), *data, validation, 8, 64


@case("development")
def resnet_cifar():
    import kerazoo

    data, validation = images("cifar10", 3000, 300)
    rate = kerazoo.train.WarmupCosine(0.1, 4, warmup=0.5, steps=47)
    return ready(kerazoo.resnet20(), "sgd", rate, nesterov=True, weight_decay=1e-4), *data, validation, 4, 64


@case("development")
def lenet_1998():
    import kerazoo

    data, validation = images("mnist_sample", 4000)
    return ready(kerazoo.lenet5_1998(), rate=1e-3), *padded(data), padded(validation), 4, 64


@case("development")
def efficientnet_lite_cifar():
    import kerazoo

    data, validation = images("cifar10", 1000, 200)
    model = kerazoo.efficientnet_lite0(classes=10, input_shape=(32, 32, 3))
    return ready(model, rate=1e-3), *data, validation, 3, 64


# Healthy, held aside.

@case("held")
def lenet_fashion():
    import kerazoo

    data, validation = images("fashion_mnist", 6000)
    rate = kerazoo.train.OneCycle(0.05, 8, steps=94)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1)), "sgd", rate, nesterov=True), *data, validation, 8, 64


@case("held")
def cnn_cifar():
    import kerazoo
    from kerazoo.augment import RandomFlip

    data, validation = images("cifar10", 5000)
    model = kerazoo.cnn_mnist(input_shape=(32, 32, 3), augmentation=RandomFlip())
    return ready(model, weight_decay=1e-2), *data, validation, 8, 64


@case("held")
def resnet32_fashion():
    import kerazoo

    data, validation = images("fashion_mnist", 2000, 300)
    model = kerazoo.resnet32(input_shape=(28, 28, 1), preprocessing="unit")
    return ready(model, "sgd", 0.05, weight_decay=1e-4), *data, validation, 3, 64


@case("held")
def densenet_cifar():
    import kerazoo

    data, validation = images("cifar10", 640, 200)
    return ready(kerazoo.densenet40_12(), "sgd", 0.05, nesterov=True), *data, validation, 3, 64


@case("held")
def vgg_cifar():
    import kerazoo

    data, validation = images("cifar10", 1000, 200)
    model = kerazoo.vgg11_bn(classes=10, input_shape=(32, 32, 3))
    return ready(model, "sgd", 0.01, weight_decay=5e-4), *data, validation, 3, 64


@case("held")
def efficientnet_cifar():
    import kerazoo

    data, validation = images("cifar10", 1000, 200)
    model = kerazoo.efficientnet_b0(classes=10, input_shape=(32, 32, 3))
    return ready(model, rate=1e-3), *data, validation, 3, 64


def padded(pair):
    import numpy as np

    return np.pad(pair[0], ((0, 0), (2, 2), (2, 2), (0, 0))), pair[1]


def run_cases(half, only, folder):
    import keras

    from kerazoo.train import Diagnostics

    folder.mkdir(parents=True, exist_ok=True)
    for one in CASES:
        if one.half != half or only and one.name not in only:
            continue
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        begun = time.monotonic()
        try:
            model, x, y, validation, epochs, batch = one.make()
        except Exception as error:  # a mistake in this script is no reason to leave out the others
            print(f"{one.name} cannot be made: {error!r}", flush=True)
            continue
        diagnostics = Diagnostics((x, y), verbose=False)
        history = model.fit(x, y, validation_data=validation, epochs=epochs, batch_size=batch, verbose=0,
                            callbacks=[diagnostics]).history
        found = [finding.kind for finding in diagnostics.findings]
        told = found[:1] == [one.expected] if one.expected else not found
        row = {
            "half": half, "name": one.name, "expected": one.expected, "found": found, "told": told,
            "epochs": len(history["loss"]), "seconds": time.monotonic() - begun,
            "loss": str(round(float(history["loss"][-1]), 3)),
            "accuracy": round(float(history["accuracy"][-1]), 3), "report": str(diagnostics),
        }
        (folder / f"{half}_{one.name}.json").write_text(json.dumps(row))
        print(f"{'told  ' if told else 'MISSED'} {one.name}: wanted {one.expected or 'nothing'}, found {found}; "
              f"{row['epochs']} epochs, {row['seconds']:.0f} s, loss {row['loss']}, accuracy {row['accuracy']}",
              flush=True)
        if not told or os.environ.get("SHOW"):
            print(diagnostics, flush=True)


# What it costs.

MODELS = {"lenet5": ("mnist_sample", 9000, 64), "resnet20": ("cifar10", 2000, 64)}


class Clock:
    """Times of whole epochs, as a callback that is made when Keras is there."""

    def __new__(cls):
        import keras

        class Times(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                self.last, self.seconds = time.perf_counter(), []

            def on_epoch_end(self, epoch, logs=None):
                now = time.perf_counter()
                self.seconds.append(now - self.last)
                self.last = now

        return Times()


def overhead(name, rounds, epochs):
    """{with, without: [[seconds of each epoch] of each round]}, and what the callback counted of its own time."""
    import keras

    import kerazoo
    from kerazoo.train import Diagnostics

    source, count, batch = MODELS[name]
    (x, y), _ = images(source, count)
    found = {"with": [], "without": [], "own": []}
    for number in range(rounds):
        ways = ("with", "without") if number % 2 else ("without", "with")
        for way in ways:
            keras.backend.clear_session()
            keras.utils.set_random_seed(0)
            build = getattr(kerazoo, name)
            model = ready(build(input_shape=x.shape[1:], **({"preprocessing": "unit"} if name == "resnet20" else {})))
            clock = Clock()
            diagnostics = [Diagnostics((x, y), verbose=False)] if way == "with" else []
            # The clock is first: its epoch begins before the diagnostics' first measurement.
            model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[*diagnostics, clock])
            seconds = clock.seconds
            if diagnostics:
                own = diagnostics[0].overhead
                found["own"].append(own)
                seconds = [seconds[0] + own["first"], *seconds[1:]]
            found[way].append(seconds)
    return found


def measure_overhead(rounds, epochs, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for backend in ("tensorflow", "jax"):
        for name in MODELS:
            code = (
                "import sys, json; sys.path.insert(0, 'benchmarks'); import diagnostics; "
                f"print(json.dumps(diagnostics.overhead({name!r}, {rounds}, {epochs})))"
            )
            out = subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True,
                env={**os.environ, "KERAS_BACKEND": backend},
            ).stdout.splitlines()[-1]
            (folder / f"overhead_{backend}_{name}.json").write_text(out)
            print(overhead_row(backend, name, json.loads(out)), flush=True)


def overhead_row(backend, name, found):
    later = {way: [statistics.median(seconds[1:]) for seconds in found[way]] for way in ("with", "without")}
    ratios = [a / b for a, b in zip(later["with"], later["without"])]
    whole = [sum(a) / sum(b) for a, b in zip(found["with"], found["without"])]
    own = [100 * one["later"] / one["seconds"] for one in found["own"]]
    first = statistics.median(one["first"] for one in found["own"])
    return (
        f"| {name} | {backend} | {statistics.median(later['without']):.2f} | "
        f"{100 * (statistics.median(ratios) - 1):+.1f} ({100 * (min(ratios) - 1):+.1f} to {100 * (max(ratios) - 1):+.1f}) | "
        f"{statistics.median(own):.1f} ({min(own):.1f} to {max(own):.1f}) | {first:.1f} | "
        f"{100 * (statistics.median(whole) - 1):+.1f} |"
    )


def table(folder):
    lines = []
    for half in ("development", "held"):
        for healthy in (False, True):
            lines += ["", f"{'Healthy' if healthy else 'Broken'} runs, {half}:", "",
                      "| run | expected | found, first to last | | epochs | s |", "|---|---|---|---|---|---|"]
            for one in CASES:
                path = folder / f"{half}_{one.name}.json"
                if one.half == half and bool(one.expected) != healthy and path.exists():
                    row = json.loads(path.read_text())
                    lines.append(
                        f"| `{one.name}` | {one.expected or 'nothing'} | {', '.join(row['found']) or 'nothing'} | "
                        f"{'told' if row['told'] else '**missed**'} | {row['epochs']} | {row['seconds']:.0f} |"
                    )
    lines += ["", "| model | backend | s an epoch without | % more in an epoch (rounds) | % by its own clock | "
              "first measurement, s | % more in all, first epoch included |", "|---|---|---|---|---|---|---|"]
    for path in sorted(folder.glob("overhead_*.json")):
        _, backend, name = path.stem.split("_")
        lines.append(overhead_row(backend, name, json.loads(path.read_text())))
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("runs", "overhead", "table"))
    parser.add_argument("half", nargs="?", choices=("development", "held"), default="development")
    parser.add_argument("--only", nargs="*", help="names of runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER)
    args = parser.parse_args(argv)
    if args.what == "runs":
        run_cases(args.half, args.only, args.folder)
    elif args.what == "overhead":
        measure_overhead(args.rounds, args.epochs, args.folder)
    else:
        print(table(args.folder))


if __name__ == "__main__":
    main()
