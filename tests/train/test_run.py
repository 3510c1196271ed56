"""A run in a folder: what it writes, and how it goes on."""
import errno
import os
import pathlib
import re
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerazoo
from kerazoo.augment import MixUp, RandomAffine
from kerazoo.train import Run, WarmupCosine, checkpoint, optimizer, state

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (64, 8, 8, 1), dtype="uint8"), RNG.integers(0, 3, 64)
OPTIONS = {"model": "mlp", "epochs": 6, "seed": 0, "output": "runs/x"}


def build(augmented=False):
    """A model with dropout; augmented: with all that is random in training, which takes longer to be traced."""
    keras.utils.set_random_seed(0)
    augmentation = [RandomAffine(rotation=20, seed=1), MixUp(0.4, seed=1)] if augmented else None
    model = kerazoo.mlp(input_shape=(8, 8, 1), classes=3, units=16, dropout=0.3, augmentation=augmentation)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in the middle of an epoch, or what else a signal says."""

    def __init__(self, epoch, batch=1, number=signal.SIGINT):
        super().__init__()
        self._at, self._batch, self._number = epoch, batch, number

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self._epoch, batch) == (self._at, self._batch):
            os.kill(os.getpid(), self._number)


def data(epoch=0, batch=0):
    """Batches in an order of their own each epoch, which can be continued anywhere."""
    now = {"epoch": epoch}

    def batches():
        order = np.random.default_rng(now["epoch"]).permutation(64)
        for i in range(batch if now["epoch"] == epoch else 0, 4):
            yield IMAGES[order[16 * i : 16 * i + 16]], LABELS[order[16 * i : 16 * i + 16]]

    signature = tf.TensorSpec((None, 8, 8, 1), "uint8"), tf.TensorSpec((None,), "int64")
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    dataset.cardinality = lambda: tf.constant(4, "int64")
    dataset.num_examples, dataset.start, dataset.set_epoch = 64, data, lambda epoch: now.update(epoch=epoch)
    return dataset


def train(
    folder, *extra, epochs=6, model=None, dataset=None, save_every=None, options=None, augmented=False, **callbacks
):
    model = model or build(augmented)
    with Run(folder, model, options or {**OPTIONS, "epochs": epochs}, save_every=save_every) as run:
        run.history = model.fit(
            run.data(dataset or data()), shuffle=False, verbose=0, epochs=epochs, validation_data=(IMAGES, LABELS),
            initial_epoch=run.initial_epoch, callbacks=run.callbacks(*extra, **callbacks),
        )
        run.restore_best()
    return run, model


def everything(model):
    """All values that a training ends with."""
    return state.read(model)[1]


def assert_same(a, b):
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_run_leaves_its_best_model_and_its_logs(tmp_path):
    run, model = train(tmp_path)
    log = run.log()
    assert set(log) == {"epoch", "accuracy", "loss", "val_accuracy", "val_loss", "learning_rate"}
    assert log["epoch"] == [0, 1, 2, 3, 4, 5]
    assert {name: row for name, row in log.items() if name != "epoch"} == run.history.history
    best = kerazoo.load_model(tmp_path / "best.keras")
    np.testing.assert_array_equal(best(IMAGES), model(IMAGES))
    assert best.evaluate(IMAGES, LABELS, verbose=0)[1] == pytest.approx(max(log["val_accuracy"])) == run.best["value"]
    assert log["val_accuracy"][run.best["epoch"] - 1] == run.best["value"]
    left = {file.name for file in tmp_path.iterdir()} - {".lock"}
    assert left == {"best.keras", "last.keras", "log.csv", "run.json", "tensorboard"}


def test_tensorboard_finds_the_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(epoch=2), save_every=0)
    run, _ = train(tmp_path)
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = EventAccumulator(str(tmp_path / "tensorboard" / part)).Reload()
        scalars = events.Scalars("epoch_accuracy")
        assert [one.step for one in scalars] == [0, 1, 2, 3, 4, 5]
        np.testing.assert_allclose([one.value for one in scalars], run.log()[f"{prefix}accuracy"], rtol=1e-6)
    rates = EventAccumulator(str(tmp_path / "tensorboard" / "train")).Reload().Scalars("epoch_learning_rate")
    np.testing.assert_allclose([one.value for one in rates], run.log()["learning_rate"], rtol=1e-6)


@pytest.mark.parametrize(("epoch", "batch", "number"), [
    (0, 0, signal.SIGINT), (2, 1, signal.SIGTERM),
    *(pytest.param(*one, signal.SIGINT, marks=pytest.mark.slow) for one in ((3, 3), (5, 2))),
])
def test_a_signal_saves_and_the_same_command_ends_as_if_it_had_not_been(
    epoch, batch, number, tmp_path, capsys, straight
):
    with pytest.raises(SystemExit) as stop:
        train(tmp_path, Interrupt(epoch, batch, number), augmented=True, early_stopping=6, plateau=1)
    assert stop.value.code == 128 + number
    message = capsys.readouterr().err.strip().splitlines()[-1]
    # The last batch of an epoch is saved together with its validation.
    place = f"batch {batch + 1} of epoch {epoch + 1}" if batch < 3 else f"the end of epoch {epoch + 1}"
    assert place in message and "The same command goes on" in message
    assert ("best.keras" in message) == (epoch > 0)

    run, resumed = train(tmp_path, augmented=True, early_stopping=6, plateau=1)
    assert f"Going on from {place}" in capsys.readouterr().out
    expected, values = straight
    assert (tmp_path / "log.csv").read_bytes() == (expected.path / "log.csv").read_bytes()
    assert run.history.history == expected.history.history and run.history.epoch == expected.history.epoch
    assert run.best == expected.best
    assert_same(everything(resumed), values)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The run that was never cut."""
    run, model = train(tmp_path_factory.mktemp("straight"), augmented=True, early_stopping=6, plateau=1)
    return run, everything(model)


def test_before_the_first_batch_nothing_is_saved_and_it_says_so(tmp_path, capsys):
    class Early(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit):
        train(tmp_path, Early())
    assert "Interrupted before anything was saved. The same command starts anew." in capsys.readouterr().err


def test_other_data_goes_on_from_the_end_of_an_epoch(tmp_path, capsys):
    def once(*extra):
        model = build()
        with Run(tmp_path, model, OPTIONS, save_every=0) as run:
            model.fit(IMAGES, LABELS, batch_size=16, shuffle=False, verbose=0, epochs=6,
                      validation_data=(IMAGES, LABELS), initial_epoch=run.initial_epoch,
                      callbacks=run.callbacks(*extra))
        return run, everything(model)

    with pytest.raises(SystemExit):
        once(Interrupt(4))
    assert "the end of epoch 4" in capsys.readouterr().err
    _, resumed = once()
    assert "Going on from the end of epoch 4" in capsys.readouterr().out
    _, expected = once()
    assert_same(resumed, expected)


def test_early_stopping_counts_across_an_interruption_and_ends_for_good(tmp_path):
    def still():
        model = build()
        model.compile(keras.optimizers.SGD(0.0), model.loss, metrics=["accuracy"])
        return model

    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(2), model=still(), early_stopping=3)
    with pytest.raises(SystemExit):  # while the results are written
        model = still()
        with Run(tmp_path, model, OPTIONS) as run:
            model.fit(run.data(data()), validation_data=(IMAGES, LABELS), epochs=6, verbose=0, shuffle=False,
                      initial_epoch=run.initial_epoch, callbacks=run.callbacks(early_stopping=3))
            assert run.log()["epoch"] == [0, 1, 2, 3]
            raise KeyboardInterrupt
    run, _ = train(tmp_path, model=still(), early_stopping=3)
    assert run.log()["epoch"] == [0, 1, 2, 3] and run.history.epoch == [0, 1, 2, 3]


class Own(keras.callbacks.Callback):
    """Counts, remembers, and speaks for itself."""

    def __init__(self):
        super().__init__()
        self.seen, self.sums, self.config = 0, [], "of this start"

    def on_epoch_end(self, epoch, logs=None):
        self.seen += 1
        self.sums.append(np.float32(logs["loss"]))


class Speaking(Own):
    def get_state(self):
        return {"seen": self.seen, "deep": [{"array": np.arange(3)}]}

    def set_state(self, saved):
        self.restored = saved


def test_callbacks_of_ones_own_keep_what_they_count(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(tmp_path, Own(), Speaking(), Own(), Interrupt(3))
    plain, speaking = Own(), Speaking()
    plain.config = "of the next start"
    run, _ = train(tmp_path, plain, speaking, Interrupt(99))
    assert plain.seen == 6 and plain.sums == [np.float32(loss) for loss in run.log()["loss"]]
    assert plain.config == "of the next start", "what has not changed is no state"
    assert speaking.restored["seen"] == 3
    assert "not there any more: Own." in capsys.readouterr().out
    np.testing.assert_array_equal(speaking.restored["deep"][0]["array"], [0, 1, 2])


def test_a_run_of_another_command_is_not_gone_on_with(tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(2))
    with pytest.raises(ValueError, match=r"other options \(--seed 0 then, 1 now\).*another --output"):
        Run(tmp_path, build(), {**OPTIONS, "seed": 1})
    Run(tmp_path, build(), {**OPTIONS, "output": "elsewhere", "devices": 2, "hosts": "a:1,b:1", "host_index": 1})

    other = kerazoo.mlp(input_shape=(8, 8, 1), classes=4, units=16)
    other.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="another model .*there alone.*here alone.*Give another folder, or delete"):
        Run(tmp_path, other, OPTIONS)
    same = build()
    same.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    with pytest.raises(ValueError, match="another optimizer"):
        Run(tmp_path, same, OPTIONS)

    model = build()
    run = Run(tmp_path, model, OPTIONS)
    with pytest.raises(ValueError, match="in training with 4 batches an epoch.*same; got data of another kind"):
        run.data((IMAGES, LABELS))
    run.batches = None
    with pytest.raises(ValueError, match=r"fit\(run.data\(train\), ...\)"):
        model.fit(data(), verbose=0, epochs=6, initial_epoch=run.initial_epoch, callbacks=run.callbacks())
    with pytest.raises(ValueError, match="A Run is for one fit. Make a new Run"):
        model.fit(run.data(data()), verbose=0, epochs=6, callbacks=run.callbacks())

    model = build()
    metrics = ["accuracy", "sparse_top_k_categorical_accuracy"]
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=metrics)
    run = Run(tmp_path, model, OPTIONS)
    with pytest.raises(ValueError, match="another metrics.*Compile with the same metrics"):
        model.fit(run.data(data()), verbose=0, epochs=6, initial_epoch=run.initial_epoch, callbacks=run.callbacks())


def test_a_finished_run_starts_anew_and_what_it_left_is_moved_out_of_the_way(tmp_path, capsys):
    first, _ = train(tmp_path)
    (tmp_path / "test.json").write_text("0.9")
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file() and path.name != ".lock"}
    run, _ = train(tmp_path, epochs=2)
    assert run.log()["epoch"] == [0, 1]
    assert len(list((tmp_path / "tensorboard" / "train").glob("events*"))) == 1
    aside = tmp_path / "earlier" / "1"
    assert f"{tmp_path} held the models of an earlier run: they are in {aside} now" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in aside.iterdir() if path.is_file()} == left
    assert {"best.keras", "last.keras", "log.csv", "run.json", "test.json"} == set(left)
    assert list((aside / "tensorboard" / "train").glob("events*"))
    train(tmp_path, epochs=1)
    assert sorted(path.name for path in aside.parent.iterdir()) == ["1", "2"]


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="must be a folder; .*file is a file. Name another"):
        Run(tmp_path / "file", build())
    with pytest.raises(OSError, match="below cannot be written.*Name another folder"):
        Run(tmp_path / "file" / "below", build())


def test_an_output_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    # As root, file modes forbid nothing.
    monkeypatch.setattr(pathlib.Path, "touch", refuse)
    with pytest.raises(PermissionError, match=r"cannot be written \(Permission denied\)"):
        Run(tmp_path, build())


def test_a_model_must_be_compiled(tmp_path):
    with pytest.raises(ValueError, match="needs the compiled model: call model.compile"):
        Run(tmp_path, kerazoo.mlp(input_shape=(8, 8, 1), classes=3))


def test_a_full_disk_warns_and_stops_nothing(tmp_path, monkeypatch, capsys):
    """Full from the third epoch on; what was saved before stays, and the run goes on from there."""
    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                monkeypatch.setattr(os, "fsync", full)
                monkeypatch.setattr(keras.Model, "save", lambda *args: full(0))
            if epoch == 4:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(UserWarning, match="could not be written.*No space left on device.*Training goes on"):
        with pytest.raises(SystemExit):
            train(tmp_path, Fill(), save_every=0)
    assert "Epoch 4/6" in capsys.readouterr().out
    monkeypatch.undo()
    run, resumed = train(tmp_path, Own())
    assert "Going on from the end of epoch 2" in capsys.readouterr().out
    expected, straight = train(tmp_path / "straight", Own())
    assert run.log() == expected.log()
    assert_same(everything(resumed), everything(straight))


def test_a_disk_that_is_full_at_the_end_keeps_the_checkpoints(tmp_path, monkeypatch, capsys):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 5:
                monkeypatch.setattr(os, "fsync", full)

    with pytest.warns(UserWarning, match="The last model could not be written"):
        with pytest.raises(OSError, match="has ended, and its models could not be written. Its checkpoints are kept"):
            train(tmp_path, Fill(), save_every=0)
    monkeypatch.undo()
    run, resumed = train(tmp_path, Own())
    assert "Going on from" in capsys.readouterr().out
    _, straight = train(tmp_path / "straight", Own())
    assert_same(everything(resumed), everything(straight))
    assert run.last_file.exists() and not list(tmp_path.glob("step_*"))


def test_any_model_goes_on_within_an_epoch(tmp_path):
    def build_sequential():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([
            keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dropout(0.3),
            keras.layers.Dense(3),
        ])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model

    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(1, 1), model=build_sequential(), epochs=2)
    again, resumed = train(tmp_path, Own(), model=build_sequential(), epochs=2)
    run, straight = train(tmp_path / "straight", model=build_sequential(), epochs=2)
    assert again.log() == run.log()
    assert_same(everything(resumed), everything(straight))


def test_figures_that_are_not_there_each_epoch_stand_where_they_belong(tmp_path):
    model = build()
    with Run(tmp_path, model, OPTIONS, monitor=None) as run:
        model.fit(run.data(data()), validation_data=(IMAGES, LABELS), validation_freq=2, epochs=4, shuffle=False,
                  verbose=0, callbacks=run.callbacks())
    rows = run.log()
    assert rows["epoch"] == [0, 1, 2, 3] and np.isnan(rows["val_loss"]).tolist() == [True, False, True, False]


def test_a_damaged_checkpoint_is_passed_over_and_it_says_so(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(2), save_every=0)
    newest, older = sorted(tmp_path.glob("step_*"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-1])
    run = Run(tmp_path, build(), OPTIONS)
    said = capsys.readouterr().out
    assert f"The checkpoint {newest} cannot be used: its checksum is wrong" in said
    assert "The one before is taken." in said
    assert run.state["step"] == 9
    older.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be gone on with: none of the 2 .* Give another folder, or delete"):
        Run(tmp_path, build(), OPTIONS)


def test_a_learning_rate_that_diverges_stops_with_a_sentence_and_finite_weights(tmp_path):
    model = kerazoo.mlp(input_shape=(8, 8, 1), classes=3, units=16)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e30), loss, metrics=["accuracy"])
    before = model.get_weights()
    sentence = r"became (nan|inf) in epoch 1.*weights of the start again.*lower learning rate \(it is 1e\+30\)"
    with pytest.raises(ArithmeticError, match=sentence):
        train(tmp_path, model=model)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


class Jump(keras.callbacks.Callback):
    """The learning rate gets out of hand in a batch of the second epoch."""

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.history is not None and int(self.model.optimizer.iterations) == 5:
            self.model.optimizer.learning_rate = 1e30


@pytest.mark.parametrize("monitor", ["val_accuracy", None])
def test_what_was_reached_before_a_divergence_is_not_lost(monitor, tmp_path, monkeypatch):
    """No checkpoint had been due, as in a training of a few seconds."""
    model, after = build(), []
    ends = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after.append(model.get_weights()))
    options = {**OPTIONS, "epochs": 6}
    with pytest.raises(ArithmeticError, match="epoch 2, batch [23].*the end of epoch 1 again.*it is 1e.30") as error:
        # On a slow machine, one would be due within the epoch.
        with Run(tmp_path, model, options, monitor=monitor, save_every=3600) as run:
            model.fit(
                run.data(data()), shuffle=False, verbose=0, epochs=6, validation_data=(IMAGES, LABELS),
                callbacks=run.callbacks(Jump(), ends),
            )
    assert len(after) == 1
    for one, other in zip(after[0], model.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert f"again, as has {run.last_file}" in str(error.value)
    last = kerazoo.load_model(run.last_file, compile=False)
    for one, other in zip(after[0], last.get_weights()):
        np.testing.assert_array_equal(one, other)
    if monitor is None:
        assert not run.best_file.exists()
    else:
        assert f"{run.best_file} has the best, of epoch 1 (val_accuracy" in str(error.value)
        best = kerazoo.load_model(run.best_file, compile=False)
        for one, other in zip(after[0], best.get_weights()):
            np.testing.assert_array_equal(one, other)


def test_a_divergence_without_anything_to_come_back_to_is_still_told(tmp_path, monkeypatch):
    """The disk was full from the start; or the weights were no numbers at the start."""
    def model(rate):
        made = kerazoo.mlp(input_shape=(8, 8, 1), classes=3, units=16)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        made.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
        return made

    ill = model(0.1)
    ill.weights[-1].assign(np.full(ill.weights[-1].shape, np.nan))
    with pytest.raises(ArithmeticError, match="no number in epoch 1, batch 0: training was stopped. Try a lower"):
        train(tmp_path / "ill", model=ill)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write", full)
    with pytest.warns(UserWarning, match="The checkpoint could not be written"):
        with pytest.raises(ArithmeticError, match="in epoch 1, batch 2: training was stopped. Try a lower"):
            train(tmp_path / "full", model=model(1e30))


def test_damaged_checkpoints_do_not_hide_a_divergence(tmp_path):
    class Damage(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            for file in tmp_path.glob("step_*"):
                file.write_bytes(b"")

    with pytest.raises(ArithmeticError, match="the end of epoch 1 again"):
        train(tmp_path, Damage(), Jump(), model=build())


@pytest.mark.parametrize("kind", ["subclassed", "sequential"])
def test_a_model_that_is_built_by_its_first_batch_trains(kind, tmp_path):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(keras.ops.reshape(keras.ops.cast(x, "float32") / 255, (-1, 64)))

    model = Subclassed() if kind == "subclassed" else keras.Sequential([
        keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(3)
    ])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    run, _ = train(tmp_path, model=model, epochs=2)
    assert run.log()["epoch"] == [0, 1] and run.last_file.exists()


@pytest.mark.parametrize("make", [
    lambda model, rate: optimizer(model, "sgd", rate, accumulate=2, verbose=False),
    lambda model, rate: keras.optimizers.SGD(rate, gradient_accumulation_steps=2),
], ids=["ours", "Keras's"])
def test_the_rate_is_that_of_the_batch_under_accumulation_too(make, tmp_path):
    model, rate = kerazoo.mlp(input_shape=(8, 8, 1), classes=3, units=16), WarmupCosine(0.1, epochs=6, steps=4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(make(model, rate), loss, metrics=["accuracy"])
    run, _ = train(tmp_path, model=model)
    first = 2 if hasattr(model.optimizer, "ema_momentum_at") else 1  # ours counts whole updates
    np.testing.assert_allclose(run.log()["learning_rate"], [float(rate(4 * n - first)) for n in range(1, 7)], rtol=1e-5)


def test_what_else_lies_in_the_folder_stays_and_a_cut_move_is_gone_on_with(tmp_path, monkeypatch, capsys):
    train(tmp_path, epochs=1)
    (tmp_path / "train.py").write_text("mine")
    with pytest.raises(SystemExit):
        train(tmp_path / "inner", Interrupt(2))
    rename, left = pathlib.Path.rename, iter(range(2))

    def cut(self, target):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", cut)
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path, build())
    monkeypatch.undo()
    Run(tmp_path, build())
    assert {"best.keras", "last.keras", "log.csv", "run.json", "tensorboard"} == {
        path.name for path in (tmp_path / "earlier" / "1").iterdir()
    }
    assert [path.name for path in (tmp_path / "earlier").iterdir()] == ["1"]
    assert (tmp_path / "train.py").read_text() == "mine"
    Run(tmp_path / "inner", build(), OPTIONS)
    assert "Going on from" in capsys.readouterr().out


def test_two_processes_do_not_train_in_one_folder(tmp_path, run_python):
    Run(tmp_path, build())
    code = "import sys, keras, kerazoo\nfrom kerazoo.train import Run\n" \
           "model = kerazoo.mlp(input_shape=(8, 8, 1), classes=3)\nmodel.compile('sgd', 'mse')\n" \
           "Run(sys.argv[1], model)"
    result = run_python(code, tmp_path, check=False)
    assert result.returncode and f"Another process is training in {tmp_path}. Wait for its end" in result.stderr


def test_a_forgotten_initial_epoch_is_told(tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(2))
    model = build()
    run = Run(tmp_path, model, OPTIONS)
    with pytest.raises(ValueError, match="fit begins with epoch 1, .* with epoch 3: give fit initial_epoch="):
        model.fit(run.data(data()), verbose=0, epochs=6, callbacks=run.callbacks())


def test_a_loss_that_cannot_be_saved_is_told_before_training(tmp_path):
    class Odd:
        def __call__(self, y, scores):
            return keras.losses.sparse_categorical_crossentropy(y, scores, from_logits=True)

    model = build()
    model.compile("sgd", Odd())
    with pytest.raises(ValueError, match="The model's loss cannot be saved.*Give it a get_config"):
        Run(tmp_path, model)
    for loss in (lambda y, scores: keras.ops.mean(scores), "mse"):
        model.compile("sgd", loss)
        Run(tmp_path, model)
    with pytest.raises(TypeError, match="options must be a dictionary"):
        Run(tmp_path, model, ["epochs"])
    with pytest.raises(TypeError, match="run.data takes a data set.*got a tuple"):
        Run(tmp_path, model).data((IMAGES, LABELS))


def test_a_divergence_under_a_schedule_names_the_rate_that_did_it(tmp_path):
    """Four batches are over, and so is the schedule, whose last rate is 0."""
    model = kerazoo.mlp(input_shape=(8, 8, 1), classes=3, units=16)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(WarmupCosine(1e30, epochs=4)), loss, metrics=["accuracy"])
    tested = keras.callbacks.LambdaCallback(on_test_begin=lambda logs: pytest.fail("validation came first"))
    with pytest.raises(ArithmeticError, match=r"epoch 1, batch [234]:.*\(it is 1e\+30\)"):
        train(tmp_path, tested, model=model)


@pytest.mark.parametrize("change, sentence", [
    ({"learning_rate": 0.5}, r"optimizer.learning_rate 0.1 then, 0.5 now"),
    ({"weight_decay": 0.1}, r"optimizer.weight_decay None then, 0.1 now"),
    ({"loss": 0.1}, r"loss.label_smoothing 0 then, 0.1 now"),
    ({"loss_weights": [0.5]}, r"loss_weights.0 None then, 0.5 now"),
])
def test_a_model_that_is_compiled_otherwise_is_not_gone_on_with(change, sentence, tmp_path):
    """Also where no options were given; a plateau's lower rate is no other one."""
    def model(learning_rate=0.1, loss=0.0, loss_weights=None, **more):
        made = build()
        smooth = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=loss)
        rule = keras.optimizers.SGD(learning_rate, **more)
        made.compile(rule, smooth, loss_weights=loss_weights, metrics=["accuracy"])
        return made

    def fit(model, *own):
        labels = np.eye(3)[LABELS]
        with Run(tmp_path, model, save_every=0) as run:
            model.fit(
                IMAGES, labels, verbose=0, epochs=6, validation_data=(IMAGES, labels),
                initial_epoch=run.initial_epoch, callbacks=run.callbacks(*own),
            )

    class Lower(keras.callbacks.Callback):
        def __init__(self, last=2):
            super().__init__()
            self._last = last

        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.01
            if epoch == self._last:
                raise RuntimeError("cut")

    same = model()
    with pytest.raises(RuntimeError, match="cut"):
        fit(same, Lower())
    with pytest.raises(ValueError, match=sentence + r"\)\. Compile as before"):
        Run(tmp_path, model(**change))
    Run(tmp_path, model())
    with pytest.raises(RuntimeError, match="cut"):
        fit(same, Lower(4))
    same.optimizer.learning_rate = 1e-4
    Run(tmp_path, same)
    Run(tmp_path, model())


def test_best_weights_that_cannot_be_read_are_told_with_a_way_on(tmp_path, capsys):
    run, model = train(tmp_path)
    last = model.get_weights()
    damaged = bytearray(run.best_file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    run.best_file.write_bytes(damaged)
    with pytest.raises(ValueError, match="best weights cannot be read from .*best.keras.*last weights; delete that"):
        run.restore_best()
    for one, other in zip(last, model.get_weights()):
        np.testing.assert_array_equal(one, other)
    run.best_file.unlink()
    run.restore_best()
    assert "best.keras is not there: the model keeps its last weights" in capsys.readouterr().out


def test_training_on_nothing_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nothing to train on: the training data had no batch"):
        train(tmp_path, dataset=data().take(0))


def test_a_schedule_that_ends_long_before_the_training_is_told(tmp_path, capsys):
    def fit(folder, **steps):
        model = kerazoo.mlp(input_shape=(8, 8, 1), classes=3, units=16)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(WarmupCosine(0.1, epochs=6, **steps)), loss, metrics=["accuracy"])
        run, _ = train(folder, model=model)
        return capsys.readouterr().out, run.log()["learning_rate"]

    said, _ = fit(tmp_path / "one")
    assert "WARNING: WarmupCosine is at its end after 6 batches, and training has 6 epochs of 4" in said
    assert "give it steps=4" in said
    said, rates = fit(tmp_path / "two", steps=4)
    assert "WARNING" not in said
    # The rate of the last batch that was trained, which is not 0 yet.
    np.testing.assert_allclose(rates, [0.05 * (1 + np.cos(np.pi * (4 * n - 1) / 24)) for n in range(1, 7)], rtol=1e-5)


def test_a_run_of_another_version_is_told(tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, Interrupt(2))
    newest = max(tmp_path.glob("step_*"))
    note, arrays = checkpoint.read(newest)
    del note["compiled"]
    checkpoint.write(newest, note, arrays)
    with pytest.raises(ValueError, match="written by another version of kerazoo, without compiled. Go on"):
        Run(tmp_path, build(), OPTIONS)


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    class Poison(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.weights[0].assign(np.full(self.model.weights[0].shape, np.nan))

    model = build()
    with pytest.raises(ArithmeticError, match="A weight became infinite or no number.*batch 2 of epoch 1"):
        train(tmp_path, Poison(), model=model, save_every=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_a_figure_that_is_not_logged_cannot_decide_what_is_best(tmp_path):
    model = build()
    with pytest.raises(ValueError, match="'val_accuracy', which was not logged; there are: accuracy.*validation_data"):
        with Run(tmp_path, model, OPTIONS) as run:
            model.fit(IMAGES, LABELS, verbose=0, callbacks=run.callbacks())


def test_without_a_monitor_the_last_is_the_best(tmp_path):
    model = build()
    with Run(tmp_path, model, OPTIONS, monitor=None) as run:
        model.fit(run.data(data()), verbose=0, epochs=2, shuffle=False, callbacks=run.callbacks())
        run.restore_best()
    np.testing.assert_array_equal(kerazoo.load_model(tmp_path / "best.keras")(IMAGES), model(IMAGES))
    with pytest.raises(ValueError, match="early_stopping needs a figure to go by"):
        run.callbacks(early_stopping=2)


@pytest.mark.parametrize("name", ["early_stopping", "plateau"])
@pytest.mark.parametrize("count", [0, -1, False, 1.5])
def test_patience_is_a_number_of_epochs(name, count, tmp_path):
    with pytest.raises(ValueError, match=f"{name} must be a positive number of epochs, or None for never"):
        Run(tmp_path, build()).callbacks(**{name: count})


def test_a_plateau_and_a_schedule_cannot_both_set_the_rate(tmp_path):
    model = build()
    model.compile(keras.optimizers.SGD(kerazoo.train.WarmupCosine(0.1, 4)), model.loss)
    with pytest.raises(ValueError, match="plateau lowers the learning rate, and a schedule sets it"):
        Run(tmp_path, model).callbacks(plateau=2)


def test_steps_per_epoch_are_refused(tmp_path):
    model = build()
    with pytest.raises(ValueError, match="steps_per_epoch=2, and the data set has 4"):
        with Run(tmp_path, model, OPTIONS) as run:
            model.fit(run.data(data()), verbose=0, steps_per_epoch=2, callbacks=run.callbacks())


def test_early_stopping_restores_the_best(tmp_path):
    model = build()
    with Run(tmp_path, model, OPTIONS) as run:
        model.fit(run.data(data()), shuffle=False, verbose=0, epochs=20, validation_data=(IMAGES, LABELS),
                  callbacks=run.callbacks(early_stopping=2))
    assert len(run.log()["epoch"]) == run.best["epoch"] + 2 < 20
    best, last = (kerazoo.load_model(file)(IMAGES) for file in (run.best_file, run.last_file))
    np.testing.assert_array_equal(model(IMAGES), best)
    assert not np.array_equal(best, last)


def test_averaged_weights_are_validated_and_kept_batch_norms_included(tmp_path):
    def build_averaged():
        keras.utils.set_random_seed(0)
        model = small()
        rule = keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.8)
        model.compile(rule, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model

    run, model = train(tmp_path / "a", model=build_averaged(), epochs=8)
    last = kerazoo.load_model(tmp_path / "a" / "last.keras")
    assert last.evaluate(IMAGES, LABELS, verbose=0)[0] == pytest.approx(run.log()["val_loss"][-1], rel=1e-5)
    best = kerazoo.load_model(tmp_path / "a" / "best.keras")
    assert best.evaluate(IMAGES, LABELS, verbose=0)[1] == pytest.approx(run.best["value"])

    with pytest.raises(SystemExit):
        train(tmp_path / "b", Interrupt(4, 1), model=build_averaged(), epochs=8)
    resumed = build_averaged()
    again, _ = train(tmp_path / "b", Interrupt(99), model=resumed, epochs=8)
    assert again.log() == run.log()
    assert_same(everything(resumed), everything(model))


def test_a_short_training_is_not_averaged_with_its_start(tmp_path):
    """A constant share of 0.999 would leave 0.98 of the first weights and statistics after 20 updates."""
    keras.utils.set_random_seed(0)
    model, seen = small(), {}
    rule = optimizer(model, "sgd", 0.02, ema=0.999, verbose=False)
    model.compile(rule, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.setdefault("first", self.model.get_weights())

        def on_epoch_end(self, epoch, logs=None):
            seen["last"] = self.model.get_weights()

    train(tmp_path, Note(), model=model, epochs=5)
    averaged = kerazoo.load_model(tmp_path / "last.keras", compile=False).get_weights()
    for first, average, last in zip(seen["first"], averaged, seen["last"]):
        way = np.linalg.norm(last - first)
        assert 0 < np.linalg.norm(last - average) < 0.7 * way


def small():
    x = inputs = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x)))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


def test_the_line_of_an_epoch_says_how_fast_and_how_long(tmp_path, capsys):
    train(tmp_path, epochs=2)
    first, second = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
    start = r"Epoch 1/2: [\d.]+ s, [\d,]+ images/s, accuracy [\d.]+, loss [\d.]+, val_accuracy "
    assert re.match(start + r".* [\d.]+ s left$", first)
    assert re.match(r"Epoch 2/2: .*learning_rate 0.001$", second)
