"""CutMix: where its boxes lie, how large they are, and what is left of each image."""

import keras
import numpy as np
import pytest

from kerazoo.augment.mix import CutMix

BACKEND = keras.backend.backend()


def numpy(x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, x)


def pictures(layer, images, seed):
    """The mixed images, and the pair that explains them."""
    seed = keras.ops.convert_to_tensor(np.array(seed, "int32"))
    mixed, _ = layer.augment(keras.ops.convert_to_tensor(images), None, seed)
    ((partner, keep),) = layer.take_mixing()
    return numpy(mixed), numpy(partner), numpy(keep)


def numbered(batch, height, width, dtype="uint8"):
    """Images of one value each, so that it shows where a pixel comes from."""
    return np.broadcast_to(np.arange(batch).reshape(-1, 1, 1, 1), (batch, height, width, 3)).astype(dtype)


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("size", [(32, 32), (17, 30), (1, 1)])
def test_a_box_comes_from_the_partner_and_its_area_is_what_the_labels_lose(dtype, size):
    height, width = size
    mixed, partner, keep = pictures(CutMix(1.0), numbered(200, height, width, dtype), (1, 2))
    assert mixed.dtype == dtype and sorted(partner) == list(range(200))
    for i in range(200):
        box = (mixed[i] != i).all(-1)
        assert ((mixed[i] == i) | (mixed[i] == partner[i])).all()
        if partner[i] == i:
            continue
        assert box.sum() == pytest.approx((1 - keep[i]) * height * width, abs=1e-3)
        if box.any():
            top, bottom, left, right = bounds(box)
            assert box[top:bottom, left:right].all()  # a box, without holes


def test_black_and_white_show_the_share_exactly():
    """A batch of two, one black and one white: the mean of the picture is the share, whatever is drawn."""
    black_and_white = np.stack([np.zeros((16, 24, 1)), np.full((16, 24, 1), 255)]).astype("float32")
    layer, shares = CutMix(1.0), []
    for seed in range(60):
        mixed, partner, keep = pictures(layer, black_and_white, (seed, 3))
        expected = keep * (0, 1) + (1 - keep) * partner
        np.testing.assert_allclose(mixed.mean((1, 2, 3)) / 255, expected, atol=1e-6)
        shares += list(keep[partner != (0, 1)])
    assert min(shares) < 0.4 and max(shares) > 0.9


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_boxes_have_the_area_of_lambda_before_they_are_clipped(alpha):
    """A box that touches no border is whole: its area, as a share, is 1 - lambda, rounded to whole pixels."""
    stats = pytest.importorskip("scipy.stats", reason="SciPy has the Beta distribution to compare with")
    from kerazoo.augment import mix

    layer = CutMix(alpha)
    size, n = 1000, 50_000
    drawn = keras.ops.convert_to_tensor(np.random.default_rng(0).integers(0, 2**24, n).astype("int32"))
    side = mix.rank(layer._table, drawn)
    center = keras.ops.full((n,), 0.5)
    start, stop = (numpy(x) for x in mix.span(side, size, center))
    sides = (stop - start) / size
    assert (np.abs((start + stop) / 2 - size / 2) <= 0.5).all()
    # Kolmogorov-Smirnov, halfway between two lengths in pixels.
    places = (np.arange(size) + 0.5) / size
    found = np.searchsorted(np.sort(sides), places, "right") / n
    distance = np.abs(found - stats.beta(alpha, alpha).cdf(places**2))
    assert distance.max() < 1.63 / np.sqrt(n) + 2e-3  # 1 %, and two roundings


def test_areas_after_clipping_are_those_of_boxes_placed_anywhere():
    """Against the paper's procedure, done by NumPy in float64 with draws of its own."""
    n, size = 40_000, 64
    rng = np.random.default_rng(0)
    side = np.sqrt(1 - rng.beta(1, 1, n)) * size
    center = rng.uniform(0, size, (2, n))
    area = np.prod([np.minimum(c + side / 2, size) - np.maximum(c - side / 2, 0) for c in center], axis=0)
    _, partner, keep = pictures(CutMix(1.0), np.zeros((n, size, size, 1), "uint8"), (1, 2))
    places = np.linspace(0.05, 0.95, 19)
    quantiles = np.quantile(1 - keep, places), np.quantile(area / size**2, places)
    np.testing.assert_allclose(*quantiles, atol=0.015)
    assert abs(np.corrcoef(partner, keep)[0, 1]) < 0.025


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_centers_lie_anywhere_and_either_border_clips_alike(size, length):
    from kerazoo.augment.mix import span

    n = 20_000
    drawn = keras.ops.convert_to_tensor(((np.arange(n) + 0.5) / n).astype("float32"))
    side = keras.ops.full((n,), -(-length * 4096 // size), dtype="int32")
    start, stop = (numpy(x) for x in span(side, size, drawn))
    assert start.min() == 0 and stop.max() == size and (stop - start).max() == length
    covered = np.array([((start <= i) & (i < stop)).mean() for i in range(size)])
    np.testing.assert_allclose(covered, covered[::-1], atol=1e-3)  # the same from both ends
    middle = (start + stop) / 2
    np.testing.assert_allclose(middle.mean(), size / 2, atol=1e-2)


@pytest.mark.parametrize("error", [-1, 0, 1])
@pytest.mark.parametrize("height, width", [(7, 9), (224, 224), (1000, 3000), (1, 1)])
def test_ratios_are_exact_though_the_division_is_not(height, width, error, monkeypatch):
    from kerazoo.augment.mix import ratio

    floor = keras.ops.floor
    monkeypatch.setattr(keras.ops, "floor", lambda x: floor(x) + error)
    rng = np.random.default_rng(0)
    whole = height * width
    part = np.concatenate([rng.integers(0, whole + 1, 500), [0, 1, whole - 1, whole]]).astype("int32")
    found = numpy(ratio(keras.ops.convert_to_tensor(part), whole)).astype("float64")
    np.testing.assert_array_equal(found * 2**24, part.astype("int64") * 2**24 // whole)


def test_a_batch_of_one_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (1, 9, 9, 3), dtype="uint8")
    layer = CutMix(1.0, classes=5)
    for seed in range(5):
        seed = keras.ops.convert_to_tensor(np.array([seed, 1], "int32"))
        result = layer.mix_batch(*map(keras.ops.convert_to_tensor, (image, np.array([3]))), None, seed)
        np.testing.assert_array_equal(numpy(result[0]), image)
        np.testing.assert_array_equal(numpy(result[1]), np.eye(5)[[3]])


def test_sizes_that_are_not_known_beforehand():
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    if BACKEND != "tensorflow":
        pytest.skip("about TensorFlow's own machinery")
    layer = CutMix(1.0, classes=8)
    images = numbered(8, 12, 10)
    expected = numpy(layer({"images": images, "labels": np.arange(8)}, seed=(1, 2)))

    def loose(images, labels):
        images = tf.ensure_shape(tf.py_function(lambda x: x, [images], tf.uint8), [None, None, None, 3])
        return layer({"images": images, "labels": labels}, seed=tf.constant([1, 2]))

    found = numpy(next(iter(tf.data.Dataset.from_tensors((images, np.arange(8))).map(loose))))
    np.testing.assert_array_equal(found["images"], expected["images"])
    np.testing.assert_array_equal(found["labels"], expected["labels"])
