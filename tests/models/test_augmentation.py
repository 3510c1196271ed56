"""Augmentation in front of a network: for training alone, and label mixing in the loss."""
import keras
import numpy as np
import pytest
from keras import ops

import kerazoo
from kerazoo.augment import MixUp, RandomAffine
from kerazoo.augment.choose import EpochCallback, OneOf
from kerazoo.augment.mix import CutMix
from kerazoo.models.trained import TrainedWithLayers


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


MIXERS = {
    "MixUp": lambda: MixUp(1.0, seed=3),
    "CutMix": lambda: CutMix(seed=3),
    "OneOf": lambda: OneOf([MixUp(1.0), CutMix()], seed=3),
}
LOSSES = {
    "integer labels": (keras.losses.SparseCategoricalCrossentropy(from_logits=True), lambda labels: labels),
    "one-hot labels": (keras.losses.CategoricalCrossentropy(from_logits=True), lambda labels: np.eye(3)[labels]),
    "smoothed labels": (
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), lambda labels: np.eye(3)[labels]
    ),
}


@pytest.mark.parametrize(("loss", "encode"), LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("weights", [None, (8,), (8, 1)], ids=["plain", "weighted", "weights in a column"])
@pytest.mark.parametrize("make", MIXERS.values(), ids=MIXERS)
def test_the_loss_is_that_of_the_mixed_labels(make, loss, encode, weights):
    images, labels = data()
    weights = weights and np.linspace(0.5, 2, 8).astype("float32").reshape(weights)
    mixer = make()
    model = build(mixer)
    model.compile("sgd", loss)
    drawn = record(mixer)
    logits = model(images, training=True)
    total = float(model.compute_loss(images, encode(labels), logits, weights, training=True))
    ((partner, keep),) = drawn[0]
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
        drawn.append([tuple(ops.convert_to_numpy(tensor) for tensor in pair) for pair in mixing])
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


def test_image_wise_choices_leave_the_loss_alone():
    assert type(build(OneOf([RandomAffine()]))) is type(build(None))


def test_two_mixers_in_a_row_mix_what_was_mixed():
    images, labels = data()
    first, second = MixUp(1.0, seed=3), MixUp(1.0, seed=4)
    model = build([first, second])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    drawn = [record(first), record(second)]
    logits = model(images, training=True)
    total = float(model.compute_loss(images, labels, logits, training=True))
    soft = np.eye(3)[labels]
    for (((partner, keep),),) in drawn:
        soft = keep[:, None] * soft + (1 - keep[:, None]) * soft[partner]
    assert total == pytest.approx(-(soft * np.asarray(ops.log_softmax(logits))).sum(-1).mean(), rel=1e-4)


@pytest.mark.slow
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


def test_a_mixer_that_mixes_twice_and_one_that_does_nothing():
    images, labels = data()
    inner = OneOf([CutMix(), OneOf([MixUp(1.0)], probability=0)], weights=[0, 1], seed=1)
    model = build([MixUp(1.0, seed=3), inner])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    logits = model(images, training=True)
    with_inner = float(model.compute_loss(images, labels, logits, training=True))
    alone = build(MixUp(1.0, seed=3))
    alone.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    alone(images, training=True)
    assert with_inner == pytest.approx(float(alone.compute_loss(images, labels, logits, training=True)), rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
def test_every_reduction_is_that_of_the_mixed_labels(reduction):
    images, labels = data()
    weights = np.linspace(0.5, 2, 8).astype("float32")
    mixer = MixUp(1.0, seed=3)
    model = build(mixer)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True, reduction=reduction))
    drawn = record(mixer)
    logits = model(images, training=True)
    total = float(model.compute_loss(images, labels, logits, weights, training=True))
    ((partner, keep),) = drawn[0]
    own, other = keep * weights, (1 - keep) * weights[partner]
    each = -np.asarray(ops.log_softmax(logits))
    rows = np.arange(8)
    cost = (own * each[rows, labels] + other * each[rows, labels[partner]]).sum()
    divisor = {"sum": 1, "mean": 8, "mean_with_sample_weight": (own + other).sum()}[reduction]
    assert total == pytest.approx(cost / divisor, rel=1e-4)


def two_heads(augmentation, jit, **options):
    image = keras.Input((8, 8, 3), name="image")
    x = image
    for layer in augmentation:
        x = layer(x, training=False)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))
    outputs = {name: keras.layers.Dense(n, name=name)(x) for name, n in (("kind", 3), ("color", 2))}
    model = TrainedWithLayers(image, outputs)
    model.compile(
        keras.optimizers.SGD(0.01),
        {
            "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "color": keras.losses.CategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"kind": 1.0, "color": 0.5},
        metrics={"kind": ["accuracy"]},
        jit_compile=jit,
        **options,
    )
    return model


@pytest.mark.parametrize(("mixer", "jit", "weighted"), [
    ("MixUp", False, "no weights"), ("MixUp", True, "weights"), ("CutMix", True, "no weights"),
    ("OneOf", False, "weights"), ("OneOf", True, "weights a head"),
])
def test_several_heads_with_labels_of_several_kinds(mixer, jit, weighted):
    images, kinds = data()
    make = MIXERS[mixer]
    labels = {"kind": kinds, "color": np.eye(2, dtype="float32")[np.arange(8) % 2]}
    model = two_heads([make()], jit)
    own = np.linspace(0.5, 2, 8).astype("float32")
    weights = {"no weights": None, "weights": own, "weights a head": {"kind": own, "color": own[::-1].copy()}}[weighted]
    twin = make()  # what the model will draw: the same seed, the first call
    images_mixed, _ = twin.augment(ops.cast(images, "float32"), None, ops.cast(twin.generator.next(), "int32"))
    ((partner, keep),) = [[ops.convert_to_numpy(x) for x in pair] for pair in twin.take_mixing()]
    logits = model(images_mixed, training=False)
    hot = {"kind": np.eye(3)[kinds], "color": labels["color"]}
    expected = {}
    for head, own_labels in hot.items():
        w = np.ones(8) if weights is None else weights[head] if isinstance(weights, dict) else weights
        soft = (w * keep)[:, None] * own_labels + ((1 - keep) * w[partner])[:, None] * own_labels[partner]
        expected[head] = -(soft * np.asarray(ops.log_softmax(logits[head]))).sum(-1).mean()
    found = model.train_on_batch(images, labels, weights, return_dict=True)
    assert found["loss"] == pytest.approx(expected["kind"] + 0.5 * expected["color"], rel=1e-4)
    # Each head's own account is that of the mixed labels too, and accuracy that of the image's own.
    assert found["kind_loss"] == pytest.approx(expected["kind"], rel=1e-4)
    assert found["color_loss"] == pytest.approx(expected["color"], rel=1e-4)
    hits = np.argmax(logits["kind"], -1) == kinds
    assert found["kind_accuracy"] == pytest.approx(hits.mean())


def test_losses_that_cannot_be_weighed_alike_are_refused():
    images, kinds = data()
    model = two_heads([MixUp(1.0)], False)
    model.compile("sgd", {"kind": keras.losses.SparseCategoricalCrossentropy(True, reduction="sum"),
                          "color": keras.losses.SparseCategoricalCrossentropy(True)})
    with pytest.raises(ValueError, match="reduction='sum' beside others: 'sum', 'sum_over_batch_size'"):
        model.train_on_batch(images, {"kind": kinds, "color": kinds % 2})


def test_weights_that_are_not_one_an_image_are_refused():
    images, labels = data()
    model = build(MixUp(1.0))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    logits = model(images, training=True)
    with pytest.raises(ValueError, match=r"one weight an image, sample_weight \(batch,\); got shape \(8, 2\)"):
        model.compute_loss(images, labels, logits, np.ones((8, 2), "float32"))


@pytest.mark.parametrize("options", [{"jit_compile": True}, {"jit_compile": False}, {"run_eagerly": True}], ids=str)
def test_mixing_ends_with_its_epoch(options):
    images, labels = data(4)
    mixing = OneOf([MixUp(1.0), CutMix()], off_epoch=2, seed=1)
    image = keras.Input((8, 8, 3))
    seen = mixing(image, training=False)
    # A loss of the pixels that come out, and nothing to learn.
    model = TrainedWithLayers(image, keras.layers.Flatten()(seen))
    model.compile("sgd", lambda y, pixels: ops.mean(pixels, -1), **options)
    before = images.astype("float32").reshape(4, -1).mean(-1)

    class Watch(keras.callbacks.Callback):
        mixed = []

        def on_train_batch_end(self, batch, logs=None):
            self.mixed.append(int(mixing.epoch.value()))

    history = model.fit(images, labels, epochs=4, batch_size=4, shuffle=False, verbose=0,
                        callbacks=[EpochCallback(), Watch()]).history["loss"]
    assert Watch.mixed[-4:] == [0, 1, 2, 3]
    assert [loss == pytest.approx(before.mean(), rel=1e-6) for loss in history] == [False, False, True, True]


@pytest.mark.parametrize("jit", [False, True])
def test_mixing_that_would_never_end_is_refused(jit):
    images, labels = data()
    model = build(OneOf([MixUp(1.0)], off_epoch=2))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True), jit_compile=jit)
    with pytest.raises(ValueError, match=r"ends with epoch 2 .* Add kerazoo.augment.EpochCallback\(\)"):
        model.fit(images, labels, verbose=0)


def test_the_epoch_reaches_layers_inside_layers():
    inner = OneOf([MixUp(1.0)], off_epoch=2)
    outer = OneOf([OneOf([inner, CutMix()], off_epoch=3)], seed=1)
    image = keras.Input((8, 8, 3))
    model = keras.Sequential([keras.Model(image, outer(image, training=False))])
    callback = EpochCallback()
    callback.set_model(model)
    callback.on_epoch_begin(5)
    assert [int(layer.epoch.value()) for layer in (inner, outer.layers[0], outer)] == [5, 5, 5]


def test_the_epoch_is_no_weight():
    plain, mixed = build(None), build(OneOf([MixUp(1.0)], off_epoch=2))
    assert len(mixed.weights) == len(plain.weights) and mixed.count_params() == plain.count_params()
    assert any(mixed.layers[1].epoch.state is v for v in mixed.non_trainable_variables)


def test_weights_go_from_a_model_with_an_epoch_to_one_without(tmp_path):
    mixed, plain = build(OneOf([MixUp(1.0)], off_epoch=2)), build(None)
    mixed.save_weights(tmp_path / "mixed.weights.h5")
    kerazoo.load_weights(plain, tmp_path / "mixed.weights.h5")
    np.testing.assert_allclose(plain(data()[0]), mixed(data()[0]), rtol=1e-5)


@pytest.mark.parametrize("make", [
    lambda: keras.layers.MixUp(1.0), lambda: keras.layers.CutMix(), lambda: keras.Sequential([MixUp(1.0)]),
    lambda: keras.Sequential([keras.layers.MixUp(1.0)]), lambda: keras.Sequential([OneOf([CutMix()])]),
], ids=["Keras's MixUp", "Keras's CutMix", "ours inside", "Keras's inside", "a choice inside"])
def test_layers_that_mix_images_behind_the_loss_are_refused(make):
    with pytest.raises(ValueError, match="the loss would not hear of it. Put a layer of kerazoo.augment"):
        build(make())
