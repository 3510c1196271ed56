"""RandAugment, TrivialAugment, AutoAugment and AugMix as layers."""

import hashlib
import json

import keras
import numpy as np
import pytest

from kerazoo.augment import engine, policies
from kerazoo.augment.augmix import OPERATIONS, AugMix
from kerazoo.augment.canvas import pack, unpack
from kerazoo.augment.policies import AutoAugment, RandAugment, TrivialAugment

BACKEND = keras.backend.backend()
tensorflow_only = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow's own machinery")

OWN = [[("shear_x", 0.9, 4), ("invert", 0.2, None)], [("solarize_add", 0.5, 3)]]
LAYERS = {
    "standard": lambda **options: RandAugment(3, 15, **options),
    "standard_bilinear": lambda **options: RandAugment(2, 9, interpolation="bilinear", fill=(1, 2, 3), **options),
    "increasing": lambda **options: RandAugment(
        2, 9, magnitude_std=0.5, probability=0.5, operations="increasing", **options
    ),
    "trivial": lambda **options: TrivialAugment(**options),
    "imagenet": lambda **options: AutoAugment(**options),
    "own": lambda **options: AutoAugment(OWN, **options),
    "augmix": lambda **options: AugMix(**options),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def numpy(x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, x)


def smooth(height=24, width=20, channels=3, batch=1):
    """Shading without noise, levels 20 to 230."""
    y, x = np.mgrid[:height, :width]
    image = 125 + 70 * np.sin(x / 4.0) + 35 * np.cos(y / 3.0 + x / 9.0)
    image = np.stack([np.roll(image, i, axis=1) + 2 * i for i in range(channels)], axis=-1)
    return np.repeat(np.clip(image, 20, 230)[None], batch, axis=0).astype("uint8")


def at_strengths(operation, strengths, image, interpolation="bilinear"):
    """The image at each strength, with either sign: (strengths, 2, height, width, channels)."""
    table = policies.Table([operation], [strengths], interpolation, (0.0,))
    rows = keras.ops.reshape(keras.ops.arange(len(table), dtype="int32"), (-1, 1))
    step = table.step(rows, *image.shape[1:3])
    images = keras.ops.convert_to_tensor(np.repeat(image, len(table), axis=0))
    return numpy(engine.run([step], images)).reshape(len(strengths), 2, *image.shape[1:])


def ramp():
    """A slope with a disk on it, so that more is always further away."""
    y, x = np.mgrid[:48, :48]
    disk = 45 * ((x - 22) ** 2 + (y - 24) ** 2 < 150)
    return np.stack([20 + 1.5 * x + y + 0.6 * i * x + disk for i in range(3)], axis=-1)[None].astype("uint8")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "operations, top", [(policies.KNOWN, 30), (policies.WIDE, 30), (policies.INCREASING, 10)],
    ids=["standard", "wide", "increasing"],
)  # fmt: skip
def test_strength_is_monotone_and_none_is_the_identity(operations, top, dtype):
    image = ramp().astype(dtype)
    for name, operation in operations.items():
        if operation.params(0.0) == {}:
            continue  # it has no strength
        strengths = [operation.strength(top * share, top) for share in (0, 0.1, 0.25, 0.5, 0.75, 1)]
        results = at_strengths(operation, strengths, image).astype("float64")
        change = np.abs(results - image).mean(axis=(2, 3, 4))
        posterized = operations is policies.INCREASING and name == "posterize"  # timm's: never more than four bits
        if not posterized:
            np.testing.assert_array_equal(results[0], np.repeat(image, 2, axis=0), err_msg=name)
        assert (np.diff(change, axis=0) >= -0.01).all() and (change[-1] > change[1]).all(), (name, change)
        assert (change[-1] > 3 if name != "sharpness" else change[-1] > 0.3).all(), (name, change)
        if operation.signed and dtype == "uint8":
            assert (results[-1, 0] != results[-1, 1]).any()


def test_at_magnitude_zero_nothing_changes():
    named = [name for name in policies.STANDARD if name not in ("auto_contrast", "equalize")]
    layer = RandAugment(2, 0, operations=named)
    image = smooth(batch=16)
    np.testing.assert_array_equal(numpy(layer(image, seed=(1, 2))), image)
    white = np.full((1, 2, 2, 3), 255, "uint8")
    # Where torchvision turns white black.
    assert (numpy(RandAugment(1, 0, operations=["solarize"])(white)) == 255).all()


@every_layer
def test_three_ways_to_carry_out_a_plan_give_the_same_bits(make):
    rng = np.random.default_rng(0)
    for channels, fill in ((3, {}), (1, {"fill": 7})):
        if channels == 1 and make is LAYERS["standard_bilinear"]:
            continue
        layer = make(**fill)
        images = keras.ops.convert_to_tensor(rng.integers(0, 256, (12, 11, 14, channels)).astype("uint8"))
        plan = layer.plan(keras.ops.convert_to_tensor(np.array([5, 6], "int32")), 12, 11, 14, channels)
        steps, canvas = engine.prepared(engine.merge(plan), 11, 14), pack(images)
        ways = [numpy(unpack(way(steps, canvas))) for way in (engine.in_groups, engine.one_by_one, engine.all_at_once)]
        np.testing.assert_array_equal(ways[0], ways[1])
        np.testing.assert_array_equal(ways[0], ways[2])
        np.testing.assert_array_equal(ways[0], numpy(layer(images, seed=(5, 6))))
        assert (ways[0] != numpy(images)).any()


PINNED = {  # on TensorFlow, JAX and PyTorch: training runs rest on them
    "standard": "d1de67d9068e", "standard_bilinear": "b6bfc6effc14", "increasing": "208668797e0d",
    "trivial": "749266611947", "imagenet": "55a4cb8ac3a8", "own": "c5547d28548c", "augmix": "a4aad5e511a6",
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_the_same_pixels_on_every_backend(name):
    levels = np.random.default_rng(0).integers(0, 120, (8, 21, 18, 3)) + 6 * np.arange(21)[:, None, None]
    layer, images = LAYERS[name](), levels.astype("uint8")
    result = np.stack([numpy(layer(images, seed=(1, i))) for i in range(3)])
    assert hashlib.md5(result.tobytes()).hexdigest()[:12] == PINNED[name]


@every_layer
def test_float_pixels_come_out_nearly_as_bytes_do(make):
    """Not equalize, whose tables jump, so that half a level before it can be several after."""
    images = smooth(32, 30, batch=24)
    ours = numpy(make()(images, seed=(3, 4))).astype("float64")
    floats = numpy(make()(images.astype("float32"), seed=(3, 4)))
    difference = np.abs(ours - floats).mean(axis=(1, 2, 3))
    assert floats.dtype == "float32" and np.median(difference) < 1 and difference.mean() < 4, difference


@every_layer
def test_images_of_a_batch_differ_and_do_not_depend_on_each_other(make):
    layer, images = make(), smooth(batch=16)
    result = numpy(layer(images, seed=(1, 2)))
    assert len({one.tobytes() for one in result}) >= 5
    images[1:] = 255 - images[1:]
    np.testing.assert_array_equal(numpy(layer(images, seed=(1, 2)))[0], result[0])
    np.testing.assert_array_equal(numpy(layer(images[:5], seed=(1, 2)))[0], result[0])


@tensorflow_only
@every_layer
def test_images_of_any_size_in_tf_data(make):
    import tensorflow as tf

    layer, image = make(), smooth(19, 17)[0]
    dataset = tf.data.Dataset.from_tensors(tf.io.encode_png(image)).map(
        lambda data: layer(tf.io.decode_png(data, channels=3), seed=tf.constant([7, 8]))
    )
    np.testing.assert_array_equal(next(iter(dataset)), numpy(layer(image, seed=(7, 8))))


@tensorflow_only
def test_inside_a_compiled_training_step():
    inputs = keras.Input((12, 10, 3), dtype="uint8")
    x = AugMix(seed=1)(RandAugment(seed=1)(inputs))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True)
    history = model.fit(smooth(12, 10, batch=8), np.arange(8) % 2, batch_size=4, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_augmix_is_the_mixture_of_its_chains():
    layer, images = AugMix(severity=7), smooth(22, 26, batch=8)
    seed = keras.ops.convert_to_tensor(np.array([1, 2], "int32"))
    (step,) = layer.plan(seed, 8, 22, 26, 3)
    params = keras.tree.map_structure(lambda x: x[:, 0], step.params)
    shares = numpy(params["shares"]).astype("float64")
    expected = shares[:, 0, None, None, None] * images
    for chain in range(3):
        inner = {name: value[:, chain] for name, value in params.items() if name not in ("shares", "choice")}
        one = engine.run(
            [engine.Step(step.primitives[0].primitives, inner, params["choice"][:, chain])],
            keras.ops.convert_to_tensor(images),
        )
        expected += shares[:, chain + 1, None, None, None] * numpy(one)
    np.testing.assert_array_equal(numpy(layer(images, seed=(1, 2))), np.floor(expected + 0.5))


def test_gray_and_many_channels():
    assert RandAugment()(smooth(channels=1)).shape == (1, 24, 20, 1)
    five = RandAugment(operations=["rotate", "equalize", "brightness"], fill=(1, 2, 3, 4, 5))
    assert five(smooth(channels=5, batch=4)).shape == (4, 24, 20, 5)
    assert AugMix()(smooth(channels=4, batch=2)).shape == (2, 24, 20, 4)
    for layer in (RandAugment(), TrivialAugment(), AutoAugment()):
        with pytest.raises(ValueError, match="received images of 4 channels, wanted 1 or 3: color"):
            layer(smooth(channels=4))
    with pytest.raises(ValueError, match="3 channels and a fill of 2 values, wanted one value a channel"):
        RandAugment(fill=(1, 2))(smooth())


def test_the_fill_is_what_comes_in_from_outside():
    picture = np.full((1, 20, 20, 3), 200, "uint8")
    result = numpy(RandAugment(1, 30, operations=["translate_x"], fill=(1, 2, 3))(picture))
    assert {tuple(pixel) for pixel in result.reshape(-1, 3)} == {(200,) * 3, (1, 2, 3)}
    result = numpy(RandAugment(1, 30, operations=["translate_x"])(picture))
    assert set(np.unique(result)) == {128, 200} and (result == 128).mean() == 9 / 20  # int(150 / 331 * 20)


def test_the_policies_of_the_papers():
    for name, policy in policies.POLICIES.items():
        assert len(policy) == 25 and all(len(row) == 2 for row in policy), name
    assert policies.POLICIES["imagenet"][0] == (("posterize", 0.4, 8), ("rotate", 0.6, 9))
    assert policies.POLICIES["cifar10"][3] == (("shear_y", 0.5, 8), ("translate_y", 0.7, 9))
    assert policies.POLICIES["svhn"][24] == (("shear_x", 0.7, 2), ("invert", 0.1, None))
    assert len(policies.STANDARD) == len(policies.WIDE) == 14 and len(policies.INCREASING) == 15
    assert len(OPERATIONS) == 9


@every_layer
def test_configurations_survive_json(make):
    layer = make(seed=4, name="mine")
    again = type(layer).from_config(json.loads(json.dumps(layer.get_config())))
    assert again.get_config() == layer.get_config()
    image = smooth(batch=6)
    np.testing.assert_array_equal(numpy(again(image, seed=(1, 2))), numpy(layer(image, seed=(1, 2))))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RandAugment(num_ops=0), "num_ops: received 0, wanted an integer of at least 1"),
        (lambda: RandAugment(num_ops=1.5), "num_ops: received 1.5"),
        (lambda: RandAugment(magnitude=31), "magnitude: received 31, wanted a number from 0 to 30"),
        (lambda: RandAugment(magnitude=-1), "magnitude: received -1"),
        (lambda: RandAugment(magnitude=11, operations="increasing"), "magnitude: received 11, .* 0 to 10"),
        (lambda: RandAugment(magnitude_std=-0.5), "magnitude_std: received -0.5"),
        (lambda: RandAugment(probability=1.1), "probability: received 1.1, wanted a number from 0 to 1"),
        (lambda: RandAugment(operations="everything"), "operations: received 'everything', wanted one of 'standard', "),
        (lambda: RandAugment(operations=[]), r"operations: received \[\], wanted 'standard'.* one or more of 'ident"),
        (lambda: RandAugment(operations=3), "operations: received 3, wanted 'standard'"),
        (lambda: RandAugment(operations=["rotat"]), "operations: received 'rotat'.* Did you mean 'rotate'"),
        (lambda: RandAugment(operations=["ShearX"]), "received 'ShearX'.* Did you mean 'shear_x'"),
        (lambda: RandAugment(operations=[None]), "operations: received None"),
        (lambda: RandAugment(interpolation="cubic"), "interpolation: received 'cubic', wanted one of 'nearest'"),
        (lambda: RandAugment(fill=256), "fill: received 256, wanted a number from 0 to 255"),
        (lambda: RandAugment(fill=(0, "red", 0)), r"fill: received \(0, 'red', 0\), wanted a number"),
        (lambda: RandAugment(fill=()), r"fill: received \(\)"),
        (lambda: AutoAugment("mnist"), "policy: received 'mnist', wanted one of 'imagenet', 'cifar10', 'svhn'"),
        (lambda: AutoAugment([]), r"policy: received \[\], wanted .*one or more"),
        (lambda: AutoAugment([[]]), r"policy: received the sub-policy \[\], wanted"),
        (lambda: AutoAugment([("rotate", 0.5, 3)]), "policy: received 'rotate' in a sub-policy, wanted"),
        (lambda: AutoAugment([[("rotate", 0.5)]]), "policy: received .*'rotate', 0.5.* wanted .*for example"),
        (lambda: AutoAugment([[("turn", 0.5, 3)]]), "received 'turn', wanted one of"),
        (lambda: AutoAugment([[("rotate", 2, 3)]]), "the probability of 'rotate': received 2, wanted"),
        (lambda: AutoAugment([[("rotate", 0.5, 10)]]), "the magnitude of 'rotate': received 10, wanted .* 0 to 9"),
        (lambda: AutoAugment([[("rotate", 0.5, None)]]), "the magnitude of 'rotate': received None"),
        (lambda: AugMix(severity=0), "severity: received 0, wanted a number from 0.1 to 10"),
        (lambda: AugMix(severity=11), "severity: received 11"),
        (lambda: AugMix(width=0), "width: received 0, wanted an integer of at least 1"),
        (lambda: AugMix(depth=0), "depth: received 0, wanted an integer of at least 1, or -1 for 1 to 3"),
        (lambda: AugMix(alpha=0), "alpha: received 0"),
    ],
)  # fmt: skip
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
