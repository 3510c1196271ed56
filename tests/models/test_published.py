"""Published facts, recomputed."""
import keras
import pytest

import kerazoo

DEEP = ("resnet1202", "preact_resnet1001")


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in kerazoo.list_models()
])
def test_parameters_and_macs_are_the_published_ones(name):
    facts = kerazoo.facts(name)
    model = kerazoo.create_model(name)
    analysis = kerazoo.analyze(model)
    assert model.input_shape[1:] == facts.input_shape
    assert model.output_shape == (None, facts.classes)
    assert analysis.trainable == facts.parameters
    assert analysis.macs == pytest.approx(1e9 * facts.gmacs, rel=0.005)


def test_the_calculations_of_a_first_course():
    first = kerazoo.vgg11(include_top=False).get_layer("stage1_conv1")
    assert (first.kernel.shape, first.count_params()) == ((3, 3, 3, 64), 1_792)
    dense = kerazoo.mlp(input_shape=(32, 32, 3), units=64).get_layer("fc1")
    assert dense.count_params() == 196_672


def test_lenet_takes_28x28_digits_at_the_same_size():
    assert kerazoo.lenet5(input_shape=(28, 28, 1)).count_params() == 61_706


@pytest.mark.parametrize(("ours", "theirs"), [("vgg16", "VGG16"), ("vgg19", "VGG19")])
def test_parameters_equal_those_of_keras_applications(ours, theirs):
    reference = getattr(keras.applications, theirs)(weights=None)
    assert kerazoo.create_model(ours).count_params() == reference.count_params()


def test_resnet50_v1_is_that_of_keras_applications_but_for_biases_in_front_of_norms():
    reference = keras.applications.ResNet50(weights=None)
    biases = sum(layer.bias.shape[0] for layer in reference.layers if isinstance(layer, keras.layers.Conv2D))
    ours = kerazoo.resnet50_v1()
    assert ours.count_params() == reference.count_params() - biases
    shapes = [sorted(tuple(w.shape) for w in model.weights if len(w.shape) == 4) for model in (ours, reference)]
    assert shapes[0] == shapes[1]
