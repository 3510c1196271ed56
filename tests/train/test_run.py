"""A run in a folder: what it writes, and how it goes on."""
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.augment import MixUp, RandomAffine
from kerazoo.train import Run

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (64, 8, 8, 1), dtype="uint8"), RNG.integers(0, 3, 64)
OPTIONS = {"model": "mlp", "epochs": 6, "seed": 0, "output": "runs/x"}


def build():
    """A model with all that is random in training: dropout, augmentation, label mixing."""
    keras.utils.set_random_seed(0)
    augmentation = [RandomAffine(rotation=20, seed=1), MixUp(0.4, seed=1)]
    model = kerazoo.mlp(input_shape=(8, 8, 1), classes=3, units=16, dropout=0.3, augmentation=augmentation)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.at = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.at:
            raise KeyboardInterrupt


def train(folder, *extra, epochs=6, early_stopping=None):
    model = build()
    with Run(folder, model, OPTIONS) as run:
        model.fit(IMAGES, LABELS, batch_size=16, shuffle=False, verbose=0, epochs=epochs,
                  validation_data=(IMAGES, LABELS), initial_epoch=run.initial_epoch,
                  callbacks=[*run.callbacks(early_stopping=early_stopping), *extra])
        run.restore_best()
    return run, model


def test_a_run_leaves_its_best_model_and_its_logs(tmp_path):
    run, model = train(tmp_path)
    log = run.log()
    assert set(log) == {"epoch", "accuracy", "loss", "val_accuracy", "val_loss", "learning_rate"}
    assert log["epoch"] == [0, 1, 2, 3, 4, 5]
    best = kerazoo.load_model(tmp_path / "best.keras")
    np.testing.assert_array_equal(best(IMAGES), model(IMAGES))
    assert best.evaluate(IMAGES, LABELS, verbose=0)[1] == pytest.approx(max(log["val_accuracy"]))
    assert list((tmp_path / "tensorboard").rglob("events*"))
    assert not list(tmp_path.glob("epoch_*")) and not (tmp_path / "resume.json").exists()


def test_ctrl_c_says_what_was_saved_and_the_same_command_goes_on(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        train(tmp_path, Interrupt(epoch=4))
    message = str(stop.value)
    assert "the end of epoch 4" in message and "best.keras" in message and "The same command goes on" in message
    assert len(message.strip().splitlines()) == 1

    run, resumed = train(tmp_path)
    assert "Going on from the end of epoch 4" in capsys.readouterr().out
    other, straight = train(tmp_path / "straight")
    assert run.log() == other.log()
    for a, b in zip(resumed.get_weights(), straight.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_ctrl_c_in_the_first_epoch_says_that_nothing_was_saved(tmp_path):
    with pytest.raises(SystemExit, match="nothing was saved. The same command starts anew"):
        train(tmp_path, Interrupt(epoch=0))
    run, _ = train(tmp_path)
    assert len(run.log()["epoch"]) == 6


def test_early_stopping_counts_across_an_interruption(tmp_path):
    # Without learning, the first epoch stays the best.
    class Frozen(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.optimizer.learning_rate = 0.0

    with pytest.raises(SystemExit):
        train(tmp_path, Frozen(), Interrupt(epoch=2), early_stopping=3)
    state = json.loads((tmp_path / "resume.json").read_text())["state"]
    assert (state["epoch"], state["best_epoch"], state["wait"]) == (2, 1, 1)
    run, _ = train(tmp_path, Frozen(), early_stopping=3)
    assert run.log()["epoch"] == [0, 1, 2, 3]


def test_a_run_with_other_options_is_not_gone_on_with(tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(epoch=2))
    with pytest.raises(ValueError, match=r"other options \(--seed 0 then, 1 now\).*another --output"):
        Run(tmp_path, build(), {**OPTIONS, "seed": 1})
    Run(tmp_path, build(), {**OPTIONS, "output": "elsewhere"})


def test_a_finished_run_starts_anew(tmp_path):
    train(tmp_path)
    run, _ = train(tmp_path, epochs=2)
    assert run.log()["epoch"] == [0, 1]


def test_an_interrupted_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(epoch=2))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    model = build()
    run = Run(tmp_path, model, OPTIONS)

    def half(path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save_weights", half)
    with pytest.raises(KeyboardInterrupt):
        run.save(3, SimpleNamespace(best=0.5, best_epoch=1, wait=0))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="must be a folder; .*file is a file. Name another"):
        Run(tmp_path / "file", build())
    with pytest.raises(OSError, match="below cannot be written.*Name another folder"):
        Run(tmp_path / "file" / "below", build())


def test_an_output_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    import pathlib

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    # As root, file modes forbid nothing.
    monkeypatch.setattr(pathlib.Path, "touch", refuse)
    with pytest.raises(PermissionError, match=r"cannot be written \(Permission denied\)"):
        Run(tmp_path, build())


def test_a_resumed_run_sees_the_images_in_the_order_of_its_epochs(tmp_path):
    seen = []
    data = SimpleNamespace(set_epoch=seen.append)
    for interrupt in ([Interrupt(epoch=2)], []):
        model = build()
        try:
            with Run(tmp_path, model, OPTIONS) as run:
                assert run.data(data) is data
                model.fit(IMAGES, LABELS, verbose=0, epochs=4, validation_data=(IMAGES, LABELS),
                          initial_epoch=run.initial_epoch, callbacks=[*run.callbacks(), *interrupt])
        except SystemExit:
            pass
    assert seen == [0, 1, 2, 2, 3]


def test_an_interruption_between_the_log_and_the_checkpoint_logs_no_epoch_twice(tmp_path, monkeypatch):
    save = Run.save

    def interrupted(run, epoch, stopping):
        if epoch == 2:
            raise KeyboardInterrupt
        save(run, epoch, stopping)

    monkeypatch.setattr(Run, "save", interrupted)
    with pytest.raises(SystemExit):
        train(tmp_path)
    monkeypatch.setattr(Run, "save", save)
    run, _ = train(tmp_path)
    assert run.log()["epoch"] == [0, 1, 2, 3, 4, 5]


def test_a_figure_that_is_not_logged_cannot_decide_what_is_best(tmp_path):
    model = build()
    with pytest.raises(ValueError, match="'val_accuracy', which was not logged; there are: accuracy.*validation_data"):
        with Run(tmp_path, model, OPTIONS) as run:
            model.fit(IMAGES, LABELS, verbose=0, callbacks=run.callbacks())


@pytest.mark.parametrize("count", [0, -1, False])
def test_early_stopping_takes_a_number_of_epochs(count, tmp_path):
    with pytest.raises(ValueError, match="positive number of epochs, or None for never"):
        Run(tmp_path, build()).callbacks(early_stopping=count)


DAMAGES = {
    "cut note": lambda folder: (folder / "resume.json").write_text('{"opt'),
    "lost weights": lambda folder: [file.unlink() for file in folder.glob("epoch_*")],
    "cut weights": lambda folder: [file.write_bytes(b"x" * 100) for file in folder.glob("epoch_*")],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_answered_in_words(damage, tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(epoch=2))
    damage(tmp_path)
    with pytest.raises(ValueError, match="cannot be gone on with .*Delete the folder to start anew"):
        Run(tmp_path, build(), OPTIONS)


def test_a_new_run_leaves_no_logs_of_an_older_one(tmp_path):
    for _ in range(2):
        train(tmp_path, epochs=1)
    assert len(list((tmp_path / "tensorboard" / "train").glob("events*"))) == 1
