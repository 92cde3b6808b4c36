"""A hub on this machine: serves real directories over HTTP, and fails on command.

It speaks what ``huggingface_hub`` asks of the real one: ``/api/models/ID[/revision/REV]`` and
``/ID/resolve/REV/FILE`` with HEAD, GET and byte ranges. Faults are scripted by attributes.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
OLDER = "b" * 40
LARGE = (".safetensors", ".bin")


@dataclass
class Repo:
    """A repository: its directory, its branches, and how it treats people."""

    folder: Path
    refs: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "v1": COMMIT})
    gated: bool = False
    lie_about_digest: bool = False


@dataclass
class Hub:
    """The state behind the server; tests read ``log`` and set the faults."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    log: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    bytes_sent: int = 0
    tokens: set[str] = field(default_factory=set)
    status: int = 0  # answer everything with this
    cut_after: int = 0  # break the next large download after so many bytes, once
    pause_after: int = 0  # stall large downloads after so many bytes, while it is set
    pause_seconds: float = 5  # at most
    pausing: set[object] = field(default_factory=set)  # answers that are stalled now
    ranges: bool = True
    before_commit: list[Callable[[], object]] = field(default_factory=list)  # one for each commit
    tag_faults: list[int] = field(default_factory=list)  # the status of the next new tags

    def gets(self, ending: str) -> list[str]:
        """The byte ranges of the GET requests for files that end so."""
        return [r for method, path, r in self.log if method == "GET" and path.endswith(ending)]


@contextmanager
def fake_hub(**repos: Path) -> Iterator[Hub]:
    """Serve ``repos`` (``org__name=folder``) on a free port of this machine."""
    hub = Hub(repos={name.replace("__", "/"): Repo(folder) for name, folder in repos.items()})
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path, self.headers.get("Range", "")))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token:
            self.hub.tokens.add(token)
        if self.hub.status:
            return self._fail(self.hub.status, "", "scripted")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._info(found[1], found[2] or "main")
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(found[1], found[2], found[3], body)
        return self._fail(404, "", "no such page")

    def _commit(self, name: str, revision: str) -> tuple[Repo, str] | None:
        """The repository and the commit, or None when an error has been answered."""
        repo = self.hub.repos.get(name)
        if repo is None:
            return self._fail(401, "RepoNotFound", "Repository not found")
        commit = repo.refs.get(revision) or (revision if revision in repo.refs.values() else "")
        if not commit:
            return self._fail(404, "RevisionNotFound", "Invalid rev id")
        return repo, commit

    def _info(self, name: str, revision: str) -> None:
        found = self._commit(name, revision)
        if found is None:
            return
        repo, commit = found
        siblings = [_sibling(repo, path) for path in sorted(repo.folder.rglob("*"))
                    if path.is_file()]  # fmt: skip
        info = {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": [],
                "private": False, "downloads": 0, "likes": 0, "gated": repo.gated}  # fmt: skip
        self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, revision: str, file: str, body: bool) -> None:
        found = self._commit(name, revision)
        if found is None:
            return None
        repo, commit = found
        if repo.gated:
            return self._fail(403, "GatedRepo", "Access to this model is restricted")
        path = repo.folder / file
        if not path.is_file():
            return self._fail(404, "EntryNotFound", "Entry not found")
        size = path.stat().st_size
        begin, end, status = self._wanted(size)
        headers = {
            "ETag": f'"{_digest(path)}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if file.endswith(LARGE):
            headers |= {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{_digest(path)}"'}
        if status == 206:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        return self._stream(path, begin, end, status, headers, body)

    def _wanted(self, size: int) -> tuple[int, int, int]:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None or not self.hub.ranges:
            return 0, size, 200
        end = min(int(asked[2]) + 1, size) if asked[2] else size
        return int(asked[1]), end, 206

    def _stream(
        self, path: Path, begin: int, end: int, status: int, headers: dict[str, str], body: bool
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        if not body:
            return
        left, cut = end - begin, self.hub.cut_after
        with path.open("rb") as source:
            source.seek(begin)
            while left:
                chunk = source.read(min(left, 64 * 1024))
                if cut and path.name.endswith(LARGE) and end - begin - left + len(chunk) > cut:
                    self.hub.cut_after = 0
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.close()
                    return
                self._pause(path, end - begin - left)
                try:
                    self.wfile.write(chunk)
                except OSError:
                    return  # the client has what it wanted
                self.hub.bytes_sent += len(chunk)
                left -= len(chunk)

    def _pause(self, path: Path, sent: int) -> None:
        deadline = time.monotonic() + self.hub.pause_seconds
        while path.name.endswith(LARGE) and 0 < self.hub.pause_after <= sent:
            if time.monotonic() > deadline:
                break
            self.hub.pausing.add(self)
            time.sleep(0.01)
        self.hub.pausing.discard(self)

    def _fail(self, status: int, code: str, text: str) -> None:
        headers = {"X-Error-Message": text}
        if code:
            headers["X-Error-Code"] = code
        self._send(status, json.dumps({"error": text}).encode(), headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _sibling(repo: Repo, path: Path) -> dict[str, Any]:
    name = path.relative_to(repo.folder).as_posix()
    size = path.stat().st_size
    entry: dict[str, Any] = {"rfilename": name, "size": size, "blobId": _digest(path)[:40]}
    if name.endswith(LARGE):
        sha = _digest(path)[:: -1 if repo.lie_about_digest else 1]
        entry["lfs"] = {"sha256": sha, "size": size, "pointerSize": 134}
    return entry


def _digest(path: Path) -> str:
    """Of the first megabyte and the size for huge sparse files, of everything else whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size < 1 << 28:
            return hashlib.sha256(file.read()).hexdigest()
        return hashlib.sha256(file.read(1 << 20) + str(size).encode()).hexdigest()
