"""Download one file over HTTPS, in as many requests as it takes, going on from what an earlier program left."""
import contextlib
import datetime
import email.utils
import errno
import http.client
import ipaddress
import shutil
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
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be others in a moment


class DownloadError(OSError):
    """Weights could not be had; the message says why and what to do."""


def download(url, part, progress, instead):
    """Bring a file to its full length.

    Args:
        url: the address, https:// or on this machine.
        part: the path to write to. What is there already is kept if the server still has the same file, as far as it
            tells by its ETag, which is noted beside the part.
        progress: whether to show a progress bar.
        instead: a sentence for error messages, on how else to get the file.

    Raises:
        DownloadError: if that is not possible. What has arrived stays in `part`.
    """
    import tqdm

    check_address(url)
    before = furthest = size(part)
    failures = 0
    with tqdm.tqdm(unit="B", unit_scale=True, desc=part.stem, disable=not progress) as bar:
        while True:
            try:
                return request(url, part, bar)
            except DownloadError:
                raise
            except (OSError, http.client.HTTPException) as error:
                # Only bytes beyond all earlier ones count: a server that cannot resume may break off at the same place
                # for ever.
                failures = 1 if size(part) > furthest else failures + 1
                furthest = max(furthest, size(part))
                seconds = pause(url, error, failures, size(part) != before, instead)
            time.sleep(seconds)


def request(url, part, bar):
    """One request for what is missing of the file."""
    have, noted = size(part), note(part).read_text() if note(part).is_file() else ""
    headers = {"User-Agent": f"kerazoo/{__version__}"}
    if have and noted:
        # With If-Range, a file that has changed since comes whole.
        headers |= {"Range": f"bytes={have}-", "If-Range": noted}
    # Made anew each time, as it takes the proxies from the environment.
    opener = urllib.request.build_opener(Redirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # Nothing is missing, or the part is another file's; the digest will tell.
            return error.close()
        raise
    with response:
        if response.status == 206 and not goes_on(response, have, noted):
            forget(part)
            return request(url, part, bar)
        have = have if response.status == 206 else 0
        if not have:
            forget(part)
        missing = int(response.headers.get("Content-Length") or -1)
        bar.total, bar.n = have + missing if missing >= 0 else None, have
        check_room(part, missing)
        with writing(part):
            note(part).write_text(validator(response) or "")
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


def goes_on(response, have, noted):
    """Whether a part of a file is the one that was asked for, of the same version."""
    starts = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    return starts and validator(response) == noted


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
        if code in (404, 410):
            raise DownloadError(f"{url} is gone: the server answers {code}. A newer kerazoo may know where it "
                                "is.") from error
        if code not in PASSING:
            raise DownloadError(f"{url} cannot be had: the server answers {code} ({error.reason}). "
                                f"{instead}") from error
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
        check_address(url)
        return super().redirect_request(request, file, code, message, headers, url)


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
