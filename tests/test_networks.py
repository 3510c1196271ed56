"""Models as lists of calls, run as Keras runs them."""
import keras
import numpy as np
import pytest

from kerazoo.networks import has_graph, named, nodes_by_depth, nodes_of, run, taken_apart
from kerazoo.train.diagnosis_probe import as_inputs, walk

layers = keras.layers


def inner_of_two():
    first, second = keras.Input((4,), name="z"), keras.Input((4,), name="a")
    return keras.Model([first, second], layers.Subtract(name="minus")([first, second]), name="inner")


class OwnCall(keras.Model):
    def call(self, x):
        return 2 * super().call(x)


class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def made(kind):
    image = keras.Input((4,))
    return kind(image, layers.Dense(2)(image))


def test_a_graph_is_one_that_keras_runs():
    assert has_graph(made(keras.Model)) and has_graph(made(OwnStep)) and not has_graph(made(OwnCall))
    assert has_graph(keras.Sequential([keras.Input((4,)), layers.Dense(2)]))
    assert not has_graph(keras.Sequential([layers.Dense(2)])) and not has_graph(layers.Dense(2))


@pytest.mark.parametrize("nodes", [nodes_of, nodes_by_depth])
@pytest.mark.parametrize("call", [
    lambda inner, x, y: inner({"z": x, "a": y}), lambda inner, x, y: inner([x, y]),
    lambda inner, x, y: inner(inputs={"a": y, "z": x}),
])
def test_a_nested_model_gets_what_keras_gives_it(nodes, call):
    image, inner = keras.Input((4,), name="image"), inner_of_two()
    model = keras.Model(image, call(inner, layers.Rescaling(2.0)(image), layers.Rescaling(5.0)(image)))
    x = np.arange(8, dtype="float32").reshape(2, 4)
    network = taken_apart(model, nodes)
    assert named(network.calls, "minus").name == "inner/minus"
    (found,) = run(network, network.outputs, {network.inputs[0]: keras.ops.convert_to_tensor(x)})
    np.testing.assert_allclose(found, -3 * x)
    np.testing.assert_allclose(model(x), -3 * x)
    visited = []
    (found,) = walk(model, [keras.ops.convert_to_tensor(x)], lambda name, *_: visited.append(name))
    np.testing.assert_allclose(found, -3 * x)
    assert visited[-1] == "inner/minus"


def test_images_by_name_go_to_the_inputs_of_that_name():
    first, second = as_inputs(inner_of_two(), {"a": np.zeros((1, 4)), "z": np.ones((1, 4))})
    assert float(first[0, 0]) == 1 and float(second[0, 0]) == 0
