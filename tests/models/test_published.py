"""Published facts, recomputed."""
import keras
import pytest

import kerazoo

# One of each kind runs always; their larger siblings take minutes together.
QUICK = {
    "alexnet", "alexnet_2012", "vgg16", "vgg16_bn", "googlenet", "googlenet_bn", "inception_v3", "tf_inception_v3",
    "resnet18", "resnet50", "resnet50_v1", "resnet18_v2", "resnet50_v2", "tf_resnet50_v2", "wide_resnet50_2",
    "resnext50_32x4d", "resnet20", "preact_resnet18", "preact_resnet110", "preact_resnet164", "wide_resnet28_10",
    "densenet121", "densenet40_12", "densenet_bc100_12", "efficientnet_b0", "efficientnet_b2", "tf_efficientnet_b0",
    "efficientnet_lite0", *kerazoo.list_models(family="lenet"), *kerazoo.list_models(family="baseline"),
}


@pytest.mark.parametrize("name", [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in kerazoo.list_models()
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


def test_layers_for_training_alone_cost_nothing_at_inference():
    with_heads, without = (kerazoo.analyze(kerazoo.googlenet(aux_heads=heads)) for heads in (True, False))
    assert with_heads.macs == without.macs
    assert (with_heads.trainable, without.trainable) == (13_378_280, 6_998_552)


# Table 1 of the EfficientNet paper and the authors' code: channels and blocks of each stage.
SCALED = {
    "efficientnet_b0": ([16, 24, 40, 80, 112, 192, 320], [1, 2, 2, 3, 3, 4, 1], 32, 1280),
    "efficientnet_b7": ([32, 48, 80, 160, 224, 384, 640], [4, 7, 7, 10, 10, 13, 4], 64, 2560),
    "efficientnet_lite4": ([24, 32, 56, 112, 160, 272, 448], [1, 4, 4, 6, 6, 8, 1], 32, 1280),
}


@pytest.mark.parametrize("name", SCALED)
def test_compound_scaling_gives_the_widths_and_depths_of_the_authors_code(name):
    channels, blocks, stem, last = SCALED[name]
    model = kerazoo.create_model(name, input_shape=(32, 32, 3), include_top=False)
    projections = [layer for layer in model.layers if layer.name.endswith("project_conv")]
    for stage in range(1, 8):
        own = [layer for layer in projections if layer.name.startswith(f"stage{stage}_")]
        assert len(own) == blocks[stage - 1] and {layer.filters for layer in own} == {channels[stage - 1]}
    assert model.get_layer("stem_conv").filters == stem and model.get_layer("final_conv").filters == last
