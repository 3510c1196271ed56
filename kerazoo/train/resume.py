"""A run in a folder: checkpoints, logs, and the place to go on from."""
import contextlib
import csv
import json
import math
import os
import pathlib
import shutil
import signal
import sys
import threading
import time
import warnings

import filelock
import keras
import numpy as np

from kerazoo.files import put
from kerazoo.train import checkpoint
from kerazoo.train import logs as logging
from kerazoo.train import state as states
from kerazoo.train.average import AveragedWeights
from kerazoo.train.checkpoint import Checkpoints, Damaged
from kerazoo.train.distribution import from_chief, is_chief, prepare, several_hosts
from kerazoo.train.graph import layers_of
from kerazoo.train.optimizers import rate_at, schedule_of, unwrapped
from kerazoo.train.schedules import Ending

# Where a run lives and what it runs on may change from one start to the next.
FREE_OPTIONS = ("output", "devices", "hosts", "host_index")
SHARE = 200  # a checkpoint may cost one part in so many of the time
PATIENCE = 5.0  # seconds between two checkpoints at least
EARLIER = "earlier"  # where in the folder what older runs left lies
# What a run and the recipes leave; first what says least of whether there was one.
LEFT = (
    "tensorboard", "class_names.txt", "run.json", "diagnosis.json", "report.html", "curves.png", "mistakes.png",
    "test.json", "log.csv", "last.keras", "best.keras",
)
NOTED = {"options", "compiled", "state", "batches", "names", "callbacks"}
LOCKS = {}  # of the folders of this process's runs, until it ends
START = "the start"
CHECK_EVERY = 20  # batches between two looks at whether the loss is still a number


class Run:
    """A training run that lives in a folder and cannot be lost: after a kill, the same command goes on.

    Checkpoints hold the weights, the seeds of dropout and augmentation, the optimizer, averaged weights, the metrics of
    the epoch so far, the history, and what callbacks count. They are written at the end of a batch, as often as costs
    less than 0.5 % of the time and at most every five seconds, and when training ends or is interrupted; whole or not
    at all, with a checksum, the newest two kept. With a data set of `kerazoo.data.load`, the run goes on in the middle
    of an epoch, and ends with the very weights, figures and logs of one that was never cut; with other data, it goes on
    from the end of the last whole epoch that was saved, and the order of those data is not its affair.

    A run that has ended is not gone on with: the same command trains anew, and what it and its recipe had left is moved
    to `earlier/1`, `earlier/2` and so on in the folder. One process at a time trains in a folder. Several hosts (JAX)
    share it; the first writes. The weights at the end of the last epoch, and the best ones until they are written, are
    kept in the memory of the host.

    Used as a context, it turns Ctrl-C and SIGTERM into a checkpoint, and one line that says what was saved and how to
    go on. A full disk stops nothing: training goes on with a warning, and what was saved before stays.

    Args:
        path: the folder. Created if need be.
        model: the compiled model. An interrupted run in the folder is restored into it.
        options: {name: value} of everything that must agree for a run to go on, such as `vars(args)`. Where it lies and
            on how many devices it runs (`output`, `devices`, `hosts`, `host_index`) may differ. The optimizer and the
            loss that the model is compiled with must agree in any case.
        monitor: the logged figure that decides what is best, such as "val_accuracy". Names that end in "loss" are
            better when smaller. None: the last is the best, for training without validation.
        save_every: seconds between checkpoints, 0 for each batch. None: as above.

    Attributes:
        initial_epoch: where `model.fit` starts.
        best: {"epoch": counted from 1, 0 for none; "value": of the monitored figure}.

    Raises:
        ValueError: if the model is not compiled or cannot be saved, or if the folder holds an interrupted run with
            other options, of another model, or one that cannot be read.
        OSError: if the folder cannot be made or written, or another process trains in it.

    Example:
        >>> with Run("runs/lenet5", model, vars(args)) as run:
        ...     model.fit(run.data(train), shuffle=False, validation_data=validation, epochs=args.epochs, verbose=0,
        ...               initial_epoch=run.initial_epoch, callbacks=run.callbacks(early_stopping=5))
        ...     run.restore_best()
    """

    def __init__(self, path, model, options=None, monitor="val_accuracy", *, save_every=None):
        if not getattr(model, "compiled", False) or model.optimizer is None:
            raise ValueError("A Run needs the compiled model: call model.compile(optimizer, loss, ...) first.")
        if save_every is not None and not (isinstance(save_every, (int, float)) and save_every >= 0):
            raise ValueError(
                f"save_every must be seconds, 0 for each batch, or None to let the run choose; got {save_every!r}."
            )
        if options is not None and not isinstance(options, dict):
            raise TypeError(f"options must be a dictionary such as vars(args), or None; got {options!r}.")
        self.path, self.model, self.monitor, self.save_every = pathlib.Path(path), model, monitor, save_every
        self.options = {key: value if isinstance(value, (int, float, bool)) else str(value)
                        for key, value in (options or {}).items() if key not in FREE_OPTIONS}
        self.compiled = states.compiled(model)
        self.state = {"epoch": 0, "batch": 0, "step": 0, "best": {"epoch": 0, "value": None}, "stopped": False,
                      "seed": None}
        self.dataset, self.batches, self.offset = None, None, 0
        self.saved, self.restored = None, None  # the note of the last checkpoint; (note, arrays) to go on from
        self.signal, self.training, self.handlers = None, False, {}
        self.cut = False  # whether the epoch that was gone on with has come to its end
        self.began, self.filters, self.failed = False, contextlib.ExitStack(), set()
        prepare(model)
        self.chief = is_chief()
        if self.chief:
            make_writable(self.path)
            lock(self.path)
        self.checkpoints = Checkpoints(self.path)
        if not self.restore() and self.chief:
            self.checkpoints.clear()
            self.put_aside()

    best_file = property(lambda self: self.path / "best.keras")
    last_file = property(lambda self: self.path / "last.keras")
    log_file = property(lambda self: self.path / "log.csv")

    @property
    def initial_epoch(self):
        # Nothing is left to train where early stopping had ended it.
        return sys.maxsize if self.state["stopped"] else self.state["epoch"]

    @property
    def best(self):
        return dict(self.state["best"])

    def restore(self):
        """Put an interrupted run's state into the model; False if there is none."""
        try:
            saved = self.newest()
            if saved is None:
                return False
            note, arrays = saved
            if not note["state"]["step"]:
                return False
            if missing := NOTED - set(note):
                raise ValueError(
                    f"The interrupted run in {self.path} was written by another version of kerazoo, without "
                    f"{', '.join(sorted(missing))}. Go on with that version, give another folder, or delete this one "
                    "to start anew."
                )
            self.check_options(note["options"])
            states.pairs(self.model, note["names"], arrays)
            self.check_compiled(note["compiled"])
            states.restore(self.model, note["names"], arrays)
        except (Damaged, states.OtherModel) as error:
            raise ValueError(
                f"The interrupted run in {self.path} cannot be gone on with: {error}. Give another folder, or delete "
                "this one to start anew."
            ) from error
        self.restored, self.saved, self.state = saved, note, note["state"]
        self.compiled = note["compiled"][0]
        self.say(f"Going on from {self.place(note)} in {self.path}.")
        return True

    def newest(self):
        """(note, arrays) of the newest checkpoint that is whole, the same one on all hosts."""
        if not several_hosts():
            return self.checkpoints.newest(tell=self.say)
        saved = self.checkpoints.newest(tell=self.say) if self.chief else None
        step = int(from_chief(np.array(-1 if saved is None else saved[0]["state"]["step"])))
        return saved if self.chief or step < 0 else checkpoint.read(self.checkpoints.path(step))

    def place(self, note):
        now = note["state"]
        epoch, batch = now["epoch"], now["batch"]
        return f"batch {batch} of epoch {epoch + 1}" if batch else f"the end of epoch {epoch}"

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

    def check_compiled(self, before):
        # Either as the run was begun, or as it was when it was interrupted: more may be trained, at a lower rate.
        now, (then, later) = dict(self.compiled), before
        if int(states.value_of(self.model.optimizer.iterations)):
            # In a notebook, the same model again: its rate may have been lowered since.
            now["optimizer.learning_rate"] = then.get("optimizer.learning_rate")
        other = {key for key in {*then, *now} if now.get(key) not in (then.get(key), later.get(key))}
        # Of another class, the arguments are of no interest.
        different = [
            f"{key} {then.get(key)} then, {now.get(key)} now"
            for key in sorted(other) if key.rpartition(".")[0] not in other
        ]
        if different:
            raise OtherOptions(
                f"{self.path} holds an interrupted run of a model that was compiled otherwise "
                f"({'; '.join(different[:4])}{f' and {len(different) - 4} more' if different[4:] else ''}). Compile as "
                "before to go on, or give another folder, or delete this one to start anew."
            )

    def put_aside(self):
        """Move what an earlier run has left, which cannot be gone on with, where it is out of the way.

        Nothing but that: the folder may well hold other things. If this is cut, the next start goes on with it.
        """
        part = self.path / EARLIER / ".part"
        if not any(path.exists() for path in (part, self.best_file, self.last_file)):
            # Nothing that took time; and TensorBoard would draw two runs as one curve.
            shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
            return
        part.mkdir(parents=True, exist_ok=True)
        for name in LEFT:
            if (self.path / name).exists():
                (self.path / name).rename(part / name)
        number = 1
        while (folder := part.with_name(str(number))).exists():
            number += 1
        part.rename(folder)
        self.say(f"{self.path} held the models of an earlier run: they are in {folder} now, and training starts anew.")

    def data(self, dataset):
        """Return the training data for `model.fit`, from the place where the run goes on.

        Args:
            dataset: from `kerazoo.data.load`, or any that `fit` takes; those with a `set_epoch` are told each epoch.

        Returns:
            The data set, or its continuation from the middle of an epoch.

        Raises:
            ValueError: if the run was interrupted in the middle of an epoch of a data set of another length.

        Example:
            >>> model.fit(run.data(train), shuffle=False, initial_epoch=run.initial_epoch, callbacks=run.callbacks())
        """
        if isinstance(dataset, (tuple, list)) and not self.restored:
            raise TypeError(
                f"run.data takes a data set, such as kerazoo.data.load gives; got a {type(dataset).__name__}. Arrays "
                "go into fit as they are: fit(x, y, ...)."
            )
        self.dataset = dataset
        self.note_class_names(getattr(dataset, "class_names", None))
        self.batches = length(dataset)
        before = self.saved and self.saved["batches"]
        if before != self.batches and self.restored:
            raise ValueError(
                f"The run in {self.path} was interrupted in training with {counted(before)}, and goes on with the "
                f"same; got {counted(self.batches)}. Give the same data, or delete the folder to start anew."
            )
        if not self.state["batch"]:
            return dataset
        self.dataset = dataset.start(self.state["epoch"], self.state["batch"])
        return self.dataset

    def note_class_names(self, names):
        """Leave them, one a line, for `kerazoo export` to find; a full disk or an odd name is no reason to stop."""
        names = [] if names is None else [str(name) for name in names]
        if self.chief and names and not any("\n" in name for name in names):
            file = self.path / "class_names.txt"
            with contextlib.suppress(OSError, UnicodeEncodeError):
                put(file, "".join(f"{name}\n" for name in names))

    def callbacks(self, *own, early_stopping=None, plateau=None):
        """List the callbacks for `model.fit`: logs, progress, early stopping, plateau, NaN guard, checkpoints.

        The learning rate is logged each epoch, to `log.csv` and TensorBoard too. Layers with a `set_epoch` are told the
        epoch. Where the optimizer averages weights (`ema`), validation and the best checkpoint use the averages, those
        of batch norms' statistics too. If the loss is no number any more, the weights of the last checkpoint or the end
        of the last epoch, which are finite, come back into the model and into `last.keras`, and training ends with an
        error that says so.

        Args:
            own: callbacks of your own. What they keep in attributes of plain numbers, texts and arrays is part of the
                checkpoints; one may have `get_state() -> dict` and `set_state(dict)` instead.
            early_stopping: stop after so many epochs without a new best, a positive integer, and restore the best;
                None: never.
            plateau: divide the learning rate by 10 after so many epochs without a new best, a positive integer; None:
                never. Not with a schedule.

        Returns:
            A list of `keras.callbacks.Callback`, for `model.fit`.

        Raises:
            ValueError: if `early_stopping` or `plateau` is neither, or one of them has nothing to go by.
        """
        for name, count in (("early_stopping", early_stopping), ("plateau", plateau)):
            if count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} must be a positive number of epochs, or None for never; got {count!r}.")
            if self.monitor is None:
                raise ValueError(f"{name} needs a figure to go by: give the Run a monitor, such as 'val_accuracy'.")
        if plateau and schedule_of(self.model.optimizer):
            raise ValueError(
                "plateau lowers the learning rate, and a schedule sets it in each step. Compile with a number as the "
                "learning rate, or leave plateau out."
            )
        mode = "min" if self.lower else "max"
        monitored = []
        if early_stopping:
            monitored.append(keras.callbacks.EarlyStopping(self.monitor, patience=early_stopping, mode=mode))
        if plateau:
            monitored.append(keras.callbacks.ReduceLROnPlateau(
                self.monitor, factor=0.1, patience=plateau, mode=mode, min_delta=0.0, verbose=int(self.chief)
            ))
        history = keras.callbacks.History()
        average = [AveragedWeights()] if getattr(unwrapped(self.model.optimizer), "use_ema", False) else []
        kept = [*own, *monitored, history, *average, logging.CSVLog(self.log_file, self.guard)]
        tell = [
            logging.TensorBoardLog(self.path / "tensorboard", self.guard),
            logging.RunNote(self),
            logging.Progress(self),
        ] if self.chief else []
        keeper = Keeper(self, kept, history, average, restore_best=early_stopping is not None)
        # The keeper is last: what a checkpoint counts as done has been logged.
        return [Begin(self), logging.LearningRateLog(), *kept, *tell, keeper]

    @property
    def lower(self):
        return self.monitor is not None and self.monitor.endswith("loss")

    def say(self, text):
        if self.chief:
            print(text, flush=True)

    @contextlib.contextmanager
    def guard(self, what):
        """A disk that is full, or gone, warns and stops nothing."""
        try:
            yield
            self.failed.discard(what)
        except OSError as error:
            self.failed.add(what)
            warnings.warn(
                f"{what} could not be written to {self.path} ({error.strerror or error}). Training goes on, what was "
                "saved before stays; make room, and it will be written with the next one.",
                stacklevel=2,
            )

    def log(self):
        """Read the log.

        Returns:
            {name: list of one number an epoch}.

        Example:
            >>> kerazoo.visualize.curves(run.log()).savefig("curves.png")
        """
        if not self.log_file.exists():
            return {}
        with self.log_file.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {key: [float(row[key] or "nan") for row in rows] for key in rows[0]} if rows else {}

    def restore_best(self):
        """Put the best weights back into the model; where none was best, the model stays as it is.

        Raises:
            ValueError: if `best.keras` cannot be read.
        """
        if not self.state["best"]["epoch"]:
            return
        if not self.best_file.exists():
            self.say(f"{self.best_file} is not there: the model keeps its last weights.")
            return
        # Keras would load the optimizer of the moment when the file was written as well.
        rule = states.values_of(self.model.optimizer.variables)
        weights = states.values_of(self.model.weights)
        try:
            self.model.load_weights(self.best_file)
        except Exception as error:  # whatever zipfile, h5py and Keras make of damaged bytes
            states.assign(self.model.weights, weights)
            raise ValueError(
                f"The best weights cannot be read from {self.best_file} ({error}). The model has its last weights; "
                "delete that file, and the same command goes on with them."
            ) from error
        finally:
            states.assign(self.model.optimizer.variables, rule)

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.handlers[number] = signal.signal(number, self.interrupt)
        return self

    def interrupt(self, number, frame):
        """The first signal waits for the end of the batch, so that all is saved; a second one does not."""
        if not self.training or self.signal is not None:
            self.stop(number)
        if not self.batches:
            print("\nInterrupted: within an epoch of such data nothing can be saved.", file=sys.stderr, flush=True)
            self.stop(number)
        self.signal = number
        print(
            "\nInterrupted: saving after this batch, or this validation. Once more stops at once.",
            file=sys.stderr, flush=True,
        )

    def stop(self, number):
        if number == signal.SIGTERM:
            raise Terminated
        raise KeyboardInterrupt

    def __exit__(self, kind, error, traceback):
        self.training = False
        self.filters.close()
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if kind is not None and issubclass(kind, (KeyboardInterrupt, Terminated)):
            print(f"\n{self.interrupted()}", file=sys.stderr, flush=True)
            code = 128 + (signal.SIGTERM if kind is Terminated else signal.SIGINT)
            if several_hosts():
                os._exit(code)  # JAX would wait for the other hosts first, and they for this one
            raise SystemExit(code) from None
        if kind is None and self.failed & {"The best model", "The last model"}:
            raise OSError(
                f"The run in {self.path} has ended, and its models could not be written. Its checkpoints are kept: "
                "make room and give the same command, which goes on from there."
            )
        if kind is None and self.chief:
            # A finished run is not gone on with: the same command starts a new one.
            self.checkpoints.clear()

    def interrupted(self):
        note = self.saved
        if note is None or not note["state"]["step"]:
            return "Interrupted before anything was saved. The same command starts anew."
        best = note["state"]["best"]
        weights = "" if not best["epoch"] else (
            f" and the best weights ({self.best_file.name}, epoch {best['epoch']}, {self.monitor} {best['value']:.4f})"
        )
        return f"Interrupted. Saved in {self.path}: {self.place(note)}{weights}. The same command goes on from there."


def lock(folder):
    """Keep other processes out of the folder while this one lives; a file system without locks does without."""
    path = folder.resolve()
    if path in LOCKS:
        return
    held = filelock.FileLock(path / ".lock")
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        raise BlockingIOError(
            f"Another process is training in {folder}. Wait for its end, stop it, or give another folder."
        ) from None
    except (OSError, NotImplementedError):
        return
    LOCKS[path] = held


class OtherOptions(ValueError):
    """The folder holds an interrupted run of another command."""


class Diverged(ArithmeticError):
    """The loss or the weights are no numbers any more."""


class Terminated(BaseException):
    """SIGTERM."""


class Begin(keras.callbacks.Callback):
    """Stands before all others: in an epoch that is gone on with, metrics go on as well."""

    def __init__(self, run):
        super().__init__()
        self.run, self.first = run, True  # whether no epoch has begun

    def on_train_begin(self, logs=None):
        run = self.run
        if run.began:
            raise ValueError("A Run is for one fit. Make a new Run, which goes on from the checkpoint of this one.")
        run.began, run.offset = True, run.state["batch"]
        if run.restored is not None and run.restored[0]["batches"] is not None and run.batches is None:
            raise ValueError(
                f"The run in {run.path} is gone on with. Give fit the data by way of the run, fit(run.data(train), "
                "...), as before, so that it begins where the run goes on."
            )
        if run.offset:
            names = run.restored[0]["names"]["metrics"]
            if len(states.variables_of(self.model, "metrics")) < len(names):
                states.build_metrics(self.model, next(iter(run.dataset)))
        self.look_at_schedule()
        steps = self.params.get("steps")
        if run.batches is not None and steps not in (None, run.batches):
            raise ValueError(
                f"fit was given steps_per_epoch={steps}, and the data set has {run.batches} batches. Leave it out: a "
                "run counts whole epochs of its data."
            )

    def look_at_schedule(self):
        schedule, batches, epochs = schedule_of(self.model.optimizer), self.run.batches, self.params["epochs"]
        if isinstance(schedule, Ending) and batches and schedule.end < (epochs - 1) * batches:
            self.run.say(
                f"WARNING: {schedule.name} is at its end after {schedule.end} batches, and training has {epochs} "
                f"epochs of {batches}. If it was meant to count epochs, give it steps={batches}."
            )

    def on_epoch_begin(self, epoch, logs=None):
        run, model = self.run, self.model
        if self.first:
            self.first = False
            if epoch != run.state["epoch"]:
                raise ValueError(
                    f"fit begins with epoch {epoch + 1}, and the run in {run.path} with epoch "
                    f"{run.state['epoch'] + 1}: give fit initial_epoch=run.initial_epoch."
                )
        run.offset = run.state["batch"] if epoch == run.state["epoch"] else 0
        run.state.update(epoch=epoch, batch=run.offset)
        # Keras may have drawn a batch already, to see its shape, and the data set would count that as an epoch.
        for one in (run.dataset, *layers_of(model)):
            if hasattr(one, "set_epoch"):
                one.set_epoch(epoch)
        states.seed_draws(run.state["seed"], epoch)
        if run.offset:
            note, arrays = run.restored
            try:
                states.restore(model, note["names"], arrays, kinds=("metrics",))
            except states.OtherModel as error:
                raise ValueError(
                    f"The interrupted run in {run.path} cannot be gone on with: {error}. Compile with the same "
                    "metrics, or delete the folder to start anew."
                ) from error
            # Keras is told the length of a whole epoch, which all others have.
            run.filters.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "Your input ran out of data")

    def on_train_batch_begin(self, batch, logs=None):
        run = self.run
        if run.restored is not None and "torch" in run.restored[1] and run.offset and not batch:
            states.global_draws(run.restored[1]["torch"])  # opening the data has drawn

    def on_epoch_end(self, epoch, logs=None):
        if not self.run.state["batch"]:
            raise ValueError("There is nothing to train on: the training data had no batch in this epoch.")
        if self.run.cut:
            self.model.stop_training = self.run.cut = False
        self.run.filters.close()
        self.run.restored = None


class Keeper(keras.callbacks.Callback):
    """Stands behind all others: keeps the best weights, watches the loss, and writes checkpoints."""

    def __init__(self, run, kept, history, average, restore_best):
        super().__init__()
        self.run, self.history, self.average, self.restore_best = run, history, average, restore_best
        self.others = states.CallbackStates(kept)
        self.cost, self.written, self.best_weights = 0.0, 0.0, None
        self.whole = None  # (epochs done, weights) at the end of the last one, all of them numbers

    def on_train_begin(self, logs=None):
        run = self.run
        self.others.begin()
        if run.restored is not None:
            note, arrays = run.restored
            try:
                gone = self.others.set(note["callbacks"], arrays)
            except KeyError as error:
                raise ValueError(
                    f"What callbacks had counted in {run.path} was written by other ones, or another version of them "
                    f"(there is no {error} in it). Go on with those, or delete the folder to start anew."
                ) from error
            if gone:
                run.say(f"Left aside is what callbacks had counted that are not there any more: {', '.join(gone)}.")
            self.model.history = self.history
        elif not run.state["step"]:
            # Before the first step: so that there are finite weights to come back to, whatever happens.
            run.state["seed"] = states.draw_seed()
            if self.model.built and not self.model.optimizer.built:
                self.model.optimizer.build(self.model.trainable_variables)
            self.save()
        if self.average:
            run.say("Validation and the best model are those of the averaged weights.")
        self.written = time.monotonic()
        run.training = True

    def on_train_batch_end(self, batch, logs=None):
        run = self.run
        # The last of several steps an execution may be beyond the end.
        done = min(run.offset + batch + 1, run.batches or math.inf)
        before = run.state["step"]
        run.state["step"] += done - run.state["batch"]
        run.state["batch"] = done
        if (run.offset and done == run.batches and not self.model.stop_training
                and keras.backend.backend() == "tensorflow"):
            # Keras counts on a whole epoch, and TensorFlow would draw the next seeds before it finds no data.
            self.model.stop_training = run.cut = True
        step = run.state["step"]
        # At first each batch, since a rate that is too high shows soon; and before time is spent on validation.
        if step <= CHECK_EVERY or before // CHECK_EVERY != step // CHECK_EVERY or done == run.batches:
            self.check(logs)
        if run.signal is None and not self.due() or done == run.batches:
            return  # after the last batch, all waits for validation
        if run.batches:  # other data cannot be continued within an epoch
            self.check(logs)
            self.save(best=True)
        if run.signal is not None:
            run.stop(run.signal)

    def on_epoch_end(self, epoch, logs=None):
        run = self.run
        self.check(logs)
        if not several_hosts():
            weights = states.values_of(self.model.weights)
            if not all(map(states.finite, weights)):
                self.diverged("A weight became infinite or no number")
            self.whole = epoch + 1, weights
        if run.monitor is not None:
            self.judge(epoch, logs)
        stopped = bool(self.model.stop_training)
        run.state.update(epoch=epoch + 1, batch=0, stopped=stopped)
        if self.due() or not run.batches or stopped or epoch + 1 == self.params["epochs"] or run.signal is not None:
            self.save(best=True)
        if run.signal is not None:
            run.stop(run.signal)

    def on_train_end(self, logs=None):
        run = self.run
        run.training = False
        if hasattr(run.dataset, "skipped_report") and (report := run.dataset.skipped_report()):
            run.say(report)
        if run.chief and run.state["step"]:
            with run.guard("The last model"):
                self.save_model(run.last_file)
            with run.guard("The best model"):
                if run.monitor is None and "The last model" not in run.failed:
                    part = run.best_file.with_name(f".part.{run.best_file.name}")
                    shutil.copyfile(run.last_file, part)
                    checkpoint.settle(part, run.best_file)
                elif self.best_weights is not None:
                    self.save_best()
        if self.restore_best:
            run.restore_best()

    def due(self):
        wait = max(PATIENCE, SHARE * self.cost) if self.run.save_every is None else self.run.save_every
        return time.monotonic() - self.written >= wait

    def judge(self, epoch, logs):
        """Keep the weights if they are the best so far."""
        run = self.run
        value = logs.get(run.monitor)
        if value is None:
            raise ValueError(
                f"The run chooses its best epoch by {run.monitor!r}, which was not logged; there are: "
                f"{', '.join(sorted(logs))}. Give fit validation_data, or the Run another monitor."
            )
        value, best = float(value), run.state["best"]["value"]
        if math.isfinite(value) and (best is None or (value < best if run.lower else value > best)):
            run.state["best"] = {"epoch": epoch + 1, "value": value}
            with self.averaged():
                if not several_hosts():
                    self.best_weights = states.values_of(self.model.weights) if self.average else self.whole[1]
                elif run.chief:  # weights can be put back later only by all hosts together
                    with run.guard("The best model"):
                        self.save_model(run.best_file)

    @contextlib.contextmanager
    def averaged(self):
        """The model with its averaged weights, where it has some."""
        for average in self.average:
            average.swap()
        try:
            yield
        finally:
            for average in self.average:
                average.swap()

    def check(self, logs):
        """Raise if the loss is no number."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            self.diverged(f"The loss became {float(loss)}")

    def diverged(self, what):
        """Put back the last weights that are numbers, write them and the best ones, and raise."""
        run = self.run
        rate = max(rate_at(self.model.optimizer, back) for back in range(CHECK_EVERY + 1))
        place = f"epoch {run.state['epoch'] + 1}, batch {run.state['batch']}"
        kept = ""
        # What is put back must be so by all hosts together, and only this one may have noticed.
        if not several_hosts() and (put := self.put_back()):
            kept = f" The model has the weights of {put} again"
            if put != START:
                with run.guard("The last model"):
                    self.save_model(run.last_file)
                if self.best_weights is not None:
                    with run.guard("The best model"):
                        self.save_best()
                if "The last model" not in run.failed:
                    kept += f", as has {run.last_file}"
            best = run.state["best"]
            if best["epoch"] and run.best_file.exists() and "The best model" not in run.failed:
                kept += f"; {run.best_file} has the best, of epoch {best['epoch']} ({run.monitor} {best['value']:.4g})"
            kept += "."
        raise Diverged(
            f"{what} in {place}: training was stopped.{kept} Try a lower learning rate (it is {rate:.3g}), a longer "
            "warm-up, or clip_norm, in another folder."
        )

    def put_back(self):
        """Give the model the newest weights that are all numbers; returns in words which, None if there are none."""
        run, saved = self.run, None
        states.sync(self.model)
        with contextlib.suppress(Damaged, states.OtherModel):
            saved = run.checkpoints.newest(tell=run.say)
            if saved is not None:
                states.restore(self.model, saved[0]["names"], saved[1])
        if self.whole is not None and (saved is None or self.whole[0] > saved[0]["state"]["epoch"]):
            # The optimizer stays at that checkpoint: its own numbers may be none.
            epochs, weights = self.whole
            states.assign(self.model.weights, weights)
            return f"the end of epoch {epochs}"
        if saved is None:
            return None
        return run.place(saved[0]) if saved[0]["state"]["step"] else START

    def save(self, best=False):
        """Write the best model if it is new, then the checkpoint that counts it as written."""
        run, begun = self.run, time.monotonic()
        if not run.chief:
            return
        names, arrays = states.read(self.model)
        if not states.all_finite(arrays):
            self.diverged("A weight became infinite or no number")
        callbacks, more = self.others.get()
        note = {
            "options": run.options, "compiled": [run.compiled, states.compiled(self.model)], "state": run.state,
            "batches": run.batches, "names": names, "callbacks": callbacks,
        }
        # A copy, which does not go on with the run.
        note = json.loads(json.dumps(note))
        if best and self.best_weights is not None:
            with run.guard("The best model"):
                self.save_best()
        with run.guard("The checkpoint"):
            run.checkpoints.save(run.state["step"], note, {**arrays, **more})
            run.saved = note
        self.written = time.monotonic()
        self.cost = self.written - begun

    def save_best(self):
        now = states.values_of(self.model.weights)
        states.assign(self.model.weights, self.best_weights)
        try:
            self.save_model(self.run.best_file)
            self.best_weights = None
        finally:
            states.assign(self.model.weights, now)

    def save_model(self, path):
        part = path.with_name(f".part.{path.name}")
        try:
            self.model.save(part)
            checkpoint.settle(part, path)
        finally:
            part.unlink(missing_ok=True)


def counted(batches):
    return "data of another kind" if batches is None else f"{batches} batches an epoch"


def length(dataset):
    """Batches an epoch, where the data set knows."""
    try:
        return len(dataset) if hasattr(dataset, "start") else None
    except TypeError:
        return None


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
