"""Checkpoints in a folder: written whole or not at all, checked when read, the newest two kept.

A file is a line that says what it is, the length of a JSON header, the header, the arrays one after another, and the
SHA-256 of all that. The header holds a note of the caller's and where each array lies.
"""
import hashlib
import json
import os
import pathlib
import re
import struct

import numpy as np

from kerazoo.files import MAGIC, Damaged

NAME = re.compile(r"step_(\d+)\.checkpoint")
KEPT = 2


class Checkpoints:
    """The checkpoints of one folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def path(self, step):
        return self.folder / f"step_{step:09d}.checkpoint"

    def files(self):
        """Paths, the newest first."""
        found = [(int(match[1]), path) for path in self.folder.glob("step_*") if (match := NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found, reverse=True)]

    def save(self, step, note, arrays):
        """Write one, then forget all but it and the newest other; an error leaves those that were there."""
        path = self.path(step)
        write(path, note, arrays)
        # One of a later step is damaged, or this one would have been begun there.
        others = [other for other in self.files() if other != path]
        earlier = [other for other in others if other.name < path.name]
        for other in set(others) - set(earlier[: KEPT - 1]):
            other.unlink()

    def newest(self, tell=print):
        """(note, arrays) of the newest one that is whole; None if there is none at all.

        Raises:
            Damaged: if all are damaged.
        """
        files = self.files()
        for position, path in enumerate(files):
            try:
                return read(path)
            except (Damaged, OSError) as error:
                tell(
                    f"The checkpoint {path} cannot be used: {error}. "
                    + ("The one before is taken." if position + 1 < len(files) else "There is no other.")
                )
        if files:
            raise Damaged(f"none of the {len(files)} checkpoints is whole")
        return None

    def clear(self):
        for path in (*self.files(), *self.folder.glob(".part.*")):
            path.unlink(missing_ok=True)


def write(path, note, arrays):
    """Write beside the path and take its place once all is on the disk."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    table, place = {}, 0
    for name, array in arrays.items():
        table[name] = {"dtype": str(array.dtype), "shape": array.shape, "place": place}
        place += array.nbytes
    header = json.dumps({"note": note, "arrays": table}).encode()
    digest = hashlib.sha256()

    def content(file):
        for part in (MAGIC, struct.pack("<Q", len(header)), header, *arrays.values()):
            # As bytes, for dtypes such as bfloat16 whose buffers Python does not know.
            part = part.reshape(-1).view("uint8") if isinstance(part, np.ndarray) else part
            digest.update(part)
            file.write(part)
        file.write(digest.digest())

    replace(path, content)


def read(path):
    """(note, {name: array}) of a file.

    Raises:
        Damaged: if a bit is not as it was written.
    """
    data = pathlib.Path(path).read_bytes()
    if not data.startswith(MAGIC):
        raise Damaged("it does not begin like a checkpoint")
    body, digest = data[:-32], data[-32:]
    if hashlib.sha256(body).digest() != digest:
        raise Damaged("its checksum is wrong, so that it was cut or changed")
    start = len(MAGIC) + 8
    (length,) = struct.unpack_from("<Q", body, len(MAGIC))
    header = json.loads(body[start : start + length])
    arrays = {}
    for name, entry in header["arrays"].items():
        count = int(np.prod(entry["shape"], dtype="int64"))
        array = np.frombuffer(body, dtype_of(entry["dtype"]), count, start + length + entry["place"])
        arrays[name] = array.reshape(entry["shape"])
    return header["note"], arrays


def dtype_of(name):
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def replace(path, content):
    """Write a file by `content(file)` beside its path, then take the place in one step, safe against loss of power."""
    part = path.with_name(f".part.{path.name}")
    try:
        with part.open("wb") as file:
            content(file)
        settle(part, path)
    finally:
        part.unlink(missing_ok=True)


def settle(part, path):
    """Let a file that is written take the place of another, once it is on the disk."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    if os.name == "posix":  # the folder's entry is on the disk only once the folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
