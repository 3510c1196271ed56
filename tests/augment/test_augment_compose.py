"""Compose: the same as its layers one after the other, in fewer passes; and how plans are carried out."""

import keras
import numpy as np
import pytest

from kerazoo.augment import (
    AugmentationLayer,
    Compose,
    CutMix,
    EpochCallback,
    MixUp,
    OneOf,
    RandAugment,
    RandomAffine,
    RandomCrop,
    draws,
    engine,
)

SEED = (3, 4)


def batch(n=8, size=(20, 24), channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, *size, channels)).astype("uint8")


def numpy(x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, x)


def own_seed(place):
    return numpy(draws.fold(keras.ops.convert_to_tensor(np.array(SEED, "int32")), place))


def test_it_does_what_its_layers_do_one_after_the_other():
    layers = [RandAugment(2), RandAugment(1, magnitude=20), RandomAffine(rotation=20)]
    expected = batch()
    for place, layer in enumerate(layers):
        expected = numpy(layer(expected, seed=own_seed(place)))
    np.testing.assert_array_equal(numpy(Compose(layers)(batch(), seed=SEED)), expected)


def test_layers_at_several_places_draw_independently():
    layer = Compose([RandomAffine(translation=(0, 0.4), interpolation="nearest"), RandAugment(1)])
    first, second = layer.passes[0].plan(keras.ops.convert_to_tensor(np.array(SEED, "int32")), 20_000, 20, 24, 3)
    shift, choice = numpy(first.params["matrix"])[:, 0, 0, 2], numpy(second.choice)[:, 0]
    assert abs(np.corrcoef(shift, choice)[0, 1]) < 0.03


def steps_of(*layers, merged=True):
    seed = keras.ops.convert_to_tensor(np.array(SEED, "int32"))
    steps = Compose(list(layers)).plan(seed, 8, 20, 24, 3)
    return engine.merge(steps) if merged else steps


def test_neighboring_resamplings_become_one():
    assert len(steps_of(RandomAffine(rotation=20), RandomAffine(scale=0.2), merged=False)) == 2
    (step,) = steps_of(RandomAffine(rotation=20, interpolation="nearest"), RandomAffine(scale=0.2))
    assert step.primitives[0].interpolation == "bilinear"
    assert len(steps_of(RandomAffine(rotation=20), RandAugment(1), RandomAffine(scale=0.2))) == 3
    assert len(steps_of(RandomAffine(rotation=20, fill=0), RandomAffine(scale=0.2, fill=9))) == 2


def test_what_left_the_frame_comes_back_where_resamplings_are_merged():
    there = RandomAffine(scale=(2, 2), interpolation="nearest")
    back = RandomAffine(scale=(0.5, 0.5), interpolation="nearest")
    images = batch()
    np.testing.assert_array_equal(numpy(Compose([there, back])(images)), images)
    one_by_one = numpy(back(there(images)))
    assert (one_by_one[:, :4] == 0).all()


class Cropped(AugmentationLayer):
    def augment(self, images, labels, seed):
        return images[:, 2:-2, 3:-3], labels

    def output_size(self, height, width):
        return height - 4, width - 6


def test_sizes_change_on_the_way():
    layer = Compose([RandomAffine(rotation=5), Cropped(), RandAugment(1)])
    assert not layer.image_wise
    assert layer(batch()).shape == (8, 16, 18, 3)
    assert layer(keras.Input((20, 24, 3))).shape == (None, 16, 18, 3)
    assert layer.compute_output_shape((None, 20, 24, 3)) == (None, 16, 18, 3)


def test_a_layer_of_keras_in_between():
    flip = keras.layers.RandomFlip(seed=1)
    layer = Compose([RandomAffine(rotation=20), flip, RandAugment(1)])
    images = batch()
    result = layer(images, seed=SEED)
    assert keras.backend.standardize_dtype(result.dtype) == "uint8"
    assert (numpy(result) != numpy(Compose([RandomAffine(rotation=20), RandAugment(1)])(images, seed=SEED))).any()
    np.testing.assert_array_equal(numpy(layer(images, training=False)), images)
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    mapped = next(iter(tf.data.Dataset.from_tensors(images).map(layer)))
    assert mapped.shape == (8, 20, 24, 3) and mapped.dtype == tf.uint8


def test_labels_and_weights_are_mixed_inside():
    images = np.repeat(np.arange(8, dtype="float32")[:, None, None, None] * 30, 9 * 3, 1).reshape(8, 3, 9, 1)
    layer = Compose([MixUp(1.0), CutMix(classes=8)])
    result = numpy(
        layer({"images": images, "labels": np.arange(8), "sample_weight": np.ones(8, "float32")}, seed=SEED)
    )
    np.testing.assert_allclose(result["labels"].sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(result["sample_weight"], 1, atol=1e-6)
    # Flat images: the mean level says what an image is made of.
    np.testing.assert_allclose(result["images"].mean((1, 2, 3)), result["labels"] @ (np.arange(8) * 30), atol=1e-2)


def test_a_model_learns_of_what_was_mixed_inside():
    inputs = keras.Input((8, 8, 1))
    layer = Compose([RandomAffine(rotation=5), MixUp(1.0), RandAugment(1), CutMix()])
    layer(inputs)
    with_labels = numpy(
        Compose([RandomAffine(rotation=5), MixUp(1.0), RandAugment(1), CutMix(classes=6)])(
            {"images": batch(6, (8, 8), 1), "labels": np.arange(6)}, seed=SEED
        )
    )
    labels = np.eye(6)
    layer.call(keras.ops.convert_to_tensor(batch(6, (8, 8), 1)), seed=keras.ops.convert_to_tensor(np.array(SEED)))
    pairs = layer.take_mixing()
    assert len(pairs) == 2
    for partner, keep in numpy(pairs):
        labels = keep[:, None] * labels + (1 - keep[:, None]) * labels[partner]
    np.testing.assert_allclose(labels, with_labels["labels"], atol=1e-6)


class Relabeled(AugmentationLayer):
    """A user's own: changes labels, and does what XLA cannot."""

    def augment(self, images, labels, seed):
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.strings.length("not for XLA")
        return images, None if labels is None else labels + 1


def test_a_layer_of_ones_own_keeps_its_labels_and_its_freedom():
    layer = Compose([RandomAffine(rotation=5), Relabeled(), MixUp(1.0, classes=9)])
    labels = numpy(layer({"images": batch(), "labels": np.arange(8)}, seed=SEED))["labels"]
    assert labels.shape == (8, 9) and (labels[:, 0] == 0).all() and (labels.argmax(1) == np.arange(8) + 1).all()
    plain = Compose([RandomAffine(rotation=5), Relabeled()])
    inputs = {"images": batch(), "labels": np.arange(8)}
    np.testing.assert_array_equal(numpy(plain(inputs)["labels"]), np.arange(8) + 1)
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    mapped = next(iter(tf.data.Dataset.from_tensors(inputs).map(plain)))
    np.testing.assert_array_equal(mapped["labels"].numpy(), np.arange(8) + 1)
    with pytest.raises(ValueError, match="relabeled.*' among them, wanted layers of kerazoo.augment alone"):
        OneOf([Relabeled(), RandAugment()])


def test_labels_that_change_two_levels_down_are_mixed_as_they_are_then():
    inside = [Relabeled(), MixUp(1.0), CutMix(classes=9), Relabeled()]
    inputs = {"images": batch(), "labels": np.arange(8), "sample_weight": np.arange(1, 9, dtype="float32")}
    flat, nested = Compose(inside), Compose([Compose([Compose(inside)])])
    results = [
        numpy(layer(inputs, seed=seed)) for layer, seed in ((flat, own_seed(0)), (Compose([flat]), SEED))
    ]  # the seed of what stands at place 0
    for key in inputs:
        np.testing.assert_array_equal(results[0][key], results[1][key])
    assert (results[0]["labels"][:, 0] == 1).all()  # class 0 is nobody's after the first, and the last adds one to all
    assert (numpy(nested(inputs, seed=SEED))["labels"][:, 0] == 1).all()


@pytest.mark.parametrize("dtype", [
    "uint8", *(pytest.param(one, marks=pytest.mark.slow) for one in ("float16", "float64")),
])
def test_whatever_is_drawn_in_a_graph_the_dtype_is_one(dtype):
    """Branches of a graph must answer alike."""
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    layer = OneOf([Compose([RandAugment(1), MixUp(1.0, classes=8)]), CutMix()])
    inputs = {"images": batch().astype(dtype), "labels": np.arange(8)}
    result = next(iter(tf.data.Dataset.from_tensors(inputs).map(lambda x: layer(x, seed=tf.constant(SEED)))))
    assert result["images"].dtype == dtype
    np.testing.assert_array_equal(result["labels"], numpy(layer(inputs, seed=SEED))["labels"])


def test_floats_are_rounded_to_their_dtype_at_the_end_alone():
    images = keras.ops.cast(batch(), "bfloat16")
    row = Compose([RandomAffine(rotation=20), MixUp(1.0, classes=8)])
    for layer in (row, OneOf([row])):
        wide, narrow = (
            layer({"images": keras.ops.cast(images, dtype), "labels": np.arange(8)}, seed=SEED)["images"]
            for dtype in ("float32", "bfloat16")
        )
        np.testing.assert_array_equal(
            numpy(keras.ops.cast(keras.ops.cast(wide, "bfloat16"), "float32")), numpy(keras.ops.cast(narrow, "float32"))
        )


def test_a_layer_of_keras_two_levels_down_draws_anew():
    inner = Compose([RandomAffine(), keras.layers.RandomFlip("horizontal_and_vertical")])
    layer = Compose([inner, RandAugment(probability=0.0)])
    images = batch()
    assert len({numpy(layer(images, seed=SEED)).tobytes() for _ in range(6)}) > 1
    with pytest.raises(ValueError, match="among them, wanted layers of kerazoo.augment alone, and none inside"):
        OneOf([Compose([inner])])


def test_neighbors_are_merged_inside_one_of_too():
    images = batch()
    there_and_back = [RandomAffine(rotation=(r, r), interpolation="bilinear") for r in (20, -20)]
    layer = OneOf([Compose(there_and_back)])
    assert np.abs(numpy(layer(images)).astype(int) - images).mean() < 1


def test_the_epoch_reaches_layers_inside():
    layer = Compose([RandomAffine(rotation=5), OneOf([MixUp(1.0, classes=8), CutMix()], off_epoch=1)])
    inputs = {"images": batch(), "labels": np.arange(8)}
    with pytest.raises(ValueError, match=r"nobody says which epoch it is.*EpochCallback\(layer\)"):
        layer(inputs)
    soft = []
    for epoch in (0, 1):
        callback = EpochCallback(layer)
        callback.set_model(keras.Sequential([keras.layers.Dense(1)]))
        callback.on_epoch_begin(epoch)
        soft.append(numpy(layer(inputs)["labels"]).max())
    assert soft[0] == 1 and numpy(layer(inputs)["labels"]).max(1).min() == 1
    with pytest.raises(ValueError, match="wanted layers with a method set_epoch"):
        EpochCallback(RandAugment())


def test_images_of_unknown_size_are_cropped():
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    spec = tf.TensorSpec((None, None, 3), "uint8")
    data = tf.data.Dataset.from_generator(lambda: iter(batch(3)), output_signature=spec)
    for layer in (RandomCrop(16), RandomCrop(16, padding=2, padding_mode="reflect"), Compose([RandomCrop(16)])):
        shapes = [image.shape for image in data.map(layer)]
        assert shapes == [(16, 16, 3)] * 3


@pytest.mark.parametrize(
    "layers, message",
    [
        ([], r"layers: received \[\], wanted a list of one or more layers"),
        (RandAugment(), "layers: received .* wanted a list"),
        ([RandAugment(), "flip"], "layers: received 'flip' among them, wanted Keras layers"),
        ([keras.layers.MixUp()], "received keras's MixUp, which mixes labels in a form of its own"),
    ],
)
def test_lists_that_make_no_row(layers, message):
    with pytest.raises(ValueError, match=message):
        Compose(layers)


def test_one_layer_twice():
    layer = RandAugment()
    with pytest.raises(ValueError, match="received a layer twice"):
        Compose([layer, layer])


def test_only_where_leaves_the_others_alone():
    images, chosen = batch(), np.arange(8) % 2 == 0
    seed = keras.ops.convert_to_tensor(np.array(SEED, "int32"))
    for layer in (RandAugment(2), RandomAffine(rotation=(30, 40))):
        steps = layer.plan(seed, 8, 20, 24, 3)
        everywhere = numpy(engine.run(steps, keras.ops.convert_to_tensor(images)))
        limited = engine.only_where(keras.ops.convert_to_tensor(chosen), steps)
        result = numpy(engine.run(limited, keras.ops.convert_to_tensor(images)))
        np.testing.assert_array_equal(result[chosen], everywhere[chosen])
        np.testing.assert_array_equal(result[~chosen], images[~chosen])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_way_of_carrying_out_a_plan_gives_the_same(dtype):
    images = keras.ops.convert_to_tensor(batch().astype(dtype))
    seed = keras.ops.convert_to_tensor(np.array(SEED, "int32"))
    steps = Compose([RandomAffine(rotation=20), RandAugment(3, interpolation="bilinear")]).plan(seed, 8, 20, 24, 3)
    from kerazoo.augment.canvas import pack, unpack

    canvas, steps = pack(images), engine.prepared(engine.merge(steps), 20, 24)
    ways = [engine.in_groups, engine.all_at_once]
    if keras.backend.backend() != "torch":  # where a loop over images is no way to compute
        ways.append(engine.one_by_one)
    results = [numpy(unpack(way(steps, canvas))) for way in ways]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=0 if dtype == "uint8" else 1e-3)


@pytest.mark.parametrize(
    "images, message",
    [
        (np.full((2, 4, 4, 3), 0.5, "float32"), "pixel values from 0.5 to 0.5, wanted 0 to 255.*images \\* 255"),
        (np.full((2, 4, 4, 3), -1, "float32"), "pixel values from -1 to -1, wanted 0 to 255"),
        (np.full((2, 4, 4, 3), 256, "float32"), "pixel values from 256 to 256"),
        (np.full((2, 4, 4, 3), np.nan, "float32"), "pixel values from nan to nan"),
        (np.zeros((2, 0, 4, 3), "uint8"), r"shape \(2, 0, 4, 3\), wanted 1 to 8,388,608 pixels"),
        (np.zeros((1, 4096, 4096, 1), "uint8"), "wanted 1 to 8,388,608 pixels, at most 8,192 a side. Resize"),
        (np.zeros((1, 2, 10_000, 1), "uint8"), "at most 8,192 a side"),
    ],
)
def test_pixels_out_of_range(images, message):
    with pytest.raises(ValueError, match=message):
        RandomAffine(rotation=5)(images)


def test_sample_weights_come_along():
    inputs = {"images": batch(), "labels": np.arange(8), "sample_weight": np.arange(8, dtype="float32")}
    result = numpy(RandAugment()(inputs))
    np.testing.assert_array_equal(result["sample_weight"], inputs["sample_weight"])
    np.testing.assert_array_equal(result["labels"], inputs["labels"])
