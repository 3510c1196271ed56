"""What is learned of image files by decoding each of them once, and remembered of large folders."""
import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import zipfile

import numpy as np

from kerazoo.data import parts
from kerazoo.data.images import fit_picture, pixels_of
from kerazoo.data.progress import progress
from kerazoo.data.reading import reading

GRAY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes


@dataclasses.dataclass
class Fact:
    size: tuple = ()  # (height, width), upright
    gray: bool = False
    error: str = ""


def look_at(root, paths, image_size):
    """Decode files that stand below `root`.

    Returns:
        ({path: Fact}, their pixels (files, height, width, channels) if those seem to fit in memory, else None). The
        pixels have the shape that a few files suggest; it is the caller's to see whether it is the right one.
    """
    few = [fact for fact in map(probe, paths[:: max(1, len(paths) // 3)]) if not fact.error]
    shape = shape_of(few, image_size) if few else (0, 0, 0)
    if 0 < math.prod((len(paths), *shape)) <= parts.MEMORY_LIMIT:
        pixels = np.zeros((len(paths), *shape), "uint8")
        facts = each_with_bar(lambda place: probe(paths[place], pixels[place]), range(len(paths)))
        return dict(zip(paths, facts)), pixels
    stamps = np.array(reading.each(stamp, paths), "int64").reshape(-1, 2)
    facts = recall(root, paths, stamps)
    if unknown := [path for path in paths if path not in facts]:
        facts.update(zip(unknown, each_with_bar(probe, unknown)))
        remember(root, paths, stamps, facts)
    return facts, None


def shape_of(facts, image_size):
    """(height, width, channels) that images with these facts are read in."""
    sizes = {fact.size for fact in facts}
    size = image_size or (sizes.pop() if len(sizes) == 1 else parts.MIXED_SIZE)
    return (*size, 1 if all(fact.gray for fact in facts) else 3)


def probe(path, pixels=None):
    """Decode a file once, to learn whether training can read it: into `pixels`, or else as cheaply as can be."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            size, gray = image.size[::-1], image.mode in GRAY
            if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # EXIF orientation: turned by 90 degrees
                size = size[::-1]
            if pixels is None:
                # At an eighth of the size a JPEG is read to its end all the same, but most of the arithmetic is saved.
                image.draft(None, (image.width // 8, image.height // 8))
                image.load()
            else:
                *wanted, channels = pixels.shape
                pixels[...] = pixels_of(image, channels, lambda whole: fit_picture(whole, wanted))
        return Fact(size, gray)
    except Exception as error:  # Pillow's plugins raise whatever the bytes lead them to
        return Fact(error=f"{type(error).__name__}: {error}".replace(str(path), pathlib.Path(path).name))


def each_with_bar(function, items):
    """What the function makes of each item, in order; with a bar if it takes long."""
    with progress("Checking images", len(items), "file") as done:
        for result in reading.pool.imap(function, items, chunksize=16):
            done()
            yield result


def stamp(path):
    """(bytes, time of the last change) of a file; a file that cannot be asked is never the same again."""
    try:
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    except OSError:
        return -1, -1


def memory_of(root):
    """Where the facts of a folder are kept."""
    home = os.environ.get("KERAZOO_HOME") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "kerazoo")
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    return pathlib.Path(home).expanduser().absolute() / "folders" / f"{name}.npz"


def recall(root, paths, stamps):
    """{path: Fact} of the files that are as they were when they were last decoded."""
    try:
        with np.load(memory_of(root), allow_pickle=False) as arrays:
            names = arrays["names"].tobytes().split(b"\0")
            known, sizes, gray = (arrays[name].tolist() for name in ("stamps", "sizes", "gray"))
            errors = json.loads(arrays["errors"].tobytes())
        places = {name: place for place, name in enumerate(names)}
        facts = {}
        for path, name, now in zip(paths, relative(paths, root), stamps.tolist()):
            place = places.get(name)
            if place is not None and now[0] >= 0 and known[place] == now:
                error = errors.get(str(place), "")
                facts[path] = Fact(error=error) if error else Fact(tuple(sizes[place]), gray[place])
        return facts
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        return {}  # missing, or not what was written


def remember(root, paths, stamps, facts):
    """Write down what was found; a folder that cannot be remembered is only looked at anew."""
    found = [facts[path] for path in paths]
    arrays = {
        "names": np.frombuffer(b"\0".join(relative(paths, root)), "uint8"),
        "stamps": stamps,
        "sizes": np.array([fact.size or (0, 0) for fact in found], "int32"),
        "gray": np.array([fact.gray for fact in found]),
        "errors": np.frombuffer(
            json.dumps({place: fact.error for place, fact in enumerate(found) if fact.error}).encode(), "uint8"
        ),
    }
    file = memory_of(root)
    part = file.with_name(f"{file.stem}.{os.getpid()}.part.npz")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, **arrays)
        os.replace(part, file)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()


def relative(paths, root):
    """Paths below the root, which may be named otherwise the next time; bytes."""
    length = len(str(root))
    return [os.fsencode(path[length:]) for path in paths]
