"""Harder runs: 12 that are broken, each in one way, and 12 that are healthy, with settings that are usual.

They were written by someone who had not seen the rules of `kerazoo.train.Diagnostics`, and were held aside until they
had been run on them once; what that showed was mended, so that they count as development since. Data, architecture,
optimizer, or how a run is broken differ from those of `diagnosis_cases.py`.
"""
from diagnosis_cases import case, images, padded, ready, stacked, weights_named


def enlarged(pair):
    """Each pixel four times, and zeros around where 64 pixels are not reached."""
    import numpy as np

    x = pair[0].repeat(2, 1).repeat(2, 2)
    rim = (64 - x.shape[1]) // 2
    return np.pad(x, ((0, 0), (rim, rim), (rim, rim), (0, 0))), pair[1]


def one_hot(pair):
    import numpy as np

    return pair[0], np.eye(10, dtype="float32")[pair[1]]


# Broken.

@case("development", "vanishing")
def small_kernels():
    """16 convolutions with ReLU, no norms, and kernels that start with a deviation of 0.01."""
    import keras

    data, validation = images("fashion_mnist", 2000)
    start = keras.initializers.RandomNormal(stddev=0.01)
    model = stacked((28, 28, 1), lambda i: keras.layers.Conv2D(
        16, 3, padding="same", activation="relu", kernel_initializer=start, name=f"conv{i}"), 16)
    return ready(model, "sgd", 0.05, nesterov=True, weight_decay=1e-4), *data, validation, 4, 64


@case("development", "exploding")
def kernels_of_deviation_1():
    """Ten dense layers with ReLU whose kernels start with a deviation of 1."""
    import keras

    import kerazoo

    data, validation = images("cifar10", 2000)
    model = kerazoo.mlp(input_shape=(32, 32, 3), units=[100] * 10, dropout=0.0)
    for number, kernel in enumerate(weights_named(model, "kernel")):
        kernel.assign(keras.random.normal(kernel.shape, seed=number))
    return ready(model, "sgd", 1e-3), *data, validation, 3, 64


@case("development", "dead")
def negative_kernel_mlp():
    """The second layer's kernel is negative, and what it takes is not: no unit of it is ever active."""
    import keras

    import kerazoo

    data, validation = images("mnist", 3000)
    model = kerazoo.mlp(units=[256, 128, 64], dropout=0.0)
    kernel = weights_named(model, "kernel")[1]
    kernel.assign(-keras.ops.abs(kernel))
    return ready(model, "sgd", 0.05, nesterov=True), *data, validation, 4, 64


@case("development", "nan")
def unit_length():
    """Features are divided by their length, which is zero on a black ground."""
    import keras

    data, validation = images("mnist", 3000)
    image = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(16, 5, padding="same", activation="relu", name="conv1")(
        keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Activation(
        lambda x: x / keras.ops.sqrt(keras.ops.sum(x * x, axis=-1, keepdims=True)), name="unit_length")(x)
    x = keras.layers.Conv2D(32, 3, 4, activation="gelu", name="conv2")(x)
    model = keras.Model(image, keras.layers.Dense(10, name="head")(keras.layers.Flatten()(x)))
    return ready(model, "adam", 1e-3), *data, validation, 3, 64


@case("development", "rate_high")
def adam_at_1():
    """LeNet-5 of 1998 by Adam at a learning rate of 1."""
    import kerazoo

    data, validation = images("fashion_mnist", 3000)
    return ready(kerazoo.lenet5_1998(), "adam", 1.0), *padded(data), padded(validation), 5, 64


@case("development", "rate_high")
def warmup_to_2():
    """SGD with momentum whose rate rises to 2: the network learns at first, and is lost on the way."""
    import kerazoo

    data, validation = images("fashion_mnist", 4000)
    rate = kerazoo.train.WarmupCosine(2.0, 20, warmup=19, steps=63)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1)), "sgd", rate, nesterov=True), *data, validation, 20, 64


@case("development", "rate_low")
def warmup_of_4000_epochs():
    """A warm-up of 4000 epochs where 4000 batches were meant."""
    import kerazoo

    data, validation = images("mnist", 3000)
    rate = kerazoo.train.WarmupInverseSquareRoot(1e-3, warmup=4000, steps=47)
    return ready(kerazoo.cnn_mnist(), rate=rate, weight_decay=0.05), *data, validation, 5, 64


@case("development", "overfitting")
def few_photos_resnet():
    """400 training images for ResNet-20, no augmentation, no decay."""
    import kerazoo

    data, validation = images("cifar10", 400)
    return ready(kerazoo.resnet20(), "adam", 1e-3), *data, validation, 22, 32


@case("development", "underfitting")
def brightness_alone():
    """All that the head gets of an image is how bright it is on average."""
    import keras

    data, validation = images("fashion_mnist", 3000)
    image = keras.Input((28, 28, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(16, activation="relu", name="hidden")(x)
    model = keras.Model(image, keras.layers.Dense(10, name="head")(x))
    return ready(model, "adam", 1e-2), *data, validation, 30, 64


@case("development", "labels")
def shuffled_labels():
    """Images were shuffled, labels were not: the labels are those of other images."""
    import numpy as np

    import kerazoo

    (x, y), validation = images("mnist", 4000)
    x = x[np.random.default_rng(3).permutation(len(x))]
    model = kerazoo.lenet5(input_shape=(28, 28, 1), activation="tanh")
    return ready(model, "sgd", 0.05, nesterov=True), x, y, validation, 6, 64


@case("development", "inputs")
def cast_too_late():
    """Pixels were divided by 255 and then cast to whole numbers: all but the whitest are 0."""
    import kerazoo

    (x, y), (vx, vy) = images("cifar10", 2000)
    x, vx = (x / 255.0).astype("uint8"), (vx / 255.0).astype("uint8")
    return ready(kerazoo.lenet5(input_shape=(32, 32, 3)), "lamb", 5e-3), x, y, (vx, vy), 6, 64


@case("development", "imbalance")
def bags():
    """95 % of the images are bags."""
    import numpy as np

    import kerazoo

    (x, y), validation = images("fashion_mnist", 10_000)
    bag, others = np.flatnonzero(y == 8), np.flatnonzero(y != 8)
    rows = np.random.default_rng(1).permutation(np.concatenate([bag, others[:len(bag) // 19]]))
    model = kerazoo.resnet20(input_shape=(28, 28, 1), norm="group", preprocessing="unit")
    return ready(model, "adam", 1e-3), x[rows], y[rows], validation, 5, 64


# Healthy.

@case("development")
def mlp_fashion():
    import kerazoo

    data, validation = images("fashion_mnist", 10_000)
    return ready(kerazoo.mlp(), "adam", 1e-3), *data, validation, 5, 128


@case("development")
def lenet_1998_fashion():
    import kerazoo

    data, validation = images("fashion_mnist", 6000)
    rate = kerazoo.train.WarmupStep(1e-3, boundaries=(4,), steps=188)
    return ready(kerazoo.lenet5_1998(), "adam", rate), *padded(data), padded(validation), 6, 32


@case("development")
def lenet_averaged():
    import kerazoo

    data, validation = images("mnist", 8000)
    rate = kerazoo.train.WarmupLinear(2e-3, 6, warmup=0.5, steps=125)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1)), "adam", rate, ema=0.99), *data, validation, 6, 64


@case("development")
def cnn_one_cycle():
    import kerazoo
    from kerazoo.augment import RandomAffine

    data, validation = images("mnist", 5000)
    model = kerazoo.cnn_mnist(augmentation=RandomAffine(rotation=10, translation=0.08, seed=0))
    rate = kerazoo.train.OneCycle(3e-3, 6, steps=79)
    options = {"weight_decay": 0.01, "label_smoothing": 0.1}
    return ready(model, rate=rate, one_hot=True, **options), *one_hot(data), one_hot(validation), 6, 64


@case("development")
def alexnet_digits():
    import kerazoo

    data, validation = images("mnist", 2400)
    model = kerazoo.alexnet(classes=10, input_shape=(64, 64, 1), preprocessing="unit")
    return ready(model, "adam", 1e-4), *enlarged(data), enlarged(validation), 3, 64


@case("development")
def googlenet_bn_fashion():
    import kerazoo
    from kerazoo.augment import RandomFlip

    data, validation = images("fashion_mnist", 2000, 300)
    model = kerazoo.googlenet_bn(
        classes=10, input_shape=(64, 64, 1), preprocessing="unit", augmentation=RandomFlip(seed=0))
    rate = kerazoo.train.WarmupCosine(1e-3, 4, warmup=0.5, steps=63)
    return ready(model, rate=rate, weight_decay=0.05), *enlarged(data), enlarged(validation), 4, 32


@case("development")
def resnet32_cifar():
    import kerazoo
    from kerazoo.augment import Compose, RandomCrop, RandomFlip

    data, validation = images("cifar10", 4000, 300)
    model = kerazoo.resnet32(augmentation=Compose([RandomCrop(padding=4), RandomFlip()], seed=0))
    rate = kerazoo.train.WarmupCosine(0.1, 6, warmup=1, steps=63)
    return ready(model, "sgd", rate, nesterov=True, weight_decay=5e-4), *data, validation, 6, 64


@case("development")
def resnet56_fashion():
    import kerazoo

    data, validation = images("fashion_mnist", 2000, 300)
    model = kerazoo.resnet56(input_shape=(28, 28, 1), preprocessing="unit")
    rate = kerazoo.train.WarmupStep(0.05, boundaries=(4,), warmup=1, steps=32)
    return ready(model, "sgd", rate, weight_decay=1e-4), *data, validation, 5, 64


@case("development")
def resnet18_lamb():
    import kerazoo

    data, validation = images("mnist", 4000)
    model = kerazoo.resnet18(classes=10, input_shape=(32, 32, 1), preprocessing="unit")
    rate = kerazoo.train.WarmupCosine(5e-3, 4, warmup=0.5, steps=63)
    return ready(model, "lamb", rate, weight_decay=0.02), *padded(data), padded(validation), 4, 64


@case("development")
def preact_resnet_fashion():
    import kerazoo
    from kerazoo.augment import RandomFlip

    data, validation = images("fashion_mnist", 900, 300)
    model = kerazoo.preact_resnet18(
        input_shape=(28, 28, 1), preprocessing="unit", augmentation=RandomFlip(seed=0))
    rate = kerazoo.train.WarmupLinear(0.05, 4, warmup=0.5, steps=29)
    return ready(model, "sgd", rate, nesterov=True, weight_decay=5e-4), *data, validation, 4, 32


@case("development")
def densenet_digits():
    import kerazoo

    data, validation = images("mnist", 1200, 300)
    model = kerazoo.densenet40_12(input_shape=(28, 28, 1), preprocessing="unit")
    return ready(model, "adam", 1e-3), *data, validation, 3, 32


@case("development")
def vgg_bn_fashion():
    """With one dense layer behind the convolutions, as is usual for small images."""
    import keras

    import kerazoo
    from kerazoo.augment import RandomFlip

    data, validation = images("fashion_mnist", 1200, 300)
    features = kerazoo.vgg11_bn(
        include_top=False, pooling="avg", input_shape=(32, 32, 1), preprocessing="unit",
        augmentation=RandomFlip(seed=0))
    model = keras.Model(features.input, keras.layers.Dense(10, name="head")(features.output))
    rate = kerazoo.train.WarmupCosine(0.01, 3, warmup=0.5, steps=38)
    options = {"weight_decay": 5e-4, "label_smoothing": 0.1}
    data, validation = padded(one_hot(data)), padded(one_hot(validation))
    return ready(model, "sgd", rate, one_hot=True, nesterov=True, **options), *data, validation, 3, 32
