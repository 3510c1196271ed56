"""Keras Applications' networks with random weights, and ours with the same: the logits agree."""
import keras
import numpy as np
import pytest

import kerazoo

THEIRS = {
    "vgg16": "VGG16", "vgg19": "VGG19",
    "resnet50_v1": "ResNet50", "resnet101_v1": "ResNet101", "resnet152_v1": "ResNet152",
    "tf_resnet50_v2": "ResNet50V2", "tf_resnet101_v2": "ResNet101V2", "tf_resnet152_v2": "ResNet152V2",
    "densenet121": "DenseNet121", "densenet169": "DenseNet169", "densenet201": "DenseNet201",
    "tf_inception_v3": "InceptionV3",
    **{f"tf_efficientnet_b{i}": f"EfficientNetB{i}" for i in range(8)},
}
SMALL = ("vgg16", "resnet50_v1", "tf_resnet50_v2", "densenet121", "tf_inception_v3", "tf_efficientnet_b0")
QUICK = ("resnet50_v1", "tf_efficientnet_b0")
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in THEIRS]


def sizes(name):
    # Keras's VGG has no cells: it reads the 7x7 grid of a larger image alone.
    return (224,) if name.startswith("vgg") else (96, 97) if "inception" in name else (64, 65)


def options(name):
    # Keras's EfficientNets divide by 255 themselves.
    return {"classes": 10, "preprocessing": "unit" if "efficientnet" in name else None}


def make(name, size, **own):
    """One of Keras's networks, with new random numbers also where training would start from zeros and ones."""
    network = getattr(keras.applications, THEIRS[name])(**{
        "weights": None, "classes": 10, "classifier_activation": None, "input_shape": (size, size, 3), **own})
    random = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            continue
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        for variable in layer.weights:
            role, shape = variable.path.split("/")[-1], variable.shape
            if role in ("gamma", "moving_variance"):
                value = random.uniform(0.5, 1.5, shape)
            elif len(shape) == 1:
                value = random.uniform(-0.2, 0.2, shape)
            else:
                bound = (4 / np.prod(shape[:2] if depthwise else shape[:-1])) ** 0.5
                value = random.uniform(-bound, bound, shape)
            variable.assign(value.astype("float32"))
    return network


def legacy_weights(network, path):
    """Only the weights, as Keras 2 saved them: the part of a whole model's file that its own files were."""
    import h5py

    whole = path.with_name("whole.h5")
    network.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        for name in source["model_weights"]:
            source.copy(f"model_weights/{name}", target)
        for key, value in source["model_weights"].attrs.items():
            target.attrs[key] = value
    return path


SAVE = {
    "Keras 3": lambda network, path: network.save_weights(path),
    "whole model": lambda network, path: network.save(path),
    "Keras 2": legacy_weights,
}


@pytest.mark.parametrize("name", NAMES)
def test_logits_agree(name, random_images, assert_close, tmp_path):
    for size in sizes(name):
        network, path = make(name, size), tmp_path / "theirs.weights.h5"
        network.save_weights(path)
        ours = kerazoo.create_model(name, input_shape=(size, size, 3), **options(name))
        kerazoo.load_weights(ours, path)
        images = random_images(size, size)
        assert_close(ours(images), np.asarray(network(images)))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("kind", ["whole model", "Keras 2"])
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SMALL if name != "vgg16"
])
def test_logits_agree_from_older_kinds_of_files(name, kind, random_images, assert_close, tmp_path):
    size, path = sizes(name)[0], tmp_path / "theirs.h5"
    network = make(name, size)
    SAVE[kind](network, path)
    ours = kerazoo.create_model(name, input_shape=(size, size, 3), **options(name))
    kerazoo.load_weights(ours, path)
    images = random_images(size, size)
    assert_close(ours(images), np.asarray(network(images)))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", ["resnet50_v1", "tf_efficientnet_b0"])
def test_logits_agree_on_other_backends(name, backend, random_images, run_python, tmp_path):
    pytest.importorskip(backend, reason=f"{backend} is not installed: pip install {backend}")
    network, images = make(name, 64), random_images(64, 64)
    network.save_weights(tmp_path / "theirs.weights.h5")
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "expected.npy", network(images))
    code = f"""
import sys, keras, numpy as np, kerazoo
path, images, expected = sys.argv[1], np.load(sys.argv[2]), np.load(sys.argv[3])
model = kerazoo.create_model({name!r}, input_shape=(64, 64, 3), **{options(name)!r})
kerazoo.load_weights(model, path)
logits = keras.ops.convert_to_numpy(model(images))
assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
print(keras.config.backend(), "agrees")
"""
    files = [tmp_path / name for name in ("theirs.weights.h5", "images.npy", "expected.npy")]
    assert run_python(code, *files, backend=backend).stdout.split() == [backend, "agrees"]


def test_inception_is_told_by_the_order_of_numbered_layers(random_images, assert_close, tmp_path):
    keras.layers.Conv2D(1, 1)  # the count in the process goes on from here
    network = make("tf_inception_v3", 96)
    assert "conv2d" not in [layer.name for layer in network.layers]
    network.save_weights(tmp_path / "theirs.weights.h5")
    ours = kerazoo.tf_inception_v3(classes=10, input_shape=(96, 96, 3), preprocessing=None)
    kerazoo.load_weights(ours, tmp_path / "theirs.weights.h5")
    images = random_images(96, 96)
    assert_close(ours(images), np.asarray(network(images)))


def test_files_without_a_head_fill_models_without_one(random_images, assert_close, tmp_path):
    network = make("resnet50_v1", 64, include_top=False)
    network.save_weights(tmp_path / "theirs_notop.weights.h5")
    ours = kerazoo.resnet50_v1(input_shape=(64, 64, 3), preprocessing=None, include_top=False)
    kerazoo.load_weights(ours, tmp_path / "theirs_notop.weights.h5")
    images = random_images(64, 64)
    assert_close(ours(images), np.asarray(network(images)))


@pytest.mark.parametrize(("name", "file"), [
    ("vgg16", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    ("resnet50_v1", "resnet50_weights_tf_dim_ordering_tf_kernels.h5"),
])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_files_named_like_the_published_bgr_ones_take_rgb_images(name, file, random_images, assert_close, tmp_path):
    own = {"include_top": False} if "notop" in file else {"classes": 1000}
    network = make(name, 64, **own)
    network.save(tmp_path / file)
    mean, std = (123.68 / 255, 116.779 / 255, 103.939 / 255), 1 / 255
    ours = kerazoo.create_model(name, input_shape=(64, 64, 3), preprocessing=(mean, std), **own)
    kerazoo.load_weights(ours, tmp_path / file)
    pixels = np.abs(random_images(64, 64) * 100)
    bgr = pixels[..., ::-1] - np.array([103.939, 116.779, 123.68], "float32")
    assert_close(ours(pixels), np.asarray(network(bgr)))
    plain = kerazoo.create_model(name, input_shape=(64, 64, 3), **own)
    with pytest.raises(ValueError, match=r"Build it with preprocessing=\(\(0.48502, 0.457957, 0.407604\), 0.0039215"):
        kerazoo.load_weights(plain, tmp_path / file)


@pytest.mark.parametrize(("mean", "variance", "preprocessing"), [
    ((0.485, 0.456, 0.406), (0.229**2, 0.224**2, 0.225**2), "imagenet"),
    # As in the published files, for a network that divides by the root once more.
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "imagenet"),
    ((0, 0, 0), (1, 1, 1), "unit"),
])
def test_the_normalization_inside_a_file_must_be_the_models(mean, variance, preprocessing, tmp_path):
    network = make("tf_efficientnet_b0", 64)
    layer = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    layer.set_weights([np.array(mean), np.array(variance), np.array(5)])
    network.save_weights(tmp_path / "theirs.weights.h5")
    options = {"classes": 10, "input_shape": (64, 64, 3)}
    ours = kerazoo.tf_efficientnet_b0(preprocessing=preprocessing, **options)
    kerazoo.load_weights(ours, tmp_path / "theirs.weights.h5")
    other = kerazoo.tf_efficientnet_b0(preprocessing="cifar10", **options)
    with pytest.raises(ValueError, match=r"the model was built for \(0.4914, .*Build it with preprocessing=\("):
        kerazoo.load_weights(other, tmp_path / "theirs.weights.h5")
