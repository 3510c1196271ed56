"""The healthy runs on which the rules of `kerazoo.train.Diagnostics` were developed: short, with sensible settings.

Those that are broken are in `diagnosis_cases.py`, those of the other half in `diagnosis_held.py`: the held runs were
written by someone who had not seen the rules and thresholds, and were run once on them.
"""
from diagnosis_cases import case, images, padded, ready


@case("development")
def lenet_mnist():
    import numpy as np

    import kerazoo
    from kerazoo.augment import Compose, MixUp, RandomAffine

    (x, y), (vx, vy) = images("mnist_sample", 6000)
    layers = Compose([RandomAffine(rotation=6, translation=0.04, scale=0.05), MixUp(0.1)], seed=0)
    model = kerazoo.lenet5(input_shape=(28, 28, 1), augmentation=layers)
    rate = kerazoo.train.WarmupCosine(2e-3, 10, warmup=0.5, steps=-(-len(x) // 64))
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


@case("development")
def lenet_fashion():
    import kerazoo

    data, validation = images("fashion_mnist", 6000)
    rate = kerazoo.train.OneCycle(0.05, 8, steps=94)
    return ready(kerazoo.lenet5(input_shape=(28, 28, 1)), "sgd", rate, nesterov=True), *data, validation, 8, 64


@case("development")
def cnn_cifar():
    import kerazoo
    from kerazoo.augment import RandomFlip

    data, validation = images("cifar10", 5000)
    model = kerazoo.cnn_mnist(input_shape=(32, 32, 3), augmentation=RandomFlip())
    return ready(model, weight_decay=1e-2), *data, validation, 8, 64


@case("development")
def resnet32_fashion():
    import kerazoo

    data, validation = images("fashion_mnist", 2000, 300)
    model = kerazoo.resnet32(input_shape=(28, 28, 1), preprocessing="unit")
    return ready(model, "sgd", 0.05, weight_decay=1e-4), *data, validation, 3, 64


@case("development")
def densenet_cifar():
    import kerazoo

    data, validation = images("cifar10", 640, 200)
    return ready(kerazoo.densenet40_12(), "sgd", 0.05, nesterov=True), *data, validation, 3, 64


@case("development")
def vgg_cifar():
    import kerazoo

    data, validation = images("cifar10", 1000, 200)
    model = kerazoo.vgg11_bn(classes=10, input_shape=(32, 32, 3))
    return ready(model, "sgd", 0.01, weight_decay=5e-4), *data, validation, 3, 64


@case("development")
def efficientnet_cifar():
    import kerazoo

    data, validation = images("cifar10", 1000, 200)
    model = kerazoo.efficientnet_b0(classes=10, input_shape=(32, 32, 3))
    return ready(model, rate=1e-3), *data, validation, 3, 64
