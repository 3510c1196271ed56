"""A web server on this machine that misbehaves as told, and a cache of the test's own."""
import hashlib
import http.server
import os
import re
import threading
import time

import pytest

from kerazoo.weights import transfer
from kerazoo.weights.tags import Tag


def serve(cut=None, ranges=True, if_range=True, parts=1, gap=0.0, hang=False, length=None):
    """Send the file, or what is asked for of it.

    Args:
        cut: hang up after so many bytes.
        ranges: whether to know what a Range is. if_range: and an If-Range.
        parts, gap: send it in so many parts, seconds apart.
        hang: after the cut, keep the line open until `server.release` is set.
        length: the Content-Length to claim.
    """

    def act(handler):
        server, headers = handler.server, handler.headers
        content, start = server.content, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        if ranges and wanted and (not if_range or headers.get("If-Range", server.etag) == server.etag):
            start = int(wanted[1])
            if start >= len(content):
                return handler.answer(416, {"Content-Range": f"bytes */{len(content)}"})
        body = content[start:length]
        more = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        handler.answer(206 if start else 200, {"ETag": server.etag, "Content-Length": str(len(body)), **more})
        body = body[:cut]
        step = -(-len(body) // parts)
        for at in range(0, len(body), step):
            time.sleep(gap)
            # Counted first: a test may look as soon as the last byte is there.
            handler.seen["sent"] += len(body[at:at + step])
            handler.wfile.write(body[at:at + step])
        if hang:
            server.release.wait(20)
        handler.close_connection = True

    return act


def status(code, **headers):
    return lambda handler: handler.answer(code, {name.replace("_", "-"): value for name, value in headers.items()})


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at every address. `script` holds what to do instead with the next requests for it, one each.

    With `hub`, it is a Hugging Face Hub as well: it answers at addresses with /resolve/ with these headers, and sends
    on to `store`, where `content` is. `hub_script` holds what to do there instead.

    What came in is in `requests`, a list of {"method", "path", "headers", "sent"}; sent counts bytes of the file.
    `gets` are those for the content.
    """

    serve, status = staticmethod(serve), staticmethod(status)

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.script, self.requests = os.urandom(300_000), '"first"', [], []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.hub, self.hub_script, self.store = None, [], f"{self.url}/elsewhere"
        self.release = threading.Event()

    def handle_error(self, request, address):
        pass  # Clients hang up here on purpose.

    @property
    def gets(self):
        return [request for request in self.requests if not request["hub"]]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server, is_hub = self.server, bool(self.server.hub) and "/resolve/" in self.path
        self.seen = {"method": self.command, "path": self.path, "headers": self.headers, "hub": is_hub, "sent": 0}
        server.requests.append(self.seen)
        if is_hub:
            usual, script = status(302, Location=server.store, **server.hub), server.hub_script
        else:
            usual, script = serve(), server.script
        (script.pop(0) if script else usual)(self)

    do_HEAD = do_GET

    def answer(self, code, headers):
        self.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    for name in ("KERAZOO_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "http_proxy", "https_proxy",
                 "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(transfer, "PAUSE", 0.01)


@pytest.fixture
def make_tag(server, monkeypatch):
    """Publish what the server has: make_tag(hub=False, **fields) -> Tag."""

    def make(hub=False, **fields):
        digest = hashlib.sha256(server.content).hexdigest()
        if hub:
            monkeypatch.setenv("HF_ENDPOINT", server.url)
            server.hub = {"X-Repo-Commit": "c" * 40, "X-Linked-Etag": f'"{digest}"', "ETag": '"pointer"'}
            where = {"repo": "timm/resnet18.a1_in1k", "file": "model.safetensors"}
        else:
            where = {"url": f"{server.url}/weights.pth", "hash": f"sha256:{digest[:8]}"}
        facts = {"model": "resnet18", "tag": "test_in1k", "layout": "torchvision", "license": "mit", "input_size": 224,
                 "mean": (0.5,) * 3, "std": (0.5,) * 3, "source": "a test"}
        return Tag(**{**facts, **where, **fields})

    return make


@pytest.fixture(params=[False, True], ids=["address", "hub"])
def tag(request, make_tag):
    """A tag at a plain address, then one on the Hub."""
    return make_tag(hub=request.param)
