"""MixUp: its shares, its labels, and the loss of a model that has it inside."""

import gc
import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

from kerazoo.augment import CutMix, MixUp

BACKEND = keras.backend.backend()
tensorflow_only = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow's own machinery")
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3)).astype("float32")
LABELS = np.arange(8) % 5
ONE_HOT = np.eye(5, dtype="float32")[LABELS]


def numpy(x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, x)


def blend(values, partner, keep):
    keep = keep.reshape(-1, *[1] * (values.ndim - 1))
    return keep * values + (1 - keep) * values[partner]


def pictures(layer, images, seed=None):
    """The mixed images alone, which a call by hand refuses, and the pair that explains them."""
    seed = layer.generator.next() if seed is None else np.array(seed, "int32")
    mixed, _ = layer.augment(keras.ops.convert_to_tensor(images), None, keras.ops.cast(seed, "int32"))
    ((partner, keep),) = layer.take_mixing()
    return numpy(mixed), numpy(partner), numpy(keep)


def test_taken_mixing_explains_the_images():
    mixed, partner, keep = pictures(MixUp(1.0, seed=1), IMAGES)
    assert partner.dtype == "int32" and keep.dtype == "float32"
    assert sorted(partner) == list(range(8)) and (0.5 <= keep).all() and (keep <= 1).all()
    np.testing.assert_array_equal(keep * 4096, np.round(keep * 4096))
    np.testing.assert_allclose(mixed, blend(IMAGES, partner, keep), atol=1e-4)


def test_uint8_pixels_are_rounded_once_and_exactly():
    images = np.random.default_rng(1).integers(0, 256, (64, 9, 9, 3), dtype="uint8")
    mixed, partner, keep = pictures(MixUp(1.0), images, (5, 6))
    shares = np.round(keep * 4096).astype("int64").reshape(-1, 1, 1, 1)
    exact = shares * images + (4096 - shares) * images[partner].astype("int64")
    np.testing.assert_array_equal(np.round(exact / 4096), mixed)  # half to even, both


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha):
    stats = pytest.importorskip("scipy.stats", reason="SciPy has the Beta distribution to compare with")
    _, partner, keep = pictures(MixUp(alpha), np.zeros((100_000, 1, 1, 1), "float32"), (7, 0))
    # The Kolmogorov-Smirnov statistic. Shares are rounded to multiples of 1/4096, which changes nothing at the places
    # halfway between them.
    places = (np.arange(2048, 4096) + 0.5) / 4096
    expected = 2 * stats.beta(alpha, alpha).cdf(places) - 1
    distance = np.abs(np.searchsorted(np.sort(keep), places, "right") / 100_000 - expected)
    assert distance.max() < 1.63 / np.sqrt(100_000)  # 1 %
    assert len(set(partner)) == 100_000
    assert abs(np.corrcoef(partner, keep)[0, 1]) < 0.015


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 5.0, 1e3, 1e6])
def test_the_table_is_that_of_the_distribution(alpha):
    stats = pytest.importorskip("scipy.stats", reason="SciPy has the Beta distribution to compare with")
    from kerazoo.augment.mix import beta_cdf

    places = np.concatenate([[0, 1e-9], np.linspace(1e-6, 1, 5_000)])
    np.testing.assert_allclose(beta_cdf(places, alpha), stats.beta(alpha, alpha).cdf(places), rtol=0, atol=1e-8)


def test_a_rank_is_how_many_entries_are_at_most_the_number():
    from kerazoo.augment.mix import rank

    rng = np.random.default_rng(0)
    for length in (1, 2, 3, 7, 8, 100, 2048):
        table = np.sort(rng.integers(0, 2**24 + 1, length)).astype("int32")
        drawn = np.concatenate([rng.integers(0, 2**24, 500), table[table < 2**24], [0, 2**24 - 1]]).astype("int32")
        found = numpy(rank(table, keras.ops.convert_to_tensor(drawn)))
        np.testing.assert_array_equal(found, np.searchsorted(table, drawn, "right"))


@pytest.mark.parametrize("stable", [True, False], ids=["a stable sort", "another"])
@pytest.mark.parametrize("batch", [1, 2, 7, 64, 5000])
def test_partners_are_a_permutation_whatever_the_ties(batch, stable, monkeypatch):
    from kerazoo.augment.mix import permutation

    if not stable:
        backwards = lambda x: np.lexsort((-np.arange(batch), numpy(x)))  # noqa: E731
        monkeypatch.setattr(keras.ops, "argsort", backwards)
    drawn = np.random.default_rng(0).integers(0, 2**24, batch) / 2**24
    drawn[: batch // 2] = drawn[0]
    found = numpy(permutation(keras.ops.convert_to_tensor(drawn.astype("float32")), batch))
    assert sorted(found) == list(range(batch))
    # Equal numbers stay in the order of their indices, as a stable sort has them.
    np.testing.assert_array_equal([i for i in found if i < batch // 2], np.arange(batch // 2))


def test_every_partner_is_as_likely():
    layer, counts = MixUp(1.0), np.zeros((10, 10))
    for seed in range(50):
        _, partner, _ = pictures(layer, np.zeros((200, 1, 1, 1), "uint8"), (seed, 1))
        np.add.at(counts, (np.arange(200) // 20, partner // 20), 1)
    assert ((counts - 100) ** 2 / 100).sum() < 126  # chi-square, 81 degrees of freedom: 0.1 %


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_batch_of_one_stays_as_it_is(dtype):
    images = (IMAGES[:1] * 0.7).astype(dtype)
    layer, seed = MixUp(1.0, classes=5), keras.ops.convert_to_tensor(np.array([1, 2], "int32"))
    # As the last of a data set may be.
    result = layer.mix_batch(keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(LABELS[:1]), None, seed)
    np.testing.assert_array_equal(numpy(result[0]), images)
    np.testing.assert_array_equal(numpy(result[1]), ONE_HOT[:1])


@pytest.mark.parametrize("count", [slice(1), 0])
def test_one_image_alone_has_nobody_to_mix_with(count):
    with pytest.raises(ValueError, match="received one image, of shape .* wanted a batch of several"):
        MixUp(classes=5)({"images": IMAGES[count], "labels": LABELS[count]})


def in_a_model(layer):
    """A model that hands images through the layer: what may call it without labels."""
    inputs = keras.Input((6, 6, 3))
    return Listening(inputs, layer(inputs, training=False))


class Listening(keras.Model):
    def compute_loss(self, *arguments, **options):  # as one that asks for the mixing
        return super().compute_loss(*arguments, **options)


def test_a_model_whose_loss_does_not_hear_of_it_warns():
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, MixUp()(inputs, training=False))
    with pytest.warns(UserWarning, match="mixes images inside .* whose loss does not hear of it: labels stay unmixed"):
        model(IMAGES, training=True)
    outer = keras.Sequential([keras.Input((6, 6, 3)), in_a_model(MixUp())])
    with pytest.warns(UserWarning, match="whose loss does not hear of it"):
        outer(IMAGES, training=True)


def test_mixing_is_handed_out_once_and_only_after_training():
    layer, other = MixUp(seed=1), MixUp(seed=1)
    assert layer.take_mixing() is None
    layer(keras.Input((6, 6, 3)))
    model = in_a_model(layer)
    assert layer.take_mixing() is None
    layer(IMAGES, training=False)
    assert layer.take_mixing() is None
    model(IMAGES, training=True)
    assert other.take_mixing() is None
    assert layer.take_mixing() is not None and layer.take_mixing() is None
    model(IMAGES, training=True)
    model(IMAGES, training=False)  # an evaluation begins
    assert layer.take_mixing() is None
    model(IMAGES, training=True)
    layer({"images": IMAGES, "labels": ONE_HOT})
    assert layer.take_mixing() is None  # these labels are mixed already; the loss must not mix them again


def test_mixing_stays_in_its_thread():
    layer, found = MixUp(seed=1), []
    in_a_model(layer)(IMAGES, training=True)
    thread = threading.Thread(target=lambda: found.append(layer.take_mixing()))
    thread.start()
    thread.join()
    assert found == [None] and layer.take_mixing() is not None


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch runs eagerly")
def test_mixing_stays_in_its_trace():
    layer = MixUp(seed=1)
    seed = np.array([1, 2], "int32")

    def train(images):
        return layer.augment(keras.ops.convert_to_tensor(images), None, keras.ops.convert_to_tensor(seed))[0]

    def take(images):
        return keras.ops.sum(images) if layer.take_mixing() is None else keras.ops.sum(images) + 1

    def compiled(function):
        if BACKEND == "jax":
            import jax

            return jax.jit(function)
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    compiled(train)(IMAGES)
    assert layer.take_mixing() is None
    compiled(train)(IMAGES)
    assert compiled(take)(IMAGES[:0]) == 0
    train(IMAGES)
    assert compiled(take)(IMAGES[:0]) == 0


def test_a_layer_that_is_gone_leaves_nothing_behind():
    from kerazoo import handover

    layer = MixUp(seed=1)
    pictures(layer, IMAGES)
    layer.augment(keras.ops.convert_to_tensor(IMAGES), None, keras.ops.cast([1, 2], "int32"))
    gc.collect()
    before = len(handover.store())
    del layer
    gc.collect()
    assert len(handover.store()) == before - 1


class Mixed(keras.Model):
    """A functional model whose loss knows of the label mixing inside."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        mixing = self.get_layer("mix").take_mixing()
        assert (mixing is not None) == training
        if mixing is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        ((partner, keep),) = mixing
        loss = keras.losses.sparse_categorical_crossentropy
        other = keras.ops.take(y, partner, axis=0)
        return keras.ops.mean(keep * loss(y, y_pred, True) + (1 - keep) * loss(other, y_pred, True))


def mixed_model(jit):
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Rescaling(1 / 255)(MixUp(1.0, seed=3, name="mix")(inputs))
    x = keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.GlorotUniform(1))(x)
    x = keras.layers.Dense(5, kernel_initializer=keras.initializers.GlorotUniform(2))(keras.layers.Flatten()(x))
    model = Mixed(inputs, x)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=jit)
    return model


@pytest.mark.parametrize("jit", {
    "tensorflow": [pytest.param(False, marks=pytest.mark.slow), True], "jax": [True], "torch": [False],
}[BACKEND])
def test_the_loss_of_a_model_is_mixed_as_its_images_are(jit):
    model, twin = mixed_model(jit), MixUp(1.0, seed=3)
    images, partner, keep = pictures(twin, IMAGES)  # what the model will draw: the same seed, the first call
    logits = model.predict(images, verbose=0).astype("float64")
    log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    rows = np.arange(8)
    by_hand = -np.mean(keep * log[rows, LABELS] + (1 - keep) * log[rows, LABELS[partner]])
    np.testing.assert_allclose(model.train_on_batch(IMAGES, LABELS), by_hand, rtol=1e-4)

    history = model.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), epochs=2, batch_size=4, verbose=0).history
    logits = model.predict(IMAGES, verbose=0).astype("float64")
    log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(history["val_loss"][-1], -log[rows, LABELS].mean(), rtol=1e-4)
    assert np.isfinite(history["loss"]).all()


REPLICAS = """
import sys, numpy as np, keras, tensorflow as tf
sys.path.insert(0, sys.argv[1])
from test_augment_mixup import mixed_model, IMAGES, LABELS
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = mixed_model(False)
data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).repeat(4).batch(8)
losses = model.fit(data, epochs=2, verbose=0).history["loss"]
assert strategy.num_replicas_in_sync == 2 and np.isfinite(losses).all(), losses
"""


@tensorflow_only
@pytest.mark.slow
def test_replicas_in_threads_do_not_mix_each_others_labels():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    result = subprocess.run(
        [sys.executable, "-c", REPLICAS, os.path.dirname(__file__)], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-4000:]


@pytest.mark.parametrize("alpha", [0, -0.2, float("nan"), float("inf"), "0.2", True])
def test_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match="alpha: received .* wanted a number from 0.001"):
        MixUp(alpha)


def test_images_and_labels_as_two_arguments_are_answered_with_the_dictionary():
    for call in (lambda: MixUp(classes=3)(np.zeros((2, 4, 4, 3), "uint8"), np.arange(2)),
                 lambda: CutMix(classes=3)(np.zeros((2, 4, 4, 3), "uint8"), np.arange(2))):
        with pytest.raises(ValueError, match='received 2 arguments, wanted .* Pass labels as {"images": images, "labels"'):
            call()
