"""Every operation of the policies against Pillow, torchvision and timm: pixels of uint8."""

import importlib.util
import os
import pathlib
import random

import keras
import numpy as np
import pytest

from kerazoo.augment import engine, policies, primitives
from kerazoo.augment.augmix import OPERATIONS

Image = pytest.importorskip("PIL.Image", reason="Pillow is the reference")
ImageOps = pytest.importorskip("PIL.ImageOps", reason="Pillow is the reference")

WARPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
SIGNED = (*WARPS, "brightness", "color", "contrast", "sharpness")
NAMES = {  # ours: torchvision's
    "identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX",
    "translate_y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness", "color": "Color",
    "contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize",
    "auto_contrast": "AutoContrast", "equalize": "Equalize", "invert": "Invert",
}  # fmt: skip


def photo(height, width, seed=0, channels=3):
    """Smooth shading, edges and grain, like a photo; all levels from 0 to 255 may occur."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    image = np.empty((height, width, channels))
    for channel in range(channels):
        a, b, c, d = rng.uniform(1, 6, 4)
        shade = np.sin(a * x + b * y + c) + np.cos(d * x * y + channel)
        edges = 0.8 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06) - 0.7 * (np.abs(x - 0.3 - 0.2 * y) < 0.03)
        image[..., channel] = 120 + 55 * shade + 60 * edges
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype("uint8")


def photos():
    """Two sizes; and twenty real ones where KERAZOO_TEST_WEIGHTS names a folder that holds photos/."""
    pictures = {"odd": photo(97, 131), "small": photo(32, 32, 1), "dark": photo(50, 41, 2) // 3 + 7}
    folder = pathlib.Path(os.environ.get("KERAZOO_TEST_WEIGHTS", "/nowhere"), "photos")
    for path in sorted(folder.glob("*.jpg"))[::4]:
        pictures[path.stem] = np.asarray(ImageOps.fit(Image.open(path).convert("RGB"), (224, 224)))
    return pictures


PHOTOS = photos()
every_photo = pytest.mark.parametrize("picture", PHOTOS.values(), ids=PHOTOS)


@pytest.fixture(scope="module")
def torchvision():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    path = pathlib.Path(__file__).parents[1] / "parity" / "conftest.py"
    spec = importlib.util.spec_from_file_location("parity_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.import_torchvision(torch)
    torchvision.kept = module  # PyTorch forgets what has been declared with it
    from torchvision.transforms import v2

    return v2


def through(operations, entries, picture, interpolation="nearest", fill=128.0):
    """The picture under each entry: (name, strength, sign), whatever the strength."""
    chosen = [operations[name] for name, _, _ in entries]
    table = policies.Table(chosen, [[strength] for _, strength, _ in entries], interpolation, (fill,))
    rows = np.array([[2 * i + (sign < 0)] for i, (_, _, sign) in enumerate(entries)], "int32")
    height, width, channels = picture.shape
    step = table.step(keras.ops.convert_to_tensor(rows), height, width)
    images = keras.ops.convert_to_tensor(np.repeat(picture[None], len(entries), axis=0))
    return keras.ops.convert_to_numpy(engine.run([step], images))


def check(name, ours, theirs, interpolation, told):
    theirs = np.asarray(theirs)
    theirs = theirs[..., None] if theirs.ndim == 2 else theirs
    if name not in WARPS:
        np.testing.assert_array_equal(ours, theirs, err_msg=str(told))
    elif interpolation == "nearest":
        assert (ours == theirs).all(axis=-1).mean() >= 0.995, told
    else:
        assert np.abs(ours.astype(int) - theirs).mean() <= 1, told


def compare(operations, reference, bins, at, picture, interpolation, fill=128):
    """All operations at some strengths, with either sign, against one of torchvision's transforms."""
    space = reference._AUGMENTATION_SPACE
    height, width = picture.shape[:2]
    image = Image.fromarray(picture if picture.shape[-1] == 3 else picture[..., 0])
    entries = [
        (name, magnitude, sign)
        for name in operations
        if NAMES.get(name) in space
        for magnitude in at
        for sign in ((1, -1) if name in SIGNED else (1,))
    ]
    strengths = [(name, operations[name].strength(at, bins - 1), sign) for name, at, sign in entries]
    for (name, magnitude, sign), ours in zip(entries, through(operations, strengths, picture, interpolation, fill)):
        strengths_of, signed = space[NAMES[name]]
        assert signed == operations[name].signed == (name in SIGNED)
        all_strengths = strengths_of(bins, height, width)
        value = 0.0 if all_strengths is None else sign * float(all_strengths[magnitude])
        theirs = reference._apply_image_or_video_transform(
            image, NAMES[name], value, interpolation=reference.interpolation, fill=reference._fill
        )
        check(name, ours, theirs, interpolation, (name, magnitude, sign))
    assert {NAMES[name] for name, _, _ in entries} == set(space) and len(entries) >= len(space) * len(at)


@every_photo
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_rand_augment_is_torchvisions(torchvision, picture, interpolation):
    mode = torchvision.InterpolationMode(interpolation)
    compare(
        policies.STANDARD, torchvision.RandAugment(interpolation=mode, fill=128), 31, (0, 1, 4, 6, 9, 15, 16, 23, 30),
        picture, interpolation,
    )  # fmt: skip


@every_photo
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_trivial_augment_is_torchvisions(torchvision, picture, interpolation):
    mode = torchvision.InterpolationMode(interpolation)
    compare(
        policies.WIDE, torchvision.TrivialAugmentWide(interpolation=mode, fill=128), 31, (0, 1, 5, 9, 15, 22, 30),
        picture, interpolation,
    )  # fmt: skip


@every_photo
def test_auto_augment_is_torchvisions(torchvision, picture):
    compare(policies.KNOWN, torchvision.AutoAugment(fill=128), 10, range(10), picture, "nearest")


def test_gray_pictures_and_other_fills(torchvision):
    picture = photo(45, 38, 3, channels=1)
    compare(policies.STANDARD, torchvision.RandAugment(fill=0), 31, (0, 9, 30), picture, "nearest", fill=0)


def test_the_strengths_of_every_level_are_torchvisions(torchvision):
    """To the last bit of the factors, and to the pixel of the translations, at sizes where the product is whole too."""
    wide, standard = torchvision.TrivialAugmentWide._AUGMENTATION_SPACE, torchvision.RandAugment._AUGMENTATION_SPACE
    auto = torchvision.AutoAugment._AUGMENTATION_SPACE
    sets = ((policies.STANDARD, standard, 31), (policies.WIDE, wide, 31), (policies.KNOWN, auto, 10))
    for ours, theirs, bins in sets:
        for at in range(bins):
            for name in ("shear_x", "rotate", "brightness", "color", "contrast", "sharpness"):
                assert ours[name].strength(at, bins - 1) == float(theirs[NAMES[name]][0](bins, 1, 1)[at])
            assert ours["posterize"].strength(at, bins - 1) == 8 - int(theirs["Posterize"][0](bins, 1, 1)[at])
            threshold = 255 * float(theirs["Solarize"][0](bins, 1, 1)[at]) if at else 256
            assert ours["solarize"].strength(at, bins - 1) == threshold
    sizes = [1, 2, 28, 32, 96, 224, 299, 331, 480, 662, 993, 1024, 1655, 3310]
    for ours, theirs, bins in sets:
        strengths = [ours["translate_x"].strength(at, bins - 1) for at in range(bins)]
        table = policies.Table([ours["translate_x"], ours["translate_y"]], [strengths] * 2, "nearest", (0.0,))
        rows = keras.ops.reshape(keras.ops.arange(len(table), dtype="int32"), (-1, 1))
        for size in sizes:
            shifts = keras.ops.convert_to_numpy(table.step(rows, size, 2 * size).params["matrix"])[:, 0, :2, 2]
            for axis, extent, at in ((0, 2 * size, 0), (1, size, 2 * bins)):
                wanted = [int(x) for x in theirs["TranslateX"][0](bins, extent, extent)]
                np.testing.assert_array_equal(shifts[at : at + 2 * bins : 2, axis], np.negative(wanted))
                np.testing.assert_array_equal(shifts[at + 1 : at + 2 * bins : 2, axis], wanted)


@every_photo
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_increasing_is_timms(torchvision, picture, interpolation, monkeypatch):
    timm = pytest.importorskip("timm.data.auto_augment", reason="timm is not installed: pip install --no-deps timm")
    names = {
        "auto_contrast": "AutoContrast", "equalize": "Equalize", "invert": "Invert", "rotate": "Rotate",
        "posterize": "PosterizeIncreasing", "solarize": "SolarizeIncreasing", "solarize_add": "SolarizeAdd",
        "color": "ColorIncreasing", "contrast": "ContrastIncreasing", "brightness": "BrightnessIncreasing",
        "sharpness": "SharpnessIncreasing", "shear_x": "ShearX", "shear_y": "ShearY",
        "translate_x": "TranslateXRel", "translate_y": "TranslateYRel",
    }  # fmt: skip
    assert {names[name] for name in policies.INCREASING} == set(timm._RAND_INCREASING_TRANSFORMS)
    image = Image.fromarray(picture)
    options = {"resample": getattr(Image.Resampling, interpolation.upper()), "fillcolor": (128,) * 3}
    entries = [
        (name, magnitude, sign)
        for name in names
        for magnitude in (0, 1, 2.5, 5, 7.3, 9, 10)
        for sign in ((1, -1) if name in SIGNED else (1,))
    ]
    strengths = [(name, policies.INCREASING[name].strength(at, 10), sign) for name, at, sign in entries]
    results = through(policies.INCREASING, strengths, picture, interpolation)
    for (name, magnitude, sign), ours in zip(entries, results):
        monkeypatch.setattr(random, "random", lambda sign=sign: 0.25 if sign > 0 else 0.75)
        arguments = timm.LEVEL_TO_ARG[names[name]]
        arguments = arguments(magnitude, {}) if arguments else ()
        if name == "posterize" and arguments == (0,):  # Pillow refuses
            assert not ours.any()
            continue
        check(name, ours, timm.NAME_TO_OP[names[name]](image, *arguments, **options), interpolation, (name, magnitude))


@every_photo
def test_augmix_has_its_authors_operations(picture):
    """As https://github.com/google-research/augmix/blob/master/augmentations.py has them."""
    image = Image.fromarray(picture)
    height, width = picture.shape[:2]

    def affine(*matrix):
        return image.transform(image.size, Image.AFFINE, matrix, resample=Image.BILINEAR, fillcolor=(128,) * 3)

    def whole(level, largest):
        return int(level * largest / 10)

    theirs = {
        "auto_contrast": lambda level, sign: ImageOps.autocontrast(image),
        "equalize": lambda level, sign: ImageOps.equalize(image),
        "posterize": lambda level, sign: ImageOps.posterize(image, 4 - whole(level, 4)),
        "rotate": lambda level, sign: image.rotate(
            sign * whole(level, 30), resample=Image.BILINEAR, fillcolor=(128,) * 3
        ),
        "solarize": lambda level, sign: ImageOps.solarize(image, 256 - whole(level, 256)),
        "shear_x": lambda level, sign: affine(1, sign * level * 0.03, 0, 0, 1, 0),
        "shear_y": lambda level, sign: affine(1, 0, 0, sign * level * 0.03, 1, 0),
        "translate_x": lambda level, sign: affine(1, 0, sign * whole(level, width / 3), 0, 1, 0),
        "translate_y": lambda level, sign: affine(1, 0, 0, 0, 1, sign * whole(level, height / 3)),
    }
    assert set(theirs) == set(OPERATIONS)
    entries = [
        (name, level, sign)
        for name in OPERATIONS
        for level in (0.1, 1.0, 2.2, 3.0, 5.9, 9.9)
        for sign in ((1, -1) if OPERATIONS[name].signed else (1,))
    ]
    strengths = [(name, OPERATIONS[name].strength(level, 10), sign) for name, level, sign in entries]
    for (name, level, sign), ours in zip(entries, through(OPERATIONS, strengths, picture, "bilinear")):
        check(name, ours, theirs[name](level, sign), "bilinear", (name, level, sign))


@pytest.mark.parametrize("base", ["black", "mean", "gray", "smooth"])
def test_blends_are_pillows_at_every_level_and_many_factors(base):
    from PIL import ImageEnhance

    enhance = {"black": "Brightness", "mean": "Contrast", "gray": "Color", "smooth": "Sharpness"}[base]
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype("uint8")
    picture[:16, :16, 0] = np.arange(256).reshape(16, 16)
    factors = np.concatenate([np.linspace(0, 2, 41), np.random.default_rng(1).uniform(0, 3, 40)]).astype("float32")
    images = keras.ops.convert_to_tensor(np.repeat(picture[None], len(factors), axis=0))
    step = engine.always(primitives.Blend(base), factor=keras.ops.convert_to_tensor(factors))
    results = keras.ops.convert_to_numpy(engine.run([step], images))
    for factor, ours in zip(factors, results):
        theirs = np.asarray(getattr(ImageEnhance, enhance)(Image.fromarray(picture)).enhance(float(factor)))
        np.testing.assert_array_equal(ours, theirs, err_msg=str(factor))


def test_auto_contrast_of_every_range_and_level_is_pillows():
    """The formula of ImageOps.autocontrast in NumPy, for all darkest and brightest levels, 2.8 million entries."""
    flags = np.unpackbits(primitives.shortfalls(), bitorder="little").reshape(256, 256, 256)
    level = np.arange(256)
    for low in range(256):
        high = np.arange(low + 1, 256)[:, None]
        scale = 255.0 / (high - low)
        pillow = np.clip(np.trunc(level * scale + -low * scale), 0, 255)
        quotient = np.floor(((level - low) * 255).astype("float32") / (high - low).astype("float32"))
        ours = np.clip(quotient - flags[low, low + 1 :], 0, 255)
        inside = (level >= low) & (level <= high)  # an image has no others
        np.testing.assert_array_equal(ours[inside], pillow[inside])


def carry_out(primitive, images):
    step = engine.Step((primitive,), {})
    return keras.ops.convert_to_numpy(engine.run([step], keras.ops.convert_to_tensor(images)))


def odd_pictures():
    """Pictures of few levels, few pixels, and histograms of all kinds: (batch, height, width, 3), lists of batches."""
    rng = np.random.default_rng(0)
    batches = []
    for height, width in ((1, 1), (1, 2), (3, 5), (15, 17), (16, 16), (16, 17), (23, 22), (32, 33)):
        shape = (height, width, 3)
        pictures = [np.full(shape, value, "uint8") for value in (0, 1, 128, 255)]
        pictures += [rng.choice(pair, shape).astype("uint8") for pair in ((0, 255), (254, 255), (7, 8), (0, 1))]
        pictures += [rng.integers(low, low + span + 1, shape).astype("uint8") for low, span in ((0, 255), (100, 3))]
        pictures += [np.where(rng.random(shape) < share, 200, rng.integers(0, 256, shape)).astype("uint8")
                     for share in (0.5, 0.9, 0.999)]  # fmt: skip
        pictures += [np.clip(rng.normal(mean, std, shape), 0, 255).astype("uint8") for mean, std in
                     ((128, 2), (128, 40), (10, 30), (250, 20))]  # fmt: skip
        batches.append(np.stack(pictures))
    return batches


@pytest.mark.parametrize("name", ["auto_contrast", "equalize"])
def test_statistics_of_degenerate_pictures_are_pillows(name):
    primitive = policies.STANDARD[name].primitive
    pillow = {"auto_contrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}[name]
    for images in odd_pictures():
        for image, ours in zip(images, carry_out(primitive, images)):
            np.testing.assert_array_equal(ours, np.asarray(pillow(Image.fromarray(image))), err_msg=str(image.shape))


def test_equalizing_tables_of_random_histograms_are_pillows():
    rng = np.random.default_rng(0)
    for _ in range(40):
        used = rng.choice(256, rng.integers(1, 256), replace=False)
        counts = np.zeros(256, "int64")
        np.add.at(counts, rng.choice(used, rng.integers(1, 5000), p=rng.dirichlet(np.ones(len(used)) * 0.3)), 1)
        picture = np.repeat(np.arange(256), counts).astype("uint8")[None, :, None]
        ours = carry_out(primitives.Equalize(), picture[None])[0, ..., 0]
        np.testing.assert_array_equal(ours, np.asarray(ImageOps.equalize(Image.fromarray(picture[..., 0]))))


def test_one_resampling_instead_of_three_is_nearly_the_same_picture():
    """Flip, crop and rotation merged, against one after the other: seen where neither looked outside."""
    degrees = keras.ops.convert_to_tensor(np.array([-25.0, -7.0, 3.0, 12.0, 30.0], "float32"))
    ones = keras.ops.ones_like(degrees)
    picture = photo(120, 120, 4)
    images = keras.ops.convert_to_tensor(np.repeat(picture[None], 5, axis=0))
    flip = primitives.matrix(-ones, 0, 0, 0, 1, 0)
    crop = primitives.matrix(ones, 0, 6 * ones, 0, 1, -4 * ones)
    zoom = primitives.zoom(1.2 * ones)
    steps = [
        engine.always(primitives.Warp("nearest"), matrix=flip),
        engine.always(primitives.Warp("nearest", size=(100, 100)), matrix=crop),
        engine.always(primitives.Warp("bilinear"), matrix=zoom),
        engine.always(primitives.Warp("bilinear"), matrix=primitives.rotation(degrees)),
    ]
    assert len(engine.merge(steps)) == 1
    merged = keras.ops.convert_to_numpy(engine.run(steps, images)).astype(int)
    one_by_one = images
    for step in steps:
        one_by_one = engine.run([step], one_by_one)
    one_by_one = keras.ops.convert_to_numpy(one_by_one).astype(int)
    middle = np.abs(merged - one_by_one)[:, 25:75, 25:75]
    assert 0.1 < middle.mean() < 3.0, middle.mean()  # not the same: bilinear once is sharper than twice
    # With one bilinear step among them, nothing is interpolated twice: they are the same but for roundings.
    once = steps[:2] + steps[3:]
    merged = keras.ops.convert_to_numpy(engine.run(once, images)).astype(int)
    one_by_one = images
    for step in once:
        one_by_one = engine.run([step], one_by_one)
    middle = np.abs(merged - keras.ops.convert_to_numpy(one_by_one).astype(int))[:, 25:75, 25:75]
    assert middle.mean() < 0.05 and middle.max() <= 3, (middle.mean(), middle.max())
