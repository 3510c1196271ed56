import keras
import numpy as np
import pytest

import kerazoo


@pytest.fixture(scope="module")
def model():
    return kerazoo.resnet20(input_shape=(16, 16, 3), augmentation=kerazoo.augment.RandomAffine(rotation=90, seed=1))


def test_stages_come_by_name(model):
    features = kerazoo.feature_extractor(model, ["stem_conv", "stage2", "stage3_block1"])
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype="uint8")
    found = {name: tuple(tensor.shape) for name, tensor in features(images).items()}
    assert found == {"stem_conv": (2, 16, 16, 16), "stage2": (2, 8, 8, 32), "stage3_block1": (2, 4, 4, 64)}
    last = kerazoo.feature_extractor(model, "stage3")(images)
    head = model.get_layer("head")
    np.testing.assert_allclose(
        np.asarray(last).mean((1, 2)) @ head.kernel.numpy() + head.bias.numpy(), model(images), rtol=1e-4, atol=1e-5
    )


def test_features_share_the_weights_and_leave_augmentation_out(model):
    features = kerazoo.feature_extractor(model, "stage1")
    assert features.weights[0] is model.weights[0]
    assert not any("affine" in layer.name for layer in features.layers)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype="uint8")
    stem = kerazoo.feature_extractor(model, "stem_conv")
    np.testing.assert_array_equal(stem(images, training=True), stem(images, training=False))


def test_augmentation_is_left_out_without_normalization_too():
    model = kerazoo.resnet20(augmentation=kerazoo.augment.RandomAffine(), preprocessing=None)
    assert not any("affine" in layer.name for layer in kerazoo.feature_extractor(model, "stage1").layers)


def test_foreign_and_sequential_models_keep_all_their_layers():
    model = keras.Sequential([
        keras.Input((8, 8, 3)),
        keras.layers.Conv2D(4, 3, name="conv"),
        keras.layers.LayerNormalization(name="normalize"),
        keras.layers.Conv2D(5, 3, name="last"),
    ])
    features = kerazoo.feature_extractor(model, ["conv", "last"])
    found = {name: tensor.shape for name, tensor in features(np.zeros((1, 8, 8, 3), "float32")).items()}
    assert found == {"conv": (1, 6, 6, 4), "last": (1, 4, 4, 5)}


@pytest.mark.parametrize("names", [3, [], [3]])
def test_names_must_be_names(model, names):
    with pytest.raises(ValueError, match="names must be the name of a stage or layer, or a list"):
        kerazoo.feature_extractor(model, names)


def test_an_unknown_stage_is_answered_with_what_there_is(model):
    with pytest.raises(ValueError, match="no stage or layer 'stage4'; did you mean .*stage1.*begin with: "):
        kerazoo.feature_extractor(model, "stage4")
    with pytest.raises(ValueError, match="functional or sequential keras.Model; got 'resnet20'"):
        kerazoo.feature_extractor("resnet20", "stage1")
