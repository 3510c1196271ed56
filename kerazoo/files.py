"""Files that a training run leaves, for those who write them and for those who read them: texts, checkpoints' notes."""
import json
import struct

MAGIC = b"kerazoo checkpoint, version 1\n"
LONGEST = 100_000_000  # bytes of a checkpoint's header that are read without its checksum


class Damaged(ValueError):
    """A file is not, or no longer, what was written."""


def put(path, text):
    """Let a text take the place of a file in one step; it can be made again: no need to wait for the disk."""
    part = path.with_name(f".part.{path.name}")
    part.write_bytes(text.encode("utf-8"))
    part.replace(path)


def read_note(path):
    """The note in a checkpoint's header, without the arrays, and unchecked.

    Raises:
        ValueError, KeyError, TypeError, struct.error: if it is not a checkpoint, or damaged there.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise Damaged("it does not begin like a checkpoint")
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LONGEST:
            raise Damaged("its header is damaged")
        return json.loads(file.read(length))["note"]
