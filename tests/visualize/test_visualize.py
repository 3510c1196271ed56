import numpy as np
import pytest

from kerazoo.visualize import curves, mistakes


def test_curves_show_training_and_validation(tmp_path):
    log = {"loss": [2.0, 1.0], "val_loss": [2.1, 1.5], "accuracy": [0.5, 0.8], "val_accuracy": [0.4, 0.6], "lr": [1, 1]}
    figure = curves(log, title="LeNet-5")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy (%)"]
    training, validation = figure.axes[1].lines
    assert training.get_label() == "training" and list(training.get_ydata()) == [50, 80]
    assert list(validation.get_xdata()) == [1, 2] and list(validation.get_ydata()) == [40, 60]
    figure.savefig(tmp_path / "curves.png")


def test_curves_of_nothing_are_refused():
    with pytest.raises(ValueError, match=r"wanted loss or accuracy of at least one epoch; got \['lr'\]"):
        curves({"lr": [0.1]})


def test_mistakes_come_with_the_most_confident_first(tmp_path):
    images = np.zeros((4, 8, 8, 1), "uint8")
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.05, 0.95], [0.3, 0.7]])
    figure = mistakes(images, [0, 0, 0, 1], probabilities, ["cat", "dog"])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["is cat\nsays dog (95 %)", "is cat\nsays dog (60 %)"]
    assert figure.get_suptitle() == "2 of 4 wrong"
    figure.savefig(tmp_path / "mistakes.png")
    assert mistakes(images, [0, 0, 0, 1], probabilities, ["cat", "dog"], count=1).get_suptitle() == (
        "2 of 4 wrong, shown: the most confident 1")


def test_no_mistakes_say_so():
    figure = mistakes(np.zeros((2, 8, 8, 3), "uint8"), [0, 1], np.eye(2), ["cat", "dog"])
    assert figure.get_suptitle() == "0 of 2 wrong"


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"one row an image.*got \(2, 8, 8, 1\), \(3,\), \(2, 2\) and 2 names"):
        mistakes(np.zeros((2, 8, 8, 1)), [0, 1, 1], np.eye(2), ["cat", "dog"])
