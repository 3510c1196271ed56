"""The broken runs on which the rules of `kerazoo.train.Diagnostics` were developed, and what all cases are made with.

Each is broken on purpose in one way, on real data (MNIST, Fashion-MNIST, CIFAR-10). Those that are healthy are in
`diagnosis_healthy.py`, those of the other half in `diagnosis_held.py`: the held runs were written by someone who had
not seen the rules and thresholds, and were run once on them.
"""
import dataclasses
import functools
import typing


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


def padded(pair):
    import numpy as np

    return np.pad(pair[0], ((0, 0), (2, 2), (2, 2), (0, 0))), pair[1]


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


@case("development", "vanishing")
def sigmoid_convolutions():
    """20 convolutions with sigmoids, without norms."""
    import keras

    data, validation = images("cifar10", 1500)
    model = stacked((32, 32, 3), lambda i: keras.layers.Conv2D(
        16, 3, padding="same", activation="sigmoid", name=f"conv{i}"), 20)
    return ready(model, "sgd", 0.05), *data, validation, 3, 64


@case("development", "rate_high")
def rate_10_resnet():
    """ResNet-20 by SGD at a learning rate of 10."""
    import kerazoo

    data, validation = images("cifar10", 1500, 300)
    return ready(kerazoo.resnet20(), "sgd", 10.0), *data, validation, 3, 64


@case("development", "dead")
def negative_offsets_resnet():
    """All offsets of ResNet-20's batch norms at -5, under ReLU."""
    import kerazoo

    data, validation = images("cifar10", 1500, 300)
    model = kerazoo.resnet20()
    for beta in weights_named(model, "beta"):
        beta.assign(beta * 0 - 5.0)
    return ready(model, "sgd", 0.01), *data, validation, 3, 64


@case("development", "overfitting")
def few_photos():
    """200 training images of CIFAR-10."""
    import kerazoo

    data, validation = images("cifar10", 200)
    return ready(kerazoo.cnn_mnist(input_shape=(32, 32, 3), dropout=0.0)), *data, validation, 40, 32


@case("development", "labels")
def constant_labels_resnet():
    """All labels, one-hot, are those of class 7."""
    import numpy as np

    import kerazoo

    (x, y), (vx, vy) = images("cifar10", 1000, 300)
    one_hot = np.eye(10, dtype="float32")
    return ready(kerazoo.resnet20(), one_hot=True), x, one_hot[y * 0 + 7], (vx, one_hot[vy]), 3, 64


@case("development", "inputs")
def pixels_0_to_1_resnet():
    """Pixels from 0 to 1 for a model that wants 0 to 255."""
    import kerazoo

    (x, y), (vx, vy) = images("cifar10", 1000, 300)
    return ready(kerazoo.resnet20(), "sgd", 0.05), x / 255.0, y, (vx / 255.0, vy), 3, 64


@case("development", "rate_low")
def small_rate_cnn():
    """AdamW at a learning rate of 1e-8."""
    import kerazoo

    data, validation = images("cifar10", 2000)
    return ready(kerazoo.cnn_mnist(input_shape=(32, 32, 3)), rate=1e-8), *data, validation, 4, 64


@case("development", "exploding")
def linear_convolutions():
    """20 linear convolutions with kernels that are too large."""
    import keras

    data, validation = images("cifar10", 1500)
    start = keras.initializers.VarianceScaling(9.0, "fan_in")
    model = stacked((32, 32, 3), lambda i: keras.layers.Conv2D(
        16, 3, padding="same", kernel_initializer=start, name=f"conv{i}"), 20)
    return ready(model, "sgd", 1e-3), *data, validation, 3, 64


@case("development", "nan")
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


@case("development", "underfitting")
def two_units():
    """A hidden layer of two units, on CIFAR-10."""
    import kerazoo

    data, validation = images("cifar10", 3000)
    model = kerazoo.mlp(input_shape=(32, 32, 3), units=2, dropout=0.0, activation="tanh")
    return ready(model, rate=5e-3), *data, validation, 40, 64


@case("development", "rate_low")
def decay_in_batches():
    """A rate that halves every ten batches, where ten epochs were meant."""
    import keras

    import kerazoo

    data, validation = images("fashion_mnist", 3000)
    rate = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.5)
    return ready(kerazoo.cnn_mnist(), rate=rate), *data, validation, 10, 64


@case("development", "imbalance")
def one_class_photos():
    """97 % of the images are of one class."""
    import numpy as np

    import kerazoo

    (x, y), validation = images("cifar10", 10_000)
    one, others = np.flatnonzero(y == 4), np.flatnonzero(y != 4)[:30]
    rows = np.random.default_rng(0).permutation(np.concatenate([one, others]))
    return ready(kerazoo.cnn_mnist(input_shape=(32, 32, 3))), x[rows], y[rows], validation, 4, 64
