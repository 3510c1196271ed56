"""`weights="imagenet"`: the file, and with it the normalization and parts that it wants. Nothing is downloaded."""
import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.weights import hub, writers

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 75, 75, 3), dtype="uint8")


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Take a model's weights for the published file, in torchvision's names."""

    def publish(model):
        writers.write_safetensors(tmp_path / "published.safetensors", writers.to_torchvision(model))
        monkeypatch.setattr(hub, "fetch", lambda tag: tmp_path / "published.safetensors")
        return model

    return publish


def test_published_weights_bring_their_normalization(publish):
    theirs = publish(kerazoo.googlenet_bn(input_shape=(75, 75, 3), preprocessing=(0.5, 0.5), aux_heads=True))
    ours = kerazoo.googlenet_bn(input_shape=(75, 75, 3), weights="imagenet")
    np.testing.assert_allclose(ours(PIXELS), theirs(PIXELS), rtol=1e-4, atol=1e-5)
    assert not any(layer.name.startswith("aux") for layer in ours.layers)


def test_a_normalization_of_ones_own_stays(publish):
    publish(kerazoo.resnet18(input_shape=(75, 75, 3)))
    model = kerazoo.resnet18(input_shape=(75, 75, 3), weights="imagenet", preprocessing=None)
    assert isinstance(model.get_layer("normalize"), keras.layers.Identity)
    with pytest.raises(ValueError, match=r"preprocessing=\(\(0.485, 0.456, 0.406\), \(0.229, 0.224, 0.225\)\)"):
        kerazoo.resnet18(input_shape=(75, 75, 3), weights="imagenet", preprocessing="unit")


def test_gray_images_get_the_mean_of_the_normalization(publish):
    publish(kerazoo.resnet18(input_shape=(75, 75, 3)))
    model = kerazoo.resnet18(input_shape=(75, 75, 1), weights="imagenet")
    stem = keras.Model(model.input, model.get_layer("stem_conv_pad").input)
    np.testing.assert_allclose(stem(np.full((1, 75, 75, 1), 255, "uint8"))[0, 0, 0], (1 - 0.449) / 0.226, rtol=1e-5)
    with pytest.raises(ValueError, match="for images of 3 channels, or of 1.*got an input_shape with 4"):
        kerazoo.resnet18(input_shape=(75, 75, 4), weights="imagenet")


def test_a_file_of_kerazoos_brings_its_normalization_too(tmp_path):
    theirs = kerazoo.resnet20(preprocessing=((0.5, 0.4, 0.3), (0.2, 0.2, 0.3)))
    kerazoo.save_weights(theirs, tmp_path / "weights.safetensors")
    pixels = PIXELS[:, :32, :32]
    ours = kerazoo.resnet20(weights=tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(ours(pixels), theirs(pixels))
    with pytest.raises(ValueError, match="preprocessing"):
        kerazoo.resnet20(weights=tmp_path / "weights.safetensors", preprocessing="unit")
    gray = kerazoo.resnet20(input_shape=(32, 32, 1), weights=tmp_path / "weights.safetensors")
    np.testing.assert_allclose(gray.get_layer("normalize").offset, -0.4 / (0.7 / 3), rtol=1e-5)


def test_a_file_without_auxiliary_heads_builds_none_unless_asked(publish):
    publish(kerazoo.inception_v3(input_shape=(75, 75, 3), aux_heads=False))
    model = kerazoo.inception_v3(input_shape=(75, 75, 3), weights="imagenet/gluon_in1k")
    assert not any(layer.name.startswith("aux") for layer in model.layers)
    with pytest.raises(ValueError, match="aux"):
        kerazoo.inception_v3(input_shape=(75, 75, 3), weights="imagenet/gluon_in1k", aux_heads=True)


def test_the_head_is_left_out_or_fresh_but_never_guessed(publish):
    theirs = publish(kerazoo.resnet18(input_shape=(75, 75, 3)))
    features = kerazoo.resnet18(input_shape=(75, 75, 3), weights="imagenet", include_top=False, pooling="avg")
    pooled = kerazoo.feature_extractor(theirs, "pool")
    np.testing.assert_allclose(features(PIXELS), pooled(PIXELS), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="fresh_head=True"):
        kerazoo.resnet18(input_shape=(75, 75, 3), weights="imagenet", classes=10)
    model = kerazoo.resnet18(input_shape=(75, 75, 3), classes=10)
    kerazoo.load_weights(model, "imagenet", fresh_head=True)
    np.testing.assert_allclose(kerazoo.feature_extractor(model, "pool")(PIXELS), pooled(PIXELS), rtol=1e-4, atol=1e-5)


def test_a_network_without_published_weights_says_so():
    with pytest.raises(ValueError, match="No weights are published for googlenet; did you mean googlenet_bn"):
        kerazoo.googlenet(weights="imagenet")
