"""What a training run has left in its folder, read without trusting that all of it is there, or whole."""
import csv
import dataclasses
import datetime
import io
import json
import math
import os
import pathlib
import struct
import zipfile

from kerazoo.files import read_note

# What else than text is made of the entries of a run's note, and of that in a checkpoint.
NOTED = {"model": dict, "data": dict, "options": dict, "monitor": str}
SAVED = {"options": dict, "state": dict}
STATE = {"epoch": int, "batch": int, "step": int}
MODELS = ("best.keras", "last.keras")  # the first is wanted first
SIGNS = ("run.json", "log.csv", *MODELS, "test.json", "diagnosis.json", "class_names.txt")


@dataclasses.dataclass
class Left:
    """What was found in the folder of a run.

    Attributes:
        folder: where it is.
        note: what the run itself noted, `run.json`; empty where there is none.
        options: {name: value} of its command, from where they are found first.
        test: what the recipe measured, `test.json`, such as {"accuracy": 0.98, "images": 2000}.
        log: {name: list of one number an epoch}, NaN where an epoch has none.
        damaged_log: whether there is a log that cannot be read.
        model_files: `best.keras` and `last.keras`, those of them that are whole.
        damaged_models: the names of those that are not.
        class_names: a list of str, or None.
        diagnosis: `diagnosis.json`, or None.
        watched: whether `kerazoo.train.Diagnostics` was among its callbacks; None: not known.
        place: where it was interrupted, in words; None where it was not.
        problems: what could not be read, in sentences.
    """

    folder: pathlib.Path
    note: dict = dataclasses.field(default_factory=dict)
    options: dict = dataclasses.field(default_factory=dict)
    test: dict = dataclasses.field(default_factory=dict)
    log: dict = dataclasses.field(default_factory=dict)
    damaged_log: bool = False
    model_files: list = dataclasses.field(default_factory=list)
    damaged_models: list = dataclasses.field(default_factory=list)
    class_names: list | None = None
    diagnosis: dict | None = None
    watched: bool | None = None
    place: str | None = None
    problems: list = dataclasses.field(default_factory=list)

    @property
    def epochs(self):
        """How many are in the log."""
        return max(map(len, self.log.values()), default=0)

    @property
    def has_epochs(self):
        """Whether one has ended, also where its log is damaged or gone."""
        return bool(self.log or self.damaged_log or self.model_files or self.damaged_models)


def read_run(folder, more=False):
    """Read the folder of a run.

    Args:
        folder: a path.
        more: whether something else is known of the run, so that an empty folder will do.

    Returns:
        A `Left`.

    Raises:
        FileNotFoundError, NotADirectoryError: if the folder is none.
        ValueError: if there is nothing of a run in it.
    """
    folder = pathlib.Path(folder).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"There is no folder {folder}. Wanted: the folder of a training run, such as runs/x.")
    if not folder.is_dir():
        own = folder.name in SIGNS or folder.suffix == ".checkpoint"
        raise NotADirectoryError(
            f"{folder} is a file. Wanted: the folder of a training run, "
            f"{folder.parent.resolve() if own else 'such as runs/x'}."
        )
    left = Left(folder)
    checkpoints = sorted(path for path in folder.glob("step_*.checkpoint"))
    if not more and not checkpoints and not any((folder / name).is_file() for name in SIGNS if name != "test.json"):
        below = sorted(path.parent for path in folder.glob("*/log.csv"))
        if below:
            raise ValueError(
                f"{folder} holds no run itself, but its sub-folders do: kerazoo report "
                f"{' '.join(map(str, below))}"
            )
        raise ValueError(
            f"There is nothing of a training run in {folder}: no log.csv, no best.keras, no checkpoint. A run with "
            "kerazoo.train.Run leaves them there once its first epoch is over."
        )
    left.note = of_kinds(left, "run.json", read_json(left, "run.json", dict) or {}, NOTED)
    left.test = read_json(left, "test.json", dict) or {}
    left.diagnosis = read_json(left, "diagnosis.json", dict)
    if (folder / "log.csv").is_file():
        try:
            left.log, cut = read_log(folder / "log.csv")
            if cut:
                left.problems.append("log.csv ends in the middle of a line, which is left out.")
        except (OSError, ValueError) as error:
            left.damaged_log = True
            left.problems.append(f"log.csv cannot be read: {error}.")
    find_models(left)
    if (folder / "class_names.txt").is_file():
        try:
            text = (folder / "class_names.txt").read_text(encoding="utf-8")
            left.class_names = text.rstrip("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            left.problems.append(f"class_names.txt cannot be read: {why(error)}.")
    noted = read_checkpoint(left, checkpoints[-1]) if checkpoints else {}
    state = noted.get("state", {})
    if isinstance(noted.get("callbacks"), dict):
        left.watched = any(name.startswith("Diagnostics/") for name in noted["callbacks"])
    if checkpoints:
        epoch, batch = state.get("epoch", 0), state.get("batch", 0)
        left.place = f"saved at {f'batch {batch:,} of epoch {epoch + 1}' if batch else f'the end of epoch {epoch}'}"
        if not state.get("step"):
            left.place = "before its first step was saved"
    own = {name: value for name, value in left.test.items() if name not in ("accuracy", "images", "results")}
    left.options = left.note.get("options") or noted.get("options") or own
    return left


def read_json(left, name, kind):
    path = left.folder / name
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        left.problems.append(f"{name} cannot be read: {why(error)}.")
        return None
    if not isinstance(content, kind):
        left.problems.append(f"{name} is not what a run writes: it holds a {type(content).__name__}.")
        return None
    return content


def of_kinds(left, name, content, kinds):
    """The content of a file, without what is null, and without what a run does not write so, which is noted."""
    found = {key: value for key, value in content.items() if value is not None}
    for key, kind in kinds.items():
        if key in found and not isinstance(found[key], kind):
            left.problems.append(f"{name} is not what a run writes: its {key!r} is a {type(found.pop(key)).__name__}.")
    return found


def why(error):
    return "it is not text" if isinstance(error, UnicodeDecodeError) else str(error)


def read_log(path):
    """({name: list of one number an epoch, NaN where one has none}, whether a half line was left out) of a `log.csv`.

    Raises:
        ValueError: if it is not what a run writes.
        OSError: if it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            text = file.read()
        # Each line ends in a line feed, the first one as well. A number that was cut short is another number.
        cut = "\n" in text and not text.endswith("\n")
        table = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1] if cut else text, newline=""))
        rows, names = list(table), table.fieldnames or []
        if "epoch" not in names:
            raise ValueError("it is no table of epochs, as its first line names no column 'epoch'")
        if any(None in row for row in rows):
            raise ValueError("a line of it has more entries than the first one has names")
        return {name: [float(row[name] or "nan") for row in rows] for name in names} if rows else {}, cut
    except (ValueError, csv.Error) as error:
        raise ValueError(why(error)) from None


def read_log_of(place):
    """The figures of a run's log, by its folder or by its log.csv.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is not what a run writes.
    """
    path = pathlib.Path(os.fspath(place)).expanduser()
    file = path / "log.csv" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no log.csv in {path}. A run of kerazoo.train.Run writes it at the end of its first epoch."
            if path.is_dir() else
            f"There is no {path}. Wanted: the folder of a training run, such as runs/x, or its log.csv."
        )
    try:
        return read_log(file)[0]
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}.") from None


def find_models(left):
    """Note which models are there and whole; of one that was cut short, Keras would say that it is not there."""
    for name in MODELS:
        if (left.folder / name).is_file():
            if is_whole(left.folder / name):
                left.model_files.append(left.folder / name)
            else:
                left.damaged_models.append(name)
    for name in left.damaged_models:
        stands_in = name == MODELS[0] and left.model_files
        left.problems.append(
            f"{name} cannot be read: it is damaged, or was cut short"
            + (f"; {left.model_files[0].name} stands in for it." if stands_in else ".")
        )


def is_whole(path):
    """Whether an archive has all of its parts, with the checksums that they were written with."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # what is damaged may raise anything
        return False


def read_checkpoint(left, path):
    """The note in a checkpoint's header: options, and how far the run was."""
    try:
        name, note = f"The checkpoint {path.name}", read_note(path)
        note = of_kinds(left, name, note if isinstance(note, dict) else {}, SAVED)
        return {**note, "state": of_kinds(left, name, note.get("state", {}), STATE)}
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        left.problems.append(f"The checkpoint {path.name} cannot be read: {error}.")
        return {}


def best_epoch(left):
    """(epoch counted from 1, name of the figure, its value) of the best epoch in the log; None where there is none."""
    usual = [name for name in ("val_accuracy", "val_loss") if name in left.log]
    monitor = left.note.get("monitor") or (usual[0] if usual else None)
    values = [(value, k + 1) for k, value in enumerate(left.log.get(monitor, [])) if math.isfinite(value)]
    if not values:
        return None
    lower = monitor.endswith("loss")
    value, epoch = min(values, key=lambda pair: (pair[0] if lower else -pair[0], pair[1]))
    return epoch, monitor, value


def sessions(left):
    """(when it was started, seconds of training or None where an end is not known, how many there were), or None."""
    found = left.note.get("sessions")
    if not isinstance(found, list) or not found:
        return None
    try:
        times = [(moment(one["started"]), one.get("ended") and moment(one["ended"])) for one in found]
        seconds = sum((end - start).total_seconds() for start, end in times if end)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return times[0][0], seconds if all(end for _, end in times) else None, len(times)


def moment(text):
    """A point in time; without a zone, it is that of the clock here."""
    return datetime.datetime.fromisoformat(text).astimezone()
