"""The one signature that every builder has."""
import inspect

import keras
import numpy as np
import pytest

import kerazoo

# Members of all families that differ in their parts, at a small size.
FAMILIES = {
    "mlp": (8, 8, 3), "cnn_mnist": (12, 12, 3), "lenet5": (32, 32, 3), "lenet5_1998": (32, 32, 3),
    "alexnet": (63, 63, 3), "alexnet_2012": (67, 67, 3), "vgg11": (32, 32, 3), "resnet18": (32, 32, 3),
    "resnet50_v1": (32, 32, 3),
    "resnet18_v2": (32, 32, 3), "tf_resnet50_v2": (32, 32, 3), "resnext50_32x4d": (32, 32, 3), "resnet20": (8, 8, 3),
    "preact_resnet18": (16, 16, 3), "preact_resnet110": (8, 8, 3), "preact_resnet164": (8, 8, 3),
    "wide_resnet28_10": (8, 8, 3), "googlenet": (32, 32, 3), "googlenet_bn": (32, 32, 3), "inception_v3": (75, 75, 3),
    "tf_inception_v3": (75, 75, 3), "densenet121": (32, 32, 3), "densenet40_12": (8, 8, 3),
    "densenet_bc100_12": (8, 8, 3), "efficientnet_b0": (32, 32, 3), "tf_efficientnet_b0": (32, 32, 3),
    "efficientnet_lite0": (32, 32, 3),
}
# One of each kind, quickly built.
KINDS = (
    "mlp", "cnn_mnist", "lenet5", "lenet5_1998", "alexnet", "alexnet_2012", "vgg11", "resnet20", "preact_resnet18",
    "googlenet", "inception_v3", "densenet40_12", "efficientnet_b0",
)
# Of these, all but the two that take longest.
QUICKEST = tuple(name for name in KINDS if name not in ("inception_v3", "efficientnet_b0"))
OWN = {
    "mlp": ["units"], "googlenet": ["aux_heads"], "googlenet_bn": ["aux_heads"], "inception_v3": ["aux_heads"],
    "tf_inception_v3": ["aux_heads"], "wide_resnet28_10": ["block_dropout"],
    **{name: ["stochastic_depth"] for name in kerazoo.list_models(family="efficientnet")},
}
LIGHT = ("lenet5", "resnet20", "preact_resnet18")


def quick(names, kept=KINDS):
    """Parameters of a test, of which those not kept run with the slow tests."""
    return [name if name in kept else pytest.param(name, marks=pytest.mark.slow) for name in names]


def build(name, **options):
    return kerazoo.create_model(name, **{"input_shape": FAMILIES[name], "classes": 3, **options})


def images(shape, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, *shape), dtype="uint8")


@pytest.mark.parametrize("name", kerazoo.list_models())
def test_every_builder_has_the_same_arguments(name):
    contract = list(inspect.signature(kerazoo.resnet18).parameters)
    own = OWN.get(name, [])
    builder = getattr(kerazoo, name)
    assert list(inspect.signature(builder).parameters) == [*contract[:-1], *own, "name"]
    assert builder.__name__ == name and all(f"{argument}:" in builder.__doc__ for argument in contract)


@pytest.mark.parametrize("name", FAMILIES)
def test_models_take_uint8_and_float_pixels_and_answer_with_logits(name):
    model = build(name)
    pixels = images(FAMILIES[name])
    logits = keras.ops.convert_to_numpy(model(pixels))
    assert isinstance(model, keras.Model) and model.name == name
    assert logits.shape == (2, 3) and np.isfinite(logits).all()
    np.testing.assert_array_equal(logits, model(pixels.astype("float32")))
    assert not np.allclose(logits[0], logits[1])
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


@pytest.mark.parametrize("name", KINDS)
def test_features_come_as_a_map_or_pooled(name):
    features = build(name, include_top=False)
    if name == "mlp":
        assert features.output_shape == (None, 512)
        with pytest.raises(ValueError, match="features are a vector already"):
            build(name, include_top=False, pooling="avg")
        return
    assert len(features.output_shape) == 4
    channels = features.output_shape[-1]
    average = build(name, include_top=False, pooling="avg")
    average.set_weights(features.get_weights())
    largest = build(name, include_top=False, pooling="max")
    largest.set_weights(features.get_weights())
    pixels = images(FAMILIES[name])
    tensor = keras.ops.convert_to_numpy(features(pixels))
    assert average.output_shape == largest.output_shape == (None, channels)
    np.testing.assert_allclose(average(pixels), tensor.mean((1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(largest(pixels), tensor.max((1, 2)), rtol=1e-4, atol=1e-5)


ACTIVATIONS = [
    ("PReLU", keras.layers.PReLU), ("gelu", "gelu"), ("silu", "silu"), ("LeakyReLU", keras.layers.LeakyReLU(0.2)),
]


@pytest.mark.parametrize("name", quick(KINDS, QUICKEST))
@pytest.mark.parametrize(("kind", "activation"), ACTIVATIONS, ids=[kind for kind, _ in ACTIVATIONS])
def test_every_activation_is_exchanged(name, kind, activation):
    model = build(name, activation=activation, include_top=name != "vgg11" and not name.startswith("alexnet"))
    plain = build(name, include_top=name != "vgg11" and not name.startswith("alexnet"))
    acts = [layer for layer in model.layers if "act" in layer.name or layer.name.endswith("_out")]
    assert len(acts) == sum("act" in layer.name or layer.name.endswith("_out") for layer in plain.layers) > 0
    for layer in acts:
        found = layer.activation.__name__ if isinstance(layer, keras.layers.Activation) else type(layer).__name__
        assert found == kind
    assert len({id(layer) for layer in acts}) == len(acts)
    if kind == "PReLU":
        # One slope a channel, so that the image size stays free.
        assert all(layer.alpha.shape[:-1] == (1, 1) for layer in acts if len(layer.output.shape) == 4)


@pytest.mark.parametrize("name", quick(KINDS, QUICKEST))
@pytest.mark.parametrize(("norm", "kind"), [
    ("batch", keras.layers.BatchNormalization), ("group", keras.layers.GroupNormalization),
    ("layer", keras.layers.LayerNormalization), ("none", None),
])
def test_every_norm_is_exchanged(name, norm, kind):
    top = name != "vgg11" and not name.startswith("alexnet")
    model = build(name, norm=norm, include_top=top)
    norms = [type(layer) for layer in model.layers if "ormalization" in type(layer).__name__
             and "LocalResponse" not in type(layer).__name__]
    assert set(norms) == ({kind} if kind else set())
    if kind:
        convolutions = [layer for layer in model.layers if "conv" in layer.name and hasattr(layer, "kernel")
                        and "_se_" not in layer.name]
        # Pre-activation leaves the stem and the projections bare.
        assert name == "mlp" or len(norms) >= len(convolutions) - 3
    assert np.isfinite(model(images(FAMILIES[name]))).all()


def test_convolutions_have_a_bias_exactly_where_no_norm_follows():
    def biased(model):
        return {layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}

    assert biased(build("resnet20")) == {False}
    assert biased(build("resnet20", norm="none")) == {True}


@pytest.mark.parametrize("name", quick(FAMILIES, QUICKEST))
def test_gray_and_many_channel_images(name):
    for channels, preprocessing in ((1, "imagenet"), (4, "unit")):
        shape = (*FAMILIES[name][:2], channels)
        top = name != "vgg11" and not name.startswith("alexnet")
        model = build(name, input_shape=shape, preprocessing=preprocessing, include_top=top)
        assert np.isfinite(model(images(shape))).all()


@pytest.mark.parametrize("name", [
    "resnet18", "resnet20", "preact_resnet18", "googlenet_bn", "densenet40_12", "efficientnet_b0", "tf_efficientnet_b0",
])
def test_sides_may_vary_where_no_dense_layer_fixes_them(name):
    model = build(name, input_shape=(None, None, 3))
    small, large = FAMILIES[name][:2], (40, 57)
    assert model(images((*small, 3))).shape == model(images((*large, 3))).shape == (2, 3)


@pytest.mark.parametrize("name", ["vgg11", "alexnet"])
def test_dense_networks_take_other_fixed_sizes(name):
    assert build(name, input_shape=(96, 64, 3))(images((96, 64, 3))).shape == (2, 3)


@pytest.mark.parametrize(("preprocessing", "expected"), [
    ("imagenet", [(100 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (100 / 255 - 0.406) / 0.225]),
    ("unit", [100 / 255] * 3),
    (None, [100] * 3),
    ((0.5, 0.25), [(100 / 255 - 0.5) / 0.25] * 3),
    (([0.1, 0.2, 0.3], [0.5, 0.5, 1.0]), [(100 / 255 - 0.1) / 0.5, (100 / 255 - 0.2) / 0.5, 100 / 255 - 0.3]),
])
def test_pixels_are_normalized_inside_the_model(preprocessing, expected):
    model = build("resnet20", preprocessing=preprocessing)
    stem = keras.Model(model.input, model.get_layer("stem_conv").input)
    np.testing.assert_allclose(stem(np.full((1, 8, 8, 3), 100, "uint8"))[0, 0, 0], expected, rtol=1e-5)


def test_gray_images_are_normalized_by_the_mean_of_the_channels():
    model = build("resnet20", input_shape=(8, 8, 1), preprocessing="imagenet")
    stem = keras.Model(model.input, model.get_layer("stem_conv").input)
    np.testing.assert_allclose(stem(np.full((1, 8, 8, 1), 255, "uint8"))[0, 0, 0], (1 - 0.449) / 0.226, rtol=1e-5)


def test_dropout_is_the_published_one_unless_told_otherwise():
    def rates(model):
        return [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]

    assert rates(build("cnn_mnist")) == [0.5]
    assert rates(build("cnn_mnist", dropout=0.1)) == [0.1]
    assert rates(build("cnn_mnist", dropout=0)) == []
    assert rates(build("resnet20")) == [] and rates(build("resnet20", dropout=0.3)) == [0.3]


def test_softmax_on_request():
    probabilities = build("lenet5", classifier_activation="softmax")(images((32, 32, 3)))
    np.testing.assert_allclose(np.sum(probabilities, -1), 1, rtol=1e-5)


@pytest.mark.parametrize(("policy", "name"), [
    pytest.param(policy, name, marks=() if name in KINDS and (policy == "mixed_float16" or name == "lenet5")
                 else pytest.mark.slow)
    for policy in ("mixed_float16", "mixed_bfloat16") for name in FAMILIES
])
def test_mixed_precision_keeps_pixels_and_logits_in_float32(name, policy):
    keras.config.set_dtype_policy(policy)
    model = build(name)
    assert model.get_layer("normalize").compute_dtype == "float32"
    assert model.output.dtype == "float32"
    assert np.isfinite(model(images(FAMILIES[name]))).all()


DEEPEST = ("resnet152", "resnet152_v2", "wide_resnet101_2", "preact_resnet164", "densenet201", "efficientnet_b7")


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEPEST)
def test_the_deepest_networks_start_within_the_range_of_float16(name):
    keras.config.set_dtype_policy("mixed_float16")
    model = kerazoo.create_model(name, input_shape=(32, 32, 3), classes=3)
    pixels = images((32, 32, 3))
    for training in (False, True):
        scores = keras.ops.convert_to_numpy(model(pixels, training=training))
        assert np.isfinite(scores).all() and np.abs(scores).max() < 100


@pytest.mark.parametrize("name", quick([
    "lenet5_1998", "alexnet_2012", "resnet20", "resnet18", "tf_resnet50_v2", "googlenet", "googlenet_bn",
    "inception_v3", "densenet40_12", "densenet121", "efficientnet_b0", "efficientnet_lite0", "wide_resnet28_10",
    "resnext50_32x4d", "resnet50_v1",
], ("lenet5_1998", "alexnet_2012", "resnet20", "resnet18", "googlenet", "densenet40_12", "efficientnet_lite0")))
def test_models_survive_saving_as_keras_files(name, tmp_path):
    model = build(name)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    pixels = images(FAMILIES[name])
    np.testing.assert_array_equal(model(pixels), again(pixels))


def test_weights_can_come_from_a_file(tmp_path):
    trained = build("lenet5")
    trained.save_weights(tmp_path / "lenet5.weights.h5")
    again = build("lenet5", weights=tmp_path / "lenet5.weights.h5")
    np.testing.assert_array_equal(trained(images((32, 32, 3))), again(images((32, 32, 3))))


@pytest.mark.parametrize("name", quick([
    *KINDS, "googlenet_bn", "densenet121", "tf_resnet50_v2", "resnext50_32x4d", "wide_resnet28_10",
], QUICKEST))
def test_every_trainable_variable_gets_a_gradient(name):
    import tensorflow as tf

    model = build(name, dropout=0)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pixels, labels = tf.constant(images(FAMILIES[name], 4)), tf.constant([0, 1, 2, 0])
    with tf.GradientTape() as tape:
        # The loss of Keras's own train step, which auxiliary heads take part in.
        loss = model.compute_loss(pixels, labels, model(pixels, training=True))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients):
        assert gradient is not None, variable.path


def save(model, path):
    model.save_weights(path)
    return path


MISFITS = {
    "of a deeper network": lambda path: save(kerazoo.mlp(input_shape=(8, 8, 1), units=(16, 16, 16)), path),
    "of a wider network": lambda path: save(kerazoo.mlp(input_shape=(8, 8, 1), units=(16, 17)), path),
    "no weights at all": lambda path: path.write_bytes(b"junk") and path,
}


@pytest.mark.parametrize("make", MISFITS.values(), ids=MISFITS)
def test_weights_that_do_not_fit_are_refused(make, tmp_path):
    path = make(tmp_path / "file.weights.h5")
    with pytest.raises(ValueError, match="The weights in .* do not fit mlp: "):
        kerazoo.mlp(input_shape=(8, 8, 1), units=(16, 16), weights=path)


def test_weights_of_a_network_of_equal_shapes_are_refused(tmp_path):
    options = dict(input_shape=(32, 32, 3), classes=3)
    path = save(kerazoo.resnet50(**options), tmp_path / "resnet50.weights.h5")
    with pytest.raises(ValueError, match="do not fit resnet50_v1: they were saved by resnet50, whose layers are alike"):
        kerazoo.resnet50_v1(weights=path, **options)


BAD = {
    "no classes": (dict(classes=0), "classes must be a positive integer.*got 0"),
    "classes in words": (dict(classes="ten"), "classes must be a positive integer.*got 'ten'"),
    "classes true": (dict(classes=True), "classes must be a positive integer.*got True"),
    "too small": (dict(input_shape=(16, 32, 3)), r"resnet18 needs images of at least 32x32 pixels; .*\(16, 32, 3\)"),
    "with a batch": (dict(input_shape=(8, 32, 32, 3)), r"\(height, width, channels\).*without the batch.*got \(8, 32"),
    "shape a number": (dict(input_shape=32), r"input_shape must be .*got 32"),
    "negative side": (dict(input_shape=(-32, 32, 3)), "input_shape must be"),
    "no channels": (dict(input_shape=(32, 32, None)), "input_shape must be"),
    "pooling": (dict(pooling="mean", include_top=False), "pooling must be None, 'avg' or 'max'.*'mean'"),
    "pooling with a top": (dict(pooling="avg"), "is for include_top=False"),
    "norm": (dict(norm="instance"), "norm must be one of 'batch', 'group'.*'instance'"),
    "activation": (dict(activation="rellu"), "activation must be .*'rellu'"),
    "activation a number": (dict(activation=3), "activation must be .*got 3"),
    "dropout": (dict(dropout=1.5), "dropout must be a rate from 0 to below 1.*1.5"),
    "preprocessing": (dict(preprocessing="caffe"), "preprocessing must be one of 'imagenet'.*'caffe'"),
    "preprocessing of two": (dict(preprocessing=([0.5, 0.5], 1.0)), "each of the 3 channels"),
    "classifier activation": (dict(classifier_activation="sofmax"), "classifier_activation must be .*'sofmax'"),
    "preset of three": (dict(input_shape=(32, 32, 4)), "'imagenet' is for 3 channels, and the images have 4"),
    "layer with needs": (dict(activation=keras.layers.Dense), "without arguments that it needs; got .*Dense"),
    "augmentation": (dict(augmentation="flip"), "augmentation must be a Keras layer.*'flip'"),
    "unknown tag": (dict(weights="imagenet/tv3"), "Unknown weights 'imagenet/tv3' for resnet18"),
    "weights a number": (dict(weights=3), "weights must be None, 'imagenet'.*got 3"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_answered_in_words(options, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        kerazoo.resnet18(**{"input_shape": (32, 32, 3), **options})


def test_a_weight_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match="There is no weight file nowhere.weights.h5"):
        kerazoo.resnet18(input_shape=(32, 32, 3), weights="nowhere.weights.h5")


OWN_BAD = {
    "aux_heads": ("googlenet", "no", "aux_heads must be True or False; got 'no'"),
    "stochastic_depth": ("efficientnet_b0", 2, "stochastic_depth must be a rate from 0 to below 1; got 2"),
    "no stochastic_depth": ("efficientnet_b0", None, "stochastic_depth must be a rate from 0 to below 1; got None"),
    "block_dropout": ("wide_resnet28_10", 3, "block_dropout must be a rate from 0 to below 1; got 3"),
    "units": ("mlp", "many", "units must be a positive integer or a list of them.*got 'many'"),
}


@pytest.mark.parametrize(("name", "value", "message"), OWN_BAD.values(), ids=OWN_BAD)
def test_bad_arguments_of_one_family_are_answered_in_words(name, value, message):
    with pytest.raises(ValueError, match=message):
        build(name, **{OWN[name][0]: value})


def test_stochastic_depth_grows_from_none_to_its_rate_and_drops_whole_images():
    model = build("efficientnet_b0", stochastic_depth=0.5)
    drops = [layer for layer in model.layers if layer.name.endswith("_drop")]
    rates = [layer.rate for layer in drops]
    # Sixteen blocks, nine of which add their input; the last of these is the fifteenth.
    assert len(rates) == 9 and rates == sorted(rates) and rates[-1] == pytest.approx(0.5 * 14 / 16)
    kept = np.asarray(drops[-1](np.ones((64, 2, 2, 3), "float32"), training=True))
    assert {tuple(np.unique(image)) for image in kept} == {(0.0,), (np.float32(1 / (1 - rates[-1])),)}
    assert not any(layer.name.endswith("_drop") for layer in build("efficientnet_b0", stochastic_depth=0).layers)


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match=r"resnet18\(\) got an unexpected argument 'clases'; it takes weights, classes"):
        kerazoo.resnet18(clases=3)


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    with pytest.raises(ValueError, match="channels last.*set_image_data_format"):
        kerazoo.resnet18()


@pytest.mark.parametrize("name", ["vgg11", "lenet5", "mlp"])
def test_free_sides_are_refused_where_dense_layers_fix_the_size(name):
    with pytest.raises(ValueError, match="fix the image size|a fixed image size"):
        build(name, input_shape=(None, None, 3))


@pytest.mark.parametrize("name", quick(kerazoo.list_models(), {*kerazoo.list_models()} - {*FAMILIES} | {*KINDS}))
def test_the_stated_smallest_size_works_and_smaller_ones_are_refused(name):
    builder = getattr(kerazoo, name)
    least = builder.min_size
    if name in FAMILIES:
        builder(input_shape=(least, least, 3), classes=2, include_top="vgg" not in name and "alexnet" not in name,
                preprocessing="unit")
    if least > 1:
        with pytest.raises(ValueError, match=f"at least {least}x{least} pixels"):
            builder(input_shape=(least - 1, least, 3))


def test_a_batch_of_the_wrong_rank_or_size_is_refused():
    model = build("resnet20")
    for shape in [(8, 8, 3), (2, 9, 8, 3)]:
        with pytest.raises(ValueError, match=r"expected shape=\(None, 8, 8, 3\)"):
            model(np.zeros(shape, "float32"))
