"""Published weights on this machine: downloaded once, checked, kept in a cache, by one process at a time.

Files come from plain addresses or from the Hugging Face Hub, both through transfer.py. The Hub is asked first which
version of a file it has and what its SHA-256 is.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import sys

from kerazoo.weights import transfer
from kerazoo.weights.transfer import DownloadError

__all__ = ["DownloadError", "fetch", "location"]


def fetch(tag, *, offline=None, progress=None):
    """Return the file of published weights, downloaded unless it is in the cache.

    The cache is the folder `weights` in $KERAZOO_HOME, or in `~/.cache/kerazoo` ($XDG_CACHE_HOME/kerazoo). A file is
    checked against its digest every time: the published one; for a file of the Hub, the one that the Hub announced when
    it was downloaded, which is noted beside it in `<file>.json`. A file of the Hub that was put there by hand, without
    that note, is used unchecked.

    Args:
        tag: a `kerazoo.weights.tags.Tag`.
        offline: whether to do without the network; None: if $KERAZOO_OFFLINE or $HF_HUB_OFFLINE is 1.
        progress: whether to show a progress bar; None: if a person is at the terminal.

    Returns:
        A `pathlib.Path` of a whole file.

    Raises:
        DownloadError: if the file is neither in the cache nor to be had, or cannot be written.

    Example:
        >>> fetch(get_tag("resnet18")).name
        'resnet18-f37072fd.pth'
    """
    path = location(tag)
    there = path.is_file()
    wrong = mismatch(path, expected(tag, path)) if there else ""
    if there and not wrong:
        return path
    if is_offline() if offline is None else offline:
        state = f"are damaged ({wrong})" if wrong else "are not in the cache"
        raise DownloadError(f"The weights {tag.name} of {tag.model} {state}, and kerazoo is offline. {by_hand(tag)}")
    if progress is None:
        progress = sys.stderr.isatty()
    with locked(tag, path):
        # Another process may have been faster.
        if not path.is_file() or mismatch(path, expected(tag, path)):
            download(tag, path, progress)
    return path


def location(tag):
    """Where the file of a tag is kept, whether it is there or not."""
    home = os.environ.get("KERAZOO_HOME") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "kerazoo")
    folder = pathlib.Path(home).expanduser().absolute() / "weights"
    return folder / tag.repo / tag.file if tag.repo else folder / address(tag).split("/")[-1]


def address(tag, revision=""):
    """Where a tag's file is; on the Hub, of the given version, else of that in the table, else the newest."""
    if tag.url:
        return tag.url
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    return f"{endpoint}/{tag.repo}/resolve/{revision or tag.revision or 'main'}/{tag.file}"


def by_hand(tag):
    return f"Where there is a network, download {address(tag)} and put it at {location(tag)}."


def is_offline():
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
               for name in ("KERAZOO_OFFLINE", "HF_HUB_OFFLINE"))


def expected(tag, path):
    """The digest that a file must have, as "sha256:0123abcd"; "" if none is known."""
    return tag.hash or (recorded(record_of(path)) if tag.repo else "")


def recorded(record):
    """The digest that the Hub announced when a file was downloaded; "" without a record, or with a damaged one."""
    try:
        digest = json.loads(record.read_text())["hash"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return digest if isinstance(digest, str) and re.fullmatch("(sha256|md5):[0-9a-f]+", digest) else ""


def record_of(path):
    return path.with_name(f"{path.name}.json")


def mismatch(path, digest):
    """What is wrong with a file, as the end of a sentence; "" if nothing is."""
    if not digest:
        return ""
    algorithm, wanted = digest.split(":")
    got = digest_of(path, algorithm)[:len(wanted)]
    return "" if got == wanted else f"its {algorithm} is {got}, expected {wanted}"


def digest_of(path, algorithm):
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(transfer.CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


@contextlib.contextmanager
def locked(tag, path):
    """Keep other processes from writing the same file; they wait."""
    import filelock

    lock = filelock.FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise DownloadError(f"The weights {tag.name} of {tag.model} are not in the cache, and {path.parent} cannot be "
                            f"written ({error.strerror or error}). Set KERAZOO_HOME to a folder that can be, or put "
                            f"{address(tag)} at {path}.") from error
    try:
        yield
    finally:
        lock.release()


def download(tag, path, progress):
    part = path.with_name(f"{path.name}.part")
    url, digest, record = look_up(tag) if tag.repo else (tag.url, tag.hash, None)
    label = (tag.repo or path.name) if progress else ""
    for _ in range(2):  # A wrong file gets one more try, from scratch: what was resumed may have been damaged.
        # The Hub's store has ETags of its own; the digest tells versions apart whatever it says.
        transfer.download(url, part, by_hand(tag), label=label, version=digest if tag.repo else "")
        if not (wrong := mismatch(part, digest)):
            with transfer.writing(path):
                if record:
                    write(record_of(path), json.dumps(record))
                os.replace(part, path)
            return transfer.forget(part)
        transfer.forget(part)
    raise DownloadError(f"{url} is not the published file: {wrong}. It was deleted. Try again later; if this goes on, "
                        "the file or the network in between is not to be trusted.")


def look_up(tag):
    """Ask the Hub about a file: the address of the version that it has now, its digest, and what to note beside it."""
    said = transfer.ask(address(tag), by_hand(tag))
    sha256 = said.get(transfer.DIGEST, "").strip('"')
    if not tag.hash and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise DownloadError(f"{address(tag)} could not be checked after a download: the server announces no SHA-256 "
                            "of it, as the Hugging Face Hub does. If HF_ENDPOINT is set to another server, try without."
                            f" {by_hand(tag)}")
    revision = said.get("X-Repo-Commit", "")
    url, digest = address(tag, revision), tag.hash or f"sha256:{sha256}"
    return url, digest, {"url": url, "revision": revision, "hash": digest}


def write(path, text):
    """Write a file that is never there in part."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    os.replace(new, path)
