"""A run in a folder: checkpoints, logs, and the place to go on from."""
import csv
import json
import os
import pathlib
import shutil
import sys

import keras


class Run:
    """A training run that lives in a folder and goes on there after an interruption.

    At the end of every epoch the weights, the optimizer and the counters of early stopping are saved; each file is
    replaced in one step, so that an interruption leaves the old one or the new one. The same command goes on from the
    end of the last whole epoch.

    Used as a context, it turns Ctrl-C into one line that says what was saved and how to go on.

    Args:
        path: the folder. Created if need be.
        model: the compiled model. An interrupted run in the folder is restored into it.
        options: {name: value} of everything that must agree for a run to go on, such as `vars(args)`.
        monitor: the logged figure that decides what is best, such as "val_accuracy". Names that end in "loss" are
            better when smaller.

    Attributes:
        initial_epoch: where `model.fit` starts.

    Raises:
        ValueError: if the folder holds an interrupted run with other options.
        OSError: if the folder cannot be made or written.

    Example:
        >>> with Run("runs/lenet5", model, vars(args)) as run:
        ...     model.fit(run.data(train), shuffle=False, validation_data=validation, epochs=args.epochs,
        ...               initial_epoch=run.initial_epoch, callbacks=run.callbacks(early_stopping=5))
        ...     run.restore_best()
    """

    def __init__(self, path, model, options=None, monitor="val_accuracy"):
        self.path, self.model, self.monitor = pathlib.Path(path), model, monitor
        # Where the folder is does not matter: it may be moved, or named from elsewhere.
        self.options = {key: value if isinstance(value, (int, float, bool)) else str(value)
                        for key, value in (options or {}).items() if key != "output"}
        self.state = {"epoch": 0, "best": None, "best_epoch": 0, "wait": 0, "stopped": False}
        self.dataset = None
        make_writable(self.path)
        if self.state_file.exists():
            self.restore()
        else:
            # TensorBoard would draw two runs as one curve.
            shutil.rmtree(self.path / "tensorboard", ignore_errors=True)

    best_file = property(lambda self: self.path / "best.keras")
    log_file = property(lambda self: self.path / "log.csv")
    state_file = property(lambda self: self.path / "resume.json")

    @property
    def initial_epoch(self):
        # Nothing is left to train where early stopping had ended it.
        return sys.maxsize if self.state["stopped"] else self.state["epoch"]

    def restore(self):
        try:
            saved = json.loads(self.state_file.read_text())
            self.check_options(saved["options"])
            self.model.optimizer.build(self.model.trainable_variables)
            self.model.load_weights(self.path / saved["weights"])
            for seed, state in zip(self.seeds(), saved["seeds"], strict=True):
                seed.assign(state)
            self.cut_log(saved["state"]["epoch"])
        except OtherOptions:
            raise
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"The interrupted run in {self.path} cannot be gone on with ({str(error).splitlines()[0]}). "
                "Delete the folder to start anew."
            ) from error
        self.state = saved["state"]
        print(f"Going on from the end of epoch {self.state['epoch']} in {self.path}.")

    def check_options(self, before):
        different = [
            f"--{key.replace('_', '-')} {before.get(key)} then, {self.options.get(key)} now"
            for key in sorted({*before, *self.options})
            if before.get(key) != self.options.get(key)
        ]
        if different:
            raise OtherOptions(
                f"{self.path} holds an interrupted run with other options ({'; '.join(different)}). Give the same "
                "options to go on, or another --output, or delete the folder to start anew."
            )

    def seeds(self):
        """The states of the random generators of dropout and augmentation, which are no weights to Keras."""
        return [variable for variable in self.model.variables if "seed_generator" in variable.path]

    def cut_log(self, epochs):
        """Drop what was logged after the last checkpoint."""
        lines = self.log_file.read_bytes().splitlines(keepends=True)
        replace(self.log_file, lambda file: file.write_bytes(b"".join(lines[: epochs + 1])))

    def data(self, dataset):
        """Return the training data as it is, and see to it that each epoch has its own order, resumed or not.

        Args:
            dataset: from `kerazoo.data.load`, or anything with a `set_epoch`.

        Returns:
            The same object, for `model.fit`.

        Example:
            >>> model.fit(run.data(train), shuffle=False, initial_epoch=run.initial_epoch, callbacks=run.callbacks())
        """
        self.dataset = dataset
        return dataset

    def callbacks(self, *, early_stopping=None):
        """List the callbacks for `model.fit`: early stopping, best and last checkpoints, CSV and TensorBoard logs.

        Args:
            early_stopping: stop after so many epochs without a new best, a positive integer; None: never.

        Returns:
            A list of `keras.callbacks.Callback`, for `model.fit`; your own may stand before or behind them.

        Raises:
            ValueError: if `early_stopping` is neither.
        """
        if early_stopping is not None and (isinstance(early_stopping, bool) or not early_stopping >= 1):
            raise ValueError(
                f"early_stopping must be a positive number of epochs, or None for never; got {early_stopping!r}."
            )
        mode = "min" if self.monitor.endswith("loss") else "max"
        stopping = keras.callbacks.EarlyStopping(
            self.monitor, patience=early_stopping or sys.maxsize, mode=mode
        )
        return [
            LearningRateLog(),
            keras.callbacks.CSVLogger(self.log_file, append=self.state["epoch"] > 0),
            keras.callbacks.TensorBoard(self.path / "tensorboard"),
            stopping,
            # Last: what a checkpoint counts as done has been logged.
            Checkpoints(self, stopping),
        ]

    def save(self, epoch, stopping):
        """Write the last checkpoint, then the note that names it, then forget the one before."""
        self.state = {
            "epoch": epoch, "best": float(stopping.best), "best_epoch": stopping.best_epoch + 1,
            "wait": stopping.wait, "stopped": bool(self.model.stop_training),
        }
        weights = f"epoch_{epoch:04d}.weights.h5"
        replace(self.path / weights, self.model.save_weights)
        seeds = [keras.ops.convert_to_numpy(seed).tolist() for seed in self.seeds()]
        note = json.dumps(
            {"options": self.options, "state": self.state, "weights": weights, "seeds": seeds}, indent=2
        )
        replace(self.state_file, lambda file: file.write_text(note))
        self.forget(keep=weights)

    def forget(self, keep=None):
        for file in self.path.glob("epoch_*.weights.h5"):
            if file.name != keep:
                file.unlink()

    def log(self):
        """Read the log.

        Returns:
            {name: list of one number an epoch}.

        Example:
            >>> kerazoo.visualize.curves(run.log()).savefig("curves.png")
        """
        with self.log_file.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {key: [float(row[key]) for row in rows] for key in rows[0]} if rows else {}

    def restore_best(self):
        """Put the best weights back into the model."""
        if self.best_file.exists():
            self.model.load_weights(self.best_file)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is KeyboardInterrupt:
            raise SystemExit(f"\n{self.interrupted()}") from None
        if kind is None:
            # A finished run is not gone on with: the same command starts a new one.
            self.state_file.unlink(missing_ok=True)
            self.forget()

    def interrupted(self):
        if not self.state["epoch"]:
            return "Interrupted before the end of the first epoch: nothing was saved. The same command starts anew."
        return (
            f"Interrupted. Saved in {self.path}: the end of epoch {self.state['epoch']} and the best weights "
            f"({self.best_file.name}, epoch {self.state['best_epoch']}, {self.monitor} {self.state['best']:.4f}). "
            "The same command goes on from there."
        )


class OtherOptions(ValueError):
    """The folder holds an interrupted run of another command."""


class Checkpoints(keras.callbacks.Callback):
    """Saves the best and the last state; stands behind early stopping, whose counters it saves and restores."""

    def __init__(self, run, stopping):
        super().__init__()
        self.run, self.stopping = run, stopping

    def on_train_begin(self, logs=None):
        state = self.run.state
        if state["epoch"]:
            self.stopping.best, self.stopping.wait = state["best"], state["wait"]
            self.stopping.best_epoch = state["best_epoch"] - 1

    def on_epoch_begin(self, epoch, logs=None):
        # Keras may have drawn a batch already, to see its shape, and the data set would count that as an epoch.
        if hasattr(self.run.dataset, "set_epoch"):
            self.run.dataset.set_epoch(epoch)

    def on_epoch_end(self, epoch, logs=None):
        if self.run.monitor not in logs:
            raise ValueError(
                f"The run chooses its best epoch by {self.run.monitor!r}, which was not logged; there are: "
                f"{', '.join(sorted(logs))}. Give fit validation_data, or the Run another monitor."
            )
        if self.stopping.best_epoch == epoch:
            replace(self.run.best_file, self.model.save)
        self.run.save(epoch + 1, self.stopping)


class LearningRateLog(keras.callbacks.Callback):
    """Adds the learning rate to the logs, which Keras leaves out under a schedule."""

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


def replace(path, write):
    """Write beside the file, then take its place in one step. The name keeps its ending, by which Keras goes."""
    part = path.with_name(f"part.{path.name}")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def make_writable(path):
    """Make sure of a folder that can be written, before hours are spent on what goes into it."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"The output must be a folder; {path} is a file. Name another folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".write_test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise type(error)(
            f"The output folder {path} cannot be written ({error.strerror}). Name another folder."
        ) from None
