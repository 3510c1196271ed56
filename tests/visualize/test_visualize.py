"""Curves, their legends, and mistakes."""
import types

import numpy as np
import pytest

from kerazoo.visualize import curves, mistakes, schedule
from kerazoo.visualize.training import curves_of_runs, rates, rates_of_runs


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


def test_curves_take_arrays_and_what_fit_returns():
    log = {"loss": np.array([2.0, 1.0]), "val_accuracy": np.array([0.4, 0.6], "float32")}
    for given in (log, types.SimpleNamespace(history=log)):
        figure = curves(given)
        assert [len(axes.lines) for axes in figure.axes] == [1, 1]
        np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), [40, 60], rtol=1e-6)
    for wrong, message in (
        ([1, 2], "log: got list, wanted the folder of a run, {name"),
        ({"loss": [[1], [1, 2]]}, "log: 'loss': got rows of several lengths"),
        ({"loss": ["a"]}, "log: 'loss': got shape .1,. of <U1"), ({"loss": np.array([])}, "of at least one epoch"),
        ({"loss": 2.0}, "log: 'loss': got float, wanted a list of one number an epoch"),
    ):
        with pytest.raises(ValueError, match=message):
            curves(wrong)


def test_curves_take_a_folder_or_its_log(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,val_accuracy\n0,2,0.4\n1,1,\n")
    for given in (tmp_path, str(tmp_path), tmp_path / "log.csv"):
        loss, accuracy = curves(given).axes
        assert list(loss.lines[0].get_ydata()) == [2, 1] and accuracy.lines[0].get_ydata()[0] == 40
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    for wrong, kind, message in (
        (tmp_path / "empty", FileNotFoundError, "There is no log.csv in .*empty"),
        (str(tmp_path / "x"), FileNotFoundError, "There is no .*x. Wanted: the folder of a training run"),
        (tmp_path / "notes.txt", ValueError, "notes.txt cannot be read: it is no table of epochs"),
    ):
        with pytest.raises(kind, match=message):
            curves(wrong)


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_epochs_are_counted_in_whole_numbers(epochs):
    log = {"loss": [1.0] * epochs, "learning_rate": [0.1] * epochs}
    for figure in (curves(log), rates(log["learning_rate"]), curves_of_runs({"a": log}), rates_of_runs({"a": log})):
        figure.draw_without_rendering()
        (axes,) = figure.axes
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert shown and all(tick == int(tick) for tick in shown) and len(shown) <= 10


def legend_of(axes):
    """The names of a legend: of one in the axes, or of the figure's below them."""
    made = axes.get_legend() or axes.figure.legends[0]
    return [text.get_text() for text in made.get_texts()]


def test_names_are_shown_as_they_are(tmp_path):
    # "$" would begin a formula, and matplotlib leaves out what begins with "_".
    names = ["_old", "cost $5_$ run", "$x_$"]
    log = {"loss": [2.0, 1.0], "learning_rate": [0.1, 0.2]}
    figure = curves(log, title="cost $5_$ run")
    assert figure.get_suptitle() == "cost $5_$ run"
    figure.savefig(tmp_path / "curves.png")
    for figure in (curves_of_runs(dict.fromkeys(names, log)), rates_of_runs(dict.fromkeys(names, log)),
                   schedule(dict.fromkeys(names, 0.1), 3)):
        assert legend_of(figure.axes[0]) == names
        made = figure.axes[0].get_legend() or figure.legends[0]
        assert all(text.get_window_extent().width > 20 for text in made.get_texts()[:2])
        figure.savefig(tmp_path / "names.png")


def test_a_run_has_the_same_line_of_its_own_in_all_pictures():
    logs = {f"run {k}": {"loss": [2.0, 1.0], "learning_rate": [0.1 * k, 0.2]} for k in range(9)}
    logs["run 2"] = {"loss": [2.0, 1.0]}  # without a rate, it takes no other's line away
    looks = [
        {legend: (line.get_color(), line.get_linestyle()) for legend, line in zip(legend_of(axes), axes.lines)}
        for axes in (draw(logs).axes[0] for draw in (curves_of_runs, rates_of_runs))
    ]
    assert len(looks[0]) == len(set(looks[0].values())) == 9 and len(looks[1]) == 8
    assert looks[1].items() <= looks[0].items()


def test_curves_of_runs_show_training_and_validation_and_long_names():
    log = {"loss": [2.0, 1.0], "accuracy": [0.4, 0.6], "val_loss": [2.1, 1.2], "val_accuracy": [0.3, 0.5]}
    names = [f"/home/someone/projects/{'photos/' * 9}runs/{k}" for k in "ab"]
    figure = curves_of_runs({name: log for name in names})
    figure.draw_without_rendering()  # where there is no room for the axes, this warns
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "validation accuracy (%)", "validation loss", "training accuracy (%)", "training loss",
    ]
    assert legend_of(figure.axes[0]) == names
    figure = curves_of_runs({"a": {"loss": [1.0], "accuracy": [0.5], "val_loss": [1.0]}})
    assert [axes.axison for axes in figure.axes] == [True, True, True, False]


def test_epochs_whose_loss_is_no_number_have_a_cross():
    figure = curves({"loss": [2.0, np.nan, np.nan], "val_loss": [np.nan, np.inf, 2.0]})
    (cross,) = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert list(cross.get_xdata()) == [2, 3] and "loss is no number" in legend_of(figure.axes[0])
    figure = curves({"loss": [2.0, 1.0], "val_loss": [np.nan, 1.0]})  # an epoch without validation
    assert "loss is no number" not in legend_of(figure.axes[0])


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


def test_mistakes_take_what_their_siblings_take():
    images, says = np.zeros((3, 8, 8, 1), "uint8"), np.array([[0.9, 0.8], [0.2, 0.7], [0.6, 0.4]])
    for labels in ([1, 1, 0], np.eye(2)[[1, 1, 0]]):
        # Of a sigmoid for each class, a row adds up to anything.
        assert [axes.get_title() for axes in mistakes(images, labels, says).axes] == ["is 1\nsays 0 (90 %)"]


def test_captions_of_mistakes_do_not_run_into_each_other():
    names = ["West Highland white terrier", "American Staffordshire terrier"]
    figure = mistakes(np.zeros((9, 8, 8, 1), "uint8"), [0] * 9, np.tile([0.0, 1.0], (9, 1)), names)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    assert len(boxes) == 9 and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert figure.axes[0].get_title().endswith("r (100 %)")


IMAGES = np.zeros((2, 8, 8, 1), "uint8")
WRONG = {
    "labels": (IMAGES, [0, 1, 1], np.eye(2), {}, r"labels: got shape \(3,\) of int64, wanted 2 class indices \(2,\)"),
    "images": (IMAGES[:1], [0, 1], np.eye(2), {}, r"images: got shape \(1, 8, 8, 1\), wanted \(2, height"),
    "gray": (IMAGES[..., 0], [0, 1], np.eye(2), {}, r"images: got shape \(2, 8, 8\), .* pass images\[\.\.\., None\]"),
    "nan": (IMAGES * np.nan, [1, 1], np.eye(2), {}, "images: some pixels are NaN"),
    "words": (np.full((2, 8, 8, 1), "a"), [1, 1], np.eye(2), {}, "images: got <U1, wanted pixels as numbers"),
    "logits": (IMAGES, [0, 1], 9 * np.eye(2), {}, "probabilities: got values from 0 to 9 .* If they are logits"),
    "scalar": (IMAGES, 1, np.eye(2), {}, "labels: got int, wanted 2 class indices"),
    "names": (IMAGES, [0, 1], np.eye(2), {"class_names": ["a"]}, "class_names: got 1 of them, wanted 2"),
    "negative": (IMAGES, [0, 1], np.eye(2), {"count": -1}, "count: got -1, wanted an integer of at least 1"),
    "count": (IMAGES, [0, 1], np.eye(2), {"count": 2.5}, "count: got 2.5, wanted an integer"),
}


@pytest.mark.parametrize(("images", "labels", "probabilities", "more", "message"), WRONG.values(), ids=WRONG)
def test_mistakes_of_what_does_not_fit(images, labels, probabilities, more, message):
    with pytest.raises(ValueError, match=message):
        mistakes(images, labels, probabilities, **more)
