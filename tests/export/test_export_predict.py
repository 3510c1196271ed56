"""The loader for people: what it knows, what it answers, what it refuses."""
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerazoo.export
from kerazoo.export import verify
from kerazoo.export.predict import Predictor

NAMES = ("zéro", "one two", "three\r", "four")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    images = keras.Input((8, None, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3)(keras.layers.Rescaling(1 / 25)(images)))
    return keras.Model(images, keras.layers.Dense(4)(x))


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "compare", lambda *_: (0.0, 1, 1))
        return kerazoo.export(model, tmp_path_factory.mktemp("exports") / "model", class_names=NAMES, verbose=False)


@pytest.fixture
def predictor(path):
    return Predictor(path)


def pixels(*shape):
    return np.random.default_rng(3).integers(0, 256, shape, dtype="uint8")


def test_it_knows_its_input_and_classes(predictor):
    assert predictor.input_shape == (8, None, 1)
    assert predictor.class_names == NAMES


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_it_gives_the_most_probable_classes_first(dtype, predictor, model):
    images = pixels(3, 8, 9, 1)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(model(images.astype("float32"))))
    for row, answer in zip(probabilities, predictor.predict(images.astype(dtype), top=3)):
        best = np.argsort(-row)[:3]
        assert [label for label, _ in answer] == [NAMES[index] for index in best]
        np.testing.assert_allclose([probability for _, probability in answer], row[best], atol=1e-5)


def test_top_is_one_by_default_and_all_classes_at_most(predictor):
    assert [len(answer) for answer in predictor.predict(pixels(2, 8, 8, 1))] == [1, 1]
    assert [len(answer) for answer in predictor.predict(pixels(2, 8, 8, 1), top=9)] == [4, 4]
    assert predictor.predict(pixels(0, 8, 8, 1)) == []


@pytest.mark.parametrize(
    "images, error, message",
    [
        (pixels(8, 8), ValueError, r"shape \(batch, 8, any, 1\); got \(8, 8\)"),
        (pixels(8, 5, 1), ValueError, r"got \(8, 5, 1\).*one image: pass images\[None\]"),
        (pixels(2, 9, 8, 1), ValueError, r"shape \(batch, 8, any, 1\); got \(2, 9, 8, 1\).*Resize"),
        (pixels(2, 8, 8, 3), ValueError, r"shape \(batch, 8, any, 1\); got \(2, 8, 8, 3\).*colors"),
        (np.full((1, 8, 8, 1), "a"), TypeError, "array of numbers; got dtype <U1"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(images, error, message, predictor):
    with pytest.raises(error, match=message):
        predictor.predict(images)


@pytest.mark.parametrize("top", [0, -1, 1.5, True, "all"])
def test_a_wrong_top_is_refused(top, predictor):
    with pytest.raises(ValueError, match="top must be a positive integer"):
        predictor.predict(pixels(1, 8, 8, 1), top=top)


@pytest.mark.parametrize(
    "images, message",
    [
        (pixels(2, 8, 8, 1) / 255, "wanted 0 to 255"),
        (pixels(2, 8, 8, 1) / 127.5 - 1, "wanted 0 to 255"),
        (np.where(pixels(2, 8, 8, 1) > 9, 1.0, np.nan), "NaN or infinite"),
    ],
)
def test_pixels_on_another_scale_give_one_warning(images, message, predictor):
    with pytest.warns(UserWarning, match=message):
        predictor.predict(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.predict(images)


@pytest.mark.parametrize(
    "images", [pixels(2, 8, 8, 1).astype("float32"), np.zeros((1, 8, 8, 1))]
)
def test_right_pixels_give_none(images, predictor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.predict(images)


def test_what_is_not_an_export_is_refused(tmp_path, path):
    with pytest.raises(FileNotFoundError, match="there is nothing at .*missing"):
        Predictor(tmp_path / "missing")
    with pytest.raises(ValueError, match="is a folder that holds nothing. Wanted: a SavedModel"):
        Predictor(tmp_path)
    with pytest.raises(ValueError, match="is a file that ends in '.pb'. Wanted: a SavedModel"):
        Predictor(path / "saved_model.pb")
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(ValueError, match="cannot be loaded: .*Export the model again"):
        Predictor(tmp_path)


def test_a_saved_model_of_someone_else_is_refused_with_what_was_found(tmp_path):
    module = tf.Module()
    module.serve = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures=module.serve)
    with pytest.raises(
        ValueError, match=r"(?s)Wanted: .*serving_uint8.*Found: serving_default \(x -> y\); no class names"
    ):
        Predictor(tmp_path / "other")
    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(ValueError, match="Found: no signatures"):
        Predictor(tmp_path / "none")
