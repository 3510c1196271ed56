"""The held runs: 12 that are broken, each in one way, and 12 that are healthy, with settings that are usual.

They were written by someone who had not seen the rules of `kerazoo.train.Diagnostics`. What is broken is what users do:
each mistake is one that a colleague or a student brings along. Data, architecture, optimizer, or how a run is broken
differ from those of the other sets.
"""
from diagnosis_cases import case, images, padded, ready


def one_hot(pair):
    import numpy as np

    return pair[0], np.eye(10, dtype="float32")[pair[1]]


def standardized(pair, mean, deviation):
    """As a pipeline does it that divides by 255 first: pixels around zero, of about unit variance."""
    import numpy as np

    return ((pair[0] / 255.0 - np.array(mean)) / np.array(deviation)).astype("float32"), pair[1]


CIFAR = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


# Broken.

@case("held", "loss")
def probabilities_of_two():
    """The mean of two networks' probabilities, which the loss takes for logits: it cannot fall below 1.46."""
    import keras

    import kerazoo

    data, validation = images("fashion_mnist", 5000)
    image = keras.Input((28, 28, 1))
    two = [
        kerazoo.lenet5(input_shape=(28, 28, 1), classifier_activation="softmax", activation=activation, name=activation)
        for activation in ("relu", "tanh")
    ]
    model = keras.Model(image, keras.layers.Average(name="mean")([network(image) for network in two]))
    return ready(model, "sgd", 0.02, nesterov=True), *data, validation, 7, 64


@case("held", "frozen")
def not_thawed_again():
    """A trained network was frozen to be looked at, and its training goes on without its being unfrozen."""
    import kerazoo

    data, validation = images("mnist", 3000)
    model = kerazoo.cnn_mnist(norm="batch", dropout=0.3)
    ready(model, "adam", 1e-3).fit(data[0][:800], data[1][:800], batch_size=32, epochs=2, verbose=0)
    model.trainable = False
    return ready(model, "sgd", 0.02, nesterov=True), *data, validation, 5, 64


@case("held", "validation")
def validation_not_standardized():
    """The pipeline standardizes the images that are trained on; those of validation come as they are, to 255."""
    import kerazoo

    data, validation = images("cifar10", 5000)
    model = kerazoo.lenet5(input_shape=(32, 32, 3), norm="batch", preprocessing=None)
    return ready(model, "adam", 1e-3), *standardized(data, *CIFAR), validation, 6, 64


@case("held", "inputs")
def one_buffer():
    """The loader hands out its buffer instead of copies: all images are the one that was read last."""
    import numpy as np

    import kerazoo

    (x, y), (vx, vy) = images("fashion_mnist", 4000)
    x, vx = (np.repeat(part[-1:], len(part), axis=0) for part in (x, vx))
    return ready(kerazoo.cnn_mnist(dropout=0.25), rate=1e-3, weight_decay=0.01), x, y, (vx, vy), 5, 64


@case("held", "labels")
def wrong_number_of_the_file_name():
    """The label is read from the file's running number, not from the class next to it; in validation as well."""
    import numpy as np

    import kerazoo

    (x, y), (vx, vy) = images("mnist", 4000)
    y, vy = (np.arange(len(part), dtype=part.dtype) % 10 for part in (y, vy))
    return ready(kerazoo.cnn_mnist(), "adam", 1e-3), x, y, (vx, vy), 8, 64


@case("held", "rate_high")
def fine_tuned_by_force():
    """A trained network gets a new head for other images, and a rate of 0.05 by Adam for all its layers."""
    import keras

    import kerazoo

    trained = kerazoo.lenet5(input_shape=(28, 28, 1))
    digits, _ = images("mnist_sample", 4000)
    ready(trained, "adam", 1e-3).fit(*digits, batch_size=64, epochs=2, verbose=0)
    data, validation = images("fashion_mnist", 4000)
    model = keras.Model(trained.input, keras.layers.Dense(10, name="clothes")(trained.layers[-2].output))
    return ready(model, "adam", 0.05), *data, validation, 6, 64


@case("held", "rate_low")
def sgd_by_its_name():
    """SGD by its name, which means a rate of 0.01 without momentum, and batches of 512 images."""
    import keras

    import kerazoo

    data, validation = images("cifar10", 4000)
    model = kerazoo.lenet5(input_shape=(32, 32, 3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model, *data, validation, 7, 512


@case("held", "overfitting")
def millions_of_weights():
    """Dense layers of 1.7 million weights on 1500 photos, with nothing against learning them by heart."""
    import kerazoo

    data, validation = images("cifar10", 1500)
    model = kerazoo.mlp(input_shape=(32, 32, 3), units=[512, 256], dropout=0.0)
    return ready(model, "sgd", 5e-3, nesterov=True), *data, validation, 22, 32


@case("held", "underfitting")
def dropout_taken_for_what_is_kept():
    """Dropout of 0.95 behind the dense layer, by someone who meant to keep 95 %."""
    import kerazoo

    data, validation = images("fashion_mnist", 5000)
    model = kerazoo.mlp(units=[256], dropout=0.95)
    rate = kerazoo.train.WarmupCosine(1e-3, 10, warmup=1, steps=79)
    return ready(model, "adam", rate), *data, validation, 10, 64


@case("held", "nan")
def logarithm_of_black():
    """The network works on the logarithm of pixels, and black is 0."""
    import keras
    from keras import layers

    data, validation = images("mnist", 3000)
    image = keras.Input((28, 28, 1))
    x = layers.Lambda(lambda x: keras.ops.log(x), name="decibels")(layers.Rescaling(1 / 255)(image))
    for number, filters in enumerate((16, 32), 1):
        x = layers.Conv2D(filters, 3, 2, "same", use_bias=False, name=f"conv{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"norm{number}")(x))
    model = keras.Model(image, layers.Dense(10, name="head")(layers.GlobalAveragePooling2D()(x)))
    return ready(model, "sgd", 0.05), *data, validation, 4, 64


@case("held", "dead")
def relu_of_six():
    """ReLU6 was meant, and ReLU has got 6 as its threshold: what is below becomes 0, and nearly all is."""
    import keras
    from keras import layers

    data, validation = images("fashion_mnist", 3000)
    image = keras.Input((28, 28, 1))
    x = layers.Rescaling(1 / 127.5, -1)(image)
    for number, filters in enumerate((16, 32, 64), 1):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = layers.ReLU(threshold=6.0, name=f"relu{number}")(layers.BatchNormalization(name=f"norm{number}")(x))
        x = layers.MaxPooling2D()(x)
    model = keras.Model(image, layers.Dense(10, name="head")(layers.GlobalAveragePooling2D()(x)))
    return ready(model, "adam", 1e-3), *data, validation, 5, 64


@case("held", "plateau")
def never_a_lower_rate():
    """The rate's steps are those of a training of 90 epochs, and this one has 16: it stays at 0.01, by Adam."""
    import kerazoo
    from kerazoo.augment import Compose, RandomCrop, RandomFlip

    data, validation = images("fashion_mnist", 3000)
    layers = Compose([RandomCrop(padding=2), RandomFlip()], seed=0)
    model = kerazoo.lenet5(input_shape=(28, 28, 1), activation="tanh", augmentation=layers)
    rate = kerazoo.train.WarmupStep(0.01, boundaries=(30, 60, 90), steps=94)
    return ready(model, "adam", rate), *data, validation, 16, 32


# Healthy.

@case("held")
def softmax_one_hot():
    import keras

    import kerazoo

    data, validation = images("fashion_mnist", 8000)
    model = kerazoo.lenet5(input_shape=(28, 28, 1), activation="elu", classifier_activation="softmax")
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.05)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    return model, *one_hot(data), one_hot(validation), 5, 64


@case("held")
def from_digits_to_clothes():
    """ResNet-20, trained on digits; stem and first stage stay as they are."""
    import keras

    import kerazoo

    trained = kerazoo.resnet20(input_shape=(28, 28, 1), preprocessing="unit")
    digits, _ = images("mnist_sample", 1500)
    ready(trained, "adam", 2e-3).fit(*digits, batch_size=32, epochs=2, verbose=0)
    data, validation = images("fashion_mnist", 2000)
    model = keras.Model(trained.input, keras.layers.Dense(10, name="clothes")(trained.layers[-2].output))
    kerazoo.train.freeze(model, up_to="stage1")
    multipliers = {"clothes": 3.0}
    return ready(model, "adam", 1e-3, lr_multipliers=multipliers), *data, validation, 3, 32


@case("held")
def resnet32_group_norms():
    import kerazoo

    data, validation = images("mnist", 1000, 400)
    model = kerazoo.resnet32(input_shape=(28, 28, 1), norm="group", preprocessing="unit")
    rate = kerazoo.train.WarmupCosine(2e-3, 4, warmup=0.5, steps=63)
    return ready(model, rate=rate, weight_decay=0.02), *data, validation, 4, 16


@case("held")
def resnet18_v2_fashion():
    import kerazoo
    from kerazoo.augment import RandomFlip

    data, validation = images("fashion_mnist", 1500, 400)
    model = kerazoo.resnet18_v2(
        classes=10, input_shape=(32, 32, 1), preprocessing="unit", augmentation=RandomFlip(seed=0))
    rate = kerazoo.train.WarmupLinear(1e-3, 4, warmup=0.5, steps=47)
    return ready(model, rate=rate, weight_decay=0.05), *padded(data), padded(validation), 4, 32


@case("held")
def separable_nadam():
    """In the way of MobileNet, by Keras's Nadam."""
    import keras
    from keras import layers

    data, validation = images("fashion_mnist", 6000)
    model = keras.Sequential([
        keras.Input((28, 28, 1)), layers.Rescaling(1 / 127.5, -1),
        layers.Conv2D(24, 3, 2, "same", use_bias=False), layers.BatchNormalization(momentum=0.9), layers.ReLU(6.0),
    ])
    for filters, stride in ((48, 1), (96, 2), (96, 1)):
        for kernel in (layers.DepthwiseConv2D(3, stride, "same", use_bias=False),
                       layers.Conv2D(filters, 1, use_bias=False)):
            for layer in (kernel, layers.BatchNormalization(momentum=0.9), layers.ReLU(6.0)):
                model.add(layer)
    for layer in (layers.GlobalAveragePooling2D(), layers.Dropout(0.1), layers.Dense(10)):
        model.add(layer)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Nadam(2e-3), loss, metrics=["accuracy"])
    return model, *data, validation, 5, 64


@case("held")
def mlp_large_batches():
    import kerazoo

    data, validation = images("mnist", 10_000)
    model = kerazoo.mlp(units=[300, 100], norm="batch", dropout=0.3)
    rate = kerazoo.train.WarmupPolynomial(0.2, 8, warmup=1, steps=40)
    return ready(model, "sgd", rate, weight_decay=1e-4), *data, validation, 8, 256


@case("held")
def lenet_standardized():
    """The pipeline standardizes all images, and the model has no part in that."""
    import kerazoo

    data, validation = (standardized(pair, 0.1307, 0.3081) for pair in images("mnist", 6000))
    model = kerazoo.lenet5(input_shape=(28, 28, 1), preprocessing=None, dropout=0.2)
    return ready(model, "sgd", 0.01, nesterov=True, weight_decay=5e-4), *data, validation, 6, 32


@case("held")
def mixup_affine():
    import kerazoo
    from kerazoo.augment import Compose, MixUp, RandomAffine, RandomFlip

    data, validation = images("fashion_mnist", 5000)
    layers = Compose([RandomFlip(), RandomAffine(rotation=5, translation=0.05), MixUp(0.2)], seed=0)
    model = kerazoo.cnn_mnist(activation="gelu", dropout=0.25, augmentation=layers)
    rate = kerazoo.train.WarmupCosine(2e-3, 7, warmup=0.5, steps=79)
    return ready(model, rate=rate, one_hot=True, weight_decay=0.05), *one_hot(data), one_hot(validation), 7, 64


@case("held")
def patches_with_attention():
    """A small vision transformer: 16 patches, three blocks."""
    import keras
    from keras import layers

    import kerazoo

    data, validation = images("mnist", 8000)
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(64, 7, 7, name="patches")(layers.Rescaling(1 / 255)(image))
    x = layers.Reshape((16, 64))(x)
    places = layers.Embedding(16, 64, name="places")(keras.ops.arange(16)[None])
    x = layers.Add()([x, places])
    for block in range(1, 4):
        inner = layers.LayerNormalization(name=f"block{block}_norm1")(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 16, name=f"block{block}_attention")(inner, inner)])
        inner = layers.Dense(128, "gelu", name=f"block{block}_fc1")(
            layers.LayerNormalization(name=f"block{block}_norm2")(x))
        x = layers.Add()([x, layers.Dense(64, name=f"block{block}_fc2")(inner)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="norm")(x))
    model = keras.Model(image, layers.Dense(10, name="head")(x))
    rate = kerazoo.train.WarmupCosine(2e-3, 7, warmup=1, steps=125)
    return ready(model, rate=rate, weight_decay=0.05, clip_norm=1.0), *data, validation, 7, 64


@case("held")
def all_convolutions():
    """Strided convolutions in the place of pooling, with PReLU, on photos."""
    import keras
    from keras import layers

    import kerazoo
    from kerazoo.augment import Compose, RandomCrop, RandomFlip

    data, validation = images("cifar10", 6000)
    image = keras.Input((32, 32, 3))
    x = Compose([RandomCrop(padding=3), RandomFlip()], seed=0)(image)
    x = layers.Rescaling(1 / 64, -2)(x)
    for number, (filters, stride) in enumerate(((32, 2), (48, 1), (64, 2), (64, 1)), 1):
        x = layers.Conv2D(filters, 3, stride, "same", kernel_initializer="he_normal", use_bias=False,
                          name=f"conv{number}")(x)
        x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x))
    model = keras.Model(image, layers.Dense(10, name="head")(layers.GlobalAveragePooling2D()(x)))
    rate = kerazoo.train.WarmupCosine(0.05, 6, warmup=0.5, steps=94)
    return ready(model, "sgd", rate, nesterov=True, weight_decay=5e-4), *data, validation, 6, 64


@case("held")
def even_or_odd():
    """Two classes, each of five digits, with averaged weights."""
    import kerazoo

    (x, y), (vx, vy) = images("mnist", 8000)
    data, validation = padded((x, y % 2)), padded((vx, vy % 2))
    rate = kerazoo.train.WarmupInverseSquareRoot(1e-3, warmup=1, steps=125)
    return ready(kerazoo.lenet5(classes=2), "adam", rate, ema=0.98), *data, validation, 6, 64


@case("held")
def resnet20_layer_norms():
    import kerazoo

    data, validation = images("mnist_sample", 1500)
    model = kerazoo.resnet20(input_shape=(28, 28, 1), norm="layer", activation="silu", preprocessing="unit")
    rate = kerazoo.train.OneCycle(8e-3, 4, steps=47)
    return ready(model, "lamb", rate, weight_decay=0.02), *data, validation, 4, 32
