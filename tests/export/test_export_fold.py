"""The model that is exported gives the original's numbers, with less in it."""
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kerazoo
import kerazoo.augment
from kerazoo.export.fold import inference_model

# The other families have quick tests of their own below.
# All of the zoo goes through `kerazoo.export`, folding included, in benchmarks/export_zoo.py.
SLOW = [
    "alexnet_2012", "densenet121", "efficientnet_lite0", "googlenet", "googlenet_bn", "inception_v3",
    "preact_resnet164", "resnet18", "resnet50_v2", "resnext50_32x4d", "tf_efficientnet_b0", "tf_inception_v3",
    "vgg11", "vgg11_bn",
    "wide_resnet28_10",
]  # fmt: skip
QUICK = ["cnn_mnist", "densenet40_12", "efficientnet_b0", "lenet5", "lenet5_1998", "mlp"]
FACTOR = 3


def randomize(model, seed=0):
    """Statistics as after training; those of a fresh norm would hide most mistakes."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization) and layer.built:
            size = layer.moving_mean.shape
            layer.moving_mean.assign(rng.normal(0, 0.3, size))
            layer.moving_variance.assign(rng.uniform(0.5, 2, size))
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.6, 1.4, size) * rng.choice([-1, 1], size))
            if layer.center:
                layer.beta.assign(rng.normal(0, 0.3, size))
        elif hasattr(getattr(layer, "bias", None), "assign"):
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    return model


def images_for(model, seed=1):
    rng = np.random.default_rng(seed)
    shape = [(2, *(side or 32 for side in tensor.shape[1:3]), tensor.shape[3]) for tensor in model.inputs]
    arrays = [rng.integers(0, 256, one).astype(tensor.dtype) for one, tensor in zip(shape, model.inputs)]
    return arrays if len(arrays) > 1 else arrays[0]


def outputs(model, images):
    return [np.asarray(one, "float64") for one in keras.tree.flatten(model(images, training=False))]


def check(model, tolerance=1e-4, random=True):
    """Fold; the outputs must be the same, and the model the same as before. Returns the new model and the names."""
    if random:
        randomize(model)
    images = images_for(model)
    wanted, weights = outputs(model, images), [keras.ops.convert_to_numpy(one).copy() for one in model.weights]
    served, folded = inference_model(model)
    got = outputs(served, images)
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted):
        assert one.shape == other.shape and np.isfinite(other).all()
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())
    for variable, before in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), before)
    assert all(np.array_equal(one, other) for one, other in zip(outputs(model, images), wanted))
    assert not any(isinstance(layer, keras.Model) and layer.__class__.__module__.startswith("keras.")
                   for layer in served.layers)
    return served, folded


def sequential(*stack, shape=(12, 12, 3), dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *stack])


def kinds(model):
    return [type(layer).__name__ for layer in model.layers[1:]]


def norm(**options):
    return layers.BatchNormalization(name="norm", **options)


def small(name):
    build = getattr(kerazoo, name)
    height, _, channels = build.input_shape
    side = height if height <= 32 else max(build.min_size, 48)
    return build(classes=10, input_shape=(side, side, channels))


# The zoo


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted({*QUICK, *SLOW})]
)
def test_every_model_gives_the_same_and_has_its_own_weights(name):
    model = small(name)
    served, folded = check(model)
    assert not {id(one) for one in served.weights} & {id(one) for one in model.weights}
    assert not any(isinstance(layer, (layers.Dropout, layers.BatchNormalization)) for layer in served.layers)
    assert served.input_shape == model.input_shape and served.output_shape == model.output_shape
    left = [layer.name for layer in model.layers if layer.name not in {*folded.removed, *folded.folded}]
    assert sorted(layer.name for layer in served.layers) == sorted(left)
    keras.backend.clear_session()


def test_resnet18_by_name():
    model = kerazoo.resnet18(classes=10, input_shape=(32, 32, 3), dropout=0.5)
    _, folded = check(model)
    norms = [layer.name for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert folded.removed == ("head_dropout",)
    assert sorted(folded.folded) == sorted(norms) and len(norms) == 20 and folded.folded[0] == "stem_bn"
    assert folded.kept == ("normalize",)  # its shift is not exact where the first convolution pads


def test_norms_before_activations_become_one_stock_layer():
    served, folded = check(kerazoo.preact_resnet18(classes=10, input_shape=(32, 32, 3)))
    assert "stage1_block1_bn2" in folded.folded and "final_bn" in folded.kept
    kept = [served.get_layer(name) for name in folded.kept if name != "normalize"]
    assert {(type(layer), layer.kernel_size) for layer in kept} == {(layers.DepthwiseConv2D, (1, 1))}


def test_auxiliary_heads_are_left_out():
    model = kerazoo.googlenet(classes=10, input_shape=(64, 64, 3))
    served, folded = check(model)
    assert {"aux1_conv", "aux2_head", "auxiliary_heads"} <= {*folded.removed}
    assert not any(layer.name.startswith("aux") for layer in served.layers)


@pytest.mark.parametrize("name", ["MobileNetV2", pytest.param("ResNet50V2", marks=pytest.mark.slow)])
def test_keras_applications(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=10)
    served, folded = check(model)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in served.layers)
    assert bool(folded.kept) == (name == "ResNet50V2")


# Folding


@pytest.mark.parametrize("stack", [
    lambda: [layers.Conv2D(6, 3, groups=3, padding="same", use_bias=False), norm()],
    lambda: [layers.Conv2D(4, 3, dilation_rate=2), norm(scale=False, epsilon=0.1)],
    lambda: [layers.Conv2D(4, 3), norm(center=False, axis=3)],
    lambda: [layers.DepthwiseConv2D(3, depth_multiplier=2), norm()],
    lambda: [layers.SeparableConv2D(5, 3, depth_multiplier=2), norm()],
    lambda: [layers.Conv2DTranspose(5, 3, strides=2), norm()],
    lambda: [layers.Flatten(), layers.Dense(4), norm()],
    lambda: [layers.Conv2D(4, 3), layers.AveragePooling2D(2, padding="same"), norm()],
    lambda: [layers.Conv2D(4, 3), layers.Dropout(0.5), layers.Activation("linear"), norm()],
    lambda: [layers.ReLU(), norm(), layers.Conv2D(4, 3, activation="relu")],
    lambda: [layers.ReLU(), norm(), layers.Conv2D(4, 1, strides=2, padding="same", use_bias=False)],
    lambda: [layers.Conv2D(6, 3, activation="relu"), norm(), layers.Conv2D(12, 3, groups=3)],
    lambda: [layers.ReLU(), norm(), layers.DepthwiseConv2D(3, depth_multiplier=2)],
    lambda: [layers.ReLU(), norm(), layers.SeparableConv2D(5, 3, depth_multiplier=2)],
    lambda: [layers.ReLU(), norm(), layers.GlobalAveragePooling2D(), layers.Dense(4)],
    lambda: [layers.ReLU(), norm(), layers.AveragePooling2D(3), layers.Flatten(), layers.Dense(4)],
    lambda: [layers.ReLU(), layers.BatchNormalization(), norm(), layers.Conv2D(4, 3)],
    lambda: [layers.Rescaling(1 / 255, name="norm"), layers.Conv2D(4, 3, padding="same")],
    lambda: [layers.Rescaling([0.1, 0.2, 0.3], [1, 2, 3], name="norm"), layers.Conv2D(4, 3)],
    lambda: [layers.Rescaling(0.1, name="norm"), layers.ZeroPadding2D(1), layers.MaxPooling2D(2), layers.Conv2D(4, 3)],
    lambda: [layers.Rescaling(0.1, name="norm"), layers.Conv2DTranspose(4, 3, strides=2)],
    lambda: [layers.Normalization(mean=[99, 98, 97], variance=[9, 99, 999], name="norm"), layers.Conv2D(4, 3)],
    lambda: [layers.Normalization(mean=[9, 8, 7], variance=[1, 2, 3], invert=True, name="norm"), layers.Conv2D(4, 3)],
])  # fmt: skip
def test_folded(stack):
    served, folded = check(sequential(*stack()), tolerance=1e-5)
    assert "norm" in folded.folded and not folded.kept
    assert not {"BatchNormalization", "Rescaling", "Normalization"} & {*kinds(served)}


@pytest.mark.parametrize("stack", [
    lambda: [layers.Conv2D(4, 3, activation="relu"), norm()],
    lambda: [layers.Conv2D(4, 3), layers.MaxPooling2D(2), norm()],
    lambda: [layers.Conv2D(4, 3), norm(axis=1)],
    lambda: [layers.Conv2D(4, 3), layers.Flatten(), norm()],
    lambda: [layers.ReLU(), norm(), layers.Conv2D(4, 3, padding="same")],
    lambda: [layers.ReLU(), norm(), layers.ZeroPadding2D(1), layers.Conv2D(4, 3)],
    lambda: [layers.ReLU(), norm(), layers.Conv2DTranspose(4, 3)],
    lambda: [layers.ReLU(), norm(), layers.MaxPooling2D(2), layers.Conv2D(4, 3)],
    lambda: [layers.ReLU(), norm(), layers.ReLU(), layers.Conv2D(4, 3)],
    lambda: [layers.Rescaling(1 / 255, -0.5, name="norm"), layers.Conv2D(4, 3, padding="same")],
    lambda: [layers.Normalization(mean=[5000] * 3, variance=[1] * 3, name="norm"), layers.Conv2D(4, 3)],
])  # fmt: skip
def test_not_folded_where_that_is_not_exact(stack):
    _, folded = check(sequential(*stack()), tolerance=1e-5)
    assert folded.kept == ("norm",) and not folded.folded


def test_max_pooling_lets_positive_scales_pass():
    model = randomize(sequential(layers.Conv2D(4, 3), layers.MaxPooling2D(2), norm()))
    model.layers[2].gamma.assign([0.5, 1, 2, 0])
    _, folded = check(model, random=False)
    assert folded.folded == ("norm",)


def test_scalings_in_a_row_become_one():
    """As Keras's own EfficientNet begins; its convolution pads."""
    served, folded = check(sequential(
        layers.Rescaling(1 / 255, name="first"), layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3]),
        layers.Rescaling([1, 2, 3]), layers.Conv2D(4, 3, padding="same"),
    ), tolerance=1e-5)  # fmt: skip
    assert kinds(served) == ["Rescaling", "Conv2D"] and folded.kept == ("first",)


def test_every_output_keeps_its_meaning():
    image = keras.Input((12, 12, 3))
    features = layers.Conv2D(4, 3, name="conv")(image)
    normed = norm()(features)
    dropped = layers.Dropout(0.5)(normed)
    served, folded = check(keras.Model(image, {"map": features, "normed": normed, "dropped": dropped}))
    assert folded.kept == ("norm",) and set(served.output) == {"map", "normed", "dropped"}


def test_a_tensor_with_two_readers_is_not_folded_across():
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3)(image)
    _, folded = check(keras.Model(image, layers.Add()([x, norm()(x)])))
    assert folded.kept == ("norm",)
    x = layers.ReLU()(image)
    normed = norm()(x)
    both = layers.Concatenate()([layers.Conv2D(4, 3)(normed), layers.Conv2D(2, 3)(normed)])
    _, folded = check(keras.Model(image, both))
    assert folded.folded == ("norm",)  # into both


def test_shared_layers_stay_shared():
    image = keras.Input((12, 12, 3))
    conv, shared = layers.Conv2D(3, 3, padding="same"), norm()
    model = keras.Model(image, shared(conv(shared(conv(image)))))
    served, folded = check(model)
    assert kinds(served) == ["Conv2D", "BatchNormalization"] and folded.kept == ("norm",)
    served, folded = check(keras.Model(image, norm()(conv(layers.BatchNormalization(name="first")(conv(image))))))
    assert kinds(served) == ["Conv2D", "DepthwiseConv2D", "DepthwiseConv2D"] and folded.kept == ("first", "norm")


@pytest.mark.parametrize("variance", [0.0, np.nan, np.inf, -1.0])
def test_odd_variances_do_not_break_the_export(variance):
    model = randomize(sequential(layers.Conv2D(4, 3), norm()))
    model.layers[1].moving_variance.assign([variance, 1, 1, 1])
    images = images_for(model)
    served, _ = inference_model(model)
    wanted = outputs(model, images)[0]
    assert np.isfinite(wanted[..., 1:]).all()
    np.testing.assert_allclose(outputs(served, images)[0], wanted, atol=1e-5 * np.abs(wanted[..., 1:]).max(), rtol=1e-5)


@pytest.mark.parametrize("policy, tolerance", [
    ("mixed_float16", 2e-2), ("mixed_bfloat16", 1e-1), ("float16", 2e-2), ("float64", 1e-12),
])
def test_dtype_policies(policy, tolerance):
    keras.config.set_dtype_policy(policy)
    served, folded = check(sequential(
        layers.Rescaling(1 / 255), layers.Conv2D(4, 3), norm(), layers.ReLU(), layers.BatchNormalization(),
        layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(3),
    ), tolerance)  # fmt: skip
    assert "norm" in folded.folded
    conv = next(layer for layer in served.layers if isinstance(layer, layers.Conv2D))
    assert conv.dtype_policy.name == policy and conv.kernel.dtype == keras.config.dtype_policy().variable_dtype


def bent(x):
    return keras.ops.relu(x) + 1


@pytest.mark.parametrize("activation", [layers.PReLU, lambda: bent])
def test_not_folded_into_layers_that_cannot_be_made_again(activation):
    _, folded = check(sequential(layers.ReLU(), norm(), layers.Conv2D(4, 3, activation=activation())))
    assert folded.kept == ("norm",)


def test_regularizers_and_constraints_do_not_stand_in_the_way():
    conv = layers.Conv2D(4, 3, kernel_regularizer="l2", kernel_constraint="non_neg")
    _, folded = check(sequential(conv, norm()))
    assert folded.folded == ("norm",)


def test_what_would_overflow_is_not_folded():
    keras.config.set_dtype_policy("mixed_float16")
    model = sequential(layers.Conv2D(4, 3, kernel_initializer="ones"), norm())
    model.layers[1].gamma.assign([1e5, 1, 1, 1])
    _, folded = inference_model(model)
    assert folded.kept == ("norm",)


# Leaving out


@pytest.mark.parametrize("layer", [
    lambda: layers.Dropout(0.5), lambda: layers.SpatialDropout2D(0.5), lambda: layers.GaussianNoise(1.0),
    lambda: layers.ActivityRegularization(0.1), lambda: layers.Identity(), lambda: layers.RandomFlip(),
    lambda: layers.RandomCrop(12, 12), lambda: layers.Pipeline([layers.RandomRotation(0.1), layers.RandomZoom(0.1)]),
    lambda: layers.RandAugment(), lambda: kerazoo.augment.RandomAffine(), lambda: kerazoo.augment.MixUp(),
])  # fmt: skip
def test_left_out(layer):
    layer = layer()
    served, folded = check(sequential(layer, layers.Conv2D(4, 3)))
    assert kinds(served) == ["Conv2D"] and folded.removed == (layer.name,)


class AlwaysDropout(layers.Dropout):
    def call(self, x, training=None):
        return 2 * x


@pytest.mark.parametrize("layer", [
    lambda: layers.RandomCrop(8, 8), lambda: layers.AutoContrast(), lambda: layers.Resizing(8, 8),
    lambda: layers.Activation("relu"), lambda: AlwaysDropout(0.5), lambda: layers.GroupNormalization(1),
])  # fmt: skip
def test_what_works_at_inference_is_left_in(layer):
    layer = layer()
    served, folded = check(sequential(layer, layers.Conv2D(4, 3)))
    assert layer.name in {one.name for one in served.layers} and not folded.removed
    assert folded.kept == ((layer.name,) if isinstance(layer, layers.GroupNormalization) else ())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_augmentation_of_keras_cv_is_left_out_though_it_draws_at_inference():
    keras_cv = pytest.importorskip("keras_cv")
    conv = layers.Conv2D(4, 3)
    model = sequential(keras_cv.layers.RandomRotation(0.5), keras_cv.layers.Grayscale(3), conv)
    served, folded = inference_model(model)
    assert kinds(served) == ["Grayscale", "Conv2D"] and folded.removed == (model.layers[0].name,)


def test_dropout_that_was_asked_to_train_is_left_out_as_predict_does():
    image = keras.Input((12, 12, 3))
    model = keras.Model(image, layers.Dropout(0.5, name="drop")(layers.Conv2D(4, 3)(image), training=True))
    assert check(model)[1].removed == ("drop",)


def test_augmentation_of_all_kinds_in_one_of_our_models():
    ours = [kerazoo.augment.RandomAffine(), kerazoo.augment.CutMix()]
    served, folded = check(kerazoo.resnet20(augmentation=[layers.RandomFlip(), layers.AutoContrast(), *ours]))
    assert len(folded.removed) == 4 and type(served) is type(keras.Model(served.inputs, served.outputs))


# Graphs


def test_models_inside_are_opened_and_names_stay_apart():
    def part(channels, filters):
        stack = layers.Conv2D(filters, 3, name="conv"), norm(), layers.Dropout(0.5, name="drop")
        return keras.Sequential([keras.Input((None, None, channels)), *stack], name=f"part{channels}")

    image = keras.Input((12, 12, 3), dtype="uint8")
    x = part(3, 4)(inputs=image)
    inner = keras.Input((10, 10, 4))
    x = keras.Model(inner, part(4, 2)(inner), name="deeper")(x, training=False)
    served, folded = check(keras.Model(image, x))
    assert [layer.name for layer in served.layers if isinstance(layer, layers.Conv2D)] == ["conv", "part4_conv"]
    assert folded.removed == ("drop",) and folded.folded == ("norm",)


def test_a_model_used_twice_keeps_one_set_of_weights():
    inner = sequential(layers.Conv2D(3, 3, padding="same"), norm())
    image = keras.Input((12, 12, 3))
    served, folded = check(keras.Model(image, inner(inner(image))))
    assert kinds(served) == ["Conv2D", "BatchNormalization"] and folded.kept == ("norm",)


def test_part_of_an_inner_model_is_enough():
    inner = kerazoo.resnet20(name="backbone")
    features = keras.Model(inner.input, [inner.output, inner.get_layer("stage1_block1_act1").output])
    image = keras.Input((32, 32, 3))
    served, folded = check(keras.Model(image, features(image)[1]))
    assert not any(layer.name.startswith("stage2") for layer in served.layers) and "head" in folded.removed


def test_inputs_and_outputs_by_name():
    left, right = keras.Input((12, 12, 3), name="left"), keras.Input((12, 12, 3), name="right")
    both = norm()(layers.Conv2D(4, 3)(layers.Subtract()([left, right])))
    model = randomize(keras.Model({"left": left, "right": right}, {"scores": both}))
    served, folded = inference_model(model)
    pixels = dict(zip(("left", "right"), images_for(model)))
    np.testing.assert_allclose(served(pixels)["scores"], model(pixels)["scores"], atol=1e-3)
    assert folded.folded == ("norm",)


def test_operations_lambdas_and_custom_layers_are_kept():
    class Times(layers.Layer):
        """Cannot be made again from its configuration."""

        def __init__(self, function):
            super().__init__()
            self.function = function
            self.gain = self.add_weight(shape=(4,), initializer="ones")

        def call(self, x):
            return self.function(x) * self.gain

    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3)(image)
    x = layers.Lambda(lambda x: x * FACTOR, output_shape=(10, 10, 4))(keras.ops.relu(x * 2 + 1))
    x = layers.Dropout(0.5)(Times(lambda x: FACTOR * x)(x))
    model = keras.Model(image, [x, x[..., :2]])
    nodes = [len(operation._inbound_nodes) for operation in model.operations]
    served, _ = check(model)
    assert {"Lambda", "Times"} <= {*kinds(served)}
    assert [len(operation._inbound_nodes) for operation in model.operations] == nodes


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = layers.Conv2D(4, 3), layers.BatchNormalization()

    def call(self, x, training=False):
        return self.norm(self.conv(x), training=training)


def test_a_model_with_its_own_call_is_kept_inside_and_refused_alone():
    own = Own()
    image = keras.Input((12, 12, 3))
    served, _ = check(keras.Model(image, layers.Dropout(0.5)(own(image))))
    assert kinds(served) == ["Own"]
    with pytest.raises(ValueError, match="call` is its own"):
        inference_model(own)
    with pytest.raises(ValueError, match="not been built"):
        inference_model(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(TypeError, match="keras.Model; got Dense"):
        inference_model(layers.Dense(2))


def test_the_walk_does_not_repeat_itself():
    """Two ways at each of 60 layers: a walk along every path would never end."""
    image = x = keras.Input((4, 4, 3))
    for _ in range(60):
        x = layers.Average()([x, layers.Dropout(0.5)(x)])
    served, _ = check(keras.Model(image, x))
    assert len(served.layers) == 61


def test_nothing_left_but_the_image():
    served, folded = check(sequential(layers.Dropout(0.5), layers.RandomFlip()))
    assert len(folded.removed) == 2 and not kinds(served)


def test_it_can_be_saved(tmp_path):
    model = randomize(sequential(
        layers.Rescaling(1 / 255, -0.5), layers.Conv2D(4, 3, padding="same"), norm(), layers.ReLU(),
        layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dense(3),
    ))  # fmt: skip
    images, (served, _) = images_for(model), inference_model(model)
    served.save(tmp_path / "served.keras")
    tf.saved_model.save(served, str(tmp_path / "served"))
    wanted, again = outputs(model, images)[0], keras.models.load_model(tmp_path / "served.keras")
    np.testing.assert_allclose(outputs(again, images)[0], wanted, atol=1e-5)
    loaded = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    np.testing.assert_allclose(next(iter(loaded(tf.constant(images)).values())), wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(run_python, backend):
    pytest.importorskip(backend)
    assert "same" in run_python(
        """
import keras, numpy as np, kerazoo
from kerazoo.export.fold import inference_model
for build, side in ((kerazoo.resnet18, 32), (kerazoo.preact_resnet18, 32), (kerazoo.googlenet_bn, 64)):
    model = build(classes=10, input_shape=(side, side, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.3, layer.moving_mean.shape))
            layer.gamma.assign(rng.uniform(-1.4, 1.4, layer.gamma.shape))
    images = rng.uniform(0, 255, (2, side, side, 3)).astype("float32")
    served, folded = inference_model(model)
    wanted, got = (keras.ops.convert_to_numpy(one(images, training=False)) for one in (model, served))
    assert folded.folded and np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max(), build.__name__
print("same")
""", backend=backend,
    ).stdout  # fmt: skip
