"""What a training run has left in its folder, read without trusting that all of it is there, or whole."""
import csv
import dataclasses
import datetime
import json
import math
import pathlib
import struct

from kerazoo.files import read_note

# What else than text is made of the entries of a run's note, and of that in a checkpoint.
NOTED = {"model": dict, "data": dict, "options": dict, "monitor": str}
SAVED = {"options": dict, "state": dict}
STATE = {"epoch": int, "batch": int, "step": int}
SIGNS = ("run.json", "log.csv", "best.keras", "last.keras", "test.json", "diagnosis.json", "class_names.txt")


@dataclasses.dataclass
class Left:
    """What was found in the folder of a run.

    Attributes:
        folder: where it is.
        note: what the run itself noted, `run.json`; empty where there is none.
        options: {name: value} of its command, from where they are found first.
        test: what the recipe measured, `test.json`, such as {"accuracy": 0.98, "images": 2000}.
        log: {name: list of one number an epoch}, NaN where an epoch has none.
        model_file: `best.keras`, else `last.keras`, else None.
        class_names: a list of str, or None.
        diagnosis: `diagnosis.json`, or None.
        place: where it was interrupted, in words; None where it was not.
        problems: what could not be read, in sentences.
    """

    folder: pathlib.Path
    note: dict = dataclasses.field(default_factory=dict)
    options: dict = dataclasses.field(default_factory=dict)
    test: dict = dataclasses.field(default_factory=dict)
    log: dict = dataclasses.field(default_factory=dict)
    model_file: pathlib.Path | None = None
    class_names: list | None = None
    diagnosis: dict | None = None
    place: str | None = None
    problems: list = dataclasses.field(default_factory=list)


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
        raise NotADirectoryError(f"{folder} is a file. Wanted: the folder of a training run, such as {folder.parent}.")
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
    left.log = read_log(left)
    left.model_file = next((folder / name for name in ("best.keras", "last.keras") if (folder / name).is_file()), None)
    if (folder / "class_names.txt").is_file():
        try:
            text = (folder / "class_names.txt").read_text(encoding="utf-8")
            left.class_names = text.rstrip("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            left.problems.append(f"class_names.txt cannot be read: {error}.")
    noted = read_checkpoint(left, checkpoints[-1]) if checkpoints else {}
    state = noted.get("state", {})
    if checkpoints:
        epoch, batch = state.get("epoch", 0), state.get("batch", 0)
        left.place = f"batch {batch:,} of epoch {epoch + 1}" if batch else f"the end of epoch {epoch}"
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
        left.problems.append(f"{name} cannot be read: {error}.")
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


def read_log(left):
    path = left.folder / "log.csv"
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {key: [float(row[key] or "nan") for row in rows] for key in rows[0]} if rows else {}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        left.problems.append(f"log.csv cannot be read: {error}.")
        return {}


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
