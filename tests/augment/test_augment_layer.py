"""What every augmentation layer promises, whatever it does to the pixels."""

import copy
import importlib.util
import json
import os
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerazoo import augment
from kerazoo.augment import AugmentationLayer, MixUp, RandomAffine, draws, engine

BACKEND = keras.backend.backend()
tensorflow_only = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow's own machinery")

LAYERS = {
    "affine": lambda **options: RandomAffine(rotation=30, translation=0.1, scale=0.2, shear=5, fill=9, **options),
    "affine_nearest": lambda **options: RandomAffine(rotation=30, scale=0.2, interpolation="nearest", **options),
    "flip": lambda **options: augment.RandomFlip("both", 0.6, **options),
    "crop_reflect": lambda **options: augment.RandomCrop(padding=3, padding_mode="reflect", **options),
    "resized_crop": lambda **options: augment.RandomResizedCrop((12, 10), **options),
    "perspective": lambda **options: augment.RandomPerspective(probability=0.9, fill=9, **options),
    "jitter": lambda **options: augment.ColorJitter(0.4, 0.4, 0.4, 0.5, **options),
    "grayscale": lambda **options: augment.RandomGrayscale(0.8, **options),
    "erasing_noise": lambda **options: augment.RandomErasing(0.9, (0.1, 0.5), fill="noise", **options),
    "cutout": lambda **options: augment.Cutout(5, fill=9, **options),
    "noise": lambda **options: augment.GaussianNoise((5, 20), **options),
    "blur": lambda **options: augment.GaussianBlur((0.5, 1.0), 0.9, **options),
    "elastic": lambda **options: augment.ElasticTransform(100, 3, fill=9, **options),
    "rand_augment": lambda **options: augment.RandAugment(2, 15, magnitude_std=2, **options),
    "auto_augment": lambda **options: augment.AutoAugment([[("rotate", 1, 5), ("invert", 0.5, None)]], **options),
    "augmix": lambda **options: augment.AugMix(severity=8, **options),
    "one_of": lambda **options: augment.OneOf([augment.RandomFlip(), RandomAffine(rotation=9)], **options),
    "mixup": lambda **options: MixUp(1.0, classes=5, **options),
    "cutmix": lambda **options: augment.CutMix(classes=5, **options),
    "compose": lambda **options: augment.Compose(
        [RandomAffine(rotation=9), augment.RandAugment(1), MixUp(1.0, classes=5)], **options
    ),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
# XLA takes seconds for each: a warp, noise, everything at once and mixed labels are among the quick ones.
QUICK = ("affine", "erasing_noise", "rand_augment", "mixup")
compiled_layer = pytest.mark.parametrize(
    "make",
    [pytest.param(make, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, make in LAYERS.items()],
)


def batch(dtype="uint8", shape=(6, 12, 10, 3)):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def apply(layer, images, **options):
    """The images that a layer makes of images; those that mix labels are given some."""
    if not layer.mixes:
        return layer(images, **options)
    labels = np.arange(6, dtype="int32") % 5
    if images.shape[0] is not None:
        labels = labels[: images.shape[0]]
    return layer({"images": images, "labels": labels}, **options)["images"]


def numpy(x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, x)


@every_layer
@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32"])
def test_dtype_and_shape_come_back_and_pixels_change(make, dtype):
    images = keras.ops.cast(batch(), dtype)
    result = apply(make(seed=1), images)
    assert keras.backend.standardize_dtype(result.dtype) == dtype and tuple(result.shape) == (6, 12, 10, 3)
    before, after = (numpy(keras.ops.cast(x, "float32")) for x in (images, result))
    assert after.min() >= 0 and after.max() <= 255
    assert (before != after).any(axis=(1, 2, 3)).sum() >= 4  # MixUp may keep an image of the six


@every_layer
def test_dictionaries_and_single_images(make):
    labels = np.arange(6) % 5
    result = numpy(make(seed=1)({"images": batch(), "labels": labels}))
    assert set(result) == {"images", "labels"} and len(result["labels"]) == 6
    if make().mixes:
        with pytest.raises(ValueError, match="received one image"):
            make()({"images": batch()[0], "labels": labels[0]})
        return
    one = numpy(make(seed=1)({"images": batch()[0], "labels": labels[0]}))
    assert one["images"].shape == (12, 10, 3) and one["labels"].shape == result["labels"].shape[1:]
    assert make(seed=1)(batch()[0]).shape == (12, 10, 3)


@every_layer
def test_without_training_the_input_comes_back_untouched(make):
    inputs = {"images": batch(), "labels": np.arange(6) % 5}
    result = numpy(make(seed=1)(inputs, training=False))
    np.testing.assert_array_equal(result["images"], inputs["images"])
    np.testing.assert_array_equal(result["labels"], inputs["labels"])


@every_layer
def test_the_call_time_seed_decides_alone(make):
    images = batch()
    first, second = make(seed=1), make(seed=2)
    apply(second, images)
    expected = numpy(apply(first, images, seed=(3, 4)))
    np.testing.assert_array_equal(numpy(apply(second, images, seed=np.array([3, 4]))), expected)
    for other in [(4, 3), (3, 5), (2, 5)]:
        assert (numpy(apply(first, images, seed=other)) != expected).any()


@every_layer
def test_the_own_seed_gives_the_same_sequence_and_no_two_draws_alike(make):
    images = batch()
    a, b = make(seed=1), make(seed=1)
    draws = [numpy(apply(a, images)) for _ in range(3)]
    for draw in draws:
        np.testing.assert_array_equal(numpy(apply(b, images)), draw)
    assert (draws[0] != draws[1]).any() and (draws[1] != draws[2]).any()
    assert (numpy(apply(make(seed=2), images)) != draws[0]).any()


@tensorflow_only
@compiled_layer
@pytest.mark.parametrize("dtype", ["uint8", pytest.param("float32", marks=pytest.mark.slow)])
def test_one_seed_one_result_in_eager_graph_xla_and_tf_data(make, dtype):
    import tensorflow as tf

    layer, images, seeds = make(seed=1), batch(dtype), np.stack([np.arange(8), np.arange(8) + 5], 1).astype("int32")
    expected = np.stack([numpy(apply(layer, images, seed=seed)) for seed in seeds])

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), dtype), tf.TensorSpec((2,), tf.int32)])
    def graph(x, seed):
        return apply(layer, x, seed=seed)

    compiled = tf.function(lambda x, seed: apply(layer, x, seed=seed), jit_compile=True)
    results = {"graph": [graph(images, seed) for seed in seeds], "xla": [compiled(images, seed) for seed in seeds]}
    for calls in (1, 4):
        dataset = tf.data.Dataset.from_tensor_slices(seeds)
        results[f"tf.data {calls}"] = list(dataset.map(lambda s: apply(layer, images, seed=s), num_parallel_calls=calls))
    for name, result in results.items():
        # The last bit of a float may differ where a compiler contracts a product and a sum into one operation.
        tolerance = 0 if dtype == "uint8" else 1e-2
        np.testing.assert_allclose(np.stack(result).astype(float), expected.astype(float), atol=tolerance, err_msg=name)


@compiled_layer
def test_dataset_map_under_any_backend(make):
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    layer, images, labels = make(seed=1), batch(), np.arange(6, dtype="int32") % 5
    expected = numpy(layer({"images": images, "labels": labels}, seed=(1, 2)))
    dataset = tf.data.Dataset.from_tensors({"images": images, "labels": labels})
    dataset = dataset.map(lambda x: layer(x, seed=tf.constant([1, 2])))
    assert dataset.element_spec["images"].shape == (6, 12, 10, 3) and dataset.element_spec["images"].dtype == tf.uint8
    result = next(iter(dataset))
    np.testing.assert_array_equal(result["images"].numpy(), expected["images"])
    np.testing.assert_array_equal(result["labels"].numpy(), expected["labels"])
    if layer.mixes:
        return
    single = tf.data.Dataset.from_tensor_slices(images).map(lambda image: apply(layer, image)).batch(6)
    assert next(iter(single)).shape == (6, 12, 10, 3)


def test_dtypes_of_64_bits_come_through_a_data_set_under_every_backend():
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    inputs = {"images": batch("float64"), "labels": np.arange(6, dtype="int64")}
    result = next(iter(tf.data.Dataset.from_tensors(inputs).map(augment.RandomFlip(seed=1))))
    assert result["images"].dtype == tf.float64 and result["labels"].dtype == tf.int64
    np.testing.assert_array_equal(result["labels"], inputs["labels"])


@every_layer
def test_a_mixed_policy_degrades_no_pixel(make):
    expected = numpy(apply(make(seed=1), batch("float32")))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        np.testing.assert_array_equal(numpy(apply(make(seed=1), batch("float32"))), expected)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.filterwarnings("ignore:.*loss does not hear of it")
@every_layer
def test_in_a_functional_model(make):
    inputs = keras.Input((12, 10, 3), dtype="uint8")
    x = make(seed=1)(inputs)
    assert x.shape == (None, 12, 10, 3) and x.dtype == "uint8"
    model = keras.Model(inputs, x)
    images = batch()
    np.testing.assert_array_equal(numpy(model(images, training=False)), images)
    np.testing.assert_array_equal(model.predict(images, verbose=0), images)
    np.testing.assert_array_equal(numpy(model(images, training=True)), numpy(apply(make(seed=1), images)))


@pytest.mark.filterwarnings("ignore:.*loss does not hear of it")
@every_layer
def test_saved_and_loaded_the_same_seed_gives_the_same_draws(make, tmp_path):
    inputs = keras.Input((12, 10, 3), dtype="uint8")
    keras.Model(inputs, make(seed=1)(inputs)).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(loaded(batch(), training=True)), numpy(apply(make(seed=1), batch())))


@every_layer
def test_config_copy_and_pickle(make):
    layer = make(seed=1, name="mine")
    apply(layer, batch())
    config = layer.get_config()
    assert type(layer).from_config(json.loads(json.dumps(config))).get_config() == config
    assert config["name"] == "mine" and config["seed"] == 1
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.get_config() == config
        np.testing.assert_array_equal(numpy(apply(twin, batch(), seed=(1, 2))), numpy(apply(layer, batch(), seed=(1, 2))))


@pytest.mark.parametrize(
    "inputs, message",
    [
        (np.zeros((4, 4), "uint8"), r"received images of shape \(4, 4\), wanted .*Add the missing axis"),
        (np.zeros((1, 2, 4, 4, 3), "uint8"), r"received images of shape \(1, 2, 4, 4, 3\), wanted"),
        (np.zeros((4, 4, 3), "int64"), "received images of dtype int64, wanted uint8 or"),
        ({"images": np.zeros((4, 4, 3), "uint8")}, r"received a dictionary with the keys \['images'\], wanted"),
        ({"image": 0, "labels": 0}, r"received a dictionary with the keys \['image', 'labels'\], wanted"),
        ({"images": np.zeros((4, 4, 3), "uint8"), "labels": 0, "boxes": 0}, "boxes.*Rename, add or leave out"),
        ((np.zeros((4, 4, 3), "uint8"), 0), "received tuple, wanted images"),
        (None, "received NoneType, wanted images"),
    ],
)
def test_inputs_that_are_no_images(inputs, message):
    with pytest.raises(ValueError, match=message):
        RandomAffine(rotation=5)(inputs)


def test_images_that_differ_in_size():
    pictures = [np.zeros((4, 5, 3), "uint8"), np.zeros((6, 3, 3), "uint8")]
    with pytest.raises(ValueError, match="a list of 2 entries that differ in shape, .*Resize the images"):
        RandomAffine(rotation=5)(pictures)
    with pytest.raises(ValueError, match="a list of 2 entries that differ in shape, .*heads in a dictionary"):
        MixUp(classes=5)({"images": batch(), "labels": [np.arange(6) % 5, np.zeros((6, 2))]})
    tf = pytest.importorskip("tensorflow", reason="ragged batches come from TensorFlow")
    ragged = tf.ragged.stack(pictures)
    for attempt in (lambda: RandomAffine(rotation=5)(ragged), lambda: tf.data.Dataset.from_tensors(ragged).map(
        RandomAffine(rotation=5)
    )):  # fmt: skip
        with pytest.raises(ValueError, match="received a ragged batch, .*map before batching, with RandomResizedCrop"):
            attempt()


@tensorflow_only
def test_images_of_unknown_rank_or_channels():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensors(b"").map(lambda x: tf.io.decode_image(x))
    with pytest.raises(ValueError, match="unknown rank.*set_shape"):
        dataset.map(RandomAffine(rotation=5))
    with pytest.raises(ValueError, match="known number of channels.*channels=3"):
        tf.data.Dataset.from_tensors(b"").map(lambda x: tf.io.decode_jpeg(x)).map(RandomAffine(rotation=5))


@pytest.mark.parametrize("seed", ["one", 1.5, True, -1, 2**31])
def test_a_seed_that_is_no_integer(seed):
    with pytest.raises(ValueError, match="seed: received .* wanted an integer from 0"):
        RandomAffine(seed=seed)


@pytest.mark.parametrize("seed", [(1,), (1, 2, 3), (0.5, 1), 5])
@pytest.mark.parametrize("tensor", [False, True])
def test_a_call_time_seed_that_is_no_pair(seed, tensor):
    seed = keras.ops.convert_to_tensor(np.array(seed)) if tensor else seed
    with pytest.raises(ValueError, match="seed: received .* wanted a pair of integers"):
        RandomAffine(rotation=5)(batch(), seed=seed)


def test_a_pair_may_hold_what_a_data_set_counts():
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    layer, dataset = RandomAffine(rotation=30), tf.data.Dataset.from_tensors(batch()).repeat(2).enumerate()
    for i, images in enumerate(dataset.map(lambda i, images: layer(images, seed=(7, i)))):
        np.testing.assert_array_equal(images.numpy(), numpy(layer(batch(), seed=(7, i))))
    own = keras.ops.convert_to_tensor(3)
    np.testing.assert_array_equal(numpy(layer(batch(), seed=(own, 7))), numpy(layer(batch(), seed=(3, 7))))
    with pytest.raises(ValueError, match="wanted a pair of integers. Pass for example"):
        dataset.map(lambda i, images: layer(images, seed=i))


def test_layers_of_one_seed_draw_apart():
    images = np.repeat(batch()[:1], 2000, axis=0)
    layers = augment.RandomFlip(seed=1), augment.RandomGrayscale(0.5, seed=1)
    flipped, gray = ((numpy(layer(images)) != images).any(axis=(1, 2, 3)) for layer in layers)
    assert abs(np.corrcoef(flipped, gray)[0, 1]) < 0.08


@tensorflow_only
@every_layer
def test_an_empty_batch_stays_empty(make):
    assert apply(make(seed=1), np.zeros((0, 12, 10, 3), "uint8")).shape == (0, 12, 10, 3)


def test_parallel_calls_never_draw_one_seed_twice():
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")

    class Told(AugmentationLayer):
        def augment(self, images, labels, seed):
            halves = [keras.ops.right_shift(seed, 16), keras.ops.bitwise_and(seed, 65535)]
            return keras.ops.reshape(keras.ops.cast(keras.ops.concatenate(halves), "float32"), (1, 1, 1, 4)), labels

    layer, images = Told(seed=5), np.zeros((1, 1, 1, 4), "float32")
    dataset = tf.data.Dataset.range(2000).map(lambda _: layer(images), num_parallel_calls=4)
    assert len({x.numpy().tobytes() for x in dataset}) == 2000


@tensorflow_only
def test_a_data_set_stops_where_pixels_are_out_of_range():
    import tensorflow as tf

    layer = RandomAffine(rotation=5)
    for images in (np.full((2, 4, 4, 3), 0.5, "float32"), np.full((2, 4, 4, 3), 300, "float32")):
        dataset = tf.data.Dataset.from_tensors(images).map(layer)
        with pytest.raises(tf.errors.InvalidArgumentError, match="wanted pixel values from 0 to 255"):
            next(iter(dataset))
    dark = tf.data.Dataset.from_tensors(np.ones((2, 4, 4, 3), "float32")).map(layer)
    assert next(iter(dark)).shape == (2, 4, 4, 3)


@tensorflow_only
def test_functions_of_data_sets_are_told_from_others():
    """By their graph's name, as there is no public way; where that changes, GPUs would be used as if they were CPUs."""
    import tensorflow as tf

    seen = []

    def look(x):
        seen.append(engine.in_dataset(tf))
        return x

    tf.data.Dataset.range(2).map(look)
    tf.data.Dataset.range(2).map(lambda x: tf.function(look, jit_compile=True)(x))
    tf.function(look)(tf.constant(1))
    assert seen == [True, True, False]


def test_labels_beside_images_are_to_be_in_a_dictionary():
    with pytest.raises(ValueError, match='received 2 arguments, .* Pass labels as {"images": images, "labels": labels}'):
        RandomAffine()(batch(), np.arange(6))
    with pytest.raises(ValueError, match="seed: received 5, wanted a pair of integers"):
        RandomAffine(rotation=5)(batch(), seed=5)


def test_a_layer_of_ones_own():
    class Invert(AugmentationLayer):
        def augment(self, images, labels, seed):
            return 255.0 - keras.ops.cast(images, "float32"), labels

    np.testing.assert_array_equal(numpy(Invert()(batch())), 255 - batch())


@pytest.mark.parametrize(
    "counter, key, words",
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_the_generator_gives_the_published_answers(counter, key, words):
    """Random123's kat_vectors for threefry2x32, 20 rounds, https://github.com/DEShawResearch/random123"""
    key, first, second = (keras.ops.convert_to_tensor(np.array(x, "uint32").view("int32")) for x in (key, *counter))
    assert tuple(int(numpy(x).view("uint32")) for x in draws.threefry(key, first, second)) == words


def test_draws_are_uniform_independent_and_the_same_on_every_backend():
    seed = keras.ops.convert_to_tensor(np.array([3, 4], "int32"))
    drawn = numpy(draws.uniform(seed, 100_000, 3))
    assert drawn.dtype == "float32" and drawn.shape == (100_000, 3)
    counts = np.stack([np.histogram(column, 100, (0, 1))[0] for column in drawn.T])
    assert (((counts - 1000) ** 2 / 1000).sum(1) < 148).all()  # chi-square, 99 degrees of freedom: 0.1 %
    lagged = np.concatenate([drawn[:-1], drawn[1:]], 1)
    assert np.abs(np.corrcoef(lagged.T) - np.eye(6)).max() < 0.015
    np.testing.assert_array_equal(numpy(draws.uniform(seed, 5, 3)), drawn[:5])
    expected = [[4470717, 5632167, 558585], [10523171, 14807327, 7028558]]  # pinned: training runs rest on them
    np.testing.assert_array_equal(drawn[:2] * 2**24, expected)


# What could differ from backend to backend; the rest is NumPy or Python. Without conftest.py, which sets the backend.
PORTABLE = (
    "dataset_map or published_answers or every_backend or general or labels_are_mixed or handed_out or its_trace or "
    "loss_of_a_model"
)
SLOW_ON_JAX = "dtype_and_shape or functional_model"  # compiles each layer for each dtype


@tensorflow_only
@pytest.mark.slow
@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_on_jax_and_pytorch(backend, thorough):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    here = pathlib.Path(__file__).parent
    options = ["-q", "-p", "no:cacheprovider", "--noconftest", "-k", f"{PORTABLE} or {SLOW_ON_JAX}"]
    if not thorough:
        options[-1:] = [PORTABLE, "-m", "not slow"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(here)],
        env={**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"},
        cwd=here.parents[1],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert " passed" in result.stdout
