"""MixUp: its shares, its labels, and the loss of a model that has it inside."""

import gc
import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

from kerazoo.augment import MixUp

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


def test_taken_mixing_explains_the_images():
    layer = MixUp(1.0, seed=1)
    mixed = numpy(layer(IMAGES))
    partner, keep = numpy(layer.take_mixing())
    assert partner.dtype == "int32" and keep.dtype == "float32"
    assert sorted(partner) == list(range(8)) and (0 <= keep).all() and (keep <= 1).all()
    np.testing.assert_allclose(mixed, blend(IMAGES, partner, keep), atol=1e-4)


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype("uint8"), list(LABELS), ONE_HOT, ONE_HOT.astype("float16")])
def test_labels_are_mixed_as_the_images_are(labels):
    layer = MixUp(1.0, classes=5, seed=1)
    layer(IMAGES, seed=(1, 2))
    partner, keep = numpy(layer.take_mixing())
    result = numpy(layer({"images": IMAGES, "labels": labels}, seed=(1, 2)))
    assert result["labels"].dtype == "float32"
    np.testing.assert_allclose(result["images"], blend(IMAGES, partner, keep), atol=1e-4)
    np.testing.assert_allclose(result["labels"], blend(ONE_HOT, partner, keep), atol=1e-6)
    assert layer.take_mixing() is None  # the labels are mixed already; the loss must not mix them again


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha):
    stats = pytest.importorskip("scipy.stats", reason="SciPy has the Beta distribution to compare with")
    layer = MixUp(alpha, seed=7)
    layer(np.zeros((100_000, 1, 1, 1), "float32"))
    partner, keep = numpy(layer.take_mixing())
    assert keep.min() >= 0.5
    # The Kolmogorov-Smirnov statistic, at fixed places: between 1 - 1e-7 and 1, where small alphas put many shares,
    # float32 has no numbers, so that scipy's test over the draws themselves would see ties.
    places = np.linspace(0.5, 1 - 1e-4, 10_000)
    expected = 2 * stats.beta(alpha, alpha).cdf(places) - 1
    distance = np.abs(np.searchsorted(np.sort(keep), places, "right") / 100_000 - expected)
    assert distance.max() < 1.63 / np.sqrt(100_000)  # 1 %
    assert len(set(partner)) == 100_000
    assert abs(np.corrcoef(partner, keep)[0, 1]) < 0.015


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 0.7, 1.0, 5.0, 1e3, 1e6])
def test_the_quantile_table_is_exact(alpha):
    stats = pytest.importorskip("scipy.stats", reason="SciPy has the Beta distribution to compare with")
    from kerazoo.augment.mix import beta_quantile, beta_table

    probability = np.linspace(0.001, 0.999, 999).astype("float32")
    keep = numpy(beta_quantile(keras.ops.convert_to_tensor(probability), beta_table(alpha), alpha)).astype("float64")
    reference = stats.beta(alpha, alpha).ppf(probability.astype("float64"))
    np.testing.assert_allclose(keep, reference, atol=2e-3 * reference.std())


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_batch_of_one_stays_as_it_is(dtype):
    images = (IMAGES[:1] * 0.7).astype(dtype)
    layer = MixUp(1.0, classes=5, seed=1)
    for _ in range(5):
        result = numpy(layer({"images": images, "labels": LABELS[:1]}))
        np.testing.assert_array_equal(result["images"], images)
        np.testing.assert_array_equal(result["labels"], ONE_HOT[:1])
        np.testing.assert_array_equal(numpy(layer(images[0])), images[0])


def test_mixing_is_handed_out_once_and_only_after_training():
    layer, other = MixUp(seed=1), MixUp(seed=1)
    assert layer.take_mixing() is None
    layer(keras.Input((6, 6, 3)))
    layer(keras.Input((6, 6, 3)), training=False)
    assert layer.take_mixing() is None
    layer(IMAGES, training=False)
    assert layer.take_mixing() is None
    layer(IMAGES)
    assert other.take_mixing() is None
    assert layer.take_mixing() is not None and layer.take_mixing() is None
    layer(IMAGES)
    layer(IMAGES, training=False)  # an evaluation begins
    assert layer.take_mixing() is None


def test_mixing_stays_in_its_thread():
    layer, found = MixUp(seed=1), []
    layer(IMAGES)
    thread = threading.Thread(target=lambda: found.append(layer.take_mixing()))
    thread.start()
    thread.join()
    assert found == [None] and layer.take_mixing() is not None


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch runs eagerly")
def test_mixing_stays_in_its_trace():
    layer = MixUp(seed=1)

    def train(images):
        return layer(images, seed=np.array([1, 2]))

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
    layer(IMAGES)
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
        partner, keep = mixing
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


@pytest.mark.parametrize("jit", {"tensorflow": [False, True], "jax": [True], "torch": [False]}[BACKEND])
def test_the_loss_of_a_model_is_mixed_as_its_images_are(jit):
    model, twin = mixed_model(jit), MixUp(1.0, seed=3)
    images = numpy(twin(IMAGES))  # what the model will draw: the same seed, the first call
    partner, keep = numpy(twin.take_mixing())
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


@pytest.mark.parametrize("classes", [0, 2.5, "ten"])
def test_classes_out_of_range(classes):
    with pytest.raises(ValueError, match="classes: received .* wanted an integer of at least 1"):
        MixUp(classes=classes)


@pytest.mark.parametrize(
    "classes, labels, message",
    [
        (None, LABELS, r"dtype int64, wanted classes=.*MixUp\(\.\.\., classes=10\)"),
        (5, LABELS[:, None], r"shape \(8, 1\), wanted integers \(batch,\)"),
        (5, LABELS.astype("float32"), r"dtype float32 and shape \(8,\), wanted one-hot or soft"),
        (4, ONE_HOT, r"shape \(8, 5\), wanted 4 classes"),
        (5, LABELS[:7], r"shape \(7,\) with images of shape \(8, 6, 6, 3\), wanted one label an image"),
        (5, LABELS > 2, "dtype bool, wanted integers or floats"),
        (5, {"a": LABELS}, "type dict, wanted one array"),
        (5, np.array(["cat"] * 8), "wanted integers or floats"),
    ],
)
def test_labels_that_do_not_fit(classes, labels, message):
    with pytest.raises(ValueError, match=message):
        MixUp(classes=classes)({"images": IMAGES, "labels": labels})
