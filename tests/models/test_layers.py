"""The layers that Keras lacks, against their formulas."""
import keras
import numpy as np
import pytest

from kerazoo.models import layers, lenet
from kerazoo.models.kit import Kit


def random(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def test_local_response_normalization_is_the_papers_formula():
    x = 20 * random(2, 3, 4, 9)
    expected = np.empty_like(x)
    for c in range(9):
        energy = (x[..., max(c - 2, 0) : c + 3] ** 2).sum(-1)
        expected[..., c] = x[..., c] / (2 + 1e-4 * energy) ** 0.75
    np.testing.assert_allclose(layers.LocalResponseNormalization()(x), expected, rtol=1e-5)


@pytest.mark.parametrize(("side", "cells"), [(7, 7), (14, 7), (10, 7), (3, 7), (1, 6)])
def test_adaptive_pooling_averages_the_pixels_of_each_cell(side, cells):
    x = random(2, side, side + 2, 3)
    result = layers.AdaptiveAveragePooling((cells, cells))(x)
    for i in range(cells):
        for j in range(cells):
            rows = slice(i * side // cells, -(-(i + 1) * side // cells))
            columns = slice(j * (side + 2) // cells, -(-(j + 1) * (side + 2) // cells))
            np.testing.assert_allclose(result[:, i, j], x[:, rows, columns].mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_padded_max_pooling_never_picks_its_padding():
    x = -1 - np.abs(random(2, 5, 6, 3))
    result = np.asarray(layers.PaddedMaxPooling2D(3, 2, 1)(x))
    assert result.shape == layers.PaddedMaxPooling2D(3, 2, 1).compute_output_shape(x.shape) == (2, 3, 3, 3)
    np.testing.assert_array_equal(result[:, 0, 0], x[:, :2, :2].max((1, 2)))
    np.testing.assert_array_equal(result[:, 1, 1], x[:, 1:4, 1:4].max((1, 2)))


def test_padded_shortcut_skips_pixels_and_adds_channels_of_zeros():
    x = random(2, 5, 5, 4)
    result = np.asarray(layers.PaddedShortcut(8, 2)(x))
    np.testing.assert_array_equal(result[..., 2:6], x[:, ::2, ::2])
    assert not result[..., :2].any() and not result[..., 6:].any()


def test_subsampling_sums_four_pixels_times_a_coefficient_plus_a_bias():
    layer, x = layers.Subsampling2D(), random(2, 4, 4, 3)
    layer.build(x.shape)
    layer.set_weights([np.array([1, 2, 3], "float32"), np.array([0.5, 0, -0.5], "float32")])
    total = x[:, 0:2, 2:4].sum((1, 2))
    np.testing.assert_allclose(np.asarray(layer(x))[:, 0, 1], total * [1, 2, 3] + [0.5, 0, -0.5], rtol=1e-5, atol=1e-6)


def test_a_table_convolution_sees_only_its_own_channels():
    layer, x = layers.TableConv2D(lenet.CONNECTIONS, 5), random(1, 5, 5, 6)
    before = np.asarray(layer(x))[0, 0, 0]
    assert sum(int(np.prod(w.shape)) for w in layer.trainable_weights) == 1_516
    for channel in range(6):
        changed = x.copy()
        changed[..., channel] += 1
        moved = np.flatnonzero(np.asarray(layer(changed))[0, 0, 0] != before)
        assert moved.tolist() == [o for o, row in enumerate(lenet.CONNECTIONS) if channel in row]


def test_c3_is_connected_as_in_table_1():
    counts = [len(row) for row in lenet.CONNECTIONS]
    assert counts == [3] * 6 + [4] * 9 + [6]
    assert [sum(channel in row for row in lenet.CONNECTIONS) for channel in range(6)] == [10] * 6


def test_radial_basis_answers_with_the_negative_squared_distance_from_the_codes():
    codes, x = np.sign(random(3, 84)), random(2, 84)
    expected = [[-((row - code) ** 2).sum() for code in codes] for row in x]
    np.testing.assert_allclose(layers.RadialBasis(codes)(x), expected, rtol=1e-4)


@pytest.mark.parametrize("classes", [2, 10, 47])
def test_codes_are_distinct_and_always_the_same(classes):
    codes = np.array(lenet.codes(classes))
    assert codes.shape == (classes, 84) and set(np.unique(codes)) == {-1, 1}
    assert len(np.unique(codes, axis=0)) == classes
    np.testing.assert_array_equal(codes, lenet.codes(classes))


def test_scaled_tanh_maps_one_to_one():
    np.testing.assert_allclose(layers.scaled_tanh(np.array([-1.0, 0, 1])), [-1, 0, 1], atol=1e-4)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (7, 2), (1, 2)])
@pytest.mark.parametrize("side", [8, 9])
def test_convolutions_pad_both_sides_alike(size, stride, side):
    image = keras.Input((side, side, 1))
    model = keras.Model(image, Kit().conv(image, 1, size, stride, name="conv"))
    model.get_layer("conv").kernel.assign(np.ones((size, size, 1, 1)))
    x = random(1, side, side, 1)
    padded = np.pad(x[0, ..., 0], size // 2)
    expected = [
        [padded[i : i + size, j : j + size].sum() for j in range(0, side, stride)] for i in range(0, side, stride)
    ]
    np.testing.assert_allclose(np.asarray(model(x))[0, ..., 0], expected, rtol=1e-4, atol=1e-4)
