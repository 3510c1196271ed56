"""Colors and boxes: ColorJitter, RandomGrayscale, RandomErasing and Cutout, against Pillow and NumPy."""

import colorsys
import itertools
import math

import keras
import numpy as np
import pytest

from kerazoo.augment import filters
from kerazoo.augment.canvas import pack, unpack
from kerazoo.augment.operations import ColorJitter, Cutout, RandomErasing, RandomGrayscale

Image = pytest.importorskip("PIL.Image", reason="Pillow is the reference")
ImageEnhance = pytest.importorskip("PIL.ImageEnhance", reason="Pillow is the reference")
stats = pytest.importorskip("scipy.stats", reason="SciPy has the distributions")

ENHANCERS = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color"}


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def seed(*pair):
    return keras.ops.convert_to_tensor(np.array(pair, "int32"))


def images(n=8, height=16, width=16, channels=3, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels)).astype(dtype)


def photo(size=(96, 80)):
    noise = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype="uint8")
    return np.array(Image.fromarray(noise).resize(size[::-1], Image.BICUBIC))


def enhance(image, name, factor):
    return np.asarray(getattr(ImageEnhance, ENHANCERS[name])(Image.fromarray(image)).enhance(factor))


@pytest.mark.parametrize("name", ENHANCERS)
def test_each_enhancement_is_pillows_to_the_bit(name):
    x = np.concatenate([photo((64, 64))[None].repeat(30, 0), images(30, 64, 64)])
    layer = ColorJitter(**{name: (0.0, 2.5)})
    factors = numpy(layer.plan(seed(1, 2), 60, 64, 64, 3)[0].params["factor"])[:, 0]
    result = numpy(layer(x, seed=(1, 2)))
    assert factors.min() < 0.3 and factors.max() > 2.2
    for ours, image, factor in zip(result, x, factors):
        np.testing.assert_array_equal(ours, enhance(image, name, float(factor)))


def test_every_order_is_drawn_alike_and_carried_out_as_drawn():
    layer, n = ColorJitter(0.8, 0.8, 0.8), 6000
    step = layer.plan(seed(1, 2), n, 32, 32, 3)[0]
    choice, factor = numpy(step.choice), numpy(step.params["factor"])
    counts = [int((choice == order).all(1).sum()) for order in itertools.permutations(range(3))]
    assert sum(counts) == n and stats.chisquare(counts).pvalue > 1e-3
    x = np.repeat(photo((32, 32))[None], 40, 0)
    for ours, order, factors in zip(numpy(layer(x, seed=(1, 2))), choice, factor):
        theirs = x[0]
        for name, value in zip(np.array(list(ENHANCERS))[order], factors):
            theirs = enhance(theirs, name, float(value))
        np.testing.assert_array_equal(ours, theirs)


def test_four_operations_have_24_orders_and_factors_do_not_depend_on_them():
    step = ColorJitter(0.4, 0.4, 0.4, 0.2).plan(seed(1, 2), 24_000, 32, 32, 3)[0]
    choice, factor = numpy(step.choice), numpy(step.params["factor"])
    codes = np.unique(choice @ [64, 16, 4, 1], return_counts=True)[1]
    assert len(codes) == 24 and stats.chisquare(codes).pvalue > 1e-3
    assert (factor[choice == 3] == 1).all()  # the hue has none
    for operation in range(3):
        assert stats.kstest((factor[choice == operation] - 0.6) / 0.8, "uniform").pvalue > 1e-3
    assert stats.kstest(((numpy(step.params["turn"])[:, 0] / 24576 + 0.2) % 1) / 0.4, "uniform").pvalue > 1e-3


def test_factors_are_never_negative():
    assert ColorJitter(brightness=1.5).brightness == (0, 2.5) and ColorJitter(brightness=0.5).brightness == (0.5, 1.5)


@pytest.mark.parametrize("hue", [-0.5, -0.21, 0.07, 1 / 3, 0.5])
def test_the_hue_turns_exactly(hue):
    x = np.concatenate([images(1), photo((16, 16))[None]])
    result = numpy(ColorJitter(hue=(hue, hue))(x)).reshape(-1, 3)
    for ours, (r, g, b) in zip(result, x.reshape(-1, 3) / 255):
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        theirs = 255 * np.array(colorsys.hsv_to_rgb((h + hue) % 1, s, v))
        assert np.abs(ours - theirs).max() <= 0.55


@pytest.mark.parametrize("hue", [-0.4, -0.1, 0.1, 0.3])
def test_the_hue_is_near_pillows(hue):
    """torchvision's adjust_hue for PIL images: by 256 hues, so that strong colors come out some levels apart."""
    image = photo()
    h, s, v = Image.fromarray(image).convert("HSV").split()
    h = Image.fromarray(np.array(h) + np.array(int(hue * 255)).astype("uint8"))
    theirs = np.asarray(Image.merge("HSV", (h, s, v)).convert("RGB"), float)
    difference = np.abs(numpy(ColorJitter(hue=(hue, hue))(image)) - theirs)
    assert difference.mean() <= 2


def test_no_turn_changes_none_of_all_the_colors():
    levels = np.unique(np.r_[0:256:5, 1, 254]).astype("uint8")
    colors = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, len(levels), 3)
    turn = keras.ops.zeros((1,), "int32")
    for x in (colors, colors.astype("float32") * np.float32(0.7)):
        np.testing.assert_array_equal(numpy(unpack(filters.Hue()(pack(x), {"turn": turn}))), x)


def test_float_images_are_jittered_alike():
    x = images(8)
    for layer in (ColorJitter(brightness=0.5), ColorJitter(saturation=0.5), ColorJitter(hue=0.5)):
        a, b = (numpy(layer(y, seed=(1, 2))).astype(float) for y in (x, x.astype("float32")))
        assert np.abs(a - b).max() <= 1.5


def test_stronger_jitter_changes_more():
    x = np.repeat(photo((32, 32))[None], 32, 0)
    for name, strengths in [*((name, (0.1, 0.4, 0.9)) for name in ENHANCERS), ("hue", (0.05, 0.15, 0.5))]:
        layers = [ColorJitter(**{name: strength}) for strength in strengths]
        changes = [np.abs(numpy(layer(x, seed=(1, 2))).astype(float) - x).mean() for layer in layers]
        assert changes == sorted(changes) and changes[0] > 0, name


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_zero_is_the_identity_to_the_bit(channels, dtype):
    x = images(4, channels=channels, dtype=dtype)
    for layer in (ColorJitter(), ColorJitter((1, 1), 0, 0, (0, 0)), RandomGrayscale(0), RandomErasing(0)):
        np.testing.assert_array_equal(numpy(layer(x)), x)
    if channels == 1:
        for layer in (ColorJitter(saturation=0.5, hue=0.5), RandomGrayscale(1)):
            np.testing.assert_array_equal(numpy(layer(x)), x)


def test_gray_is_pillows_to_the_bit_and_as_frequent_as_asked():
    x = images(3)
    for ours, image in zip(numpy(RandomGrayscale(1)(x)), x):
        np.testing.assert_array_equal(ours, np.asarray(Image.fromarray(image).convert("L"))[..., None].repeat(3, -1))
    x = np.repeat(images(1, 2, 2), 4000, 0)
    gray = (numpy(RandomGrayscale(0.1, seed=1)(x)) != x).any((1, 2, 3)).sum()
    assert stats.binomtest(int(gray), 4000, 0.1).pvalue > 1e-3


def torchvision_boxes(n, scale, ratio, height, width):
    """RandomErasing.get_params, torchvision 0.28, in NumPy: (heights, widths); 0 where nothing is erased."""
    rng, found = np.random.default_rng(0), []
    for _ in range(n):
        for _ in range(10):
            area = height * width * rng.uniform(*scale)
            aspect = math.exp(rng.uniform(*np.log(ratio)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                break
        else:
            h = w = 0
        found.append((h, w))
    return np.array(found).T


@pytest.mark.parametrize("height, width, scale", [(96, 96, (0.02, 0.33)), (40, 160, (0.3, 0.9))])
def test_boxes_are_drawn_as_torchvision_draws_them(height, width, scale):
    n = 20_000
    step = RandomErasing(1, scale).plan(seed(1, 2), n, height, width, 3)[0]
    box = {name: numpy(value)[:, 0] for name, value in step.params.items()}
    drawn = numpy(step.choice)[:, 0] == 1
    rows, columns = (box["bottom"] - box["top"]) * drawn, (box["right"] - box["left"]) * drawn
    assert (box["top"][drawn] >= 0).all() and (box["bottom"][drawn] <= height).all()
    assert (box["left"][drawn] >= 0).all() and (box["right"][drawn] <= width).all()
    theirs = torchvision_boxes(n, scale, (0.3, 3.3), height, width)
    for ours, wanted in ((rows * columns, theirs[0] * theirs[1]), (rows, theirs[0]), (columns, theirs[1])):
        assert stats.ks_2samp(ours, wanted).pvalue > 1e-3
    place = ((box["left"] + 0.5) / (width - columns + 1))[drawn & (width - columns > 50)]
    assert stats.kstest(place, "uniform").statistic < 0.03


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_a_box_is_filled_and_nothing_else_touched(channels, dtype):
    x = images(32, 20, 24, channels, dtype=dtype)
    fill = tuple(range(100, 100 + channels))
    layer = RandomErasing(1, fill=fill)
    step = layer.plan(seed(1, 2), 32, 20, 24, channels)[0]
    box = {name: numpy(value)[:, 0] for name, value in step.params.items()}
    expected = x.copy()
    for i in range(32):
        expected[i, box["top"][i] : box["bottom"][i], box["left"][i] : box["right"][i]] = fill
    np.testing.assert_array_equal(numpy(layer(x, seed=(1, 2))), expected)


def test_erasing_is_as_frequent_as_asked():
    x = np.full((4000, 6, 6, 1), 9, "uint8")
    erased = (numpy(RandomErasing(0.25, (0.1, 0.3), seed=1)(x)) != 9).any((1, 2, 3)).sum()
    assert stats.binomtest(int(erased), 4000, 0.25).pvalue > 1e-3


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_erasing_noise_is_uniform_and_independent_between_pixels_channels_and_images(dtype):
    x = np.zeros((40, 40, 40, 5), dtype)
    result = numpy(RandomErasing(1, (0.3, 0.4), (1, 1), fill="noise", seed=1)(x))
    boxes = [image[image.any(-1)] for image in result]  # black in all five channels: never
    pixels = np.concatenate(boxes)
    for channel in pixels.T:
        assert stats.chisquare(np.bincount(channel.astype(int), minlength=256)).pvalue > 1e-4
    assert np.abs(np.corrcoef(pixels.T) - np.eye(5)).max() < 0.03
    assert np.abs(np.corrcoef(pixels[:-1].T, pixels[1:].T)[:5, 5:]).max() < 0.03
    assert len({tuple(box[0]) for box in boxes}) == 40


def test_cutout_is_a_square_about_any_pixel_clipped_at_the_border():
    x = np.full((6000, 7, 9, 1), 200, "uint8")
    result = numpy(Cutout(4, fill=3, seed=1)(x))[..., 0] == 3
    seen = set()
    for mask in np.unique(result, axis=0):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns) and (np.diff(rows) == 1).all()
        seen.add((rows[0], rows[-1], columns[0], columns[-1]))
    wanted = {
        (max(y - 2, 0), min(y + 1, 6), max(x - 2, 0), min(x + 1, 8)) for y in range(7) for x in range(9)
    }
    assert seen == wanted


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ColorJitter(brightness=-1), "brightness: received -1, wanted"),
        (lambda: ColorJitter(contrast=(2, 1)), "contrast: received .*lower number first"),
        (lambda: ColorJitter(saturation="0.4"), "saturation: received '0.4', wanted a number"),
        (lambda: ColorJitter(hue=0.6), "hue: received 0.6, wanted a range within -0.5 to 0.5"),
        (lambda: ColorJitter(0.4)(images(channels=4)), r"received images of 4 channels, wanted 3 \(RGB\) or 1"),
        (lambda: RandomGrayscale()(images(channels=2)), "received images of 2 channels, wanted 3"),
        (lambda: RandomErasing(scale=(0, 0.3)), "scale: received .*wanted a range within"),
        (lambda: RandomErasing(ratio=0.3), "ratio: received 0.3, wanted"),
        (lambda: RandomErasing(fill="random"), "fill: received 'random', wanted .* or \"noise\""),
        (lambda: RandomErasing(fill=(1, 2))(images()), "received images of 3 channels and a fill of 2 values"),
        (lambda: Cutout(0), "size: received 0, wanted a positive integer"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
