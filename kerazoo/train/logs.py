"""What a training tells: the learning rate, a table, TensorBoard's events, and a line at the terminal."""
import contextlib
import csv
import datetime
import importlib.metadata
import io
import json
import os
import pathlib
import platform
import shlex
import socket
import sys
import time

import keras

from kerazoo.files import put
from kerazoo.train.optimizers import rate_at
from kerazoo.words import duration


class LearningRateLog(keras.callbacks.Callback):
    """Adds the learning rate of the epoch's last batch to the logs; Keras leaves it out under a schedule."""

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = rate_at(self.model.optimizer, 1)


class CSVLog(keras.callbacks.Callback):
    """Writes the figures of all epochs as a table, anew after each, so that it never holds more or less."""

    def __init__(self, path, guard):
        super().__init__()
        self.path, self.guard, self.rows = path, guard, []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch, **numbers(logs)})
        text = io.StringIO()
        # Figures that are missing in an epoch (validation_freq) leave their cells empty.
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        table = csv.DictWriter(text, names, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        with self.guard("The log"):
            put(self.path, text.getvalue())


class TensorBoardLog(keras.callbacks.Callback):
    """Writes each epoch's figures as TensorBoard reads them, where Keras's own callback does, without TensorFlow."""

    def __init__(self, folder, guard):
        super().__init__()
        self.folder, self.guard, self.files = pathlib.Path(folder), guard, {}

    def on_epoch_end(self, epoch, logs=None):
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = {"train": [], "validation": []}
        for name, value in numbers(logs).items():
            part = "validation" if name.startswith("val_") else "train"
            tag = f"epoch_{name.removeprefix('val_')}"
            values[part].append(Summary.Value(tag=tag, simple_value=value))
        with self.guard("TensorBoard's log"):
            for part, scalars in values.items():
                if scalars:
                    self.add(part, epoch, summary=Summary(value=scalars))

    def add(self, part, step, **content):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        now = time.time()
        if part not in self.files:
            folder = self.folder / part
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}").open("ab")
            writer = self.files[part] = RecordWriter(file)
            writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
            # TensorBoard then drops what an interrupted run had told of this epoch and later ones.
            start = Event(wall_time=now, step=step, session_log=SessionLog(status=SessionLog.START))
            writer.write(start.SerializeToString())
        self.files[part].write(Event(wall_time=now, step=step, **content).SerializeToString())
        self.files[part].flush()

    def on_train_end(self, logs=None):
        with self.guard("TensorBoard's log"):
            for writer in self.files.values():
                writer.close()
        self.files = {}


class RunNote(keras.callbacks.Callback):
    """Writes what was trained on what, by which command, on which versions, and when: `run.json`, for the report."""

    def __init__(self, run):
        super().__init__()
        self.run, self.file = run, run.path / "run.json"

    def on_train_begin(self, logs=None):
        from kerazoo.version import __version__

        backend = keras.backend.backend()
        data = {name: getattr(self.run.dataset, name, None) for name in (
            "name", "num_examples", "classes", "image_shape",
        )}
        self.note = {
            "version": 1,
            "options": self.run.options,
            "monitor": self.run.monitor,
            "data": {name: value for name, value in data.items() if value is not None},
            "optimizer": {
                name.removeprefix("optimizer.").replace("optimizer", "name"): value
                for name, value in self.run.compiled.items() if name.startswith("optimizer")
            },
            "backend": backend,
            "versions": {
                "kerazoo": __version__, **{name: version_of(name) for name in ("keras", backend, "numpy")},
                "python": platform.python_version(),
            },
            "command": command(),
            "sessions": [*self.earlier(), {"started": now(), "ended": None}],
        }
        self.write()

    def earlier(self):
        """The sessions of the same run before this one."""
        if self.run.saved is None:
            return []
        try:
            sessions = json.loads(self.file.read_text(encoding="utf-8"))["sessions"]
            return sessions if isinstance(sessions, list) else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def on_epoch_end(self, epoch, logs=None):
        self.on_train_end()  # what a killed run leaves

    def on_train_end(self, logs=None):
        self.note["sessions"][-1]["ended"] = now()
        self.write()

    def write(self):
        # A model may be built by its first batch.
        parameters = self.model.count_params() if self.model.built else None
        self.note["model"] = {"name": self.model.name, "parameters": parameters}
        with self.run.guard("The note of the run"):
            put(self.file, json.dumps(self.note, indent=1, default=str) + "\n")


def command():
    """What was typed, as far as Python knows; None in a notebook."""
    script, *options = sys.argv
    if not script or script == "-c" or "ipykernel" in script:
        return None
    return " ".join(["python" if script.endswith(".py") else "", script, *map(shlex.quote, options)]).strip()


def version_of(name):
    """Of an installed package; of one that goes by another name, such as tensorflow-cpu, what the module says."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return getattr(sys.modules.get(name), "__version__", None)


def now():
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


class Progress(keras.callbacks.Callback):
    """A line an epoch: time, images a second, the figures, time left; at a terminal also while the epoch runs."""

    def __init__(self, run):
        super().__init__()
        self.run = run
        self.live = sys.stdout.isatty()

    def on_train_begin(self, logs=None):
        self.times = []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun, self.validation, self.shown = time.monotonic(), 0.0, 0.0
        self.first, self.done = self.run.offset, 0

    def on_train_batch_end(self, batch, logs=None):
        self.done = batch + 1
        now = time.monotonic()
        if self.live and now - self.shown > 0.25:
            self.shown = now
            total, done = self.run.batches, self.first + self.done
            share = (now - self.begun) / self.done
            ahead = [f"{duration((total - done) * share)} left in the epoch"] if total else []
            self.show(", ".join([
                f"{self.title()}: {done}{f'/{total}' if total else ''} batches", *self.speed(now - self.begun),
                *figures(logs), *ahead,
            ]))

    def on_test_begin(self, logs=None):
        self.tested = time.monotonic()

    def on_test_end(self, logs=None):
        self.validation += time.monotonic() - self.tested

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        seconds = now - self.begun
        if self.done and self.run.batches:
            # A part of an epoch, after an interruption, counts as that part.
            self.times.append((seconds - self.validation) * self.run.batches / self.done + self.validation)
        left = self.params["epochs"] - epoch - 1
        # The first epoch compiles.
        usual = sorted(self.times[1:] or self.times)
        ahead = [f"{duration(left * usual[len(usual) // 2])} left"] if left and usual else []
        self.show(", ".join([
            f"{self.title(epoch)}: {duration(seconds)}", *self.speed(seconds - self.validation), *figures(logs), *ahead,
        ]), end="\n")

    def title(self, epoch=None):
        return f"Epoch {(self.run.state['epoch'] if epoch is None else epoch) + 1}/{self.params['epochs']}"

    def speed(self, seconds):
        images = getattr(self.run.dataset, "num_examples", None)
        rate = self.done / max(seconds, 1e-9)
        if images and self.run.batches:
            return [f"{rate * images / self.run.batches:,.0f} images/s"]
        return [f"{rate:,.1f} batches/s"]

    def show(self, text, end=""):
        if not self.live:
            print(text, end=end, flush=True)
            return
        width = os.get_terminal_size().columns if end == "" else None
        print(f"\r\x1b[K{text[:width and width - 1]}", end=end, flush=True)


def figures(logs):
    return [f"{name} {value:.4g}" for name, value in numbers(logs).items()]


def numbers(logs):
    """{name: number} of what was logged; a metric that is an array, such as a score for each class, is left out."""
    found = {}
    for name, value in (logs or {}).items():
        with contextlib.suppress(TypeError, ValueError):
            found[name] = float(value)
    return found
