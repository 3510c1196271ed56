import warnings

import keras
import numpy as np
import pytest
from PIL import Image

from kerazoo.augment import MixUp, RandomCrop
from kerazoo.data import check_pixels, load, read_image


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"split": "dev"}, "split must be one of train, validation, test.*'dev'"),
        ({"batch_size": 0}, "batch_size must be a positive integer.*got 0"),
        ({"batch_size": "ten"}, "batch_size must be a positive integer.*'ten'"),
        ({"batch_size": True}, "batch_size must be a positive integer.*True"),
        ({"image_size": 0}, "image_size must be.*got 0"),
        ({"image_size": (28, 28, 1)}, r"image_size must be.*\(28, 28, 1\)"),
        ({"image_size": "big"}, "image_size must be.*'big'"),
        ({"label_mode": "binary"}, 'label_mode must be "int" or "categorical".*\'binary\''),
        ({"validation_split": 1.0}, "validation_split must be a share.*1.0"),
        ({"validation_split": -0.1}, "validation_split must be a share.*-0.1"),
        ({"test_split": 1}, "test_split must be a share.*1"),
        ({"limit": 0}, "limit must be None or a positive integer.*got 0"),
        ({"augmentation": "flip"}, "augmentation must be a layer of kerazoo.augment.*'flip' of type str"),
        ({"augmentation": keras.layers.RandomFlip}, "augmentation must be a layer.*RandomFlip"),
        ({"augmentation": keras.layers.RandomFlip()}, r"\(RandomFlip\) takes no seed.*put this one into the model"),
        ({"augmentation": MixUp()}, r"mix_up\w*: received labels of dtype int64.*classes=.*one-hot"),
        ({"augmentation": RandomCrop(40)}, "random_crop.*40"),
        ({"corrupt_limit": 2}, "corrupt_limit must be a share.*2"),
        ({"seed": -1}, "seed must be an integer.*-1"),
        ({"name": 3}, 'name must be a string.*"mnist_sample".*got 3'),
    ],
)
def test_bad_arguments_are_refused_with_what_was_wanted(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(**{"name": "mnist_sample", **arguments})


@pytest.mark.parametrize("epoch", [-1, 1.5, "first"])
def test_a_bad_epoch_is_refused(epoch):
    with pytest.raises(ValueError, match="epoch must be an integer"):
        load("mnist_sample", "train").set_epoch(epoch)


@pytest.mark.parametrize("name, near", [("mnist_sampel", "mnist_sample"), ("cifar-10", "cifar10"), ("mnits", "mnist")])
def test_an_unknown_name_suggests_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"Unknown data set '{name}': did you mean .*{near}.*folder:PATH"):
        load(name)


def test_the_name_of_a_folder_suggests_the_prefix(make_folder):
    root = make_folder({"a": 1, "b": 1})
    with pytest.raises(ValueError, match=f'load "folder:{root}"'):
        load(str(root))


def test_an_unknown_configuration_lists_the_known_ones():
    with pytest.raises(ValueError, match="eurosat/green.*configurations: rgb, all"):
        load("eurosat/green")


def test_a_set_of_another_kind_is_refused_before_it_is_downloaded(tmp_path):
    with pytest.raises(ValueError, match="imdb_reviews is not an image classification set.*'text', 'label'"):
        load("imdb_reviews", data_dir=tmp_path)


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    import requests

    def unreachable(*args, **kwargs):
        raise requests.exceptions.ConnectionError("Name or service not known")

    monkeypatch.setattr(requests, "head", unreachable)
    with pytest.raises(ConnectionError, match="'mnist'.*could not be downloaded.*out of reach.*Connect.*mnist_sample"):
        load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    "failure, error, message",
    [
        (ConnectionResetError("reset"), ConnectionError, "could not be downloaded: reset.*mnist_sample"),
        (OSError(28, "No space left on device"), RuntimeError, "could not prepare it.*No space left.*catalog/mnist"),
    ],
)
def test_a_failing_download_becomes_one_error(tmp_path, monkeypatch, failure, error, message):
    import requests
    import tensorflow_datasets as tfds

    def fail(*args):
        raise failure

    monkeypatch.setattr(requests, "head", lambda *args, **kwargs: None)
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
    with pytest.raises(error, match=message):
        load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (1, 1, 28, 28, 1)])
def test_a_wrong_rank_is_refused(shape):
    with pytest.raises(ValueError, match=r"digits: wanted images of shape \(batch, height, width, channels\), got"):
        check_pixels(np.zeros(shape, "uint8"), "digits")


def test_pixels_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="pixels as numbers"):
        check_pixels(np.full((1, 2, 2, 1), "x"), "digits")


@pytest.mark.parametrize(
    "values, message",
    [
        ([0, np.nan, 255], "digits: 1 of 3 pixel values are NaN or infinite"),
        ([0, np.inf, 255], "digits: 1 of 3 pixel values are NaN or infinite"),
        ([0, 0.5, 1], "digits: pixel values lie between 0 and 1; wanted 0 to 255.*multiply them by 255"),
        ([-1, 0, 0.9], "digits: pixel values lie between -1 and 0.9"),
    ],
)
def test_odd_pixels_give_one_warning(values, message):
    with pytest.warns(UserWarning, match=message) as caught:
        check_pixels(np.array(values, "float32").reshape(1, 1, 3, 1), "digits")
    assert len(caught) == 1 and caught[0].filename == __file__


@pytest.mark.parametrize("batch, value", [(2, 0), (2, 255), (0, 0)])
def test_ordinary_pixels_pass_in_silence(batch, value):
    images = np.full((batch, 4, 4, 3), value, "uint8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_pixels(images, "digits")


def test_load_warns_once_of_images_that_were_saved_scaled(make_folder):
    from PIL import Image

    root = make_folder({"a": 10, "b": 10}, mode="L")
    for file in root.glob("*/*"):
        Image.fromarray(np.eye(8, dtype="uint8")).save(file)
    with pytest.warns(UserWarning, match="wanted 0 to 255") as caught:
        load(f"folder:{root}")
    assert len(caught) == 1 and caught[0].filename == __file__


@pytest.mark.parametrize(
    "name, content, error, message",
    [
        ("gone.png", None, FileNotFoundError, "There is no image .*gone.png"),
        ("bad.png", b"no image", ValueError, "bad.png cannot be decoded as an image.*Replace or remove"),
        ("bad.npy", b"no array", ValueError, "bad.npy cannot be read as a NumPy array"),
    ],
)
def test_an_unreadable_image_is_named(tmp_path, name, content, error, message):
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        read_image(tmp_path / name, 3)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((1, 4, 4, 3)), r"has shape \(1, 4, 4, 3\); wanted"),
        (np.full((4, 4), 300), "integers from 300 to 300; wanted pixels"),
        (np.full((4, 4), "a"), "not an array of numbers"),
    ],
)
def test_an_array_that_is_no_image_is_refused(tmp_path, array, message):
    np.save(tmp_path / "array.npy", array)
    with pytest.raises(ValueError, match=message):
        read_image(tmp_path / "array.npy", 3)


def test_bad_channels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="channels must be 1 .* or 3"):
        read_image(tmp_path / "a.png", 4)


def test_an_image_is_resized_and_cropped_as_published_weights_expect(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 401, 3), dtype="uint8")
    Image.fromarray(pixels).save(tmp_path / "image.png")
    found = read_image(tmp_path / "image.png", 3, 224, resize=256, interpolation="bicubic")
    whole = Image.fromarray(pixels).resize((int(256 * 401 / 300), 256), Image.Resampling.BICUBIC)
    left, top = round((whole.width - 224) / 2), 16
    np.testing.assert_array_equal(found, np.asarray(whole.crop((left, top, left + 224, top + 224))))
    np.save(tmp_path / "image.npy", pixels)
    np.testing.assert_allclose(
        read_image(tmp_path / "image.npy", 3, 224, resize=256, interpolation="bicubic").astype(int), found, atol=1
    )


@pytest.mark.parametrize(("options", "message"), [
    (dict(size=224, resize=200), "at least as many as size"), (dict(resize=256), "at least as many as size"),
    (dict(size=224, resize=2.5), "got 2.5"), (dict(size=224, interpolation="nearest"), "'bilinear' or 'bicubic'"),
])
def test_odd_sizes_of_images_are_answered_in_words(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_image(tmp_path / "image.png", 3, **options)
