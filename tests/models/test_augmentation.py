"""Augmentation in front of a network: for training alone, and label mixing in the loss."""
import keras
import numpy as np
import pytest
from keras import ops

import kerazoo
from kerazoo.augment import MixUp, RandomAffine


def data(count=8, size=8):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, size, size, 3), dtype="uint8"), rng.integers(0, 3, count)


def build(augmentation, **options):
    return kerazoo.resnet20(input_shape=(8, 8, 3), classes=3, augmentation=augmentation, norm="none", **options)


class Inverse(keras.layers.Layer):
    """A foreign layer whose call knows no `training`."""

    def call(self, x):
        return 255 - x


FOREIGN = {
    "kerazoo": lambda: RandomAffine(rotation=45, seed=1),
    "keras": lambda: keras.layers.RandomRotation(0.5, seed=1),
    "no training argument": Inverse,
    "two": lambda: [keras.layers.RandomFlip(seed=1), RandomAffine(translation=0.4, seed=1)],
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_augmentation_is_for_training_alone(make):
    images, _ = data()
    model = build(make())
    plain = build(None)
    plain.set_weights(model.get_weights()[-len(plain.weights):])
    for unchanged in (model(images), model(images, training=False), model.predict(images, verbose=0)):
        np.testing.assert_allclose(unchanged, plain(images), rtol=1e-5, atol=1e-6)
    assert not np.allclose(model(images, training=True), plain(images), atol=1e-4)


def test_a_keras_cv_layer_plugs_in():
    keras_cv = pytest.importorskip("keras_cv", reason="keras-cv is not installed: pip install 'kerazoo[keras-cv]'")
    images, labels = data()
    model = build([keras_cv.layers.GridMask(), keras_cv.layers.RandomCutout(0.5, 0.5)])
    plain = build(None)
    plain.set_weights([w for w in model.get_weights() if w.dtype == "float32"][-len(plain.weights):])
    np.testing.assert_allclose(model(images), plain(images), rtol=1e-5, atol=1e-6)
    assert not np.allclose(model(images, training=True), plain(images), atol=1e-4)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(model.train_on_batch(images, labels))


LOSSES = {
    "integer labels": (keras.losses.SparseCategoricalCrossentropy(from_logits=True), lambda labels: labels),
    "one-hot labels": (keras.losses.CategoricalCrossentropy(from_logits=True), lambda labels: np.eye(3)[labels]),
    "smoothed labels": (
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), lambda labels: np.eye(3)[labels]
    ),
}


@pytest.mark.parametrize(("loss", "encode"), LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("weights", [None, (8,), (8, 1)], ids=["plain", "weighted", "weights in a column"])
def test_the_loss_is_that_of_the_mixed_labels(loss, encode, weights):
    images, labels = data()
    weights = weights and np.linspace(0.5, 2, 8).astype("float32").reshape(weights)
    mixer = MixUp(1.0, seed=3)
    model = build(mixer)
    model.compile("sgd", loss)
    drawn = record(mixer)
    logits = model(images, training=True)
    total = float(model.compute_loss(images, encode(labels), logits, weights, training=True))
    ((partner, keep),) = drawn
    # An image's weight goes with its label.
    weights = np.ones(8) if weights is None else weights.reshape(8)
    own, other = keep * weights, (1 - keep) * weights[partner]
    smoothing = getattr(loss, "label_smoothing", 0)
    soft = (1 - smoothing) * np.eye(3) + smoothing / 3
    each = -np.asarray(ops.log_softmax(logits)) @ soft
    expected = own * each[np.arange(8), labels] + other * each[np.arange(8), labels[partner]]
    assert total == pytest.approx(expected.mean(), rel=1e-4)


def record(mixer):
    """Keep what the layer hands to the loss."""
    drawn, take = [], mixer.take_mixing

    def take_mixing():
        mixing = take()
        drawn.append(tuple(ops.convert_to_numpy(tensor) for tensor in mixing))
        return mixing

    mixer.take_mixing = take_mixing
    return drawn


def test_evaluation_sees_the_plain_labels():
    images, labels = data()
    model = build(MixUp(1.0, seed=3))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(images, labels)
    logs = -np.asarray(ops.log_softmax(model(images)))
    assert model.evaluate(images, labels, verbose=0) == pytest.approx(logs[np.arange(8), labels].mean(), rel=1e-4)


def test_regularization_counts_once():
    images, labels = data()
    mixed, plain = build(MixUp(1.0, seed=3)), build(None)
    for model in (mixed, plain):
        model.get_layer("head").kernel.regularizer = keras.regularizers.L2(1.0)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    logits = mixed(images, training=True)
    loss = float(mixed.compute_loss(images, labels, ops.zeros_like(logits), training=True))
    penalty = float(ops.sum(ops.square(mixed.get_layer("head").kernel)))
    # The loss of equal logits is log 3 whatever the labels are.
    assert loss == pytest.approx(np.log(3) + penalty, rel=1e-4)


def test_two_mixers_in_a_row_mix_what_was_mixed():
    images, labels = data()
    first, second = MixUp(1.0, seed=3), MixUp(1.0, seed=4)
    model = build([first, second])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    drawn = [record(first), record(second)]
    logits = model(images, training=True)
    total = float(model.compute_loss(images, labels, logits, training=True))
    soft = np.eye(3)[labels]
    for ((partner, keep),) in drawn:
        soft = keep[:, None] * soft + (1 - keep[:, None]) * soft[partner]
    assert total == pytest.approx(-(soft * np.asarray(ops.log_softmax(logits))).sum(-1).mean(), rel=1e-4)


def test_a_model_with_mixing_trains_saves_and_loads(tmp_path):
    images, labels = data(16)
    model = build([RandomAffine(rotation=10, seed=1), MixUp(0.2, seed=1)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"],
                  jit_compile=True)
    losses = model.fit(images, labels, epochs=3, batch_size=8, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images), again(images))
    assert type(again) is type(model)
    again.fit(images, labels, batch_size=8, verbose=0)


def test_a_model_without_mixing_is_a_plain_keras_model():
    image = keras.Input((3,))
    plain = type(keras.Model(image, keras.layers.Dense(2)(image)))
    assert type(build(RandomAffine())) is type(build(None)) is plain


def test_a_saved_model_with_mixing_loads_in_a_fresh_process(tmp_path, run_python):
    images, _ = data()
    model = build(MixUp(0.2, seed=1))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    run_python(
        "import sys, numpy as np, kerazoo\n"
        "model = kerazoo.load_model(sys.argv[1] + '/model.keras')\n"
        "np.save(sys.argv[1] + '/logits.npy', model(np.load(sys.argv[1] + '/images.npy')))", tmp_path,
    )
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model(images), rtol=1e-5)


def test_a_loss_that_divides_the_shares_out_is_refused():
    images, labels = data()
    model = build(MixUp(1.0))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True, reduction="mean_with_sample_weight"))
    with pytest.raises(ValueError, match="reduction='mean_with_sample_weight' divides out"):
        model.train_on_batch(images, labels)


@pytest.mark.parametrize("make", [
    lambda: keras.layers.MixUp(1.0), lambda: keras.layers.CutMix(), lambda: keras.Sequential([MixUp(1.0)]),
    lambda: keras.Sequential([keras.layers.MixUp(1.0)]),
], ids=["Keras's MixUp", "Keras's CutMix", "ours in a Sequential", "Keras's in a Sequential"])
def test_layers_that_mix_images_behind_the_loss_are_refused(make):
    with pytest.raises(ValueError, match="the loss would not hear of it. Put a layer of kerazoo.augment"):
        build(make())
