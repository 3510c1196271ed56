"""OneOf: what it chooses, how often, and when it ends."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest

from kerazoo.augment import RandomAffine
from kerazoo.augment.choose import EpochCallback, OneOf, fold
from kerazoo.augment.draws import uniform
from kerazoo.augment.mix import CutMix, MixUp, as_count, rank

BACKEND = keras.backend.backend()
tensorflow_only = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow's own machinery")
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 12, 10, 3), dtype="uint8")
BATCH = {"images": IMAGES, "labels": np.arange(8) % 5}


def numpy(x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, x)


def tensor(seed):
    return keras.ops.convert_to_tensor(np.array(seed, "int32"))


def equal(one, other):
    return all((one[key] == other[key]).all() for key in other)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_whole_batch_goes_through_one_layer_and_its_labels_too(dtype):
    inside = [MixUp(1.0), CutMix(1.0, classes=5), RandomAffine(rotation=90)]
    layer, chosen = OneOf(inside), set()
    batch = {**BATCH, "images": IMAGES.astype(dtype)}
    for seed in range(12):
        result = numpy(layer(batch, seed=(seed, 1)))
        index = int(layer.chosen(tensor((seed, 1)), 1)[0])
        own = numpy(fold(tensor((seed, 1)), index))
        if index == 2:
            expected = {"images": numpy(inside[2](batch["images"], seed=own)), "labels": np.eye(5)[BATCH["labels"]]}
        else:
            inside[index].classes = 5
            expected = numpy(inside[index](batch, seed=own))
        assert equal(result, expected), (seed, index)
        assert result["images"].dtype == dtype and result["labels"].dtype == "float32"
        chosen.add(index)
    assert chosen == {0, 1, 2}


@pytest.mark.parametrize(
    "weights, probability, expected",
    [(None, 1.0, (1, 1, 1, 0)), ([1, 3, 0], 1.0, (3 / 4, 9 / 4, 0, 0)), ([1, 1, 2], 0.4, (0.3, 0.3, 0.6, 1.8))],
)
def test_layers_are_drawn_as_often_as_their_weights_say(weights, probability, expected):
    layer = OneOf([MixUp(), CutMix(), RandomAffine()], weights, probability)
    drawn = numpy(rank(layer._table, as_count(uniform(tensor((1, 2)), 30_000, 1))))
    counts, expected = np.bincount(drawn[:, 0], minlength=4), 10_000 * np.array(expected)
    assert (counts[expected == 0] == 0).all()
    some = expected > 0
    assert ((counts[some] - expected[some]) ** 2 / expected[some]).sum() < 16.3  # chi-square, 3 degrees: 0.1 %
    # And that is what a batch's choice is.
    assert int(layer.chosen(tensor((1, 2)), 1)[0]) == drawn[0, 0]


def test_a_choice_is_apart_from_what_the_layers_inside_draw():
    seeds = [numpy(fold(tensor((3, 4)), place)) for place in range(3)]
    assert len({tuple(seed) for seed in seeds}) == 3 and (3, 4) not in {tuple(seed) for seed in seeds}
    assert all(seed.shape == (2,) and seed.dtype == "int32" for seed in seeds)


def test_of_image_wise_layers_each_image_draws_its_own():
    images = np.repeat(IMAGES[:1], 60, 0)
    inside = [RandomAffine(rotation=(90, 90)), RandomAffine(rotation=(180, 180))]
    layer = OneOf(inside, weights=[3, 1], probability=0.8)
    assert layer.image_wise
    result, index = numpy(layer(images, seed=(1, 2))), numpy(layer.chosen(tensor((1, 2)), 60))
    assert set(index) == {0, 1, 2}
    expected = [numpy(inside[0](images[0])), numpy(inside[1](images[0])), images[0]]
    for image, one in zip(result, index):
        np.testing.assert_array_equal(image, expected[one])


def test_image_wise_layers_end_with_their_epoch_too():
    layer = OneOf([RandomAffine(rotation=(90, 90))], off_epoch=2)
    with pytest.raises(ValueError, match="nobody says which epoch"):
        layer(IMAGES)
    changed = []
    for epoch in (0, 1, 2, 3, 0):
        layer.set_epoch(epoch)
        changed.append(bool((numpy(layer(IMAGES)) != IMAGES).any()))
    assert changed == [True, True, False, False, True]


def test_with_probability_zero_nothing_is_done():
    layer = OneOf([MixUp(1.0, classes=5), CutMix()], probability=0)
    result = numpy(layer(BATCH, seed=(1, 2)))
    np.testing.assert_array_equal(result["images"], IMAGES)
    np.testing.assert_array_equal(result["labels"], np.eye(5)[BATCH["labels"]])


def test_one_inside_another():
    inner = OneOf([MixUp(1.0)], probability=0.5)
    layer = OneOf([inner, CutMix(classes=5)], weights=[1, 0])
    changed = [(numpy(layer(BATCH, seed=(seed, 1)))["images"] != IMAGES).any() for seed in range(20)]
    assert 3 < sum(changed) < 17


@tensorflow_only
def test_only_the_chosen_one_is_computed_under_xla():
    import tensorflow as tf

    def hlo(layer):
        compiled = tf.function(lambda x, seed: layer.blend(x, seed), jit_compile=True)
        ir = compiled.experimental_get_compiler_ir(tf.constant(IMAGES), tensor((1, 2)))
        return ir(stage="optimized_hlo")

    assert "conditional(" in hlo(OneOf([MixUp(), CutMix()])) and "conditional(" not in hlo(MixUp())


def far(layer, epoch):
    layer.set_epoch(epoch)
    return not equal(numpy(layer(BATCH, seed=(1, 2))), {"images": IMAGES})


def test_from_its_epoch_on_nothing_is_done():
    layer = OneOf([MixUp(1.0, classes=5), CutMix()], off_epoch=3)
    assert [far(layer, epoch) for epoch in (0, 2, 3, 10, 1)] == [True, True, False, False, True]
    # Under JAX the layers outside are compiled: they must not remember the epoch of a layer inside.
    inner = OneOf([MixUp(1.0, classes=5), CutMix()], off_epoch=3)
    outer = OneOf([OneOf([inner])])
    assert [far(outer, epoch) for epoch in (0, 2, 3, 10, 1)] == [True, True, False, False, True]


@pytest.mark.parametrize("calls", [pytest.param(None, marks=pytest.mark.slow), 4])
def test_a_data_set_hears_of_the_epoch(calls):
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    layer = OneOf([MixUp(1.0, classes=5), CutMix()], off_epoch=1)
    layer.set_epoch(0)
    dataset = tf.data.Dataset.from_tensors(BATCH).repeat(3)
    dataset = dataset.map(lambda batch: layer(batch, seed=tf.constant([1, 2])), num_parallel_calls=calls)
    for epoch, mixed in [(0, True), (1, False), (0, True)]:
        layer.set_epoch(epoch)
        assert [bool((batch["images"].numpy() != IMAGES).any()) for batch in dataset] == [mixed] * 3


def test_an_epoch_that_nobody_told_is_an_error():
    layer = OneOf([MixUp(1.0, classes=5)], off_epoch=5, name="mixing")
    outer = OneOf([layer])
    for one in (layer, outer):
        with pytest.raises(ValueError, match=r"mixing ends with epoch 5 \(off_epoch\), and nobody says .*set_epoch"):
            one(BATCH, seed=(1, 2))
        one(BATCH, training=False)
    outer.set_epoch(0)
    outer(BATCH, seed=(1, 2))
    layer(BATCH, seed=(1, 2))


@tensorflow_only
def test_an_epoch_that_nobody_told_is_an_error_in_a_data_set_too():
    import tensorflow as tf

    layer = OneOf([MixUp(1.0, classes=5)], off_epoch=5)
    with pytest.raises(ValueError, match="nobody says which epoch it is"):
        tf.data.Dataset.from_tensors(BATCH).map(layer)


PLAIN = pytest.param(False, marks=pytest.mark.slow)


@pytest.mark.parametrize("jit", {"tensorflow": [PLAIN, True], "jax": [PLAIN, True], "torch": [False]}[BACKEND])
def test_mixing_ends_with_its_epoch_in_the_loss_of_a_model(jit):
    from kerazoo.models.trained import TrainedWithLayers

    mixing = OneOf([OneOf([MixUp(1.0), CutMix()], off_epoch=2)], seed=1)
    inputs = keras.Input((12, 10, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(mixing(inputs, training=False)))
    model = TrainedWithLayers(inputs, keras.layers.Dense(5, kernel_initializer=keras.initializers.GlorotUniform(1))(x))
    before = model.get_weights()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, jit_compile=jit)
    history = model.fit(
        IMAGES, BATCH["labels"], epochs=4, batch_size=8, shuffle=False, verbose=0, callbacks=[EpochCallback()]
    ).history["loss"]
    plain = float(loss(BATCH["labels"], model(IMAGES, training=False)))
    assert [value == pytest.approx(plain, rel=1e-5) for value in history] == [False, False, True, True]
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    assert len(model.weights) == 2 and model.count_params() == 360 * 5 + 5
    again = model.fit(IMAGES, BATCH["labels"], epochs=1, batch_size=8, verbose=0, callbacks=[EpochCallback()])
    assert again.history["loss"][0] != pytest.approx(plain, rel=1e-5)


def test_saved_and_loaded_the_same_seed_gives_the_same_draws(tmp_path):
    layer = OneOf([MixUp(0.4, classes=5), OneOf([CutMix()], probability=0.9)], [2, 1], 0.8, 7, seed=3, name="mine")
    config = json.loads(json.dumps(layer.get_config()))
    again = OneOf.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    assert config["weights"] == [2, 1] and config["off_epoch"] == 7 and config["probability"] == 0.8
    inputs = keras.Input((12, 10, 3), dtype="uint8")
    keras.Model(inputs, layer(inputs)).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").get_layer("mine")
    twins = [again, loaded, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    layer.set_epoch(0)
    for _ in range(3):
        expected = numpy(layer(BATCH))
        for twin in twins:
            twin.set_epoch(1)
            assert equal(numpy(twin(BATCH)), expected)


def test_the_epoch_takes_part_in_no_file_of_weights(tmp_path):
    def model(augment):
        inputs = keras.Input((12, 10, 3))
        x = augment(inputs) if augment else inputs
        return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))

    mixing = OneOf([MixUp()], off_epoch=3)
    with_epoch, without = model(mixing), model(OneOf([MixUp()]))
    mixing.set_epoch(9)
    with_epoch.save_weights(tmp_path / "a.weights.h5")
    without.load_weights(tmp_path / "a.weights.h5")
    assert len(with_epoch.weights) == 2 and mixing.count_params() == 0
    assert any(v is mixing.epoch.state for v in with_epoch.non_trainable_variables)


def test_an_epoch_gives_no_seeds():
    with pytest.raises(NotImplementedError, match="holds an epoch"):
        OneOf([MixUp()]).epoch.next()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([[]], "layers: received an empty list"),
        ([MixUp()], "layers: received .* wanted a list"),
        ([None], "layers: received None, wanted a list"),
        ([[MixUp(), "cutmix"]], "received 'cutmix' among them, wanted layers of kerazoo.augment"),
        ([[keras.layers.RandomFlip()]], "random_flip.* among them, wanted layers of kerazoo.augment"),
        ([[MixUp(), CutMix()], [1]], r"weights: received \[1\], wanted 2 numbers of at least 0"),
        ([[MixUp(), CutMix()], [0, 0]], "wanted 2 numbers .* not all of them 0"),
        ([[MixUp(), CutMix()], [1, -1]], "weights: received"),
        ([[MixUp(), CutMix()], [1, float("nan")]], "weights: received"),
        ([[MixUp(), CutMix()], ["a", 1]], "weights: received"),
        ([[MixUp(), CutMix()], 1], "weights: received 1, wanted 2 numbers"),
        ([[MixUp()], None, 1.5], "probability: received 1.5, wanted a number from 0 to 1"),
        ([[MixUp()], None, -0.1], "probability: received -0.1"),
        ([[MixUp()], None, "often"], "probability: received 'often'"),
        ([[MixUp()], None, 1.0, -1], "off_epoch: received -1, wanted an integer of at least 0"),
        ([[MixUp()], None, 1.0, 2.5], "off_epoch: received 2.5"),
        ([[MixUp()], None, 1.0, True], "off_epoch: received True"),
        ([[MixUp(classes=3), OneOf([CutMix(classes=4)])]], "different numbers, 3 and 4"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        OneOf(*arguments)


def test_one_layer_twice():
    layer = MixUp()
    with pytest.raises(ValueError, match="a layer twice. Give it a larger weight"):
        OneOf([layer, layer])


@pytest.mark.parametrize("epoch", [-1, 1.5, "first", None, True])
def test_an_epoch_that_is_none(epoch):
    with pytest.raises(ValueError, match="epoch: received .* wanted an integer of at least 0"):
        OneOf([MixUp()]).set_epoch(epoch)
