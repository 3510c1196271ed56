"""The calculations of a first course."""
import keras
import pytest

import kerazoo
from kerazoo.analyze import conv_output_size, count_parameters, receptive_field


@pytest.mark.parametrize(("arguments", "size"), [
    ({"size": 32, "kernel": 5}, 28), ({"size": 32, "kernel": 3, "padding": 1}, 32),
    ({"size": (64, 64), "kernel": 3, "stride": 2, "padding": 1}, (32, 32)),
    ({"size": 64, "kernel": 5, "padding": 2}, 64), ({"size": 64, "kernel": 2, "stride": 2}, 32),
    ({"size": 7, "kernel": 3, "stride": 2, "padding": "same"}, 4),
    ({"size": 224, "kernel": 7, "stride": 2, "padding": 3}, 112),
    ({"size": 32, "kernel": 3, "dilation": 2}, 28),
    ({"size": (28, 30), "kernel": (1, 7), "padding": "valid"}, (28, 24)),
    ({"size": 5, "kernel": 5}, 1),
])
def test_output_sizes(arguments, size):
    assert conv_output_size(**arguments) == size


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (4, 3, 1), (3, 1, 2), (2, 2, 1)])
def test_output_sizes_are_those_of_keras(kernel, stride, dilation, padding):
    for side in range(5, 12):
        layer = keras.layers.Conv2D(1, kernel, stride, padding, dilation_rate=dilation)
        wanted = layer.compute_output_shape((None, side, side, 1))[1]
        assert conv_output_size(side, kernel, stride, padding, dilation) == wanted


def test_fields_of_a_chain():
    assert [receptive_field([(3, 1)] * depth).size for depth in (1, 2, 3)] == [3, 5, 7]
    assert receptive_field([(3, 1), (3, 1), (3, 1), (2, 2)]) == (8, 2, 4.0)
    # A layer's stride widens the layers behind it, not itself.
    assert receptive_field([(3, 1), (3, 1), (3, 2)])[:2] == (7, 2)
    assert receptive_field([(3, 1), (3, 1), (3, 2), (3, 1)])[:2] == (11, 2)
    assert receptive_field([]) == (1, 1, 0.5)
    assert receptive_field([3, {"kernel": 3, "dilation": 2, "padding": "same"}, (3, 1, 1)]).size == 9
    assert receptive_field([(7, 2, 3), (3, 2, 1)]) == (11, 4, 0.5)


def test_parameters():
    assert count_parameters("conv", kernel=3, inputs=3, outputs=64) == 1_792
    assert count_parameters("conv", kernel=5, inputs=3, outputs=32) == 2_432
    assert count_parameters("conv", kernel=3, inputs=32, outputs=64) == 18_496
    assert count_parameters("dense", inputs=3_072, outputs=64) == 196_672
    assert count_parameters(kerazoo.lenet5()) == 61_706


LAYERS = {
    "grouped": (keras.layers.Conv2D, {"filters": 8, "kernel_size": (3, 5), "groups": 2, "use_bias": False},
                ("conv", {"kernel": (3, 5), "inputs": 4, "outputs": 8, "groups": 2, "bias": False})),
    "depthwise": (keras.layers.DepthwiseConv2D, {"kernel_size": 3}, ("depthwise_conv", {"kernel": 3, "inputs": 4})),
    "separable": (keras.layers.SeparableConv2D, {"filters": 8, "kernel_size": 3},
                  ("separable_conv", {"kernel": 3, "inputs": 4, "outputs": 8})),
    "transposed": (keras.layers.Conv2DTranspose, {"filters": 8, "kernel_size": 3},
                   ("conv_transpose", {"kernel": 3, "inputs": 4, "outputs": 8})),
    "batch": (keras.layers.BatchNormalization, {}, ("batch_norm", {"inputs": 4})),
    "layer": (keras.layers.LayerNormalization, {}, ("layer_norm", {"inputs": 4})),
    "group": (keras.layers.GroupNormalization, {"groups": 2}, ("group_norm", {"inputs": 4})),
}


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_are_those_of_keras(name):
    kind, options, (question, numbers) = LAYERS[name]
    layer = kind(**options)
    layer.build((None, 8, 8, 4))
    assert count_parameters(question, **numbers) == count_parameters(layer) == layer.count_params()
    trained = sum(int(keras.ops.size(weight)) for weight in layer.trainable_weights)
    assert count_parameters(question, **numbers, trainable_only=True) == trained


def test_a_layer_that_is_not_built_is_counted_for_an_input():
    convolution, dense = keras.layers.Conv2D(64, 3), keras.layers.Dense(3)
    assert count_parameters(convolution, (32, 32, 3)) == 1792 and not convolution.built
    assert count_parameters(dense, 4) == count_parameters(dense, (4,)) == count_parameters(dense, [None, 4]) == 15
    model = keras.Sequential([convolution, keras.layers.BatchNormalization()])
    assert count_parameters(model, (None, None, 3), trainable_only=True) == 1792 + 128
    assert not model.built


@pytest.mark.parametrize(("call", "message"), [
    (lambda: conv_output_size(4, 5), "kernel of 5 pixels does not fit 4 pixels .* padding of at least 1"),
    (lambda: conv_output_size(8, 3, dilation=4), "with dilation 4, 9 pixels wide, does not fit 8"),
    (lambda: conv_output_size(32, 2.5), "kernel must be an integer from 1 on; got 2.5"),
    (lambda: conv_output_size(32, 3, 0), "stride must be an integer from 1 on; got 0"),
    (lambda: conv_output_size(32, 3, padding="full"), "from 0 on, \"same\" or \"valid\"; got 'full'"),
    (lambda: conv_output_size((32, 32, 3), 3), r"\(height, width\), without channels; got \(32, 32, 3\)"),
    (lambda: receptive_field(3), "takes a list of layers such as"),
    (lambda: receptive_field((3, 2)), r"which may be one layer, \[\(3, 2\)\], or 2 kernels, \[3, 2\]"),
    (lambda: receptive_field([(3, 1), "conv"]), "Layer 2 must be .* got 'conv'"),
    (lambda: receptive_field([(3, 0)]), "the stride of layer 1 must be an integer from 1 on; got 0"),
    (lambda: receptive_field([{"kernel": 3, "step": 2}]), "Layer 1 must be"),
    (lambda: count_parameters("pool", inputs=3), "takes a Keras layer or model, or one of 'conv', .* got 'pool'"),
    (lambda: count_parameters("conv", inputs=3, outputs=4), "'conv' takes kernel and inputs and outputs; kernel is m"),
    (lambda: count_parameters("dense", kernel=3, inputs=3, outputs=4), "kernel is 3, and has no meaning here"),
    (lambda: count_parameters("conv", kernel=3, inputs=3, outputs=4, groups=2), "must divide inputs and outputs"),
    (lambda: count_parameters("depthwise_conv", kernel=3, inputs=4, groups=2), "groups is for 'conv'; got groups=2"),
    (lambda: count_parameters("group_norm", inputs=32, groups=8), "got groups=8 for 'group_norm'"),
    (lambda: count_parameters("conv", kernel=(), inputs=3, outputs=4), r"an integer or \(rows, columns\); got \(\)"),
    (lambda: count_parameters("conv", kernel=(3, 3, 3, 4), inputs=3, outputs=64), r"got \(3, 3, 3, 4\)"),
    (lambda: count_parameters(keras.layers.Dense(3, name="late")), "late is not built.* count_parameters.layer, "),
    (lambda: count_parameters("dense", 4), r"is for Keras layers; got 4 .*count_parameters.'dense', inputs=..., outp"),
    (lambda: count_parameters(keras.layers.Conv2D(3, 3, name="c"), (8,)), r"one input of c, without .*; got \(8,\): "),
    (lambda: count_parameters(keras.layers.Dense(3, name="d"), "4"), "input_shape must be .* of d, .*; got '4'"),
])
def test_what_makes_no_sense_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_counting_for_an_input_draws_nothing_and_says_what_cannot_be_copied():
    import random

    layer = keras.layers.Conv2D(64, 3)
    drawn = random.getstate()
    assert kerazoo.count_parameters(layer, (32, 32, 3)) == 1792
    assert random.getstate() == drawn
    layer = keras.layers.Lambda(lambda x: 2 * x)
    with pytest.raises(ValueError, match="cannot be copied to be tried on an input .*Call it on an input of the shape"):
        kerazoo.count_parameters(layer, (32, 32, 3))
