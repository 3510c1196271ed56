import re
import shutil
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerazoo.data import facts, load, parts, read_image
from kerazoo.data.images import fit_tensor
from kerazoo.errors import raised_inside_tensorflow


def images_of(dataset):
    return [image.tobytes() for images, _ in dataset for image in images.numpy()]


def labels_of(dataset):
    return np.concatenate([labels.numpy() for _, labels in dataset])


def test_a_folder_is_split_by_class(make_folder):
    root = make_folder({"dog": 40, "cat": 20})
    datasets = load(f"folder:{root}", batch_size=16)
    assert [d.num_examples for d in datasets] == [48, 6, 6]
    assert datasets[0].class_names == ["cat", "dog"] and datasets[0].image_shape == (20, 16, 3)
    np.testing.assert_array_equal(np.bincount(labels_of(datasets[2])), [2, 4])


def test_labels_belong_to_their_images(make_folder, tmp_path):
    root = make_folder({"black": 10, "white": 10})
    for name, value in (("black", 0), ("white", 255)):
        for file in (root / name).iterdir():
            Image.new("RGB", (8, 8), (value,) * 3).save(file)
    for images, labels in load(f"folder:{root}", "train", 4):
        np.testing.assert_array_equal(images[:, 0, 0, 0] == 255, labels == 1)


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_folders_named_as_splits_are_the_splits(make_folder, validation):
    for split, count in (("train", 10), (validation, 4), ("test", 3)):
        root = make_folder({f"{split}/a": count, f"{split}/b": count})
    assert [d.num_examples for d in load(f"folder:{root}")] == [20, 8, 6]


def test_a_train_folder_with_a_test_folder_gives_up_a_validation_share(make_folder):
    for split in ("train", "test"):
        root = make_folder({f"{split}/a": 10, f"{split}/b": 10})
    assert [d.num_examples for d in load(f"folder:{root}")] == [18, 2, 20]


def test_images_are_gray_if_all_are(make_folder):
    root = make_folder({"a": 5, "b": 5}, mode="L")
    assert load(f"folder:{root}", "train").image_shape == (20, 16, 1)
    Image.new("RGB", (16, 20)).save(root / "a" / "color.png")
    assert load(f"folder:{root}", "train").image_shape == (20, 16, 3)


def test_images_of_differing_size_come_in_224(make_folder):
    root = make_folder({"a": 5, "b": 5})
    Image.new("RGB", (30, 30), "red").save(root / "a" / "other.png")
    assert load(f"folder:{root}", "train").image_shape == (224, 224, 3)


def test_endings_in_any_case_are_read_and_hidden_files_are_left_alone(make_folder):
    root = make_folder({"a": 3, "b": 3})
    for ending in ("JPG", "jpeg", "bmp", "GIF", "webp"):
        Image.new("RGB", (16, 20), "blue").save(root / "a" / f"more.{ending}")
    (root / "a" / ".hidden.png").write_text("no image")
    (root / ".cache").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        datasets = load(f"folder:{root}")
    assert sum(d.num_examples for d in datasets) == 11 and datasets[0].class_names == ["a", "b"]


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_corrupt_image_is_left_out_counted_and_listed(make_folder, ending):
    root = make_folder({"a": 20, "b": 20}, ending=ending, size=(100, 100))
    truncate(root / "a" / f"004.{ending}")
    message = rf"left out, as they cannot be decoded as images: 1 of the files.*004\.{ending}"
    with pytest.warns(UserWarning, match=message) as caught:
        datasets = load(f"folder:{root}", batch_size=8, corrupt_limit=0.05)
    assert len([w for w in caught if "decoded" in str(w.message)]) == 1
    assert sum(d.num_examples for d in datasets) == sum(len(labels_of(d)) for d in datasets) == 39
    assert datasets[0].skipped == [str(root / "a" / f"004.{ending}")]


def test_files_that_are_no_images_are_listed_but_do_not_stop_the_run(make_folder):
    root = make_folder({"a": 5, "b": 5})
    (root / "a" / "notes.txt").write_text("taken in May")
    with pytest.warns(UserWarning, match=r"notes\.txt"):
        assert load(f"folder:{root}", "train").skipped == [str(root / "a" / "notes.txt")]


def test_too_many_corrupt_images_stop_the_run(make_folder):
    root = make_folder({"a": 20, "b": 20})
    truncate(root / "a" / "004.png")
    with pytest.raises(ValueError, match=r"1 of 40 image files .* cannot be decoded.*0\.01.*004\.png.*at least 0\.025"):
        load(f"folder:{root}")


def test_a_folder_that_fits_is_decoded_once_into_memory(make_folder, monkeypatch):
    root = make_folder({"a": 10, "b": 10})
    probed = count_calls(monkeypatch, facts, "probe")
    datasets = load(f"folder:{root}")
    assert len(probed) == 20 + 4  # the few that suggest the shape
    monkeypatch.setattr(parts, "MEMORY_LIMIT", 0)
    from_disk = load(f"folder:{root}")
    for kept, read in zip(datasets, from_disk):
        for (a, x), (b, y) in zip(kept, read, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(x, y)
    shutil.rmtree(root)
    assert sum(len(labels_of(d)) for d in datasets) == 20


def test_a_folder_whose_first_files_mislead_is_read_anew(make_folder):
    root = make_folder({"a": 12, "b": 12}, mode="L")
    Image.new("RGB", (30, 40), "red").save(root / "b" / "999.png")
    train = load(f"folder:{root}", "train", validation_split=0)
    assert train.image_shape == (224, 224, 3)
    red = [image for images, _ in train for image in images.numpy() if (image == (255, 0, 0)).all()]
    assert len(red) == 1


def count_calls(monkeypatch, module, name):
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *arguments: calls.append(arguments) or function(*arguments))
    return calls


@pytest.fixture
def large(monkeypatch):
    """Every folder is too large for memory."""
    monkeypatch.setattr(parts, "MEMORY_LIMIT", 0)


def test_a_large_folder_is_remembered(make_folder, monkeypatch, large):
    root = make_folder({"a": 20, "b": 20}, ending="jpg")
    truncate(root / "a" / "004.jpg")
    options = {"batch_size": 8, "corrupt_limit": 0.1}
    with pytest.warns(UserWarning, match="004"):
        first = load(f"folder:{root}", **options)
    monkeypatch.chdir(root.parent)
    probed = count_calls(monkeypatch, facts, "probe")
    with pytest.warns(UserWarning, match="004"):
        again = load(f"folder:{root.name}", **options)
    assert len(probed) == 4 and [d.num_examples for d in again] == [d.num_examples for d in first]
    assert again[0].image_shape == (20, 16, 3)
    Image.new("RGB", (16, 20)).save(root / "a" / "004.jpg")
    Image.new("RGB", (16, 20)).save(root / "a" / "new.jpg")
    (root / "b" / "007.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="007"):
        assert sum(d.num_examples for d in load(f"folder:{root}", **options)) == 40
    assert len(probed) == 4 + 4 + 3


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_memory_that_cannot_be_used_does_not_matter(make_folder, monkeypatch, tmp_path, large, content):
    root = make_folder({"a": 5, "b": 5})
    file = facts.memory_of(root)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert load(f"folder:{root}", "train").num_examples == 6
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAZOO_HOME", str(tmp_path / "file"))
    assert load(f"folder:{root}", "train").num_examples == 6


def test_a_file_that_is_lost_gives_its_place_to_another(make_folder, large):
    root = make_folder({"a": 30, "b": 30})
    train = load(f"folder:{root}", "train", 8, corrupt_limit=0.1)
    before = [labels_of(train), images_of(train)]
    gone, cut = root / "a" / "003.png", root / "b" / "017.png"
    lost = {read_image(path, 3).tobytes(): str(path) for path in (gone, cut)}
    gone.unlink()
    truncate(cut)
    assert lost.keys() <= set(before[1]), "choose files of the training split"
    train.set_epoch(1)
    with pytest.warns(UserWarning, match="cannot be read any more.*Another image takes its place") as caught:
        after = images_of(train)
    assert len([w for w in caught if "any more" in str(w.message)]) == 1
    assert len(after) == 48 and not lost.keys() & set(after)
    for place, (old, new) in enumerate(zip(before[1], after)):
        # The next in the order that can be read, in the first place after the last.
        following = next(other for other in (before[1] * 2)[place:] if other not in lost)
        assert new == (following if old in lost else old)
    assert sorted(train.skipped) == sorted(lost.values())
    assert "2 of the files were skipped" in train.skipped_report() and str(gone) in train.skipped_report()
    assert images_of(train.start(1, 2)) == after[16:]


def test_losing_too_many_files_stops_the_run(make_folder, large):
    root = make_folder({"a": 5, "b": 5})
    train = load(f"folder:{root}", "train", 2)
    assert train.skipped_report() == ""
    for file in (root / "a").iterdir():
        file.unlink()
    # Two batches are read at a time: where the second meets a lost file first, the error of the first counts two.
    message = r"([12]) of 10 image files cannot be read, more than corrupt_limit=0.01.*no such file.*at least 0\.\1"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message) as caught:
        list(train)
    # At the terminal, the sentence alone.
    assert re.match(message, raised_inside_tensorflow(caught.value))
    assert raised_inside_tensorflow(ValueError("of another kind")) == ""


@pytest.mark.parametrize(
    "spoil, error, message",
    [
        (lambda root: f"{root}/nowhere", FileNotFoundError, "does not exist.*one sub-folder of images a class"),
        (lambda root: root / "a" / "000.png", NotADirectoryError, "is a file.*folder above"),
        (lambda root: root / "a", ValueError, "no sub-folders, but 3 images of unknown class.*one sub-folder"),
        (lambda root: root.parent, ValueError, "one class only, 'images'.*folder:.*images"),
    ],
)
def test_a_wrong_path_says_what_was_wanted(make_folder, spoil, error, message):
    root = make_folder({"a": 3, "b": 3})
    with pytest.raises(error, match=message):
        load(f"folder:{spoil(root)}")


def test_an_empty_path_is_refused():
    with pytest.raises(FileNotFoundError, match="folder:PATH"):
        load("folder:")


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "scan.tif").write_text("")
    with pytest.raises(ValueError, match=r"holds no images.*jpg.*Found instead: 2 x \.tif"):
        load(f"folder:{tmp_path}")


def test_one_class_only_is_refused(make_folder):
    with pytest.raises(ValueError, match="one class only, 'cat'.*at least two"):
        load(f"folder:{make_folder({'cat': 5})}")


def test_a_class_without_images_is_refused(make_folder):
    root = make_folder({"a": 5, "b": 5})
    (root / "c").mkdir()
    with pytest.raises(ValueError, match="No image that can be decoded for c .*remove the sub-folder"):
        load(f"folder:{root}")


def test_a_test_folder_with_an_unknown_class_is_refused(make_folder):
    make_folder({"train/a": 5, "train/b": 5})
    with pytest.raises(ValueError, match="classes that the training part has not: c"):
        load(f"folder:{make_folder({'test/a': 2, 'test/c': 2})}")


def test_the_aspect_is_kept_and_the_middle_cropped(tmp_path):
    pixels = np.zeros((20, 60, 3), "uint8")
    pixels[:, 20:40] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(read_image(tmp_path / "wide.png", 3, 20), 200)


@pytest.mark.parametrize("size", [(12, 12), (90, 60), (20, 33)])
def test_arrays_are_resized_as_files_are(tmp_path, size):
    y, x = np.mgrid[:45, :30]
    pixels = np.stack([5 * y, 8 * x, 3 * (x + y)], axis=-1).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "ramp.png")
    file = read_image(tmp_path / "ramp.png", 3, size).astype("int16")
    assert np.abs(file - fit_tensor(tf.constant(pixels), (*size, 3)).numpy()).max() <= 4


def test_an_image_is_turned_upright(tmp_path):
    image = Image.new("L", (10, 20), 0)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg", 1).shape == (10, 20, 1)


def test_sixteen_bits_are_scaled_down(tmp_path):
    Image.fromarray(np.full((4, 4), 65535 // 2, "uint16")).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", 1), np.full((4, 4, 1), 127))


@pytest.mark.parametrize("dtype, expected", [("uint8", "uint8"), ("int64", "uint8"), ("float64", "float32")])
def test_arrays_are_read_as_images(tmp_path, dtype, expected):
    np.save(tmp_path / "image.npy", np.full((6, 5), 7, dtype))
    pixels = read_image(tmp_path / "image.npy", 3, (3, 4))
    assert pixels.shape == (3, 4, 3) and pixels.dtype == expected
    np.testing.assert_allclose(pixels, 7)


def test_a_folder_of_one_image_a_class_is_too_small(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    for split in (None, "test"):
        with pytest.raises(ValueError, match="too small: no image is left for its test split"):
            load(f"folder:{tmp_path}", split)


def test_without_an_image_to_spare_there_is_no_validation(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
    train, validation, test = load(f"folder:{tmp_path}")
    assert (len(train), validation, len(test)) == (1, None, 1)


@pytest.mark.slow
def test_python_exits_in_the_middle_of_an_epoch(tmp_path, run_python):
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype="uint8")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.fromarray(noise).save(tmp_path / name / f"{i}.png")
    code = """
import sys, kerazoo.data, kerazoo.data.parts
kerazoo.data.parts.MEMORY_LIMIT = 0
train = iter(kerazoo.data.load(f"folder:{sys.argv[1]}", "train", 4))
next(train)
"""
    # Files are being read while Python shuts down; the limit stands for "never", which it was.
    run_python(code, tmp_path, timeout=600)
