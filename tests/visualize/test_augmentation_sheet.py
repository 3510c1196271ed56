import keras
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from kerazoo.augment import MixUp, RandAugment, RandomAffine
from kerazoo.visualize import augmentation_sheet


def photos(n=3, height=12, width=16, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels), dtype="uint8")


def pictures(figure):
    """(rows, columns) of arrays, and of the captions above them."""
    starts = sorted({round(axes.get_position().x0, 3) for axes in figure.axes})
    rows = len(figure.axes) // len(starts)
    arrays = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    captions = [axes.get_title() for axes in figure.axes]
    return np.stack(arrays).reshape(rows, len(starts), *arrays[0].shape), np.array(captions).reshape(rows, -1)


def rendered(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_a_row_is_the_original_and_several_draws():
    images = photos()
    shown, captions = pictures(augmentation_sheet(RandAugment(), images, draws=4))
    assert shown.shape == (3, 5, 12, 16, 3) and shown.dtype == "uint8"
    np.testing.assert_array_equal(shown[:, 0], images)
    assert len(np.unique(shown.reshape(15, -1), axis=0)) > 10
    assert not captions.any()


def test_the_draws_depend_on_the_seed_alone():
    images, layer = photos(), RandAugment()
    first, again, fresh, other = (
        pictures(augmentation_sheet(one, images, seed=seed))[0]
        for one, seed in ((layer, 1), (layer, 1), (RandAugment(), 1), (layer, 2))
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, fresh)
    assert (first != other).any()
    mixed = [pictures(augmentation_sheet([RandomAffine(10), MixUp(1.0)], images))[0] for _ in range(2)]
    np.testing.assert_array_equal(*mixed)


def test_the_sheet_is_the_same_on_jax_without_tensorflow(run_python):
    code = """
import sys, numpy as np
from kerazoo.augment import MixUp, RandAugment
from kerazoo.visualize import augmentation_sheet
images = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), dtype="uint8")
figure = augmentation_sheet([RandAugment(), MixUp(1.0)], images, draws=2)
seen = [(axes.get_title(), int(axes.images[0].get_array().astype(int).sum())) for axes in figure.axes]
"""
    here = {}
    exec(code, here)
    there = run_python(f"{code}\nassert 'tensorflow' not in sys.modules\nprint(seen)", backend="jax").stdout
    assert there.strip() == str(here["seen"]) and "image 2" in there


@pytest.mark.parametrize("side", [16, 40, 128])
def test_small_images_are_shown_pixel_by_pixel(side):
    images = photos(2, side, side)
    figure = augmentation_sheet(RandAugment(), images, draws=1)
    seen, factor = rendered(figure), 128 // side
    (x0, y0), (x1, y1) = figure.transFigure.transform(figure.axes[2].get_position())
    place = seen[seen.shape[0] - round(y1): seen.shape[0] - round(y0), round(x0): round(x1)]
    np.testing.assert_array_equal(place, images[1].repeat(factor, 0).repeat(factor, 1))


def test_large_images_are_shown_small_and_in_their_proportions():
    figure = augmentation_sheet(RandAugment(), photos(1, 600, 300), draws=2)
    (x0, y0), (x1, y1) = figure.transFigure.transform(figure.axes[0].get_position())
    assert (round(x1 - x0), round(y1 - y0)) == (64, 128)
    assert rendered(figure).shape[1] < 300


@pytest.mark.parametrize("layer", [MixUp(1.0), MixUp(1.0, classes=10), [RandomAffine(), MixUp(1.0), MixUp(1.0)]])
def test_mixed_shares_stand_above_the_pictures(layer):
    images = np.zeros((4, 8, 8, 3), "uint8")
    images[::2] = 200
    labels = [1, 0, 1, 0]
    shown, captions = pictures(augmentation_sheet(layer, images, labels, class_names=["black", "white"]))
    assert list(captions[:, 0]) == ["white", "black", "white", "black"]
    mixed = 0
    for picture, caption in zip(shown.reshape(-1, *images.shape[1:]), captions.flat):
        if "%" in caption:
            shares = {line.split(" % ")[1]: int(line.split(" % ")[0]) for line in caption.splitlines()}
            assert abs(shares["white"] - picture.mean() / 2) <= 1
            assert list(shares.values()) == sorted(shares.values(), reverse=True)
            mixed += 1
        else:
            assert abs(picture.mean() - 200 * (caption == "white")) <= 1
    assert mixed > 3


def test_without_labels_each_image_is_a_class():
    _, captions = pictures(augmentation_sheet(MixUp(1.0), photos(5)))
    assert set(captions[:, 0]) == {""}
    assert any("image 5" in caption and "%" in caption for caption in captions.flat)


def test_one_hot_soft_and_integer_labels_say_the_same():
    images, soft = photos(), np.array([[0.75, 0.25], [0, 1], [1, 0]])
    _, captions = pictures(augmentation_sheet(RandAugment(), images, soft, draws=1))
    assert captions.tolist() == [["75 % 0\n25 % 1", ""], ["1", ""], ["0", ""]]
    one_hot, integers = (
        pictures(augmentation_sheet(MixUp(1.0), images, labels, class_names="abc"))[1]
        for labels in (np.eye(3)[[2, 0, 2]], [2, 0, 2])
    )
    assert (one_hot == integers).all() and "%" in "".join(one_hot.flat)


def test_many_shares_are_counted():
    _, captions = pictures(augmentation_sheet([MixUp(5.0) for _ in range(3)], photos(8)))
    assert any(caption.endswith(" more") for caption in captions.flat)
    assert max(caption.count("\n") for caption in captions.flat) == 2


def test_gray_float_and_single_images(tmp_path):
    gray = photos(2, channels=1)
    shown, _ = pictures(augmentation_sheet(RandAugment(), gray, draws=1))
    np.testing.assert_array_equal(shown[:, 0], gray[..., 0])
    shown, _ = pictures(augmentation_sheet(RandomAffine(30), gray.astype("float32"), draws=1))
    assert shown.dtype == "uint8"
    figure = augmentation_sheet(RandomAffine(30), photos()[0], draws=1)
    assert pictures(figure)[0].shape == (1, 2, 12, 16, 3)
    figure.savefig(tmp_path / "sheet.png")


def test_layers_of_others_and_lists():
    images = photos()
    shown, _ = pictures(augmentation_sheet(keras.layers.RandomFlip(seed=0), images))
    flips = [images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]]
    assert all(any((flip[i] == one).all() for flip in flips) for i in range(3) for one in shown[i])
    assert (shown != shown[:, :1]).any()
    shown, _ = pictures(augmentation_sheet([RandomAffine(), keras.layers.Rescaling(0.5)], images))
    assert (abs(shown[:, 1:].astype(int) - images[:, None] / 2) <= 1).all()


def test_images_that_shrink_keep_the_scale():
    figure = augmentation_sheet(keras.layers.CenterCrop(6, 8), photos(1), draws=1)
    original, cropped = (axes.get_position() for axes in figure.axes)
    assert np.isclose(cropped.width, original.width / 2) and np.isclose(cropped.height, original.height / 2)
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), photos(1)[0, 3:9, 4:12])


def test_long_names_are_cut():
    _, captions = pictures(augmentation_sheet(RandAugment(), photos(), [0, 0, 0], class_names=["x" * 50 + "y" * 49]))
    caption = captions[0, 0]
    assert caption.startswith("xx") and "x…y" in caption and caption.endswith("yy") and len(caption) < 30


MISTAKES = {
    "layer": (dict(layer="RandAugment"), "layer: got 'RandAugment', wanted a Keras layer"),
    "class": (dict(layer=RandAugment), "layer: got <class .* wanted a Keras layer"),
    "no layer": (dict(layer=[]), "layer: got an empty list"),
    "a layer among them": (dict(layer=[RandAugment(), 3]), "layer: got 3, wanted a Keras layer"),
    "path": (dict(images="cat.png"), "images: got str, wanted an array"),
    "sizes": (dict(images=[np.zeros((4, 4, 3)), np.zeros((5, 4, 3))]), "arrays of several sizes.*Resize"),
    "rank": (dict(images=photos()[..., 0, 0]), r"got shape \(3, 12\), wanted .* pass images\[\.\.\., None\]"),
    "channels": (dict(images=photos(channels=4)), r"got shape \(3, 12, 16, 4\), wanted .* 1 or 3 channels"),
    "none": (dict(images=photos()[:0]), r"got shape \(0, 12"),
    "many": (dict(images=photos(65)), r"images: got 65 of them, wanted 1 to 64. Pass some, such as images\[:8\]"),
    "pixels": (dict(images=photos() / 255), r"pixel values lie between 0 and 1; wanted 0 to 255"),
    "labels": (dict(labels=[1, 2]), r"labels: got shape \(2,\) of int64, wanted 3 integers \(3,\)"),
    "uneven labels": (dict(labels=[[1], [1, 0], [0]]), "labels: got rows of several lengths, wanted 3 integers"),
    "nan labels": (dict(labels=np.eye(3) * np.nan), "labels: some are NaN"),
    "no classes": (dict(labels=np.zeros((3, 0))), r"labels: got shape \(3, 0\)"),
    "float labels": (dict(labels=[1.0, 2.0, 0.0]), "of float64, wanted 3 integers"),
    "negative": (dict(labels=[1, -1, 0]), "labels: got -1 among them"),
    "names": (dict(labels=[1, 2, 0], class_names=["a", "b"]), "class_names: got 2 of them, and labels of 3 classes"),
    "names alone": (dict(class_names=["a", "b"]), "class_names: got names, but no labels"),
    "draws": (dict(draws=0), "draws: got 0, wanted an integer of at least 1"),
    "seed": (dict(seed=-1), "seed: got -1, wanted an integer from 0 to 2147483647"),
}


@pytest.mark.parametrize(("given", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_answered_in_words(given, message):
    with pytest.raises(ValueError, match=message):
        augmentation_sheet(**{"layer": RandAugment(), "images": photos(), **given})


def test_layers_that_mix_labels_in_a_form_of_their_own_are_refused():
    with pytest.raises(ValueError, match="which mixes labels in a form of its own. Use kerazoo.augment's MixUp"):
        augmentation_sheet(keras.layers.MixUp(), photos())


def test_texts_lie_beside_the_pictures_and_inside_the_figure():
    names = ["W" * 40, "$a$", "$", "b", "c"]
    figure = augmentation_sheet([MixUp(5.0), MixUp(5.0)], photos(5), range(5), class_names=names)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    texts = [*figure.texts, *(axes.title for axes in figure.axes if axes.get_title())]
    assert len(texts) > len(boxes)
    for text in texts:
        place = text.get_window_extent(canvas.get_renderer())
        assert not any(place.overlaps(box) for box in boxes)
        assert place.x0 >= 0 and place.y0 >= 0 and place.x1 <= figure.bbox.x1 and place.y1 <= figure.bbox.y1
