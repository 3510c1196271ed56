"""Published weights on this machine: downloaded once, checked, kept in a cache, by one process at a time.

Files on the Hugging Face Hub come through `huggingface_hub`, which knows its tokens, mirrors and storage. It tries
again and goes on by itself while the program runs; after an interruption it starts anew. All other files come through
transfer.py, which also goes on from where an earlier program was stopped.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import sys
import time

from kerazoo.version import __version__
from kerazoo.weights import transfer
from kerazoo.weights.transfer import DownloadError

__all__ = ["DownloadError", "fetch", "location"]


def fetch(tag, *, offline=None, progress=None):
    """Return the file of published weights, downloaded unless it is in the cache.

    The cache is the folder `weights` in $KERAZOO_HOME, or in `~/.cache/kerazoo` ($XDG_CACHE_HOME/kerazoo). A file is
    checked against its published digest every time, so one that was put there by hand is as good as a downloaded one.

    Args:
        tag: a `kerazoo.weights.tags.Tag`.
        offline: whether to do without the network; None: if $KERAZOO_OFFLINE or $HF_HUB_OFFLINE is 1.
        progress: whether to show a progress bar; None: if a person is at the terminal.

    Returns:
        A `pathlib.Path` of a whole, checked file.

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
            (from_hub if tag.repo else from_url)(tag, path, progress)
    return path


def location(tag):
    """Where the file of a tag is kept, whether it is there or not."""
    home = os.environ.get("KERAZOO_HOME") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "kerazoo")
    folder = pathlib.Path(home).expanduser().absolute() / "weights"
    return folder / tag.repo / tag.file if tag.repo else folder / address(tag).split("/")[-1]


def address(tag):
    if tag.url:
        return tag.url
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{endpoint}/{tag.repo}/resolve/{tag.revision or 'main'}/{tag.file}"


def by_hand(tag):
    return f"Where there is a network, download {address(tag)} and put it at {location(tag)}."


def is_offline():
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
               for name in ("KERAZOO_OFFLINE", "HF_HUB_OFFLINE"))


def expected(tag, path):
    """The digest that a file must have, as "sha256:0123abcd"; "" if none is known."""
    # What the Hub announced when the file was downloaded.
    record = record_of(path)
    return tag.hash or (json.loads(record.read_text())["hash"] if tag.repo and record.is_file() else "")


def record_of(path):
    return path.with_name(f"{path.name}.json")


def mismatch(path, digest):
    """What is wrong with a file, as the end of a sentence; "" if nothing is."""
    if not digest:
        return ""
    algorithm, wanted = digest.split(":")
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(transfer.CHUNK):
            hasher.update(chunk)
    got = hasher.hexdigest()[:len(wanted)]
    return "" if got == wanted else f"its {algorithm} is {got}, expected {wanted}"


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


def from_url(tag, path, progress):
    part = path.with_name(f"{path.name}.part")
    for _ in range(2):  # A wrong file gets one more try, from scratch: what was resumed may have been damaged.
        transfer.download(tag.url, part, progress, by_hand(tag))
        if not (wrong := mismatch(part, tag.hash)):
            os.replace(part, path)
            return transfer.forget(part)
        transfer.forget(part)
    raise DownloadError(f"{tag.url} is not the published file: {wrong}. It was deleted. Try again later; if this goes "
                        "on, the file or the network in between is not to be trusted.")


def from_hub(tag, path, progress):
    # Not under its own name before it is checked. What an interrupted program left is of no use to the Hub's client.
    staging, wrong = path.with_name(f"{path.name}.part"), ""
    for _ in range(2):
        shutil.rmtree(staging, ignore_errors=True)
        file, about = try_hub(tag, staging, progress)
        # The Hub announces the SHA-256 of large files; of others it knows a digest of another kind.
        digest = tag.hash or (f"sha256:{about.etag}" if len(about.etag or "") == 64 else "")
        if wrong := mismatch(file, digest):
            continue
        # Beside the file: which version it is, and what to check it against from now on.
        record_of(path).write_text(json.dumps({"repo": tag.repo, "revision": about.commit_hash, "hash": digest}))
        os.replace(file, path)
        break
    shutil.rmtree(staging, ignore_errors=True)
    if wrong:
        raise DownloadError(f"{address(tag)} is not the published file: {wrong}. It was deleted. Try again later.")


def try_hub(tag, staging, progress):
    """Download one file of the Hub, with patience for a busy server; return it and what the Hub says about it."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise DownloadError(f"{address(tag)} comes through the package huggingface_hub, which cannot be imported "
                            f"({error}). Install it with what it needs: pip install huggingface_hub. Or: "
                            f"{by_hand(tag)}") from error
    gone = errors.RemoteEntryNotFoundError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError
    endpoint = os.environ.get("HF_ENDPOINT") or None
    for failures in range(1, transfer.TRIES + 1):
        try:
            about = hub.get_hf_file_metadata(address(tag), endpoint=endpoint)
            return pathlib.Path(hub.hf_hub_download(
                tag.repo, tag.file, revision=about.commit_hash, local_dir=staging, endpoint=endpoint,
                tqdm_class=bar_class(tag.repo, progress), library_name="kerazoo", library_version=__version__,
            )), about
        except gone as error:
            raise DownloadError(f"{address(tag)} is gone: the Hub knows no such file. A newer kerazoo may know where "
                                "it is.") from error
        except errors.HfHubHTTPError as error:
            code = error.response.status_code
            if code not in transfer.PASSING or failures == transfer.TRIES:
                raise DownloadError(f"{address(tag)} cannot be had: the server answers {code}. "
                                    f"{by_hand(tag)}") from error
        except Exception as error:  # Of many kinds: the library's own for HTTP has changed and may change again.
            if isinstance(error, OSError) and error.errno in transfer.FULL:
                raise transfer.disk_error(staging, error) from error
            raise DownloadError(f"{address(tag)} could not be downloaded ({first_line(error)}). "
                                f"{by_hand(tag)}") from error
        time.sleep(min(transfer.PAUSE * 2 ** (failures - 1), transfer.LONGEST_PAUSE))


def first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0]


def bar_class(name, progress):
    import tqdm

    class Bar(tqdm.tqdm):
        # The client would show the address that the Hub sends it to.
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "desc": name, "disable": not progress})

    return Bar
