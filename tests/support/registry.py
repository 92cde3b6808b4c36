"""An OCI registry in this process: blobs, manifests, ranges, tokens, and faults on demand."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Registry:
    """What is stored, what was asked for, and what goes wrong.

    Attributes:
        blobs: By digest.
        manifests: By tag and by digest.
        uploaded: Bytes of the bodies of uploads.
        requests: Method and path.
        account: ``name:password`` that is asked for; empty: none.
        basic: Whether it is asked for at once, and not by way of a token.
        cut: Bytes after which the next answers with a blob break off, one each.
        fail: Status of the next answers, one each.
        ranges: Whether it knows ranges.
        endless: Whether each answer is an error that never ends.
    """

    address: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploaded: int = 0
    requests: list[str] = field(default_factory=list)
    account: str = ""
    basic: bool = False
    cut: list[int] = field(default_factory=list)
    fail: list[int] = field(default_factory=list)
    ranges: bool = True
    endless: bool = False

    def manifest(self, tag: str) -> dict[str, Any]:
        """A manifest as an object."""
        found: dict[str, Any] = json.loads(self.manifests[tag])
        return found

    def damage(self, tag: str, number: int, content: bytes) -> None:
        """Put another blob where layer ``number`` lies."""
        self.blobs[self.manifest(tag)["layers"][number]["digest"]] = content


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry
    numbers = itertools.count()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.pop("size", "") or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def problem(self, status: int, code: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        self.answer(status, body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def serve(self) -> None:
        registry, url = self.registry, urlsplit(self.path)
        registry.requests.append(f"{self.command} {url.path}")
        content = self.body()
        if registry.endless:
            self.endless()
        elif url.path == "/token":
            self.token()
        elif registry.fail:
            self.problem(registry.fail.pop(0), "UNAVAILABLE")
        elif self.authorized():
            found = re.fullmatch(r"/v2/([a-z0-9/._-]+?)/(blobs|manifests)/(.+)", url.path)
            assert found, url.path
            kind, name = found[2], found[3]
            getattr(self, f"{self.command.lower()}_{kind}")(name, parse_qs(url.query), content)

    def endless(self) -> None:
        self.send_response(400)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(OSError):  # the client has enough
            while True:
                self.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    do_GET = do_HEAD = do_POST = do_PUT = serve

    def authorized(self) -> bool:
        if not self.registry.account:
            return True
        given = self.headers.get("Authorization", "")
        if given in (_basic(self.registry.account), "Bearer given"):
            return True
        realm = f'Bearer realm="http://{self.registry.address}/token",service="here"'
        headers = {"WWW-Authenticate": 'Basic realm="x"' if self.registry.basic else realm}
        self.answer(401, **{name.replace("-", "_"): value for name, value in headers.items()})
        return False

    def token(self) -> None:
        if self.headers.get("Authorization") == _basic(self.registry.account):
            self.answer(200, b'{"token": "given"}')
        else:
            self.problem(401, "UNAUTHORIZED")

    def head_blobs(self, name: str, *_: Any) -> None:
        found = self.registry.blobs.get(name)
        self.answer(404 if found is None else 200)

    def get_blobs(self, name: str, *_: Any) -> None:
        found = self.registry.blobs.get(name)
        if found is None:
            self.problem(404, "BLOB_UNKNOWN")
            return
        begin, status = 0, 200
        if self.registry.ranges and (asked := self.headers.get("Range")):
            begin, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(found) - begin))
        self.end_headers()
        if self.registry.cut and len(found) - begin > self.registry.cut[0]:
            self.wfile.write(found[begin : begin + self.registry.cut.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(found[begin:])

    def post_blobs(self, name: str, *_: Any) -> None:
        assert name == "uploads/"
        self.answer(202, Location=f"{urlsplit(self.path).path}{next(self.numbers)}?state=1")

    def put_blobs(self, name: str, query: dict[str, list[str]], content: bytes) -> None:
        digest = query["digest"][0]
        if digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
            self.problem(400, "DIGEST_INVALID")
            return
        self.registry.uploaded += len(content)
        self.registry.blobs[digest] = content
        self.answer(201)

    def put_manifests(self, name: str, query: Any, content: bytes) -> None:
        self.registry.uploaded += len(content)
        document = json.loads(content)
        for one in (*document["layers"], document["config"]):
            if one["digest"] not in self.registry.blobs:
                self.problem(400, "MANIFEST_BLOB_UNKNOWN")
                return
        self.registry.manifests[name] = content
        self.registry.manifests[f"sha256:{hashlib.sha256(content).hexdigest()}"] = content
        self.answer(201)

    def get_manifests(self, name: str, *_: Any) -> None:
        found = self.registry.manifests.get(name)
        if found is None:
            self.problem(404, "MANIFEST_UNKNOWN")
        else:
            self.answer(200, found, Content_Type=json.loads(found)["mediaType"])


def _basic(account: str) -> str:
    return f"Basic {base64.b64encode(account.encode()).decode()}"


@contextmanager
def registry() -> Iterator[Registry]:
    """A registry on a free port."""
    found = Registry()
    handler = type("Handler", (_Handler,), {"registry": found})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    found.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
