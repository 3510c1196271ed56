"""A run in a folder: what it writes, and how it goes on."""
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.train import Run

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (64, 8, 8, 1), dtype="uint8"), RNG.integers(0, 3, 64)
OPTIONS = {"model": "mlp", "epochs": 6, "seed": 0}


def build():
    keras.utils.set_random_seed(0)
    model = kerazoo.mlp(input_shape=(8, 8, 1), classes=3, units=16, dropout=0)
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
    best = keras.saving.load_model(tmp_path / "best.keras")
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
    assert run.log()["epoch"] == [0, 1, 2, 3, 4, 5]
    _, straight = train(tmp_path / "straight")
    for a, b in zip(resumed.get_weights(), straight.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


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
