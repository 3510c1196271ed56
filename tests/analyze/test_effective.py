"""How much pixels count, measured by gradients."""
import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.analyze import effective_receptive_field

layers = keras.layers


def chain(depth, side=41):
    model = keras.Sequential([keras.Input((side, side, 1))] + [
        layers.Conv2D(1, 3, padding="same", use_bias=False, kernel_initializer="ones", name=f"conv{i}")
        for i in range(1, depth + 1)
    ])
    return model


def test_a_chain_of_averages_is_a_bell_as_luo_et_al_derive():
    field = effective_receptive_field(chain(8), count=1)
    assert (field.layer, field.unit, field.extent) == ("conv8", (20, 20), (17, 17))
    # Each layer spreads by a variance of 2/3 on each axis: 8 of them, a bell of that standard deviation.
    bell = np.exp(-((np.arange(41) - 20) ** 2) / (2 * 8 * 2 / 3))
    np.testing.assert_allclose(field.map, np.outer(bell, bell), atol=0.03)
    # It is above 4.55 % of its height within a circle of sqrt(-2 ln 0.0455) standard deviations.
    radius = np.sqrt(-2 * np.log(0.0455) * 8 * 2 / 3)
    assert field.size == pytest.approx(np.sqrt(np.pi) * radius, rel=0.05)
    assert f"{field.extent[0]} x {field.extent[1]} of 41 x 41" in str(field)


def test_it_lies_within_the_theoretical_field_of_a_real_model():
    model = kerazoo.resnet20(input_shape=(64, 64, 3))
    rows = {row.name: row for row in kerazoo.analyze(model).rows}
    field = effective_receptive_field(model, "stage2_block1_out", count=4)
    theoretical = rows["stage2_block1_out"].receptive_field
    assert theoretical[0] - 4 <= field.extent[0] <= theoretical[0]
    assert field.size < 0.8 * theoretical[0]
    assert field.map.shape == (64, 64) and field.map.max() == 1 and field.images == 4


def test_a_unit_and_images_of_ones_own():
    images = np.random.default_rng(0).uniform(0, 255, (2, 41, 41, 1))
    field = effective_receptive_field(chain(2), "conv1", images, unit=(0, 40))
    assert field.images == 2 and field.extent == (2, 2) and field.map[0, 40] == 1 and field.map[2:].sum() == 0


def averages(size, name):
    return layers.Conv2D(1, size, padding="same", use_bias=False, kernel_initializer="ones", name=name)


def test_the_last_use_of_a_shared_layer_is_meant_or_the_one_of_that_number():
    image, layer = keras.Input((16, 16, 1)), averages(3, "l")
    model = keras.Model(image, layer(layer(layer(image))))
    for name, extent in ((None, 7), ("l", 7), ("l (use 2)", 5), ("l (use 3)", 7)):
        assert effective_receptive_field(model, name, count=1).extent == (extent, extent)


def test_a_layer_that_an_earlier_model_uses_too():
    layer, other, image = averages(3, "l"), keras.Input((8, 8, 1)), keras.Input((16, 16, 1))
    keras.Model(other, layer(other))
    field = effective_receptive_field(keras.Model(image, layer(averages(5, "first")(image))), "l", count=1)
    assert (field.layer, field.extent, field.map.shape) == ("l", (7, 7), (16, 16))


def test_layers_of_nested_models_are_named_as_the_analysis_names_them():
    inner, image = keras.Input((16, 16, 1)), keras.Input((16, 16, 1))
    body = keras.Model(inner, averages(3, "out")(averages(3, "inner")(inner)), name="body")
    model = keras.Model(image, averages(3, "last")(body(averages(3, "first")(image))))
    for name, extent in (("body/inner", 5), ("inner", 5), ("body/out", 7), ("body", 7), ("last", 9)):
        field = effective_receptive_field(model, name, count=1)
        assert field.extent == (extent, extent), name
    assert effective_receptive_field(model, "inner", count=1).layer == "body/inner"


def test_images_of_bytes_and_images_of_any_size():
    image = keras.Input((16, 16, 1), dtype="uint8")
    bytes_in = keras.Model(image, averages(3, "conv")(layers.Rescaling(1 / 255)(image)))
    assert effective_receptive_field(bytes_in, count=1).extent == (3, 3)
    opened = keras.Sequential([keras.Input((None, None, 1)), averages(3, "conv")])
    assert effective_receptive_field(opened, count=1, input_shape=(12, 14, 1)).map.shape == (12, 14)
    for shape in ("12", (12.5, 14, 1), (12, 14)):
        with pytest.raises(ValueError, match="input_shape"):
            effective_receptive_field(opened, count=1, input_shape=shape)


@keras.saving.register_keras_serializable(package="tests")
class Stop(layers.Layer):
    def call(self, x):
        return keras.ops.stop_gradient(x)


def test_a_layer_without_a_way_back_to_the_image_is_told():
    model = keras.Sequential([keras.Input((8, 8, 1)), averages(3, "first"), Stop(), averages(3, "last")])
    with pytest.raises(ValueError, match="No gradient comes from last back to the image"):
        effective_receptive_field(model, count=1)
    assert effective_receptive_field(model, "first", count=1).extent == (3, 3)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: effective_receptive_field(chain(2), "conv3"), "no layer 'conv3' with a feature map; did you mean conv"),
    (lambda: effective_receptive_field(kerazoo.lenet5(), "head"), "no layer 'head' with a feature map"),
    (lambda: effective_receptive_field(keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten()])),
     "has no layer with a feature map"),
    (lambda: effective_receptive_field(kerazoo.mlp()), "mlp has no convolution or pooling, .* reads the whole image"),
    (lambda: effective_receptive_field(chain(2), unit=(41, 0)), r"in the 41 x 41 units of conv2; got \(41, 0\)"),
    (lambda: effective_receptive_field(chain(2), unit=3), r"unit must be \(row, column\) .*; got 3"),
    (lambda: effective_receptive_field(chain(2), unit=(3.5, 2)), "unit's row must be an integer from 0 on; got 3.5"),
    (lambda: effective_receptive_field(chain(2), unit=(1, -1)), "unit's column must be an integer from 0 on; got -1"),
    (lambda: effective_receptive_field(chain(2), images=np.zeros((2, 8, 8, 1))), r"images .*; got \(2, 8, 8, 1\)"),
    (lambda: effective_receptive_field("resnet18"), "got 'resnet18'"),
])
def test_what_makes_no_sense_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_other_backends_measure_the_same(run_python, backend):
    code = """
import keras, kerazoo
model = keras.Sequential([keras.Input((41, 41, 1))] + [
    keras.layers.Conv2D(1, 3, padding="same", use_bias=False, kernel_initializer="ones") for _ in range(8)])
field = kerazoo.analyze.effective_receptive_field(model, count=1)
print(field.extent, round(field.size, 3))
"""
    field = effective_receptive_field(chain(8), count=1)
    assert run_python(code, backend=backend).stdout.strip() == f"{field.extent} {round(field.size, 3)}"
