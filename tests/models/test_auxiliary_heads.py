"""Auxiliary heads: in the loss of a training step by their weight, and nowhere else."""
import keras
import numpy as np
import pytest
from keras import ops

import kerazoo
from kerazoo.augment import MixUp

WEIGHTS = {"googlenet": (0.3, ["aux1_head", "aux2_head"]), "inception_v3": (0.4, ["aux_head"])}
SHAPES = {"googlenet": (32, 32, 3), "inception_v3": (75, 75, 3)}


def data(name, count=4):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *SHAPES[name]), dtype="uint8"), np.arange(count) % 3


def build(name, **options):
    model = kerazoo.create_model(name, input_shape=SHAPES[name], classes=3, dropout=0, **options)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def cross_entropy(logits, labels):
    return -np.asarray(ops.log_softmax(logits))[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("name", WEIGHTS)
def test_each_head_adds_its_share_to_the_training_loss(name):
    weight, heads = WEIGHTS[name]
    images, labels = data(name)
    model = build(name)
    parts = keras.Model(model.input, [model.get_layer(head).output for head in ("head", *heads)])
    main, *others = (cross_entropy(logits, labels) for logits in parts(images, training=True))
    expected = main + weight * sum(others)
    assert abs(expected - main) > 0.1
    loss = float(model.compute_loss(images, labels, model(images, training=True)))
    assert loss == pytest.approx(expected, rel=1e-4)


def test_regularization_counts_once_whatever_the_heads():
    images, labels = data("googlenet")
    model = build("googlenet")
    logits = model(images, training=True)
    plain = float(model.compute_loss(images, labels, logits))
    model.get_layer("head").kernel.regularizer = keras.regularizers.L2(1.0)
    model(images, training=True)
    penalty = float(ops.sum(ops.square(model.get_layer("head").kernel)))
    assert penalty > 1
    assert float(model.compute_loss(images, labels, logits)) == pytest.approx(plain + penalty, rel=1e-4)


def test_heads_hear_of_mixed_labels():
    images, labels = data("googlenet")
    mixer = MixUp(1.0, seed=3)
    model = build("googlenet", augmentation=mixer)
    drawn, take = [], mixer.take_mixing
    mixer.take_mixing = lambda: drawn.append(take()) or drawn[-1]
    loss = float(model.compute_loss(images, labels, model(images, training=True)))
    ((partner, keep),) = [[ops.convert_to_numpy(tensor) for tensor in pair] for pair in drawn[0]]
    keep = keep[:, None, None, None]
    mixed = keep * images + (1 - keep) * images[partner]
    soft = keep[:, 0, 0] * np.eye(3)[labels] + (1 - keep[:, 0, 0]) * np.eye(3)[labels[partner]]
    start = model.get_layer("normalize").input
    parts = keras.Model(start, [model.get_layer(head).output for head in ("head", "aux1_head", "aux2_head")])
    each = [-(soft * np.asarray(ops.log_softmax(logits))).sum(-1).mean() for logits in parts(mixed)]
    assert loss == pytest.approx(each[0] + 0.3 * (each[1] + each[2]), rel=1e-3)


@pytest.mark.parametrize("name", [
    name if name == "googlenet" else pytest.param(name, marks=pytest.mark.slow) for name in WEIGHTS
])
def test_at_inference_nothing_depends_on_the_heads(name):
    images, labels = data(name)
    model = build(name)
    before = model.predict(images, verbose=0)
    for layer in model.layers:
        if layer.name.startswith("aux"):
            layer.set_weights([np.full_like(weight, np.nan) for weight in layer.get_weights()])
    np.testing.assert_array_equal(model.predict(images, verbose=0), before)
    assert model.evaluate(images, labels, verbose=0)[0] == pytest.approx(cross_entropy(before, labels), rel=1e-4)
    inference = kerazoo.feature_extractor(model, "head")
    assert not any(layer.name.startswith("aux") for layer in inference.layers)
    np.testing.assert_allclose(inference(images), before, rtol=1e-4, atol=1e-5)


def test_a_compiled_prediction_leaves_the_heads_out():
    import tensorflow as tf

    model, (images, _) = build("googlenet"), data("googlenet")
    without = build("googlenet", aux_heads=False)

    def cost(network):
        compiled = tf.function(lambda pixels: network(pixels, training=False), jit_compile=True)
        text = compiled.experimental_get_compiler_ir(tf.constant(images))(stage="optimized_hlo")
        return text.count(" convolution(") + text.count(" dot(")

    # XLA makes matrix products of some convolutions; GoogLeNet has 57 of them and a dense layer.
    assert cost(model) == cost(without) == 58


def test_a_model_trains_and_survives_saving(tmp_path):
    images, labels = data("googlenet")
    model = build("googlenet")
    aux_before = model.get_layer("aux1_fc").get_weights()[0]
    model.fit(images, labels, batch_size=4, verbose=0)
    assert not np.array_equal(model.get_layer("aux1_fc").get_weights()[0], aux_before)
    model.save(tmp_path / "model.keras")
    again = kerazoo.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), model(images))
    # The loaded model's heads still speak to its loss.
    losses = [float(m.compute_loss(images, labels, m(images, training=True))) for m in (model, again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_losses_that_only_mixing_forbids_are_allowed():
    images, labels = data("googlenet")
    model = build("googlenet")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True, reduction="mean_with_sample_weight"))
    assert np.isfinite(model.train_on_batch(images, labels)).all()
    assert np.isfinite(model.evaluate(images, labels, verbose=0)).all()


def test_softmax_on_request_reaches_the_heads():
    model = build("googlenet", classifier_activation="softmax")
    heads = keras.Model(model.input, [model.get_layer(head).output for head in ("head", "aux1_head", "aux2_head")])
    for probabilities in heads(data("googlenet")[0]):
        np.testing.assert_allclose(np.sum(probabilities, -1), 1, rtol=1e-5)


def test_sides_may_vary_without_the_heads_whose_dense_layers_fix_them():
    with pytest.raises(ValueError, match="aux_heads=False"):
        kerazoo.googlenet(input_shape=(None, None, 3))
    assert kerazoo.googlenet(input_shape=(None, None, 3), aux_heads=False).output_shape == (None, 1000)


@pytest.mark.parametrize("side", [75, 128, 224, 299, 320])
def test_the_auxiliary_head_of_inception_fits_every_size(side):
    model = kerazoo.inception_v3(input_shape=(side, side, 3), classes=3)
    grid = model.get_layer("stage6_e_concat").output.shape[1]
    assert model.get_layer("aux_pool").output.shape[1] == (-(-grid // 3) if grid < 5 else (grid - 5) // 3 + 1)
    assert model.get_layer("aux_head").output.shape == (None, 3)
