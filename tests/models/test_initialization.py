"""Weights start as each paper states."""
import numpy as np
import pytest

import kerazoo


def kernel(model, name):
    return np.asarray(model.get_layer(name).kernel)


def test_resnet_starts_with_the_variance_of_he_et_al():
    model = kerazoo.resnet18(input_shape=(32, 32, 3))
    for name in ("stage2_block2_conv1", "stage4_block2_conv2"):
        weights = kernel(model, name)
        assert weights.std() == pytest.approx(np.sqrt(2 / (3 * 3 * weights.shape[-1])), rel=0.01)
        assert abs(weights.mean()) < 1e-3


def test_vgg_starts_as_glorot_and_bengio():
    weights = kernel(kerazoo.vgg11(include_top=False), "stage3_conv2")
    assert weights.std() == pytest.approx(np.sqrt(2 / (3 * 3 * (256 + 256))), rel=0.01)


def test_alexnet_starts_with_small_gaussians_and_biases_of_one():
    model = kerazoo.alexnet_2012(classes=10)
    for name in ("stage2_conv", "stage3_conv", "fc7", "head"):
        assert kernel(model, name).std() == pytest.approx(0.01, rel=0.05)
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    biases = {layer.name: float(np.mean(layer.bias)) for layer in layers}
    assert biases == {
        "stage1_conv": 0, "stage2_conv": 1, "stage3_conv": 0, "stage4_conv": 1, "stage5_conv": 1, "fc6": 1, "fc7": 1,
        "head": 0,
    }


def test_lenet_1998_starts_uniformly_by_fan_in():
    model = kerazoo.lenet5_1998()
    weights = kernel(model, "c5_conv")
    assert np.abs(weights).max() == pytest.approx(2.4 / 400, rel=0.01)
    connections = kernel(model, "c3_conv")
    assert np.abs(connections[..., :18]).max() == pytest.approx(2.4 / 75, rel=0.05)
    assert np.abs(connections[..., -6:]).max() == pytest.approx(2.4 / 150, rel=0.05)
