"""The cache, and the Hugging Face Hub, against a web server on this machine that misbehaves as told."""
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from kerazoo.weights import hub, transfer
from kerazoo.weights.hub import DownloadError, fetch, location

HALF = 150_000
SIZE = 2 * HALF

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
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    return out.strip()


def part_of(tag):
    return location(tag).with_name(f"{location(tag).name}.part")


def wait_for_part(tag, length):
    for _ in range(30_000):
        if part_of(tag).is_file() and part_of(tag).stat().st_size >= length:
            return
        time.sleep(0.01)
    raise AssertionError(f"{length} bytes have not arrived")


def leftovers(tag):
    return sorted(path.name for path in location(tag).parent.glob("*") if not path.name.endswith(".lock"))


def test_a_file_is_downloaded_once_and_lies_in_the_cache(server, tag, tmp_path):
    where = "timm/resnet18.a1_in1k/model.safetensors" if tag.repo else "weights.pth"
    assert fetch(tag) == tmp_path / "home/weights" / where == location(tag)
    assert location(tag).read_bytes() == server.content
    asked = len(server.requests)
    assert fetch(tag) == location(tag) and fetch(tag, offline=True) == location(tag)
    assert len(server.requests) == asked and len(server.gets) == 1
    assert leftovers(tag) == (["model.safetensors", "model.safetensors.json"] if tag.repo else ["weights.pth"])


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
    assert location(make_tag()) == tmp_path / folder / "weights.pth"


def test_a_wrong_file_is_tried_once_more_and_deleted(server, tag):
    wanted = hashlib.sha256(server.content).hexdigest()[:64 if tag.repo else 8]
    server.content = os.urandom(SIZE)
    got = hashlib.sha256(server.content).hexdigest()[:len(wanted)]
    with pytest.raises(DownloadError, match=f"its sha256 is {got}, expected {wanted}"):
        fetch(tag)
    assert len(server.gets) == 2 and leftovers(tag) == []


@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"hash": 7}', '{"hash": "abc"}', "[" * 100_000, b"\xff\xfe"])
def test_a_damaged_record_is_none(record, server, make_tag):
    tag = make_tag(hub=True)
    fetch(tag)
    note = location(tag).with_name("model.safetensors.json")
    note.write_bytes(record if isinstance(record, bytes) else record.encode())
    assert fetch(tag) == location(tag) and len(server.gets) == 1


def test_what_was_put_there_by_hand_needs_no_record(server, make_tag):
    tag = make_tag(hub=True)
    location(tag).parent.mkdir(parents=True)
    location(tag).write_bytes(b"mine")
    assert fetch(tag).read_bytes() == b"mine" and not server.requests


def test_md5_is_checked_too(server, make_tag):
    tag = make_tag(hash="md5:" + hashlib.md5(server.content).hexdigest())
    assert fetch(tag).read_bytes() == server.content
    with pytest.raises(DownloadError, match="its md5 is"):
        fetch(dataclasses.replace(tag, hash="md5:" + "0" * 32))


def test_two_programs_download_a_file_once(server, tag):
    server.script = [server.serve(parts=20, gap=0.1)]
    children = [start(tag), start(tag)]
    assert [output(child) for child in children] == [str(location(tag))] * 2
    assert len(server.gets) == 1 and location(tag).read_bytes() == server.content


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_program_leaves_a_part_to_go_on_from(signal_number, server, tag):
    server.script = [server.serve(cut=HALF, hang=True)]
    child = start(tag)
    wait_for_part(tag, HALF)
    child.send_signal(signal_number)
    _, errors = child.communicate(timeout=300)
    assert child.returncode == -signal_number and ("KeyboardInterrupt" in errors) == (signal_number == signal.SIGINT)
    assert not location(tag).exists()
    assert fetch(tag).read_bytes() == server.content
    assert [request["sent"] for request in server.gets] == [HALF, HALF]
    assert [name for name in leftovers(tag) if not name.endswith(".json")] == [location(tag).name]


def test_a_file_is_never_there_before_it_is_whole(server, tag):
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
    tag = make_tag()
    fetch(tag)
    for path in location(tag), location(tag).parent:
        path.chmod(0o555)
    assert output(start(tag, DROP)) == str(location(tag))

    other = make_tag(url=f"{server.url}/other.pth")
    answer = output(start(other, DROP))
    assert answer.startswith("DownloadError:") and "Set KERAZOO_HOME to a folder that can be" in answer
    assert len(server.requests) == 1


def test_a_cache_that_is_no_folder_is_named(tag, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAZOO_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=f"{tmp_path}/file/weights.* cannot be written .*Set KERAZOO_HOME"):
        fetch(tag)


def test_a_disk_that_fills_up_is_named_and_the_part_kept(server, tag):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))"
    answer = output(start(tag, limit))
    assert answer.startswith("DownloadError: There is no room in") and os.strerror(errno.EFBIG) in answer
    assert part_of(tag).read_bytes() == server.content[:100_000]
    assert fetch(tag).read_bytes() == server.content
    assert server.gets[-1]["headers"]["Range"] == "bytes=100000-"


@pytest.mark.parametrize("switch", ["argument", "KERAZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked_and_the_place_of_the_file_told(switch, server, tag, monkeypatch):
    if switch != "argument":
        monkeypatch.setenv(switch, "1")
    told = f"not in the cache, and kerazoo is offline.*{hub.address(tag)} and put it at {location(tag)}"
    with pytest.raises(DownloadError, match=told):
        fetch(tag, offline=True if switch == "argument" else None)
    # And what it says works.
    location(tag).parent.mkdir(parents=True)
    location(tag).write_bytes(server.content)
    assert fetch(tag) == location(tag) and server.requests == []


def test_a_file_damaged_later_is_downloaded_anew(server, tag):
    fetch(tag).write_bytes(server.content[:-1])
    with pytest.raises(DownloadError, match=r"damaged \(its sha256 is .*expected"):
        fetch(tag, offline=True)
    assert fetch(tag).read_bytes() == server.content


def test_progress_is_shown_when_asked_for_as_a_bar_or_in_two_lines(tag, capsys, monkeypatch):
    fetch(tag)
    assert capsys.readouterr().err == ""
    location(tag).unlink()
    fetch(tag, progress=True)
    label = tag.repo or "weights.pth"
    start, end = capsys.readouterr().err.splitlines()
    assert start.startswith(f"{label}: downloading http") and end.startswith(f"{label}: 0.")
    assert "MB are there after" in end
    location(tag).unlink()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fetch(tag, progress=True)
    error = capsys.readouterr().err
    assert f"{label}: 100%" in error and "downloading" not in error


class TestHub:
    @pytest.fixture
    def tag(self, make_tag):
        return make_tag(hub=True)

    def test_the_version_is_noted(self, server, tag):
        fetch(tag)
        # What is downloaded is the version that was announced, even if there is a newer one by then.
        commit, digest = "c" * 40, hashlib.sha256(server.content).hexdigest()
        url = f"{server.url}/timm/resnet18.a1_in1k/resolve/{commit}/model.safetensors"
        assert [(request["method"], server.url + request["path"]) for request in server.requests] == [
            ("HEAD", hub.address(tag)), ("GET", url), ("GET", server.store)]
        record = json.loads(hub.record_of(location(tag)).read_text())
        assert record == {"url": url, "revision": commit, "hash": f"sha256:{digest}"}

    def test_the_pinned_version_is_asked_for(self, server, tag, monkeypatch):
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
        tag = dataclasses.replace(tag, revision="d" * 40)
        fetch(tag)
        path = f"/timm/resnet18.a1_in1k/resolve/{'d' * 40}/model.safetensors"
        assert hub.address(tag) == server.url + path and server.requests[0]["path"] == path

    def test_a_repository_that_was_renamed_is_followed(self, server, tag):
        moved = server.status(307, Location="/timm/new/resolve/main/model.safetensors")
        server.hub_script = [moved, server.status(302, Location=server.store, **server.hub), moved]
        assert fetch(tag).read_bytes() == server.content
        assert [request["method"] for request in server.requests] == ["HEAD", "HEAD", "GET", "GET", "GET"]

    @pytest.mark.parametrize("etag", [None, '"' + "a" * 40 + '"'])
    def test_a_file_whose_digest_is_not_known_is_refused(self, etag, server, tag):
        digest = server.hub.pop("X-Linked-Etag").strip('"')
        server.hub |= {"X-Linked-Etag": etag} if etag else {}
        with pytest.raises(DownloadError, match="could not be checked .*no SHA-256.*HF_ENDPOINT.*put it at"):
            fetch(tag)
        assert {request["method"] for request in server.requests} == {"HEAD"} and leftovers(tag) == []
        # Unless the table has it.
        assert fetch(dataclasses.replace(tag, hash=f"sha256:{digest}")).read_bytes() == server.content

    def test_the_digest_in_the_table_goes_before_what_is_announced(self, server, tag):
        with pytest.raises(DownloadError, match="expected 00000000"):
            fetch(dataclasses.replace(tag, hash="sha256:00000000"))

    @pytest.mark.parametrize("code, why, says", [
        (404, "EntryNotFound", "gone"), (401, "RepoNotFound", "gone, or no longer public")])
    def test_a_file_or_repository_that_is_gone_is_named(self, code, why, says, server, tag):
        server.hub_script = [server.status(code, X_Error_Code=why)]
        with pytest.raises(DownloadError, match=rf"{hub.address(tag)} is {says}: the server answers {code} \({why}\)"):
            fetch(tag)
        assert len(server.requests) == 1

    def test_a_busy_hub_is_asked_again_and_one_that_stays_busy_given_up(self, server, tag):
        server.hub_script = [server.status(503), server.status(429)]
        assert fetch(tag).read_bytes() == server.content
        location(tag).unlink()
        server.requests.clear()
        server.hub_script = [server.status(503)] * 20
        with pytest.raises(DownloadError, match="the server answers 503.*put it at"):
            fetch(tag)
        assert len(server.requests) == transfer.TRIES

    def test_an_unprotected_mirror_is_refused(self, tag, monkeypatch):
        monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example")
        with pytest.raises(DownloadError, match="https:// addresses only; got http://mirror.example/timm"):
            fetch(tag)
