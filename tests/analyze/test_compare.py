"""Models beside each other."""
import csv
import io

import keras
import pytest

import kerazoo
from kerazoo.analyze import compare


def test_models_stand_beside_each_other():
    comparison = compare("resnet20", "densenet40_12", kerazoo.lenet5(name="<mine>"))
    assert [row.name for row in comparison.rows] == ["resnet20", "densenet40_12", "<mine>"]
    first, second, mine = comparison.rows
    analysis = kerazoo.analyze(kerazoo.resnet20())
    for name in ("parameters", "trainable", "macs", "activation_bytes", "training_bytes", "receptive_field"):
        assert getattr(first, name) == getattr(analysis, name)
    assert (first.top1, first.dataset) == (kerazoo.facts("resnet20").top1, "CIFAR-10") and mine.top1 is None
    text = str(comparison)
    assert f"{first.trainable:,}" in text and "not measured here" in text
    assert max(map(len, text.splitlines())) <= 160
    assert "&lt;mine&gt;" in comparison.to_html() and "<mine>" not in comparison.to_html()
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert [row["macs"] for row in rows] == [str(row.macs) for row in comparison.rows]
    assert rows[2]["top1"] == "" and rows[1]["receptive_field_height"] == str(second.receptive_field[0])


def test_what_cannot_be_seen_in_one_of_them_is_said():
    odd = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x * 2, name="odd")], name="mine")
    assert "mine: ? odd: analyze cannot tell" in str(compare("lenet5", odd))


def test_work_that_is_not_known_whole_is_told_as_at_least():
    odd = keras.Sequential([
        keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Lambda(lambda x: x * 2, name="odd"),
    ], name="mine")
    comparison = compare("lenet5", odd)
    assert [row.at_least for row in comparison.rows] == [False, True]
    first, second = str(comparison).splitlines()[2:4]
    assert "≥ 3.888 k" in second and "≥" not in first and "≥ at least" in str(comparison)


def test_large_work_is_told_in_words():
    assert "15.47 G" in str(compare("vgg16")) and "e+" not in str(compare("vgg16"))


def test_layers_with_weights_count_frozen_ones_too():
    model = kerazoo.resnet20()
    model.trainable = False
    frozen, free = compare(model, "resnet20").rows
    assert frozen.layers == free.layers > 20 and frozen.trainable == 0


def test_models_of_open_size_are_compared_at_the_size_given():
    model = kerazoo.resnet20(input_shape=(None, None, 3))
    with pytest.raises(ValueError, match=r"needs a fixed image size; .* input_shape=\(224, 224, 3\)"):
        compare("lenet5", model)
    fixed, lenet, opened = compare(
        kerazoo.resnet20(input_shape=(48, 40, 3)), "lenet5", model, input_shape=[48, 40, 3]
    ).rows
    assert opened == fixed and opened.input_shape == (48, 40, 3) and lenet.input_shape == (32, 32, 1)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="'resnet81'; did you mean resnet18"):
        compare("resnet18", "resnet81")
    with pytest.raises(ValueError, match="takes names of models, or models; got none"):
        compare()


def test_the_frame():
    pytest.importorskip("pandas", reason="pandas is optional: pip install pandas")
    assert list(compare("lenet5", "cnn_mnist").to_frame()["trainable"]) == [
        kerazoo.facts(name).parameters for name in ("lenet5", "cnn_mnist")
    ]
