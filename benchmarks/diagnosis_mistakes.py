"""Users' mistakes: 12 runs that are broken, each in one way, and 12 that are healthy, with settings that are usual.

They were written by someone who had not seen the rules of `kerazoo.train.Diagnostics`, and were held aside until they
had been run on them once; what that showed was mended, so that they count as development since. Each mistake is one
that a colleague or a student brings along. Data, architecture, optimizer, or how a run is broken differ from those of
the other sets.
"""
from diagnosis_cases import case, images, padded, ready


def one_hot(pair):
    import numpy as np

    return pair[0], np.eye(10, dtype="float32")[pair[1]]


def of_classes(pair, classes):
    """The images of some classes alone, which are numbered anew from 0 on."""
    import numpy as np

    rows = np.isin(pair[1], classes)
    return pair[0][rows], np.searchsorted(classes, pair[1][rows])


# Broken.

@case("development", "loss")
def loss_by_its_name():
    """The loss is given by its name, which wants probabilities, and the model ends in logits."""
    import kerazoo
    from kerazoo.train import optimizer

    data, validation = images("fashion_mnist", 4000)
    model = kerazoo.cnn_mnist()
    adam = optimizer(model, "adam", 1e-3, verbose=False)
    model.compile(adam, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, *data, validation, 6, 64


@case("development", "frozen")
def all_but_the_last_layer():
    """All layers but the last are frozen, and the last one is no dense layer but an activation behind it."""
    import keras

    import kerazoo

    data, validation = images("fashion_mnist", 3000)
    network = kerazoo.lenet5(input_shape=(28, 28, 1), dropout=0.2)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(network.output)
    model = keras.Model(network.input, logits)
    for layer in model.layers[:-1]:
        layer.trainable = False
    return ready(model, "adam", 1e-3), *data, validation, 4, 64


@case("development", "validation")
def validation_scaled_twice():
    """The model divides pixels by 255, and those of validation are divided before as well."""
    import kerazoo
    from kerazoo.augment import RandomFlip

    data, (vx, vy) = images("fashion_mnist", 4000)
    model = kerazoo.cnn_mnist(augmentation=RandomFlip(seed=0))
    return ready(model, "adam", 1e-3), *data, (vx / 255.0, vy), 6, 64


@case("development", "inputs")
def not_normalized():
    """The model does not normalize, as the loader was to do it, and does not: a plain network takes pixels to 255."""
    import kerazoo

    data, validation = images("cifar10", 3000)
    model = kerazoo.cnn_mnist(input_shape=(32, 32, 3), preprocessing=None)
    return ready(model, "sgd", 0.01, nesterov=True), *data, validation, 5, 64


@case("development", "labels")
def unreadable_file_skipped():
    """An image in the first third could not be read and was left out, its label was not: all that follow are off."""
    import numpy as np

    import kerazoo

    (x, y), validation = images("mnist", 4500)
    y = np.concatenate([y[:1300], np.roll(y[1300:], 1)])
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1)), "sgd", 0.02, nesterov=True), x, y, validation, 6, 64


@case("development", "imbalance")
def long_tail():
    """Each class has 0.4 times as many images as the one before: from 1000 to one; those of validation are alike."""
    import numpy as np

    import kerazoo

    (x, y), validation = images("fashion_mnist", 10_000)
    rows = np.concatenate([np.flatnonzero(y == k)[:max(1, round(1000 * 0.4 ** k))] for k in range(10)])
    rows = np.random.default_rng(5).permutation(rows)
    return ready(kerazoo.cnn_mnist(), "adam", 1e-3), x[rows], y[rows], validation, 8, 32


@case("development", "nan")
def softmax_by_hand():
    """Pooling by attention, whose softmax is written without taking the maximum off: its exponentials overflow."""
    import keras

    data, validation = images("cifar10", 2500)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for number, filters in enumerate((32, 64), 1):
        x = keras.layers.Conv2D(filters, 3, 2, "same", activation="gelu", kernel_initializer="he_normal",
                                name=f"conv{number}")(x)
    score = keras.layers.Conv2D(1, 1, kernel_initializer="he_normal", name="score")(x)
    exponential = keras.layers.Lambda(lambda x: keras.ops.exp(x / 0.01), name="exponential")(score)
    weight = keras.layers.Lambda(lambda x: x / keras.ops.sum(x, axis=(1, 2), keepdims=True), name="weight")(exponential)
    x = keras.layers.Lambda(lambda x: keras.ops.sum(x[0] * x[1], axis=(1, 2)), name="attention")([x, weight])
    model = keras.Model(image, keras.layers.Dense(10, name="head")(x))
    return ready(model, rate=1e-3, weight_decay=0.01), *data, validation, 4, 64


@case("development", "exploding")
def residual_without_norms():
    """24 residual blocks without norms: each adds to what it is given, so that signals grow with the depth."""
    import keras
    from keras import layers

    def convolution(x, name):
        return layers.Conv2D(24, 3, padding="same", kernel_initializer="he_normal", name=name)(x)

    data, validation = images("fashion_mnist", 2000)
    image = keras.Input((28, 28, 1))
    x = layers.AveragePooling2D(4)(convolution(layers.Rescaling(1 / 255)(image), "stem"))
    for block in range(1, 25):
        inner = layers.ReLU()(convolution(layers.ReLU()(x), f"block{block}_conv1"))
        x = layers.Add()([x, convolution(inner, f"block{block}_conv2")])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    model = keras.Model(image, layers.Dense(10, name="head")(x))
    rate = keras.optimizers.schedules.CosineDecay(0.02, 96)
    return ready(model, "sgd", rate, nesterov=True, weight_decay=1e-4), *data, validation, 3, 64


@case("development", "rate_high")
def adamw_at_the_rate_of_sgd():
    """AdamW in the place of SGD, and its rate of 0.1 has stayed."""
    import kerazoo

    data, validation = images("fashion_mnist", 4000)
    return ready(kerazoo.cnn_mnist(dropout=0.25), rate=0.1, weight_decay=0.01), *data, validation, 6, 64


@case("development", "rate_low")
def rate_of_fine_tuning():
    """A rate that is for the fine-tuning of trained networks, and this one starts at random."""
    import kerazoo

    data, validation = images("fashion_mnist", 3000)
    rate = kerazoo.train.WarmupLinear(2e-5, 5, warmup=1, steps=24)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1)), rate=rate, weight_decay=0.01), *data, validation, 5, 128


@case("development", "overfitting")
def copies():
    """250 images, each ten times, as if that were more of them."""
    import numpy as np

    import kerazoo

    (x, y), validation = images("cifar10", 250)
    rows = np.random.default_rng(2).permutation(np.tile(np.arange(250), 10))
    model = kerazoo.cnn_mnist(input_shape=(32, 32, 3), dropout=0.0)
    return ready(model, "adam", 1e-3), x[rows], y[rows], validation, 12, 64


@case("development", "underfitting")
def decay_of_adamw():
    """SGD with a weight decay of 0.2, which is for AdamW."""
    import kerazoo

    data, validation = images("mnist", 4000)
    rate = kerazoo.train.WarmupCosine(0.02, 8, warmup=0.5, steps=63)
    model = kerazoo.mlp(units=[256, 128], dropout=0.0)
    return ready(model, "sgd", rate, nesterov=True, weight_decay=0.2), *data, validation, 8, 64


# Healthy.

@case("development")
def softmax_and_probabilities():
    import keras

    import kerazoo

    data, validation = images("mnist_sample", 8000)
    model = kerazoo.mlp(units=[256, 128], classifier_activation="softmax")
    model.compile(keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, *data, validation, 5, 128


@case("development")
def head_on_frozen_layers():
    """What was learned of the digits from 0 to 4 tells those from 5 to 9 apart."""
    import keras

    import kerazoo

    data, validation = images("mnist", 8000)
    model = kerazoo.cnn_mnist(classes=5)
    ready(model, "adam", 1e-3).fit(*of_classes(data, range(5)), batch_size=64, epochs=2, verbose=0)
    model = keras.Model(model.input, keras.layers.Dense(5, name="new_head")(model.layers[-2].output))
    kerazoo.train.freeze(model)
    return ready(model, "adam", 3e-3), *of_classes(data, range(5, 10)), of_classes(validation, range(5, 10)), 6, 64


@case("development")
def tutorial_photos():
    """A small network as tutorials have it, by Keras's RMSprop."""
    import keras
    from keras import layers

    data, validation = images("cifar10", 6000)
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255)])
    for filters in (16, 32, 64):
        for layer in (
            layers.Conv2D(filters, 3, padding="same", use_bias=False), layers.BatchNormalization(momentum=0.9),
            layers.ReLU(), layers.MaxPooling2D(),
        ):
            model.add(layer)
    for layer in (layers.Flatten(), layers.Dropout(0.4), layers.Dense(10)):
        model.add(layer)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.RMSprop(5e-4), loss=loss, metrics=["accuracy"])
    return model, *data, validation, 7, 64


@case("development")
def lenet_tanh_in_steps():
    import kerazoo

    data, validation = images("mnist", 8000)
    model = kerazoo.lenet5(input_shape=(28, 28, 1), activation="tanh")
    rate = kerazoo.train.WarmupStep(0.01, boundaries=(3,), warmup=0.5, steps=250)
    return ready(model, "sgd", rate, weight_decay=5e-4), *data, validation, 5, 32


@case("development")
def lenet_photos():
    import kerazoo
    from kerazoo.augment import Compose, RandomCrop, RandomFlip

    data, validation = images("cifar10", 12_000)
    layers = Compose([RandomCrop(padding=2), RandomFlip()], seed=0)
    model = kerazoo.lenet5(input_shape=(32, 32, 3), augmentation=layers, preprocessing="cifar10")
    rate = kerazoo.train.WarmupPolynomial(2e-3, 6, power=1.5, warmup=0.5, steps=188)
    return ready(model, rate=rate, weight_decay=0.02), *data, validation, 6, 64


@case("development")
def mlp_gelu_norm():
    import kerazoo

    data, validation = images("fashion_mnist", 8000)
    model = kerazoo.mlp(units=[256, 256, 128], activation="gelu", norm="layer", dropout=0.3)
    rate = kerazoo.train.WarmupCosine(1e-3, 6, warmup=0.5, steps=63)
    return ready(model, rate=rate, weight_decay=0.05), *data, validation, 6, 128


@case("development")
def cutmix_lamb():
    import kerazoo
    from kerazoo.augment import Compose, CutMix, RandomFlip

    data, validation = images("fashion_mnist", 4000)
    model = kerazoo.cnn_mnist(dropout=0.2, augmentation=Compose([RandomFlip(), CutMix(1.0)], seed=0))
    rate = kerazoo.train.WarmupCosine(1e-2, 7, warmup=1, steps=63)
    options = {"weight_decay": 0.01, "label_smoothing": 0.05}
    return ready(model, "lamb", rate, one_hot=True, **options), *one_hot(data), one_hot(validation), 7, 64


@case("development")
def resnet20_group_norms():
    import kerazoo

    data, validation = images("mnist_sample", 1500)
    model = kerazoo.resnet20(input_shape=(28, 28, 1), norm="group", preprocessing="unit")
    return ready(model, rate=2e-3, weight_decay=0.01, clip_norm=1.0), *data, validation, 3, 16


@case("development")
def shirts():
    """Two classes that are alike, T-shirts and shirts, twice as many of the one as of the other."""
    import numpy as np

    import kerazoo
    from kerazoo.augment import RandomFlip

    def twice(pair):
        x, y = pair
        shirts = np.flatnonzero(y == 6)
        rows = np.random.default_rng(4).permutation(np.concatenate([np.flatnonzero(y == 0), shirts[:len(shirts) // 2]]))
        return of_classes((x[rows], y[rows]), [0, 6])

    data, validation = images("fashion_mnist", 30_000, 4000)
    model = kerazoo.lenet5(classes=2, input_shape=(28, 28, 1), augmentation=RandomFlip(seed=0))
    return ready(model, "adam", 1e-3), *twice(data), twice(validation), 6, 64


@case("development")
def accumulated_averaged():
    import kerazoo

    data, validation = images("mnist", 4000)
    model = kerazoo.cnn_mnist(activation="elu", dropout=0.3)
    rate = kerazoo.train.WarmupInverseSquareRoot(2e-3, warmup=0.5, steps=250)
    return ready(model, "adam", rate, accumulate=4, ema=0.98), *data, validation, 4, 16


@case("development")
def resnet20_one_cycle():
    import kerazoo
    from kerazoo.augment import Compose, RandomErasing, RandomFlip

    data, validation = images("fashion_mnist", 1500, 400)
    layers = Compose([RandomFlip(), RandomErasing(0.25)], seed=0)
    model = kerazoo.resnet20(input_shape=(28, 28, 1), preprocessing="unit", augmentation=layers)
    rate = kerazoo.train.OneCycle(0.1, 4, steps=47)
    return ready(model, "sgd", rate, weight_decay=5e-4), *data, validation, 4, 32


@case("development")
def lenet_1998_lamb():
    import kerazoo

    data, validation = images("mnist", 5000)
    rate = kerazoo.train.WarmupLinear(1e-2, 5, warmup=0.5, steps=79)
    return ready(kerazoo.lenet5_1998(), "lamb", rate, weight_decay=0.01), *padded(data), padded(validation), 5, 64
