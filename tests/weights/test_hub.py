"""Downloads, against a web server on this machine that misbehaves as told."""
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from kerazoo.weights import hub, transfer
from kerazoo.weights.hub import DownloadError, fetch, location

CONTENT = os.urandom(300_000)
HALF = len(CONTENT) // 2

# What a program of its own does; its first argument is a tag.
CHILD = """
import json, os, signal, sys
import filelock, tqdm  # before privileges are dropped
from kerazoo.weights import hub, transfer
from kerazoo.weights.tags import Tag
signal.signal(signal.SIGINT, signal.default_int_handler)
{}
try:
    print(hub.fetch(Tag(**json.loads(sys.argv[1]))))
except hub.DownloadError as error:
    print("DownloadError:", error)
"""


def start(tag, prepare="", **environment):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD.format(prepare), json.dumps(dataclasses.asdict(tag))], text=True,
        env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


def output(child):
    out, err = child.communicate(timeout=30)
    assert child.returncode == 0, err
    return out.strip()


def part_of(tag):
    return location(tag).with_name(f"{location(tag).name}.part")


def wait_for_part(tag, length):
    for _ in range(1000):
        if part_of(tag).is_file() and part_of(tag).stat().st_size >= length:
            return
        time.sleep(0.01)
    raise AssertionError(f"{length} bytes have not arrived")


def leftovers(tag):
    return sorted(path.name for path in location(tag).parent.glob("*") if not path.name.endswith(".lock"))


def test_a_file_is_downloaded_once_and_lies_alone_in_the_cache(server, make_tag, tmp_path):
    tag = make_tag(CONTENT)
    assert fetch(tag) == tmp_path / "home/weights/weights.pth" == location(tag)
    assert location(tag).read_bytes() == CONTENT
    assert fetch(tag) == location(tag) and fetch(tag, offline=True) == location(tag)
    assert len(server.requests) == 1 and leftovers(tag) == ["weights.pth"]


@pytest.mark.parametrize("environment, folder", [
    ({"KERAZOO_HOME": "{tmp}/mine"}, "mine/weights"),
    ({"XDG_CACHE_HOME": "{tmp}/xdg"}, "xdg/kerazoo/weights"),
    ({"HOME": "{tmp}/me"}, "me/.cache/kerazoo/weights"),
    ({"HOME": "{tmp}/me", "KERAZOO_HOME": "~/zoo"}, "me/zoo/weights"),
])
def test_the_cache_is_where_the_environment_says(environment, folder, make_tag, tmp_path, monkeypatch):
    monkeypatch.delenv("KERAZOO_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert location(make_tag(b"")) == tmp_path / folder / "weights.pth"


def test_a_download_that_breaks_off_goes_on_from_there(server, make_tag):
    tag = make_tag(CONTENT)
    server.script = [server.serve(cut=HALF)]
    assert fetch(tag).read_bytes() == CONTENT
    first, second = server.requests
    assert second["headers"]["Range"] == f"bytes={HALF}-" and second["headers"]["If-Range"] == server.etag
    assert (first["sent"], second["sent"]) == (HALF, len(CONTENT) - HALF)


def test_progress_between_breaks_is_not_counted_as_failure(server, make_tag):
    server.script = [server.serve(cut=20_000)] * 3 * transfer.TRIES
    assert fetch(make_tag(CONTENT)).read_bytes() == CONTENT
    assert sum(request["sent"] for request in server.requests) == len(CONTENT)


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(server, make_tag):
    server.script = [server.serve(cut=HALF), server.serve(ranges=False)]
    assert fetch(make_tag(CONTENT)).read_bytes() == CONTENT
    assert [request["sent"] for request in server.requests] == [HALF, len(CONTENT)]


def test_a_server_that_knows_no_ranges_and_breaks_off_is_given_up(server, make_tag):
    server.script = [server.serve(cut=HALF, ranges=False)] * 20
    with pytest.raises(DownloadError, match=f"in {transfer.TRIES} tries .*ended 150,000 bytes before the file"):
        fetch(make_tag(CONTENT))
    assert len(server.requests) == transfer.TRIES


@pytest.mark.parametrize("if_range", [True, False])
def test_two_versions_of_a_file_are_not_mixed(if_range, server, make_tag):
    new = os.urandom(len(CONTENT))

    def change(handler):
        server.serve(cut=HALF)(handler)
        server.content, server.etag = new, '"second"'

    tag = make_tag(CONTENT, hash="sha256:" + hashlib.sha256(new).hexdigest())
    # Both kinds of servers: those that heed If-Range, and those that send the rest of the new file.
    server.script = [change, server.serve(if_range=if_range)]
    assert fetch(tag).read_bytes() == new
    assert server.requests[-1]["sent"] == len(CONTENT)
    assert len(server.requests) == (2 if if_range else 3)


def test_a_new_version_does_not_use_up_the_second_try(server, make_tag):
    new = os.urandom(len(CONTENT))

    def change(handler):
        server.serve(cut=HALF)(handler)
        server.content, server.etag = new, '"second"'

    tag = make_tag(CONTENT, hash="sha256:" + hashlib.sha256(new).hexdigest())
    # Cut; the rest of the new file, which is not taken; a file too short, which is deleted; all is well.
    server.script = [change, server.serve(if_range=False), server.serve(length=HALF)]
    assert fetch(tag).read_bytes() == new


def test_nothing_is_resumed_where_the_server_does_not_tell_versions_apart(server, make_tag):
    server.etag = 'W/"roughly"'
    server.script = [server.serve(cut=HALF)]
    assert fetch(make_tag(CONTENT)).read_bytes() == CONTENT
    assert "Range" not in server.requests[1]["headers"]


def test_a_wrong_file_is_tried_once_more_and_deleted(server, make_tag):
    tag = make_tag(CONTENT)
    server.content = os.urandom(len(CONTENT))
    got = hashlib.sha256(server.content).hexdigest()[:8]
    with pytest.raises(DownloadError, match=f"its sha256 is {got}, expected {tag.hash[7:]}"):
        fetch(tag)
    assert len(server.requests) == 2 and leftovers(tag) == []


def test_md5_is_checked_too(server, make_tag):
    assert fetch(make_tag(CONTENT, hash="md5:" + hashlib.md5(CONTENT).hexdigest())).read_bytes() == CONTENT
    location(make_tag(CONTENT)).unlink()
    with pytest.raises(DownloadError, match="its md5 is"):
        fetch(make_tag(CONTENT, hash="md5:" + "0" * 32))


def test_a_file_that_the_server_calls_shorter_is_downloaded_anew(server, make_tag):
    server.script = [server.serve(length=HALF)]
    assert fetch(make_tag(CONTENT)).read_bytes() == CONTENT
    assert [request["sent"] for request in server.requests] == [HALF, len(CONTENT)]


def test_a_damaged_part_is_replaced_once_the_digest_tells(server, make_tag):
    tag = make_tag(CONTENT)
    location(tag).parent.mkdir(parents=True)
    part_of(tag).write_bytes(b"?" * HALF)
    transfer.note(part_of(tag)).write_text(server.etag)
    assert fetch(tag).read_bytes() == CONTENT
    assert [request["sent"] for request in server.requests] == [HALF, len(CONTENT)]


def test_a_part_that_is_whole_needs_no_more_than_a_question(server, make_tag):
    tag = make_tag(CONTENT)
    location(tag).parent.mkdir(parents=True)
    part_of(tag).write_bytes(CONTENT)
    transfer.note(part_of(tag)).write_text(server.etag)
    assert fetch(tag).read_bytes() == CONTENT
    assert [request["sent"] for request in server.requests] == [0]


def test_a_file_that_is_gone_is_not_asked_for_again(server, make_tag):
    tag = make_tag(CONTENT)
    server.script = [server.status(404)] * 2
    with pytest.raises(DownloadError, match=f"{tag.url} is gone: the server answers 404"):
        fetch(tag)
    assert len(server.requests) == 1


def test_a_refusal_says_what_to_do_by_hand(server, make_tag):
    tag = make_tag(CONTENT)
    server.script = [server.status(403)]
    with pytest.raises(DownloadError, match=f"answers 403 .*download {tag.url} and put it at {location(tag)}"):
        fetch(tag)
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server, make_tag):
    server.script = [server.status(503), server.status(500), server.status(429)]
    assert fetch(make_tag(CONTENT)).read_bytes() == CONTENT
    assert len(server.requests) == 4


def test_a_server_that_stays_busy_is_given_up(server, make_tag):
    server.script = [server.status(503)] * 20
    with pytest.raises(DownloadError, match=f"in {transfer.TRIES} tries .the server answers 503"):
        fetch(make_tag(CONTENT))
    assert len(server.requests) == transfer.TRIES


def test_a_server_may_say_how_long_to_wait_within_bounds(server, make_tag, monkeypatch):
    began = time.monotonic()
    server.script = [server.status(503, Retry_After="1")]
    fetch(make_tag(CONTENT))
    assert time.monotonic() - began >= 1

    location(make_tag(CONTENT)).unlink()
    monkeypatch.setattr(transfer, "LONGEST_PAUSE", 0.1)
    began = time.monotonic()
    server.script = [server.status(503, Retry_After=when)
                     for when in ("86400", "Fri, 31 Dec 2999 23:59:59 GMT", "soon")]
    fetch(make_tag(CONTENT))
    assert time.monotonic() - began < 5


def test_a_slow_line_goes_on_and_a_dead_one_does_not(server, make_tag, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", 0.5)
    server.script = [server.serve(parts=10, gap=0.1)]  # twice as long as the timeout
    assert fetch(make_tag(CONTENT)).read_bytes() == CONTENT
    assert len(server.requests) == 1

    location(make_tag(CONTENT)).unlink()
    server.requests.clear()
    server.script = [server.serve(cut=HALF, hang=True)]
    began = time.monotonic()
    assert fetch(make_tag(CONTENT)).read_bytes() == CONTENT
    assert time.monotonic() - began < 10
    assert [request["sent"] for request in server.requests] == [HALF, len(CONTENT) - HALF]


def test_two_programs_download_a_file_once(server, make_tag):
    tag = make_tag(CONTENT)
    server.script = [server.serve(parts=20, gap=0.1)]
    children = [start(tag), start(tag)]
    assert [output(child) for child in children] == [str(location(tag))] * 2
    assert len(server.requests) == 1 and location(tag).read_bytes() == CONTENT


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_program_leaves_a_part_to_go_on_from(signal_number, server, make_tag):
    tag = make_tag(CONTENT)
    server.script = [server.serve(cut=HALF, hang=True)]
    child = start(tag)
    wait_for_part(tag, HALF)
    child.send_signal(signal_number)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == -signal_number and ("KeyboardInterrupt" in errors) == (signal_number == signal.SIGINT)
    assert not location(tag).exists()
    assert fetch(tag).read_bytes() == CONTENT
    assert [request["sent"] for request in server.requests] == [HALF, len(CONTENT) - HALF]
    assert leftovers(tag) == ["weights.pth"]


def test_a_file_is_never_there_before_it_is_whole(server, make_tag):
    tag = make_tag(CONTENT)
    server.script = [server.serve(cut=HALF), server.status(404)]
    with pytest.raises(DownloadError, match="is gone"):
        fetch(tag)
    assert not location(tag).exists() and part_of(tag).stat().st_size == HALF


DROP = "os.getuid() or os.setuid(65534)  # the superuser may write everywhere"


@pytest.fixture
def read_only_home():
    home = tempfile.mkdtemp()  # not under tmp_path, which is closed to others
    os.chmod(home, 0o755)
    yield home
    subprocess.run(["chmod", "-R", "u+w", home], check=True)
    shutil.rmtree(home)


def test_a_read_only_cache_serves_what_it_has(server, make_tag, read_only_home, monkeypatch):
    monkeypatch.setenv("KERAZOO_HOME", read_only_home)
    tag = make_tag(CONTENT)
    fetch(tag)
    for path in location(tag), location(tag).parent:
        path.chmod(0o555)
    assert output(start(tag, DROP)) == str(location(tag))

    other = make_tag(CONTENT, url=f"{server.url}/other.pth")
    answer = output(start(other, DROP))
    assert answer.startswith("DownloadError:") and "Set KERAZOO_HOME to a folder that can be" in answer
    assert len(server.requests) == 1


def test_a_cache_that_is_no_folder_is_named(make_tag, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAZOO_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=f"{tmp_path}/file/weights cannot be written .*Set KERAZOO_HOME"):
        fetch(make_tag(CONTENT))


def test_a_disk_without_room_is_noticed_before(server, make_tag, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(DownloadError, match="no room in .*home/weights .*KERAZOO_HOME"):
        fetch(make_tag(CONTENT))
    assert len(server.requests) == 1


def test_a_disk_that_fills_up_is_named_and_the_part_kept(server, make_tag):
    tag = make_tag(CONTENT)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))"
    answer = output(start(tag, limit))
    assert answer.startswith("DownloadError: There is no room in") and os.strerror(errno.EFBIG) in answer
    assert part_of(tag).read_bytes() == CONTENT[:100_000]
    assert fetch(tag).read_bytes() == CONTENT
    assert server.requests[-1]["headers"]["Range"] == "bytes=100000-"


def test_without_a_server_the_way_by_hand_is_told_at_once(make_tag):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tag = make_tag(CONTENT, url=f"http://127.0.0.1:{port}/weights.pth")
    with pytest.raises(DownloadError, match=f"127.0.0.1:{port} cannot be reached .*refused.*put it at {location(tag)}"):
        fetch(tag)


def test_without_a_network_the_way_by_hand_is_told_at_once(make_tag, monkeypatch):
    asked = []

    def no_names(*arguments, **options):
        asked.append(arguments)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    tag = make_tag(CONTENT, url="https://weights.invalid/weights.pth")
    with pytest.raises(DownloadError, match=r"weights.invalid cannot be reached \(.*name resolution.*put it at"):
        fetch(tag)
    assert len(asked) == 1


def test_a_network_that_goes_away_in_between_may_come_back(server, make_tag, monkeypatch):
    names, calls = socket.getaddrinfo, []

    def flaky(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return names(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", flaky)
    server.script = [server.serve(cut=HALF)]
    assert fetch(make_tag(CONTENT)).read_bytes() == CONTENT
    assert len(calls) == 3


@pytest.mark.parametrize("switch", ["argument", "KERAZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked_and_the_place_of_the_file_told(switch, server, make_tag, monkeypatch):
    tag = make_tag(CONTENT)
    if switch != "argument":
        monkeypatch.setenv(switch, "1")
    with pytest.raises(DownloadError, match=f"not in the cache, and kerazoo is offline.*{tag.url} .*{location(tag)}"):
        fetch(tag, offline=True if switch == "argument" else None)
    assert server.requests == []
    # And what it says works.
    location(tag).parent.mkdir(parents=True)
    location(tag).write_bytes(CONTENT)
    assert fetch(tag) == location(tag)


def test_a_damaged_file_in_the_cache_is_not_used(server, make_tag):
    tag = make_tag(CONTENT)
    location(tag).parent.mkdir(parents=True)
    location(tag).write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=r"damaged \(its sha256 is .*expected"):
        fetch(tag, offline=True)
    assert fetch(tag).read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://example.com/weights.pth", "file:///etc/weights.pth", "ftp://127.0.0.1/w.pth"])
def test_only_https_is_taken(url, server, make_tag):
    with pytest.raises(DownloadError, match=f"https:// addresses only; got {url}"):
        fetch(make_tag(CONTENT, url=url))
    assert server.requests == []
    # Nor is a server followed to such a place; Python itself refuses file:// there.
    server.script = [server.status(302, Location=url)]
    with pytest.raises(DownloadError, match=f"(https:// addresses only; got |Redirection to url '){url}"):
        fetch(make_tag(CONTENT))
    assert len(server.requests) == 1


def test_a_server_may_send_elsewhere(server, make_tag):
    server.script = [server.status(302, Location=f"{server.url}/elsewhere"), server.serve(cut=HALF),
                     server.status(302, Location=f"{server.url}/elsewhere")]
    assert fetch(make_tag(CONTENT)).read_bytes() == CONTENT
    assert server.requests[-1]["headers"]["Range"] == f"bytes={HALF}-"
    assert server.requests[-1]["path"] == "/elsewhere"


def test_progress_is_shown_when_asked_for_and_not_in_a_log(make_tag, capsys):
    tag = make_tag(CONTENT)
    fetch(tag)
    assert capsys.readouterr().err == ""
    location(tag).unlink()
    fetch(tag, progress=True)
    assert "weights.pth: 100%" in capsys.readouterr().err


class TestHub:
    """The Hugging Face Hub's client, against a server that answers as the Hub does."""

    @pytest.fixture
    def tag(self, server, make_tag, monkeypatch):
        try:
            import huggingface_hub.file_download  # noqa: F401
        except ImportError as error:
            pytest.skip(f"huggingface_hub cannot be imported: {error}")
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.hub = {"commit": "c" * 40, "digest": hashlib.sha256(CONTENT).hexdigest()}
        return make_tag(CONTENT, url="", hash="", repo="timm/resnet18.a1_in1k", file="model.safetensors")

    def test_a_file_is_downloaded_once_and_its_version_noted(self, server, tag, tmp_path):
        assert fetch(tag) == tmp_path / "home/weights/timm/resnet18.a1_in1k/model.safetensors"
        assert location(tag).read_bytes() == CONTENT
        asked = len(server.requests)
        assert fetch(tag) == location(tag) and len(server.requests) == asked and len(server.gets) == 1
        # What is downloaded is the version that was announced, even if there is a newer one by then.
        assert [request["path"].split("/")[-2] for request in server.requests] == ["main", "c" * 40, ""]
        assert leftovers(tag) == ["model.safetensors", "model.safetensors.json"]
        record = json.loads((location(tag).parent / "model.safetensors.json").read_text())
        assert record == {"repo": tag.repo, "revision": "c" * 40, "hash": f"sha256:{server.hub['digest']}"}

    def test_the_pinned_version_is_asked_for(self, server, tag):
        tag = dataclasses.replace(tag, revision="d" * 40)
        fetch(tag)
        assert server.requests[0]["path"] == f"/timm/resnet18.a1_in1k/resolve/{'d' * 40}/model.safetensors"

    def test_a_download_that_breaks_off_is_tried_again(self, server, tag):
        # From the last whole 10 MB on, so from the start here: that is up to the client.
        server.script = [server.serve(cut=HALF)]
        assert fetch(tag).read_bytes() == CONTENT
        assert len(server.gets) == 2

    def test_a_file_other_than_announced_is_tried_once_more_and_deleted(self, server, tag):
        server.hub["digest"] = "0" * 64
        with pytest.raises(DownloadError, match="its sha256 is .*, expected 0000"):
            fetch(tag)
        assert len(server.gets) == 2 and leftovers(tag) == []

    def test_a_file_damaged_later_is_downloaded_anew(self, server, tag):
        fetch(tag).write_bytes(b"damaged")
        with pytest.raises(DownloadError, match="damaged"):
            fetch(tag, offline=True)
        assert fetch(tag).read_bytes() == CONTENT

    def test_a_file_that_is_gone_is_named(self, server, tag):
        server.hub = None
        with pytest.raises(DownloadError, match=f"{hub.address(tag)} is gone"):
            fetch(tag)

    def test_a_busy_hub_is_asked_again_and_one_that_stays_busy_given_up(self, server, tag):
        server.busy = 2
        assert fetch(tag).read_bytes() == CONTENT
        location(tag).unlink()
        server.busy = 100
        with pytest.raises(DownloadError, match="the server answers 503.*put it at"):
            fetch(tag)
        assert server.busy == 100 - transfer.TRIES

    def test_without_a_network_the_way_by_hand_is_told(self, server, tag, monkeypatch):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(DownloadError, match=f"could not be downloaded .*refused.*put it at {location(tag)}"):
            fetch(tag)

    def test_offline_nothing_is_asked_and_the_place_of_the_file_told(self, server, tag, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(DownloadError, match=f"offline.*main/model.safetensors and put it at {location(tag)}"):
            fetch(tag)
        location(tag).parent.mkdir(parents=True)
        location(tag).write_bytes(CONTENT)
        assert fetch(tag) == location(tag) and server.requests == []

    def test_progress_is_shown_when_asked_for_and_not_in_a_log(self, tag, capsys):
        fetch(tag)
        assert capsys.readouterr().err == ""
        location(tag).unlink()
        fetch(tag, progress=True)
        assert "resnet18.a1_in1k: 100%" in capsys.readouterr().err


def test_a_hub_without_its_client_says_what_to_install(make_tag, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    tag = make_tag(CONTENT, url="", hash="", repo="timm/resnet18.a1_in1k", file="model.safetensors")
    with pytest.raises(DownloadError, match="cannot be imported .*pip install huggingface_hub"):
        fetch(tag)
