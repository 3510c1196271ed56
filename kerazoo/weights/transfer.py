"""Download one file over HTTPS, in as many requests as it takes, going on from what an earlier program left."""
import contextlib
import datetime
import email.utils
import errno
import http.client
import ipaddress
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from kerazoo.version import __version__

TRIES = 5  # in a row that bring the file no further
PAUSE = 1.0  # seconds before the second try; doubled before each next one
LONGEST_PAUSE = 60.0  # seconds, whatever a server asks for
TIMEOUT = 30.0  # seconds without a single byte
CHUNK = 1 << 20
DIGEST = "X-Linked-Etag"  # under which the Hugging Face Hub announces the SHA-256 of a large file
MOVED = (301, 302, 303, 307, 308)
# The Hub says 401 for a repository that does not exist, as for one that is private.
GONE = {401: "gone, or no longer public", 404: "gone", 410: "gone"}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be others in a moment


class DownloadError(OSError):
    """Weights could not be had; the message says why and what to do."""


def download(url, part, instead, *, label="", version=""):
    """Bring a file to its full length.

    Args:
        url: the address, https:// or on this machine.
        part: the path to write to. What is there already is kept if it is of the same version, as noted beside it.
        instead: a sentence for error messages, on how else to get the file.
        label: what to write at the progress bar, or in lines where there is no terminal; "" for neither.
        version: what tells this version of the file from others; "" to go by the server's ETag.

    Raises:
        DownloadError: if that is not possible. What has arrived stays in `part`.
    """
    import tqdm

    check_address(url)
    begun = time.monotonic()
    with tqdm.tqdm(unit="B", unit_scale=True, desc=label, disable=None if label else True) as bar:
        lines = label and bar.disable
        if lines:
            print(f"{label}: downloading {url} ...", file=sys.stderr, flush=True)
        persist(lambda: request(url, part, bar, version), url, instead, lambda: size(part))
    if lines:
        print(f"{label}: {size(part) / 1e6:,.1f} MB are there after {time.monotonic() - begun:,.0f} s.",
              file=sys.stderr, flush=True)


def ask(url, instead):
    """Return the headers with which a server answers for a file, without the file.

    Of several answers on the way, that is the first with a digest, or the last. Other arguments and errors are those of
    `download`.
    """
    check_address(url)
    return persist(lambda: announcement(url), url, instead)


def persist(step, url, instead, arrived=lambda: 0):
    """Return what a step returns, tried again while there is hope; `arrived` tells how many bytes there are."""
    before = furthest = arrived()
    failures = 0
    while True:
        try:
            return step()
        except DownloadError:
            raise
        except (OSError, http.client.HTTPException) as error:
            # Only bytes beyond all earlier ones count: a server that cannot resume may break off at the same place
            # for ever.
            failures = 1 if arrived() > furthest else failures + 1
            furthest = max(furthest, arrived())
            seconds = pause(url, error, failures, arrived() != before, instead)
        time.sleep(seconds)


def send(url, method="GET", headers=None):
    headers = {"User-Agent": f"kerazoo/{__version__}", **(headers or {})}
    # Made anew each time, as it takes the proxies from the environment.
    opener = urllib.request.build_opener(Redirects)
    return opener.open(urllib.request.Request(url, headers=headers, method=method), timeout=TIMEOUT)


def announcement(url):
    try:
        response = send(url, "HEAD")
    except urllib.error.HTTPError as error:
        if error.code not in MOVED or DIGEST not in error.headers:
            raise
        response = error
    with response:
        return response.headers


def request(url, part, bar, version):
    """One request for what is missing of the file."""
    have, noted = size(part), note(part).read_text() if note(part).is_file() else ""
    headers = {}
    if have and noted and noted == (version or noted):
        headers["Range"] = f"bytes={have}-"
        if not version:  # A file that has changed since comes whole.
            headers["If-Range"] = noted
    try:
        response = send(url, headers=headers)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # Nothing is missing, or the part is another file's; the digest will tell.
            return error.close()
        raise
    with response:
        now = version or validator(response) or ""
        if response.status == 206 and not (now == noted and starts_at(response, have)):
            forget(part)
            return request(url, part, bar, version)
        have = have if response.status == 206 else 0
        if not have:
            forget(part)
        missing = int(response.headers.get("Content-Length") or -1)
        bar.total, bar.n = have + missing if missing >= 0 else None, have
        check_room(part, missing)
        with writing(part):
            note(part).write_text(now)
            file = part.open("ab", buffering=0)
        with file:
            # read1 returns what has arrived: a slow line goes on as long as anything arrives within TIMEOUT.
            while chunk := memoryview(response.read1(CHUNK)):
                bar.update(len(chunk))
                while chunk:
                    with writing(part):
                        chunk = chunk[file.write(chunk):]
        if size(part) < have + missing:
            raise ConnectionResetError(f"the connection ended {have + missing - size(part):,} bytes before the file")


def starts_at(response, start):
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def validator(response):
    """What tells this version of the file from others; None if the server does not say, or only roughly."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def note(part):
    return part.with_name(f"{part.name}.etag")


def forget(part):
    """Remove what belongs to a download."""
    part.unlink(missing_ok=True)
    note(part).unlink(missing_ok=True)


def pause(url, error, failures, online, instead):
    """How long to wait until the next try, in seconds; raises where there is no use in one."""
    code, asked = None, None
    if isinstance(error, urllib.error.HTTPError):
        code, asked = error.code, retry_after(error.headers)
        error.close()
        said = f"the server answers {code} ({error.headers.get('X-Error-Code') or error.reason})"
        if code in GONE:
            raise DownloadError(f"{url} is {GONE[code]}: {said}. A newer kerazoo may know where it is.") from error
        if code not in PASSING:
            raise DownloadError(f"{url} cannot be had: {said}. {instead}") from error
    elif isinstance(error, urllib.error.URLError) and not online and not passing(error.reason):
        # Without a network all tries end alike; but one that was there a moment ago may come back.
        host = urllib.parse.urlsplit(url).netloc
        raise DownloadError(f"{host} cannot be reached ({error.reason}). {instead}") from error
    if failures >= TRIES:
        why = f"the server answers {code}" if code else getattr(error, "reason", str(error) or type(error).__name__)
        raise DownloadError(f"{url} could not be downloaded in {failures} tries ({why}). What has arrived is kept; the "
                            f"same call goes on from there. {instead}") from error
    return min(PAUSE * 2 ** (failures - 1) if asked is None else asked, LONGEST_PAUSE)


def passing(reason):
    """Whether a connection failed in a way that says that there is a network."""
    return isinstance(reason, ConnectionError) and not isinstance(reason, ConnectionRefusedError)


def retry_after(headers):
    """The seconds that a server asks to wait, or None."""
    value = headers.get("Retry-After", "")
    if value.isdigit():
        return int(value)
    with contextlib.suppress(ValueError, TypeError):
        then = email.utils.parsedate_to_datetime(value)
        return max(0.0, (then - datetime.datetime.now(datetime.timezone.utc)).total_seconds())
    return None


def check_address(url):
    """Refuse what could be changed on the way, and what is no address of a server."""
    parts = urllib.parse.urlsplit(url)
    with contextlib.suppress(ValueError):
        if parts.scheme == "http" and ipaddress.ip_address(parts.hostname).is_loopback:
            return
    if parts.scheme != "https":
        raise DownloadError(f"Weights are downloaded from https:// addresses only; got {url}.")


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to other addresses, if they are as good."""

    def redirect_request(self, request, file, code, message, headers, url):
        if request.get_method() == "HEAD" and DIGEST in headers:
            return None  # What was asked for is here; the place where the content lies does not know it.
        check_address(url)
        following = super().redirect_request(request, file, code, message, headers, url)
        following.method = request.get_method()  # Python may go on with GET.
        return following


def check_room(part, missing):
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise no_room(part, f"{missing / 1e6:,.0f} MB are missing, {free / 1e6:,.0f} MB are free")


@contextlib.contextmanager
def writing(path):
    """Tell errors of the disk from those of the network."""
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from error


def disk_error(path, error):
    if error.errno in FULL:
        return no_room(path, error.strerror)
    return DownloadError(f"{path} cannot be written ({error.strerror or error}). Set KERAZOO_HOME to a folder that can "
                         "be.")


def no_room(path, why):
    return DownloadError(f"There is no room in {path.parent} ({why}). Make some, or set KERAZOO_HOME to a folder on "
                         "another disk.")


def size(path):
    return path.stat().st_size if path.is_file() else 0
