"""RandomAffine against Pillow, which defines what the operations mean."""

import keras
import numpy as np
import pytest

from kerazoo.augment import RandomAffine, primitives
from kerazoo.augment.canvas import pack, unpack

Image = pytest.importorskip("PIL.Image", reason="Pillow is the reference")


def photo(size=(96, 80)):
    """Smooth, with some edges: noise enlarged, and a rectangle."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype="uint8")
    image = np.array(Image.fromarray(noise).resize(size[::-1], Image.BICUBIC))
    image[20:50, 30:60] = (200, 30, 90)
    return image


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def warp(images, matrices, interpolation="bilinear", fill=0):
    images, matrices = (keras.ops.convert_to_tensor(x) for x in (images, matrices))
    warp = primitives.Warp(interpolation, (fill,))
    return unpack(warp(pack(images), warp.prepare({"matrix": matrices}, *images.shape[1:3])))


def agree(ours, theirs, interpolation):
    """Within the tolerance: nearest, the same pixel in 99.5 %; bilinear, one level on average."""
    ours, theirs = (np.asarray(x).astype("float32") for x in (ours, theirs))
    if interpolation == "nearest":
        assert (ours == theirs).all(-1).mean() >= 0.995
    else:
        assert np.abs(ours - theirs).mean() <= 1
        assert (np.abs(ours - theirs) <= 2).all(-1).mean() >= 0.995


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    "matrix",
    # Odd figures: what falls exactly between two pixels may go either way.
    [
        (1, 0, 7, 0, 1, -12),
        (0.914, 0.203, -3.317, -0.127, 1.109, 4.731),
        (-1, 0, 80, 0, 1, 0),
        (0.413, 0, 10, 0, 0.413, 20),
    ],
    ids=["shift", "general", "flip", "zoom"],
)
def test_a_matrix_means_what_it_means_to_pillow(matrix, interpolation):
    image = photo()
    height, width = image.shape[:2]
    a, b, c, d, e, f = matrix
    # Pillow counts from the outer corner of the first pixel, the warp from the center of the image.
    x, y = width / 2, height / 2
    matrices = np.array([[[a, b, a * x + b * y + c - x], [d, e, d * x + e * y + f - y], [0, 0, 1]]], "float32")
    ours = warp(image[None], matrices, interpolation, fill=77)
    theirs = Image.fromarray(image).transform(
        (width, height), Image.AFFINE, matrix, getattr(Image, interpolation.upper()), fillcolor=(77, 77, 77)
    )
    agree(np.round(numpy(ours)[0]), theirs, interpolation)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("degrees", [90, 30, -7])
def test_rotation_turns_as_pillow_does(degrees, interpolation):
    image = photo((80, 80))
    ours = RandomAffine(rotation=(degrees, degrees), interpolation=interpolation, fill=0)(image)
    agree(numpy(ours), Image.fromarray(image).rotate(degrees, getattr(Image, interpolation.upper())), interpolation)


def test_scale_enlarges_about_the_center():
    image = photo((40, 40))
    ours = RandomAffine(scale=(2, 2), interpolation="nearest")(image)
    np.testing.assert_array_equal(numpy(ours), image[10:30, 10:30].repeat(2, 0).repeat(2, 1))


def test_positive_shear_moves_the_top_to_the_right():
    image = np.zeros((41, 41, 1), "uint8")
    image[:, 20] = 255
    column = numpy(RandomAffine(shear=(45, 45), interpolation="nearest")(image))[..., 0].argmax(1)
    np.testing.assert_array_equal(column[10:31], np.arange(30, 9, -1))


def test_one_chain_is_shear_scale_rotation_then_translation():
    image = keras.ops.convert_to_tensor(photo((60, 60))[None].astype("float32"))
    steps = [
        [primitives.shear, 10.0],
        [primitives.zoom, 1.3],
        [primitives.rotation, 25.0],
        [primitives.translation, 4.0, -6.0],
    ]
    matrices = [make(*(keras.ops.full((1,), value) for value in values)) for make, *values in steps]
    at_once = numpy(warp(image, primitives.chain(*matrices)))
    one_by_one = image
    for matrix in matrices:
        one_by_one = warp(one_by_one, matrix)
    middle = np.s_[:, 18:42, 18:42]
    # Four resamplings blur, one does not: equal but for that.
    assert np.abs(at_once - numpy(one_by_one))[middle].mean() < 3


def test_translation_stays_within_its_share_of_each_side():
    images = np.zeros((500, 20, 40, 1), "float32")
    images[:, 10, 20] = 255
    moved = numpy(RandomAffine(translation=(0.25, 0.1), interpolation="nearest", seed=1)(images))
    found = np.argwhere(moved[..., 0] == 255)
    down, right = found[:, 1] - 10, found[:, 2] - 20
    assert len(found) == 500
    assert set(down) == set(range(-5, 6)) and set(right) == set(range(-4, 5))


def test_images_of_a_batch_are_drawn_independently():
    images = np.repeat(photo((24, 24))[None].astype("float32"), 64, 0)
    result = numpy(RandomAffine(rotation=45, seed=1)(images))
    assert len({image.tobytes() for image in result}) == 64


@pytest.mark.parametrize("options", [{}, {"rotation": (0, 0), "scale": (1, 1), "shear": (0, 0), "translation": (0, 0)}])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_zero_ranges_are_the_identity_to_the_bit(options, dtype):
    image = photo().astype(dtype) * (1 if dtype == "uint8" else np.float32(0.7))
    np.testing.assert_array_equal(numpy(RandomAffine(**options)(image)), image)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_the_identity_matrix_is_the_identity_to_the_bit(interpolation):
    images = photo()[None, :, :77].astype("float32") * np.float32(0.7)
    matrices = keras.ops.convert_to_tensor(np.eye(3, dtype="float32")[None])
    np.testing.assert_array_equal(numpy(warp(images, matrices, interpolation)), images)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_outside_is_filled(interpolation):
    image = np.zeros((20, 20, 2), "uint8")
    result = numpy(RandomAffine(scale=(0.5, 0.5), interpolation=interpolation, fill=133)(image))
    assert (result[:5] == 133).all() and (result[:, 15:] == 133).all() and (result[6:14, 6:14] == 0).all()


def test_a_fill_for_each_channel_and_one_too_many():
    layer = RandomAffine(scale=(0.5, 0.5), fill=(1, 2, 3))
    assert (numpy(layer(np.zeros((8, 8, 3), "uint8")))[0] == (1, 2, 3)).all()
    with pytest.raises(ValueError, match="images of 1 channels and a fill of 3 values"):
        layer(np.zeros((8, 8, 1), "uint8"))


@pytest.mark.parametrize("size", [(60, 80), (900, 1200)])
def test_the_farthest_zoom_shows_one_small_picture_and_nothing_else(size):
    image = np.full((*size, 1), 200, "uint8")
    shown = numpy(RandomAffine(scale=(0.01, 0.01), shear=(80, 80), interpolation="nearest")(image)) == 200
    assert abs(shown.sum() - size[0] * size[1] / 1e4) <= max(4, size[0] * size[1] / 1e5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rotation": -5}, r"rotation: received -5, wanted a number of at least 0 .* or a \(low, high\) pair"),
        ({"rotation": (10, -10)}, "rotation: received .*lower number first"),
        ({"rotation": 400}, "rotation: received 400, wanted a range within -360 to 360"),
        ({"rotation": "10"}, "rotation: received '10', wanted a number or"),
        ({"rotation": float("nan")}, "rotation: received nan, wanted a number or"),
        ({"translation": 1.5}, "translation: received 1.5, wanted a number from 0 to 1"),
        ({"translation": (0.1, 0.2, 0.3)}, r"translation: received .*wanted a number or a \(height, width\) pair"),
        ({"scale": 1.0}, "scale: received 1.0, wanted a range within 0.01 to 100"),
        ({"scale": (0, 2)}, r"scale: received \(0, 2\), wanted a range within 0.01 to 100"),
        ({"shear": 90}, "shear: received 90, wanted a range within -80 to 80"),
        ({"interpolation": "cubic"}, "interpolation: received 'cubic', wanted one of 'bilinear', 'nearest'"),
        ({"fill": 256}, "fill: received 256, wanted a number from 0 to 255"),
        ({"fill": (0, 0, 300)}, r"fill: received \(0, 0, 300\), wanted a number from 0 to 255, a tuple of one a"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        RandomAffine(**options)
