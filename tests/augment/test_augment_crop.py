"""Flips, crops and perspective: against Pillow, NumPy, and torchvision's way to draw them."""

import math

import keras
import numpy as np
import pytest

from kerazoo.augment import RandomAffine, engine, geometry, primitives
from kerazoo.augment.canvas import pack, unpack
from kerazoo.augment.geometry import RandomCrop, RandomFlip, RandomPerspective, RandomResizedCrop

Image = pytest.importorskip("PIL.Image", reason="Pillow is the reference")
stats = pytest.importorskip("scipy.stats", reason="SciPy has the distributions")


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def images(n=64, height=13, width=10, channels=3, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels)).astype(dtype)


def photo(size=(96, 80)):
    noise = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype="uint8")
    return np.array(Image.fromarray(noise).resize(size[::-1], Image.BICUBIC))


def seed(*pair):
    return keras.ops.convert_to_tensor(np.array(pair, "int32"))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("mode, axes", [("horizontal", [2]), ("vertical", [1]), ("both", [1, 2])])
def test_flips_are_numpy_flips(mode, axes, channels, dtype):
    x = images(4, channels=channels, dtype=dtype)
    np.testing.assert_array_equal(numpy(RandomFlip(mode, probability=1)(x)), np.flip(x, axes))
    np.testing.assert_array_equal(numpy(RandomFlip(mode, probability=0)(x)), x)


def test_each_flip_is_as_frequent_as_asked_and_both_are_independent():
    x = np.arange(4, dtype="uint8").reshape(1, 2, 2, 1).repeat(4000, 0)
    corner = numpy(RandomFlip("both", 0.3, seed=1)(x))[:, 0, 0, 0]
    counts = np.bincount(corner, minlength=4)  # 0: as it was, 1: across, 2: down, 3: both
    assert stats.chisquare(counts, 4000 * np.array([0.49, 0.21, 0.21, 0.09])).pvalue > 1e-3


def test_a_flip_beside_a_warp_is_one_warp_and_the_same_picture():
    steps = RandomFlip("both", seed=1).plan(seed(1, 2), 8, 32, 32, 3)
    turn = RandomAffine(rotation=(90, 90), fill=9, interpolation="nearest").plan(seed(1, 3), 8, 32, 32, 3)
    assert len(engine.merge(steps + steps)) == 2
    for chain in (steps + turn, turn + steps):
        merged = engine.merge(chain)
        assert len(merged) == 1 and merged[0].primitives == (primitives.Warp("nearest", (9.0,)),)
        x = images(8, 32, 32)
        one_by_one = unpack(engine.in_groups(engine.prepared(chain, 32, 32), pack(x)))
        np.testing.assert_array_equal(numpy(engine.run(chain, x)), numpy(one_by_one))


def test_crops_without_padding_merge_with_any_fill():
    crop = RandomCrop(20).plan(seed(1, 2), 4, 32, 32, 3)
    first, second = (RandomAffine(rotation=9, fill=fill).plan(seed(1, 3), 4, 32, 32, 3) for fill in (5, 6))
    assert engine.merge(first + crop)[0].primitives[0] == primitives.Warp("bilinear", (5.0,), (20, 20))
    assert len(engine.merge(first + second)) == 2
    padded = RandomCrop(padding=4, fill=7).plan(seed(1, 2), 4, 32, 32, 3)
    assert len(engine.merge(first + padded)) == 2


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_crop_is_a_window_of_the_padded_image(mode, channels, dtype):
    x = images(64, channels=channels, dtype=dtype)
    result = numpy(RandomCrop((9, 14), (1, 2, 3, 4), mode, fill=77, seed=1)(x))
    constant = {"constant_values": 77} if mode == "constant" else {}
    padded = np.pad(x, [(0, 0), (1, 2), (3, 4), (0, 0)], mode, **constant)
    places = set()
    for one, source in zip(result, padded):
        windows = np.lib.stride_tricks.sliding_window_view(source, (9, 14), (0, 1)).transpose(0, 1, 3, 4, 2)
        found = np.argwhere((windows == one).all((2, 3, 4)))
        assert len(found) == 1
        places.add(tuple(found[0]))
    assert {y for y, _ in places} == set(range(8)) and {x for _, x in places} == set(range(4))


def test_crop_places_are_uniform():
    x = np.arange(36, dtype="uint8").reshape(1, 6, 6, 1).repeat(8000, 0)
    corner = numpy(RandomCrop(3, seed=1)(x))[:, 0, 0, 0]
    counts = np.bincount(corner, minlength=36).reshape(6, 6)
    assert counts[:4, :4].sum() == 8000 and stats.chisquare(counts[:4, :4].ravel()).pvalue > 1e-3


def test_without_size_and_padding_nothing_happens():
    np.testing.assert_array_equal(numpy(RandomCrop()(images())), images())
    np.testing.assert_array_equal(numpy(RandomCrop((13, 10))(images())), images())


def torchvision_windows(n, scale, ratio, height, width):
    """RandomResizedCrop.get_params, torchvision 0.28, in NumPy: (heights, widths)."""
    rng, found = np.random.default_rng(0), []
    for _ in range(n):
        for _ in range(10):
            area = height * width * rng.uniform(*scale)
            aspect = math.exp(rng.uniform(*np.log(ratio)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                break
        else:
            w, h = width, height
            if width / height < min(ratio):
                h = round(width / min(ratio))
            elif width / height > max(ratio):
                w = round(height * max(ratio))
        found.append((h, w))
    return np.array(found).T


@pytest.mark.parametrize("height, width", [(224, 224), (150, 400), (400, 100)])
def test_resized_crops_are_drawn_as_torchvision_draws_them(height, width):
    n, scale, ratio = 20_000, (0.08, 1.0), (3 / 4, 4 / 3)
    step = RandomResizedCrop(10, scale, ratio).plan(seed(1, 2), n, height, width, 3)[0]
    matrix = numpy(step.params["matrix"])[:, 0]
    columns, rows = np.round(matrix[:, 0, 0] * 10), np.round(matrix[:, 1, 1] * 10)
    left = matrix[:, 0, 2] - columns / 2 + width / 2
    top = matrix[:, 1, 2] - rows / 2 + height / 2
    assert (left >= 0).all() and (left + columns <= width).all() and (left % 1 == 0).all()
    assert (top >= 0).all() and (top + rows <= height).all() and (top % 1 == 0).all()
    theirs = torchvision_windows(n, scale, ratio, height, width)
    for ours, wanted in ((rows * columns, theirs[0] * theirs[1]), (columns / rows, theirs[1] / theirs[0])):
        # Rounded: fallbacks lie at the very end of the ratios, in float32 here.
        assert stats.ks_2samp(ours.astype(float).round(5), wanted.round(5)).pvalue > 1e-3
    first, room = (left, width - columns) if width > height else (top, height - rows)
    drawn = (room > 50) & (rows < height) & (columns < width)  # not the central one
    assert stats.kstest((first[drawn] + 0.5) / (room[drawn] + 1), "uniform").statistic < 0.02


def test_where_no_window_fits_the_largest_central_one_is_taken():
    step = RandomResizedCrop(10, (1, 1), (3 / 4, 4 / 3)).plan(seed(1, 2), 5, 30, 120, 3)[0]
    wanted = np.array([[4, 0, 0], [0, 3, 0], [0, 0, 1]], "float32")
    np.testing.assert_array_equal(numpy(step.params["matrix"])[:, 0], np.tile(wanted, (5, 1, 1)))


def test_the_whole_image_at_its_own_size_comes_back_to_the_bit():
    x = images(4, 12, 12)
    np.testing.assert_array_equal(numpy(RandomResizedCrop(12, (1, 1), (1, 1))(x)), x)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_a_resized_crop_shows_its_window_as_pillow_does(interpolation):
    image = photo()
    # Powers of two: no place looked at lies exactly between two pixels, from where Pillow may go the other way.
    layer = RandomResizedCrop((32, 64), interpolation=interpolation)
    for i in range(5):
        ours = numpy(layer(image, seed=(i, 0))).astype(float)
        a, _, c, _, e, f = numpy(layer.plan(seed(i, 0), 1, 96, 80, 3)[0].params["matrix"])[0, 0, :2].ravel()
        box = (c + 40 - a * 32, f + 48 - e * 16, c + 40 + a * 32, f + 48 + e * 16)
        theirs = Image.fromarray(image).transform((64, 32), Image.EXTENT, box, getattr(Image, interpolation.upper()))
        difference = np.abs(ours - np.asarray(theirs, float))
        if interpolation == "nearest":
            assert (difference == 0).all(-1).mean() >= 0.995
        else:
            # Pillow fills half a pixel around the whole image with black; these do not.
            assert np.median(difference) <= 1 and difference[1:-1, 1:-1].mean() <= 1


def pillow_perspective(image, right, down, interpolation, fill):
    """torchvision's F.perspective on a PIL image: the eight coefficients by least squares."""
    height, width = image.shape[:2]
    start = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], float)
    end = start + np.stack([right * np.array([1, -1, -1, 1]), down * np.array([1, 1, -1, -1])], 1)
    rows = []
    for (x, y), (u, v) in zip(end, start):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    coefficients = np.linalg.solve(np.array(rows), start.ravel())
    return np.asarray(
        Image.fromarray(image).transform(
            (width, height), Image.PERSPECTIVE, coefficients, getattr(Image, interpolation.upper()), fillcolor=fill
        ),
        float,
    )


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [(96, 80), (95, 127)])
def test_perspective_is_pillows(interpolation, size):
    image, warp = photo(size), primitives.Warp(interpolation, (7.0,), projective=True)
    rng = np.random.default_rng(1)
    for share in (0.1, 0.5, 0.7):
        right, down = (rng.integers(0, int(share * (n // 2)) + 1, (1, 4)).astype("int32") for n in size[::-1])
        matrix = geometry.tilted(*map(keras.ops.convert_to_tensor, (right, down)), *size)
        ours = numpy(engine.run([engine.always(warp, matrix=matrix)], image[None]))[0]
        theirs = pillow_perspective(image, right[0], down[0], interpolation, (7, 7, 7))
        difference = np.abs(ours - theirs)
        if interpolation == "nearest":
            assert (difference == 0).all(-1).mean() >= 0.995
        else:
            assert difference.mean() <= 1


def test_perspective_corners_are_drawn_uniformly_and_independently(monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        geometry, "tilted", lambda right, down, *size: drawn.update(x=numpy(right), y=numpy(down)) or
        keras.ops.tile(keras.ops.eye(3)[None], (len(drawn["x"]), 1, 1))
    )
    RandomPerspective(0.5, 1.0).plan(seed(1, 2), 8000, 41, 80, 3)
    for inward, most in ((drawn["x"], 20), (drawn["y"], 10)):
        for column in inward.T:
            counts = np.bincount(column, minlength=most + 1)
            assert len(counts) == most + 1 and stats.chisquare(counts).pvalue > 1e-4
    corners = np.concatenate([drawn["x"], drawn["y"]], 1)
    assert np.abs(np.corrcoef(corners.T) - np.eye(8)).max() < 0.05
    RandomPerspective(0.5, 0.3).plan(seed(1, 2), 8000, 41, 80, 3)
    tilted = (drawn["x"].sum(1) + drawn["y"].sum(1) > 0).sum()
    assert stats.binomtest(int(tilted), 8000, 0.3).pvalue > 1e-3


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_that_are_not_tilted_come_back_to_the_bit(dtype):
    x = images(16, 37, 29, dtype=dtype)
    for layer in (RandomPerspective(0.0, 1.0), RandomPerspective(0.5, 0.0)):
        np.testing.assert_array_equal(numpy(layer(x)), x)
    kept = (numpy(RandomPerspective(0.5, 0.5, seed=1)(x)) == x).all((1, 2, 3))
    assert 2 <= kept.sum() <= 14


@pytest.mark.parametrize("distortion", [0.9, 1.0])
def test_collapsing_corners_give_pixels_still(distortion):
    result = numpy(RandomPerspective(distortion, 1.0, seed=1)(images(200, 8, 8, dtype="float32")))
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 255


def test_more_distortion_changes_more():
    x = np.repeat(photo((48, 48))[None], 32, 0)
    changes = [
        np.abs(numpy(RandomPerspective(share, 1.0)(x, seed=(1, 2))).astype(float) - x).mean()
        for share in (0.1, 0.3, 0.6)
    ]
    assert changes == sorted(changes) and changes[0] > 0


def test_a_crop_larger_than_the_image():
    with pytest.raises(ValueError, match=r"height 13, with the padding 15, wanted at least 16 for crops of size \(16,"):
        RandomCrop(16, padding=1)(images())
    with pytest.raises(ValueError, match="width 10, wanted more than the padding of 10: there is nothing to reflect"):
        RandomCrop(padding=10, padding_mode="reflect")(images())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RandomFlip("diagonal"), "mode: received 'diagonal', wanted one of 'horizontal', 'vertical', 'both'"),
        (lambda: RandomFlip(probability=1.5), "probability: received 1.5, wanted a number from 0 to 1"),
        (lambda: RandomCrop(0), "size: received 0, wanted a positive integer"),
        (lambda: RandomCrop((3, 4, 5)), r"size: received \(3, 4, 5\), wanted"),
        (lambda: RandomCrop(2.5), "size: received 2.5, wanted"),
        (lambda: RandomCrop(padding=-1), "padding: received -1, wanted an integer of at least 0"),
        (lambda: RandomCrop(padding=(1, 2, 3)), "padding: received .*wanted"),
        (lambda: RandomCrop(padding_mode="wrap"), "padding_mode: received 'wrap', wanted one of"),
        (lambda: RandomCrop(fill=300), "fill: received 300, wanted a number from 0 to 255, a tuple"),
        (lambda: RandomCrop(padding=1, fill=(1, 2))(images()), "received images of 3 channels and a fill of 2 values"),
        (lambda: RandomResizedCrop(8, scale=(0, 1)), r"scale: received \(0, 1\), wanted a range within"),
        (lambda: RandomResizedCrop(8, ratio=(2, 1)), "ratio: received .*lower number first"),
        (lambda: RandomPerspective(1.1), "distortion: received 1.1, wanted a number from 0 to 1"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
