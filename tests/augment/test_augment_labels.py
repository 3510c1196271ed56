"""Labels and sample weights of the layers that mix: what comes out, and what is refused."""

import zlib

import keras
import numpy as np
import pytest

from kerazoo.augment.choose import OneOf
from kerazoo.augment.mix import CutMix, MixUp

BACKEND = keras.backend.backend()
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3)).astype("uint8")
LABELS = np.arange(8) % 5
ONE_HOT = np.eye(5, dtype="float32")[LABELS]
WEIGHTS = np.array([1, 2, 0, 0.5, 1.25, 0, 3, 1], "float32")
SEED = (1, 2)
MIXERS = {
    "mixup": lambda **options: MixUp(1.0, **options),
    "cutmix": lambda **options: CutMix(1.0, **options),
    "one_of": lambda **options: OneOf([MixUp(1.0, **options), CutMix()]),
}
every_mixer = pytest.mark.parametrize("make", MIXERS.values(), ids=MIXERS)


def numpy(x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, x)


def pair(layer, seed=SEED):
    """What the layer draws with the seed, in float64."""
    layer.augment(keras.ops.convert_to_tensor(IMAGES), None, keras.ops.convert_to_tensor(np.array(seed, "int32")))
    ((partner, keep),) = numpy(layer.take_mixing())
    return partner, keep.astype("float64")


def mixed(labels, partner, keep):
    return keep[:, None] * labels + (1 - keep[:, None]) * labels[partner]


@every_mixer
@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS.astype("uint8"), list(LABELS), ONE_HOT, ONE_HOT.astype("float16"), ONE_HOT.astype("float64")],
    ids=["int64", "uint8", "list", "float32", "float16", "float64"],
)
def test_labels_are_mixed_as_the_images_are(make, labels):
    layer = make(classes=5)
    partner, keep = pair(layer)
    result = numpy(layer({"images": IMAGES, "labels": labels}, seed=SEED))
    assert result["labels"].dtype == "float32" and (keep < 1).any()
    # Shares have no more than 24 bits: not a bit is lost.
    np.testing.assert_array_equal(result["labels"], mixed(ONE_HOT.astype("float64"), partner, keep))
    np.testing.assert_array_equal(result["labels"].sum(1), 1)
    assert layer.take_mixing() is None  # the labels are mixed already; the loss must not mix them again


def test_soft_labels_of_low_precision_are_mixed_in_float32():
    soft = keras.ops.cast(0.9 * ONE_HOT + 0.02, "bfloat16")
    layer = MixUp(1.0)
    partner, keep = pair(layer)
    result = numpy(layer({"images": IMAGES, "labels": soft}, seed=SEED)["labels"])
    assert result.dtype == "float32"
    exact = mixed(numpy(keras.ops.cast(soft, "float32")).astype("float64"), partner, keep)
    np.testing.assert_allclose(result, exact, atol=1e-7)  # bfloat16 would be off by 1e-3


@every_mixer
def test_heads_come_in_a_dictionary(make):
    heads = {"kind": LABELS, "color": np.eye(3, dtype="float16")[np.arange(8) % 3], "size": np.arange(8) % 2}
    layer = make(classes={"kind": 5, "size": 2})
    partner, keep = pair(layer)
    result = numpy(layer({"images": IMAGES, "labels": heads}, seed=SEED)["labels"])
    assert set(result) == set(heads)
    for head, n in (("kind", 5), ("color", 3), ("size", 2)):
        hot = np.eye(n)[heads[head]] if heads[head].ndim == 1 else heads[head].astype("float64")
        np.testing.assert_array_equal(result[head], mixed(hot, partner, keep))
    both = numpy(MixUp(1.0, classes=5)({"images": IMAGES, "labels": {"a": LABELS, "b": LABELS}}, seed=SEED)["labels"])
    assert both["a"].shape == (8, 5) and (both["a"] == both["b"]).all()


@every_mixer
def test_weighted_mixed_labels_cost_what_the_weighted_labels_cost(make):
    layer = make(classes=5)
    partner, keep = pair(layer)
    batch = {"images": IMAGES, "labels": LABELS, "sample_weight": WEIGHTS}
    result = numpy(layer(batch, seed=SEED))
    cost = np.random.default_rng(1).uniform(0, 9, (8, 5))  # of an image to be taken for each class
    own, other = keep * WEIGHTS, (1 - keep) * WEIGHTS[partner]
    rows = np.arange(8)
    expected = own * cost[rows, LABELS] + other * cost[rows, LABELS[partner]]
    found = result["sample_weight"].astype("float64") * (result["labels"] * cost).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(result["sample_weight"], own + other, rtol=1e-6)
    np.testing.assert_allclose(result["labels"].sum(1), 1, rtol=1e-6)
    plain = numpy(layer({**batch, "sample_weight": np.ones(8)}, seed=SEED))
    np.testing.assert_array_equal(plain["labels"], mixed(ONE_HOT, partner, keep))
    np.testing.assert_array_equal(plain["sample_weight"], 1)


def test_images_of_no_weight_keep_the_shares_of_their_labels():
    layer = MixUp(1.0, classes=5)
    partner, keep = pair(layer)
    batch = {"images": IMAGES, "labels": LABELS, "sample_weight": np.zeros(8, "int32")}
    result = numpy(layer(batch, seed=SEED))
    np.testing.assert_array_equal(result["sample_weight"], 0)
    np.testing.assert_array_equal(result["labels"], mixed(ONE_HOT, partner, keep))


@every_mixer
def test_the_shapes_are_known_beforehand(make):
    layer = make(classes=5)
    batch = {"images": IMAGES, "labels": {"a": LABELS, "b": ONE_HOT}, "sample_weight": WEIGHTS.astype("float64")}
    before = keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, str(x.dtype)), batch)
    spec = layer.compute_output_spec(before)
    result = layer(batch)
    for expected, found in zip(keras.tree.flatten(spec), keras.tree.flatten(result)):
        assert tuple(expected.shape) == tuple(found.shape)
        assert expected.dtype == keras.backend.standardize_dtype(found.dtype)
    shapes = layer.compute_output_shape({"images": (8, 6, 6, 3), "labels": {"a": (8,), "b": (8, 5)}})
    assert shapes["labels"] == {"a": (8, 5), "b": (8, 5)} and tuple(shapes["images"]) == (8, 6, 6, 3)
    assert layer.compute_output_shape({"images": (6, 6, 3), "labels": ()})["labels"] == (5,)
    untouched = numpy(layer(batch, training=False))
    np.testing.assert_array_equal(untouched["labels"]["a"], LABELS)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow's own machinery")
@every_mixer
@pytest.mark.parametrize("kind", [
    "integers", *(pytest.param(one, marks=pytest.mark.slow) for one in ("soft", "soft and weighted")),
])
def test_one_seed_one_result_to_the_last_bit_in_eager_graph_xla_and_tf_data(make, kind):
    import tensorflow as tf

    rng = np.random.default_rng(2)
    layer = make(classes=5)
    labels = LABELS if kind == "integers" else rng.dirichlet(np.ones(5), 8).astype("float32")
    batch = {"images": rng.uniform(0, 255, (8, 12, 10, 3)).astype("float32"), "labels": labels}
    if kind == "soft and weighted":
        batch["sample_weight"] = rng.uniform(0.1, 2, 8).astype("float32")
    seeds = np.stack([np.arange(6), np.arange(6) + 5], 1).astype("int32")
    expected = [numpy(layer(batch, seed=seed)) for seed in seeds]
    plain, compiled = (tf.function(lambda x, s: layer(x, seed=s), jit_compile=jit) for jit in (False, True))
    results = {"graph": [plain(batch, s) for s in seeds], "XLA": [compiled(batch, s) for s in seeds]}
    for calls in (1, 4):
        dataset = tf.data.Dataset.from_tensor_slices(seeds)
        results[f"tf.data {calls}"] = list(dataset.map(lambda s: layer(batch, seed=s), num_parallel_calls=calls))
    for name, result in results.items():
        for one, other in zip(result, expected):
            for key in other:
                np.testing.assert_array_equal(numpy(one)[key], other[key], err_msg=f"{name}: {key}")


# Pinned: training runs rest on them.
PINNED = {
    "mixup": (3099782722, 1465812999), "cutmix": (4149041248, 2148347208), "one_of": (516345975, 3660393011),
}


@pytest.mark.parametrize("name", PINNED)
def test_every_backend_gives_the_same_pixels_and_labels(name):
    batch = {"images": IMAGES, "labels": LABELS, "sample_weight": WEIGHTS}
    result = numpy(MIXERS[name](classes=5)(batch, seed=SEED))
    sums = zlib.crc32(result["images"].tobytes()), zlib.crc32(result["labels"].tobytes())
    assert sums == PINNED[name]


@every_mixer
def test_images_alone_by_hand_are_refused(make):
    layer = make()
    with pytest.raises(ValueError, match="images alone, missing labels: .* augmentation="):
        layer(IMAGES)
    with pytest.raises(ValueError, match="missing labels"):
        layer(IMAGES, training=True)
    np.testing.assert_array_equal(numpy(layer(IMAGES, training=False)), IMAGES)
    layer(keras.Input((6, 6, 3)))  # a model is being built
    pictures, none = layer.augment(keras.ops.convert_to_tensor(IMAGES), None, keras.ops.cast(SEED, "int32"))
    assert none is None and (numpy(pictures) != IMAGES).any()


@every_mixer
def test_images_alone_in_tf_data_are_refused(make):
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    layer = make()
    with pytest.raises(ValueError, match="missing labels"):
        tf.data.Dataset.from_tensors((IMAGES, LABELS)).map(lambda images, labels: (layer(images), labels))


@pytest.mark.parametrize("eager", [False, True])
def test_a_model_of_ones_own_may_call_it_without_labels(eager):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.mix = MixUp(1.0, seed=1)
            self.head = keras.layers.Dense(5)

        def call(self, x, training=False):
            return self.head(keras.ops.reshape(self.mix(x, training=training), (-1, 108)))

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            assert not training or len(self.mix.take_mixing()) == 1
            return super().compute_loss(x, y, y_pred, sample_weight, training)

    model = Own()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True), run_eagerly=eager)
    assert np.isfinite(model.train_on_batch(IMAGES.astype("float32") / 255, LABELS))


@every_mixer
@pytest.mark.parametrize(
    "classes, labels, message",
    [
        (None, LABELS, r"dtype int64, wanted classes=.*MixUp\(\.\.\., classes=10\)"),
        (5, LABELS[:, None], r"shape \(8, 1\), wanted integers \(batch,\)"),
        (5, LABELS.astype("float32"), r"dtype float32 and shape \(8,\), wanted one-hot or soft"),
        (4, ONE_HOT, r"shape \(8, 5\), wanted 4 classes"),
        (5, LABELS[:7], r"shape \(7,\) with images of shape \(8, 6, 6, 3\), wanted one label an image"),
        (5, LABELS > 2, "dtype bool, wanted integers or floats"),
        (5, "cats", "type str, wanted one array"),
        (5, None, "received None for labels, missing labels"),
        (5, np.array(["cat"] * 8), "wanted integers or floats"),
        (5, LABELS + 1, "values from 1 to 5, wanted classes from 0 to 4. Count the classes from 0"),
        (5, LABELS - 1, "values from -1 to 3, wanted classes from 0 to 4"),
        (5, {}, "empty dictionary of labels"),
        (5, {"a": LABELS, "b": None}, r"None for labels\['b'\], missing labels"),
        (None, {"a": ONE_HOT, "b": LABELS}, r"labels\['b'\] of dtype int64, wanted classes="),
        ({"a": 5}, {"a": LABELS, "b": LABELS}, r"labels\['b'\] of dtype int64, wanted classes="),
        ({"a": 5, "b": 2}, {"a": LABELS}, "with the heads 'a', wanted 'b' too"),
        ({"a": 4}, {"a": LABELS}, r"labels\['a'\] of values from 0 to 4, wanted classes from 0 to 3"),
        ({"a": 5}, LABELS, "received one array of labels, wanted a dictionary with the heads 'a'"),
    ],
)
def test_labels_that_do_not_fit(make, classes, labels, message):
    with pytest.raises(ValueError, match=message):
        make(classes=classes)({"images": IMAGES, "labels": labels})


@every_mixer
def test_labels_that_are_not_mixed_need_not_fit(make):
    for labels in (LABELS, LABELS[:, None], None):
        result = make()({"images": IMAGES, "labels": labels}, training=False)
        np.testing.assert_array_equal(numpy(result["images"]), IMAGES)
        assert labels is None or (numpy(result["labels"]) == labels).all()


@every_mixer
def test_weights_that_are_not_one_an_image(make):
    with pytest.raises(ValueError, match=r"sample_weight of shape \(8, 1\) with images of shape .*, wanted one array"):
        make(classes=5)({"images": IMAGES, "labels": LABELS, "sample_weight": WEIGHTS[:, None]})
    with pytest.raises(ValueError, match=r"sample_weight of shape \(5,\) with images of shape \(8, "):
        make(classes=5)({"images": IMAGES, "labels": LABELS, "sample_weight": WEIGHTS[:5]})
    with pytest.raises(ValueError, match="sample_weight of type dict, wanted one array"):
        make(classes=5)({"images": IMAGES, "labels": {"a": LABELS}, "sample_weight": {"a": WEIGHTS}})


@pytest.mark.parametrize("make", [MixUp, CutMix])
@pytest.mark.parametrize("classes", [0, 2.5, "ten", True, {"a": 0}, {"a": None}])
def test_classes_out_of_range(make, classes):
    with pytest.raises(ValueError, match="classes: received .* wanted an integer of at least 1"):
        make(classes=classes)


@pytest.mark.parametrize("make", [MixUp, CutMix])
@pytest.mark.parametrize("alpha", [0, -0.2, float("nan"), float("inf"), "0.2", True])
def test_alpha_out_of_range(make, alpha):
    with pytest.raises(ValueError, match="alpha: received .* wanted a number from 0.001"):
        make(alpha)


@pytest.mark.parametrize("make", [MixUp, CutMix])
def test_heads_are_saved(make, tmp_path):
    import json

    layer = make(0.5, classes={"a": np.int64(5), "b": 2}, seed=3)
    config = json.loads(json.dumps(layer.get_config()))
    assert config["classes"] == {"a": 5, "b": 2}
    again = type(layer).from_config(config)
    batch = {"images": IMAGES, "labels": {"a": LABELS, "b": LABELS % 2}}
    for one, other in zip(keras.tree.flatten(numpy(layer(batch))), keras.tree.flatten(numpy(again(batch)))):
        np.testing.assert_array_equal(one, other)
