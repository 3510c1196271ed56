"""A web server on this machine that misbehaves as told, and a cache of the test's own."""
import hashlib
import http.server
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
            handler.wfile.write(body[at:at + step])
            handler.seen["sent"] += len(body[at:at + step])
        if hang:
            server.release.wait(20)
        handler.close_connection = True

    return act


def status(code, **headers):
    return lambda handler: handler.answer(code, {name.replace("_", "-"): value for name, value in headers.items()})


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at every address. `script` holds what to do instead with the next GET requests, one each.

    What came in is in `requests`, a list of {"method", "path", "headers", "sent"}; sent counts bytes of the file.
    """

    serve, status = staticmethod(serve), staticmethod(status)

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.script, self.requests = b"", '"first"', [], []
        self.hub = None  # {"commit", "digest"}: answer HEAD requests as the Hugging Face Hub does
        self.busy = 0  # so many HEAD requests are answered 503
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, address):
        pass  # Clients hang up here on purpose.

    @property
    def gets(self):
        return [request for request in self.requests if request["method"] == "GET"]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.seen = {"method": self.command, "path": self.path, "headers": self.headers, "sent": 0}
        self.server.requests.append(self.seen)
        (self.server.script.pop(0) if self.server.script else self.server.serve())(self)

    def do_HEAD(self):
        self.server.requests.append({"method": self.command, "path": self.path, "headers": self.headers})
        if self.server.hub is None:
            return self.answer(404, {"X-Error-Code": "EntryNotFound"})
        if self.server.busy:
            self.server.busy -= 1
            return self.answer(503, {})
        # A large file's content lies on another host.
        self.answer(302, {
            "Location": f"http://localhost:{self.server.server_port}/elsewhere", "ETag": '"pointer"',
            "X-Repo-Commit": self.server.hub["commit"], "X-Linked-Etag": f'"{self.server.hub["digest"]}"',
            "X-Linked-Size": str(len(self.server.content)),
        })

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
def make_tag(server):
    """Publish content on the server: make_tag(content, **fields) -> Tag."""

    def make(content, **fields):
        server.content = content
        digest = hashlib.sha256(content).hexdigest()
        facts = {"model": "resnet18", "tag": "test_in1k", "layout": "torchvision", "license": "mit", "input_size": 224,
                 "mean": (0.5,) * 3, "std": (0.5,) * 3, "source": "a test", "url": f"{server.url}/weights.pth",
                 "hash": f"sha256:{digest[:8]}"}
        return Tag(**{**facts, **fields})

    return make
