"""Noise, blur and elastic displacement, against their definitions; and the engines against each other."""

import keras
import numpy as np
import pytest

from kerazoo.augment import engine, filters, geometry, operations
from kerazoo.augment.canvas import pack, unpack
from kerazoo.augment.operations import ElasticTransform, GaussianBlur, GaussianNoise

stats = pytest.importorskip("scipy.stats", reason="SciPy has the distributions")
ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is the reference for the blur")


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def seed(*pair):
    return keras.ops.convert_to_tensor(np.array(pair, "int32"))


def images(n=8, height=24, width=20, channels=3, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels)).astype(dtype)


ENGINES = {
    "flip": lambda: geometry.RandomFlip("both"),
    "crop": lambda: geometry.RandomCrop(padding=2, padding_mode="reflect"),
    "resized": lambda: geometry.RandomResizedCrop((9, 14)),
    "perspective": lambda: geometry.RandomPerspective(),
    "jitter": lambda: operations.ColorJitter(0.4, 0.4, 0.4, 0.5),
    "gray": lambda: operations.RandomGrayscale(0.5),
    "erasing": lambda: operations.RandomErasing(0.7, fill="noise"),
    "cutout": lambda: operations.Cutout(5),
    "noise": lambda: GaussianNoise(),
    "blur": lambda: GaussianBlur(probability=0.7),
    "elastic": lambda: ElasticTransform(300, 4),
}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compiles with TensorFlow")
@pytest.mark.parametrize("name, channels", [*((name, 3) for name in ENGINES), ("erasing", 5), ("noise", 5)])
def test_three_engines_give_the_same_bits(name, channels):
    import tensorflow as tf

    layer, x = ENGINES[name](), images(6, 17, 13, channels)

    def carried_out(way):
        def run(pair):
            steps = layer.plan(pair, 6, 17, 13, channels)
            return unpack(way(engine.prepared(engine.merge(steps), 17, 13), pack(x)))

        return run

    expected = numpy(carried_out(engine.in_groups)(seed(1, 2)))
    for way in (engine.one_by_one, engine.all_at_once):
        compiled = tf.function(carried_out(way), jit_compile=True, autograph=False)
        np.testing.assert_array_equal(numpy(compiled(seed(1, 2))), expected)


def test_normal_numbers_are_normal():
    table = filters.normals() / 1024
    assert abs(table.mean()) < 1e-3 and abs(table.std() - 1) < 1e-3 and (np.diff(table) >= 0).all()
    assert stats.kstest(table, "norm").statistic < 2e-3 and 3.2 < table.max() < 3.5
    assert abs((table**4).mean() - 3) < 0.15


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_noise_is_normal_and_independent_between_pixels_channels_and_images(channels):
    x = np.full((6, 64, 64, channels), 128, "float32")
    noise = (numpy(GaussianNoise(20, seed=1)(x)) - 128) / 20
    flat = noise.reshape(-1, channels)
    assert stats.kstest(flat.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(flat.T) - np.eye(channels)).max() < 0.03
    for other in (noise[:, 1:] * noise[:, :-1], noise[:, :, 1:] * noise[:, :, :-1], noise[1:] * noise[:-1]):
        assert abs(other.mean()) < 0.02
    rounded = numpy(GaussianNoise(20, seed=1)(x.astype("uint8"))) - 128.0
    assert np.abs(rounded - noise * 20).max() <= 0.51


def test_noise_is_as_strong_as_drawn_for_each_image():
    x = np.full((400, 32, 32, 1), 128, "float32")
    spread = (numpy(GaussianNoise((5, 25), seed=1)(x)) - 128).std((1, 2, 3))
    assert stats.kstest((spread - 5) / 20, "uniform").pvalue > 1e-3


def test_noise_stays_within_the_levels():
    for dtype in ("uint8", "float32"):
        x = np.tile(np.array([0, 255], dtype)[:, None, None, None], (1, 32, 32, 3))
        result = numpy(GaussianNoise(200)(x)).astype(float)
        assert result.min() == 0 and result.max() == 255 and abs((result[0] == 0).mean() - 0.5) < 0.05


def gaussian(image, sigma, radius):
    """What torchvision's gaussian_blur computes, in float64: mirrored at the centers of the outermost pixels."""
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        image = ndimage.correlate1d(image.astype(float), kernel, axis, mode="mirror")
    return image


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0, 3.5])
def test_a_blur_is_the_gaussian(sigma, dtype):
    x = images(2, channels=5, dtype=dtype)
    result = numpy(GaussianBlur(sigma)(x)).astype(float)
    for ours, image in zip(result, x):
        difference = np.abs(ours - gaussian(image, sigma, int(np.ceil(3 * sigma))))
        assert difference.max() <= 1 and difference.mean() < 0.35


def test_each_image_is_blurred_by_a_width_of_its_own():
    x = images(16)
    layer = GaussianBlur((0.5, 2.0))
    kernel = numpy(layer.plan(seed(1, 2), 16, 24, 20, 3)[0].params["kernel"])[:, 0]
    assert len(np.unique(kernel[:, 0])) > 10
    np.testing.assert_allclose(kernel[:, 0] + 2 * kernel[:, 1:].sum(1), 1, atol=0)
    for ours, image, one in zip(numpy(layer(x, seed=(1, 2))), x, kernel):
        line = np.r_[one[:0:-1], one].astype(float)
        theirs = ndimage.correlate1d(image.astype(float), line, 1, mode="mirror")
        theirs = ndimage.correlate1d(theirs, line, 0, mode="mirror")
        assert np.abs(ours - theirs).max() <= 0.6


def test_blurring_is_as_frequent_as_asked():
    x = np.repeat(images(1, 4, 4, 1), 4000, 0)
    blurred = (numpy(GaussianBlur(1.0, 0.3, seed=1)(x)) != x).any((1, 2, 3)).sum()
    assert stats.binomtest(int(blurred), 4000, 0.3).pvalue > 1e-3


def test_images_smaller_than_the_kernel():
    for shape in ((1, 1, 1, 3), (1, 2, 9, 1)):
        result = numpy(GaussianBlur(2.0)(np.full(shape, 77, "uint8")))
        np.testing.assert_array_equal(result, np.full(shape, 77))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0, 7.3])
def test_the_elastic_field_is_as_strong_and_as_smooth_as_torchvisions(sigma):
    layer, n, size = ElasticTransform(100.0, sigma), 60, 60
    elastic = layer.plan(seed(1, 2), n, size, size, 1)[0].primitives[0]
    # A ramp shows where each pixel has been looked for; its 16 bits make up for the rest.
    field = displacement(elastic, n, size)
    rng = np.random.default_rng(0)
    theirs = np.stack(
        [ndimage.gaussian_filter(rng.uniform(-1, 1, (size + 60,) * 2), sigma, mode="mirror", truncate=4)[30:-30, 30:-30]
         for _ in range(2 * n)]
    ) * 50
    assert abs(field.std() / theirs.std() - 1) < 0.05
    for lag in (1, 2, 4):
        ours, wanted = (
            (f[:, lag:] * f[:, :-lag]).mean() / (f**2).mean() for f in (field, theirs)
        )
        assert abs(ours - wanted) < 0.06
    middle, border = field[:, 25:35, 25:35].std(), np.r_[field[:, :4].ravel(), field[:, -4:].ravel()].std()
    assert abs(middle / border - 1) < 0.15
    assert abs(np.corrcoef(field[:n].ravel(), field[n:].ravel())[0, 1]) < 0.06


def displacement(elastic, n, size):
    """Along x, then y, of n images: (2 n, size, size), in pixels."""
    drawn, seen = keras.ops.convert_to_tensor(np.random.default_rng(1).random((n, 2)).astype("float32")), []
    original = filters.sample
    filters.sample = lambda canvas, u, v, *options: seen.extend([numpy(u), numpy(v)]) or canvas
    try:
        elastic(pack(np.zeros((n, size, size, 1), "uint8")), {"key": filters.keys(drawn)})
    finally:
        filters.sample = original
    x = np.arange(size) + 0.5
    return np.concatenate([seen[0] / 65536 - x, seen[1] / 65536 - x[:, None]])


@pytest.mark.parametrize("layer", [GaussianNoise(0), GaussianBlur(0), GaussianBlur(probability=0), ElasticTransform(0)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_strength_zero_is_the_identity_to_the_bit(layer, dtype):
    np.testing.assert_array_equal(numpy(layer(images(dtype=dtype))), images(dtype=dtype))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_width_of_zero_among_others_is_the_identity_to_the_bit(dtype):
    kernel = filters.kernels(0.0, 2.0, 6)[:1].repeat(8, 0)
    blurred = filters.Blur(6)(pack(images(dtype=dtype)), {"kernel": keras.ops.convert_to_tensor(kernel)})
    np.testing.assert_array_equal(numpy(unpack(blurred)), images(dtype=dtype))


@pytest.mark.parametrize(
    "make, strengths",
    [(GaussianNoise, (2, 8, 30)), (GaussianBlur, (0.4, 0.8, 2.0)), (lambda a: ElasticTransform(a, 4.0), (20, 60, 200))],
)
def test_stronger_changes_more(make, strengths):
    x = np.repeat(ndimage.gaussian_filter(images(1).astype(float), (0, 1, 1, 0)), 8, 0).clip(0, 255).astype("uint8")
    changes = [np.abs(numpy(make(s)(x, seed=(1, 2))).astype(float) - x).mean() for s in strengths]
    assert changes == sorted(changes) and changes[0] > 0


def test_images_of_a_batch_are_drawn_independently():
    x = np.repeat(images(1), 32, 0)
    # Of narrow Gaussians, some round to the same.
    for layer, different in ((GaussianNoise(10), 32), (GaussianBlur(), 20), (ElasticTransform(300, 4), 32)):
        assert len({image.tobytes() for image in numpy(layer(x, seed=(1, 2)))}) >= different


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about tf.data's unknown sizes")
@pytest.mark.parametrize("name", ENGINES)
def test_sizes_that_are_unknown_until_it_runs_give_the_same_bits(name):
    import tensorflow as tf

    layer, x = ENGINES[name](), images(4, 17, 13)
    expected = numpy(layer(x, seed=(1, 2)))
    run = tf.function(
        lambda y: layer(y, seed=(1, 2)),
        input_signature=[tf.TensorSpec((None, None, None, 3), "uint8")],
        autograph=False,
    )
    np.testing.assert_array_equal(numpy(run(x)), expected)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: GaussianNoise(-1), "std: received -1, wanted a number from 0 to 255"),
        (lambda: GaussianNoise((0, 300)), r"std: received \(0, 300\), wanted a range within 0 to 255"),
        (lambda: GaussianBlur((2, 1)), "sigma: received .*lower number first"),
        (lambda: GaussianBlur(21), "sigma: received 21, wanted a number from 0 to 20"),
        (lambda: ElasticTransform(-1), "alpha: received -1, wanted a number from 0"),
        (lambda: ElasticTransform(sigma=0), "sigma: received 0, wanted a number from 0.5 to 100"),
        (lambda: ElasticTransform(interpolation="cubic"), "interpolation: received 'cubic', wanted"),
        (lambda: ElasticTransform(fill=(1, 2))(images()), "received images of 3 channels and a fill of 2 values"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
