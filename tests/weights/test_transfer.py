"""Single downloads from a plain address and from the Hub: a web server on this machine that misbehaves as told."""
import hashlib
import os
import shutil
import socket
import time

import pytest

from kerazoo.weights import hub, transfer
from kerazoo.weights.hub import DownloadError, fetch, location

HALF = 150_000
SIZE = 2 * HALF


def sent(server):
    return [request["sent"] for request in server.gets]


def leave_part(tag, content, version):
    """Act as an earlier program that was stopped."""
    location(tag).parent.mkdir(parents=True)
    part = location(tag).with_name(f"{location(tag).name}.part")
    part.write_bytes(content)
    transfer.note(part).write_text(version)


def version(server, tag):
    """What tells versions of a file apart."""
    return f"sha256:{hashlib.sha256(server.content).hexdigest()}" if tag.repo else server.etag


def test_a_download_that_breaks_off_goes_on_from_there(server, tag):
    server.script = [server.serve(cut=HALF)]
    assert fetch(tag).read_bytes() == server.content
    assert sent(server) == [HALF, HALF]
    asked = server.gets[1]["headers"]
    assert asked["Range"] == f"bytes={HALF}-" and asked["If-Range"] == (None if tag.repo else server.etag)


def test_progress_between_breaks_is_not_counted_as_failure(server, tag):
    server.script = [server.serve(cut=20_000)] * 3 * transfer.TRIES
    assert fetch(tag).read_bytes() == server.content
    assert sum(sent(server)) == SIZE


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(server, tag):
    server.script = [server.serve(cut=HALF), server.serve(ranges=False)]
    assert fetch(tag).read_bytes() == server.content
    assert sent(server) == [HALF, SIZE]


def test_a_server_that_knows_no_ranges_and_breaks_off_is_given_up(server, tag):
    server.script = [server.serve(cut=HALF, ranges=False)] * 20
    with pytest.raises(DownloadError, match=f"in {transfer.TRIES} tries .*ended 150,000 bytes before the file"):
        fetch(tag)
    assert len(server.gets) == transfer.TRIES


@pytest.mark.parametrize("if_range", [True, False])
def test_two_versions_of_a_file_are_not_mixed(if_range, server, make_tag):
    new = os.urandom(SIZE)

    def change(handler):
        server.serve(cut=HALF)(handler)
        server.content, server.etag = new, '"second"'

    tag = make_tag(hash="sha256:" + hashlib.sha256(new).hexdigest())
    # Both kinds of servers: those that heed If-Range, and those that send the rest of the new file.
    server.script = [change, server.serve(if_range=if_range)]
    assert fetch(tag).read_bytes() == new
    assert server.gets[-1]["sent"] == SIZE and len(server.gets) == (2 if if_range else 3)


def test_a_new_version_does_not_use_up_the_second_try(server, make_tag):
    new = os.urandom(SIZE)

    def change(handler):
        server.serve(cut=HALF)(handler)
        server.content, server.etag = new, '"second"'

    tag = make_tag(hash="sha256:" + hashlib.sha256(new).hexdigest())
    # Cut; the rest of the new file, which is not taken; a file too short, which is deleted; all is well.
    server.script = [change, server.serve(if_range=False), server.serve(length=HALF)]
    assert fetch(tag).read_bytes() == new


def test_where_a_plain_address_does_not_tell_versions_apart_nothing_is_resumed(server, make_tag):
    server.etag = 'W/"roughly"'
    server.script = [server.serve(cut=HALF)]
    assert fetch(make_tag()).read_bytes() == server.content
    assert "Range" not in server.gets[1]["headers"]


def test_from_the_hub_it_is_resumed_by_the_digest_whatever_the_etag(server, make_tag):
    def change(handler):
        server.serve(cut=HALF)(handler)
        server.etag = 'W/"of another machine of the store"'

    server.script = [change]
    assert fetch(make_tag(hub=True)).read_bytes() == server.content
    assert sent(server) == [HALF, HALF]


def test_a_part_of_what_the_hub_had_before_is_not_gone_on_from(server, make_tag):
    tag = make_tag(hub=True)
    leave_part(tag, b"?" * HALF, "sha256:" + "0" * 64)
    assert fetch(tag).read_bytes() == server.content
    assert sent(server) == [SIZE] and "Range" not in server.gets[0]["headers"]


def test_a_file_that_the_server_calls_shorter_is_downloaded_anew(server, tag):
    server.script = [server.serve(length=HALF)]
    assert fetch(tag).read_bytes() == server.content
    assert sent(server) == [HALF, SIZE]


def test_a_damaged_part_is_replaced_once_the_digest_tells(server, tag):
    leave_part(tag, b"?" * HALF, version(server, tag))
    assert fetch(tag).read_bytes() == server.content
    assert sent(server) == [HALF, SIZE]


def test_a_part_that_is_whole_needs_no_more_than_a_question(server, tag):
    leave_part(tag, server.content, version(server, tag))
    assert fetch(tag).read_bytes() == server.content
    assert sent(server) == [0]


def test_a_file_that_is_gone_is_not_asked_for_again(server, tag):
    server.script = [server.status(404)] * 2
    with pytest.raises(DownloadError, match=f"{hub.address(tag, 'c' * 40)} is gone: the server answers 404"):
        fetch(tag)
    assert len(server.gets) == 1


def test_a_refusal_says_what_to_do_by_hand(server, tag):
    server.script = [server.status(403)]
    with pytest.raises(DownloadError, match=f"answers 403 .*download {hub.address(tag)} and put it at {location(tag)}"):
        fetch(tag)
    assert len(server.gets) == 1


def test_a_busy_server_is_asked_again(server, tag):
    server.script = [server.status(503), server.status(500), server.status(429)]
    assert fetch(tag).read_bytes() == server.content
    assert len(server.gets) == 4


def test_a_server_that_stays_busy_is_given_up(server, tag):
    server.script = [server.status(503)] * 20
    with pytest.raises(DownloadError, match=f"in {transfer.TRIES} tries .the server answers 503"):
        fetch(tag)
    assert len(server.gets) == transfer.TRIES


def test_a_server_may_say_how_long_to_wait_within_bounds(server, make_tag, monkeypatch):
    tag = make_tag()
    began = time.monotonic()
    server.script = [server.status(503, Retry_After="1")]
    fetch(tag)
    assert time.monotonic() - began >= 1

    location(tag).unlink()
    monkeypatch.setattr(transfer, "LONGEST_PAUSE", 0.1)
    began = time.monotonic()
    server.script = [server.status(503, Retry_After=when)
                     for when in ("86400", "Fri, 31 Dec 2999 23:59:59 GMT", "soon")]
    fetch(tag)
    assert time.monotonic() - began < 60


def test_a_slow_line_goes_on_and_a_dead_one_does_not(server, make_tag, monkeypatch):
    tag = make_tag()
    monkeypatch.setattr(transfer, "TIMEOUT", 0.5)
    server.script = [server.serve(parts=10, gap=0.1)]  # twice as long as the timeout
    assert fetch(tag).read_bytes() == server.content
    assert sent(server) == [SIZE]

    location(tag).unlink()
    server.requests.clear()
    server.script = [server.serve(cut=HALF, hang=True)]
    began = time.monotonic()
    assert fetch(tag).read_bytes() == server.content
    assert time.monotonic() - began < 20  # and not TIMEOUT's 30 s
    assert sent(server) == [HALF, HALF]


def test_a_disk_without_room_is_noticed_before(server, tag, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(DownloadError, match="no room in .*home/weights.* .*KERAZOO_HOME"):
        fetch(tag)
    assert len(server.gets) == 1


@pytest.mark.parametrize("hub", [False, True])
def test_without_a_server_the_way_by_hand_is_told_at_once(hub, make_tag, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    tag = make_tag(hub, **({} if hub else {"url": f"http://{host}/weights.pth"}))
    monkeypatch.setenv("HF_ENDPOINT", f"http://{host}")
    with pytest.raises(DownloadError, match=f"{host} cannot be reached .*refused.*put it at {location(tag)}"):
        fetch(tag)


@pytest.mark.parametrize("hub", [False, True])
def test_without_a_network_the_way_by_hand_is_told_at_once(hub, make_tag, monkeypatch):
    asked = []

    def no_names(*arguments, **options):
        asked.append(arguments)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    tag = make_tag(hub, **({} if hub else {"url": "https://weights.invalid/weights.pth"}))
    monkeypatch.setenv("HF_ENDPOINT", "https://weights.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", no_names)
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
    assert fetch(make_tag()).read_bytes() == server.content
    assert len(calls) == 3


ELSEWHERE = ["http://example.com/weights.pth", "file:///etc/weights.pth", "ftp://127.0.0.1/w.pth"]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_only_https_is_taken(url, server, make_tag):
    with pytest.raises(DownloadError, match=f"https:// addresses only; got {url}"):
        fetch(make_tag(url=url))
    assert server.requests == []


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_server_is_followed_to_https_only(url, server, tag):
    # From a plain address, and from the Hub to its store. Python itself refuses file:// there.
    server.store = url
    server.script = [server.status(302, Location=url)]
    with pytest.raises(DownloadError, match=f"(https:// addresses only; got |Redirection to url '){url}"):
        fetch(tag)
    assert [request["method"] for request in server.requests] == ["HEAD", "GET"][not tag.repo:]


def test_a_server_may_send_elsewhere(server, make_tag):
    server.script = [server.status(302, Location=f"{server.url}/elsewhere"), server.serve(cut=HALF),
                     server.status(302, Location=f"{server.url}/elsewhere")]
    assert fetch(make_tag()).read_bytes() == server.content
    assert server.gets[-1]["headers"]["Range"] == f"bytes={HALF}-"
    assert server.gets[-1]["path"] == "/elsewhere"
