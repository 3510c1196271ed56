"""Reads hostile files in one fresh process, and prints what became of each: python worker.py FOLDER FLIPS, as JSON.

Case files are called 0, 1, ... in FOLDER, the working directory. Whatever Python itself reports as opened, imported,
compiled or started while a file is being read is listed.
"""
import json
import os
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import crafted  # noqa: E402

from kerazoo.weights import readers  # noqa: E402

EVENTS, WATCHED = [], {"path": None}
DANGEROUS = ("open", "import", "exec", "compile", "os.", "subprocess.", "shutil.", "socket.", "ctypes.", "pickle.",
             "code.", "marshal.", "tempfile.", "urllib.")


def listen(event, arguments):
    if WATCHED["path"] and event.startswith(DANGEROUS):
        # Reading the file itself is the one thing that is allowed.
        if not (event == "open" and str(arguments[0]) == WATCHED["path"] and str(arguments[1])[:1] == "r"):
            EVENTS.append(f"{event} {arguments}"[:200])


def load(path):
    """What is tried on a hostile file: read it, and use every number in it."""
    arrays = readers.read(path)
    return {name: (array.shape, str(array.dtype), array.tobytes()) for name, array in arrays.items()}


def memory(key):
    """Of this process in bytes: VmRSS now, VmHWM at most."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(key))


def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def attempt(path):
    """Load one file -> what happened, seconds of the processor, bytes of memory."""
    measured = os.path.exists("/proc/self/clear_refs")
    if measured:
        forget_peak()
        before = memory("VmRSS")
    EVENTS.clear()
    start = time.process_time()
    WATCHED["path"] = path
    try:
        result, kind, message = load(path), "loaded", ""
    except Exception as error:
        result, kind, message = None, type(error).__name__, str(error)
    WATCHED["path"] = None
    seconds = time.process_time() - start
    report = {
        "kind": kind, "message": message, "seconds": seconds, "events": EVENTS[:5], "canary": os.path.exists("canary"),
        "memory": memory("VmHWM") - before if measured else 0, "size": os.path.getsize(path),
    }
    return report, result


def flips(kind, count):
    """Flip one bit, in so many ways, of a good file -> {what happened: how often}, and the worst report."""
    path = pathlib.Path(f"flip_{kind}")
    crafted.WRITERS[kind](path)
    good, expected = path.read_bytes(), load(path)
    counts, rng = {}, random.Random(kind)
    for _ in range(count):
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        report, result = attempt(str(path))
        happened = report["kind"]
        if result is not None:
            shapes = [value[:2] for value in result.values()] == [value[:2] for value in expected.values()]
            happened = "the same" if result == expected else "other numbers or names" if shapes else "other shapes"
        if report["events"] or report["canary"] or report["seconds"] > 30:
            happened = f"{report}"
        counts[happened] = counts.get(happened, 0) + 1
    return counts


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    for kind, write in crafted.WRITERS.items():
        # What is imported for a format is imported now.
        write(pathlib.Path("good"))
        load("good")
    # So are the codecs and the parts of NumPy and JSON that only errors need.
    for content in (b'\0' * 7 + b'\1{"\xff', b"\x10" + bytes(7) + b'{"a": [9999999}'):
        pathlib.Path("bad").write_bytes(content)
        attempt("bad")
    sys.addaudithook(listen)
    names = sorted((name for name in os.listdir() if name.isdecimal()), key=int)
    print(json.dumps({
        "cases": [attempt(name)[0] for name in names],
        "flips": {kind: flips(kind, int(sys.argv[2])) for kind in crafted.WRITERS},
    }))
