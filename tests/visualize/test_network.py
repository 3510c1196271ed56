"""Models as lists of calls, and parts of them run."""
import keras
import numpy as np
import pytest

from kerazoo.gradients import slope
from kerazoo.networks import run
from kerazoo.visualize import grad_cam
from kerazoo.visualize.network import find_call, network_of

layers = keras.layers


class Turned(keras.Model):
    """A functional model whose own call turns its answers around."""

    def call(self, x):
        return super().call(x)[:, ::-1]


def test_a_functional_model_with_a_call_of_its_own_is_refused():
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(image))
    model = Turned(image, layers.Dense(2, "softmax")(x), name="turned")
    images = np.zeros((1, 8, 8, 3), "float32")
    with pytest.raises(ValueError, match="'turned' is a subclassed model .Turned. with a call of its own, so that"):
        grad_cam(model, images)
    outer = keras.Input((8, 8, 3))
    network = network_of(keras.Model(outer, model(outer)), "this")
    assert [call.name for call in network.calls] == ["turned"]
    values = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype("float32")
    (found,) = run(network, network.outputs, {network.inputs[0]: keras.ops.convert_to_tensor(values)})
    np.testing.assert_allclose(found, model(values), rtol=1e-5)


def test_a_nested_model_called_with_names_computes_what_keras_does():
    first, second = keras.Input((4, 4, 1), name="z"), keras.Input((4, 4, 1), name="a")
    inner = keras.Model([first, second], layers.Subtract()([first, second]), name="inner")
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, inner({"z": layers.Rescaling(2.0)(image), "a": layers.Rescaling(5.0)(image)}))
    values = keras.ops.ones((1, 4, 4, 1))
    network = network_of(model, "this")
    (found,) = run(network, network.outputs, {network.inputs[0]: values})
    np.testing.assert_allclose(found, model(values))
    assert float(np.ravel(found)[0]) == -3


def test_a_cast_at_the_door_of_a_nested_model_is_a_call():
    inner, image = keras.Input((4, 4, 1)), keras.Input((4, 4, 1), dtype="uint8")
    body = keras.Model(inner, layers.Rescaling(0.5, name="half")(inner), name="body")
    network = network_of(keras.Model(image, body(image)), "this")
    assert [(call.name, call.node is None) for call in network.calls] == [("body", True), ("body/half", False)]
    (found,) = run(network, network.outputs, {network.inputs[0]: keras.ops.ones((1, 4, 4, 1), "uint8")})
    assert float(np.ravel(found)[0]) == 0.5


def test_names_of_stages_stand_for_their_last_call():
    model = keras.Sequential([
        keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="stage1_conv"), layers.ReLU(name="stage1_out"),
        layers.Conv2D(4, 3, name="stage2_conv"),
    ], name="small")
    network = network_of(model, "this")
    assert find_call(network, "stage1").name == "stage1_out"
    with pytest.raises(ValueError, match="small has no layer, block or stage 'stage3'; did you mean stage"):
        find_call(network, "stage3")


def test_a_slope_of_nothing_is_none():
    x = keras.ops.ones((2, 3))
    assert slope(lambda x: keras.ops.sum(keras.ops.stop_gradient(x), axis=-1), x) is None
    np.testing.assert_allclose(slope(lambda x: keras.ops.sum(x * x, axis=-1), x), 2 * np.ones((2, 3)))
