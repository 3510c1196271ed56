"""All or nothing: an export is written aside, and takes its place in one step once it has been checked."""
import contextlib
import ctypes
import errno
import glob
import os
import pathlib
import shutil
import tempfile

import filelock

LOCK = "lock"
# How the system says that there is no room: here, and inside the sentences of TensorFlow and of the checking process.
NO_ROOM = tuple(
    os.strerror(getattr(errno, name)) for name in ("ENOSPC", "EFBIG", "EDQUOT", "EIO") if hasattr(errno, name)
)


@contextlib.contextmanager
def written_aside(target, format, needed):
    """Yield a new hidden folder beside `target`; on success what lies in its "new" takes the place.

    Whatever happens before leaves the place as it was. What a killed export left, the next one removes.
    """
    folders = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # No other export removes a folder of this name; by the time that it bears the other, it is locked.
        early = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
        (early / "new").mkdir()
        lock = filelock.FileLock(early / LOCK)
        lock.acquire()
        temporary = early.with_name(early.name.replace(f"{target.name}.new-", f"{target.name}.tmp-"))
        early.rename(temporary)
    except OSError as error:
        raise type(error)(
            f"cannot write into the folder {target.parent}: {error.strerror}. Choose a path that you can write to."
        ) from error
    done = False
    try:
        put_back(target)
        remove_left_over(target)
        if shutil.disk_usage(target.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield temporary
        check_target(target, format)  # somebody may have put something there meanwhile
        swap_in(temporary / "new" / target.name, target)
        done = True
    except Exception as error:
        reason = next((reason for reason in NO_ROOM if reason in str(error)), "")
        if not reason:
            raise
        free = shutil.disk_usage(target.parent).free
        raise OSError(
            f"could not write the model to {target}: {reason}. It takes about {megabytes(needed)}; that disk has "
            f"{megabytes(free)} free. Free some space there (or raise the limit on file sizes), or export to another "
            f"disk. {'The earlier export is untouched.' if target.exists() else 'Nothing was left behind.'}"
        ) from error
    finally:
        lock.release()
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in [] if done else folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


def remove_left_over(target):
    """Remove what exports to the same place left that were killed: nobody holds their locks."""
    for folder in target.parent.glob(f".{glob.escape(target.name)}.tmp-*"):
        with contextlib.suppress(OSError, filelock.Timeout), filelock.FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


def put_back(target):
    """Undo a swap of two steps that was killed between them."""
    if not target.exists() and previous_of(target).exists():
        os.rename(previous_of(target), target)


def previous_of(target):
    return target.with_name(f".{target.name}.previous")


def check_target(path, format):
    """The place to write, with links followed, if there is nothing there or an earlier export of that format."""
    target = path.expanduser().resolve()
    if format.suffixes and target.suffix.lower() not in format.suffixes:
        raise ValueError(
            f"{format.title} is a file whose name ends in {' or '.join(format.suffixes)}; got {str(path)!r}. "
            f"Name one such as {path.name + format.suffixes[0]!r}."
        )
    if not format.suffixes and target.suffix.lower() in FILE_SUFFIXES:
        raise ValueError(f"{format.title} is a folder; got {str(path)!r}. Name one such as {path.stem!r}.")
    for place in target.parents:
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(
                f"cannot export to {target}: {place} is a file, not a folder. Choose another path."
            )
    if not target.exists():
        return target
    if format.suffixes:
        if not target.is_file():
            raise FileExistsError(f"cannot export to {target}: a folder of that name exists. Choose another path.")
        return target
    if not target.is_dir():
        raise FileExistsError(
            f"cannot export to {target}: a file of that name exists. Choose another path, or remove it."
        )
    content = {entry.name for entry in target.iterdir()}
    others = sorted(content - format.content)
    if others or content and not content & format.marks:
        found = ", ".join(others[:3] or sorted(content)) + (", ..." if len(others) > 3 else "")
        raise FileExistsError(
            f"cannot export to {target}: the folder holds {found}, and only {format.title} exported earlier is "
            "replaced. Choose another path, or remove the folder."
        )
    return target


FILE_SUFFIXES = (".onnx", ".tflite", ".pth", ".pt", ".safetensors", ".keras", ".h5")


def swap_in(new, target):
    """Put a file or a folder into a place where one may be already, so that there is always the one or the other."""
    if new.is_file() or not target.exists():
        return os.replace(new, target)
    if exchange(new, target):
        return
    # Not in one step, where the system cannot exchange two folders.
    previous = previous_of(target)
    shutil.rmtree(previous, ignore_errors=True)
    try:
        os.rename(target, previous)
        os.rename(new, target)
    except BaseException:
        put_back(target)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def exchange(one, other):
    """Exchange two folders in one step (Linux's renameat2); return whether the system can."""
    here, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        return ctypes.CDLL(None).renameat2(here, os.fsencode(one), here, os.fsencode(other), flag) == 0
    except (AttributeError, OSError, TypeError):
        return False


def size_of(path):
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def megabytes(size):
    return f"{size / 1e6:.2f} MB" if size < 1e8 else f"{size / 1e6:,.0f} MB"
