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


def test_an_unknown_stage_is_answered_with_what_there_is(model):
    with pytest.raises(ValueError, match="no stage or layer 'stage4'; did you mean .*stage1.*begin with: "):
        kerazoo.feature_extractor(model, "stage4")
    with pytest.raises(ValueError, match="takes a functional keras.Model; got 'resnet20'"):
        kerazoo.feature_extractor("resnet20", "stage1")
