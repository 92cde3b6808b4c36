"""A hub that takes commits: what ``huggingface_hub`` sends to make a repository, to commit files,
large ones by themselves, and to move tags."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from support.fake_hub import LARGE, Hub, Repo, _Handler


@contextmanager
def writable_hub(home: Path) -> Iterator[Hub]:
    """Serve a hub that is empty; each commit is a directory below ``home``."""
    hub = Hub()
    handler = type("Handler", (_Commits,), {"hub": hub, "home": home, "uploads": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Commits(_Handler):
    home: Path
    uploads: dict[str, bytes]

    def do_POST(self) -> None:
        path, content = self._asked()
        if self.hub.status:
            self._fail(self.hub.status, "", "scripted")
            return
        document = json.loads(content) if content[:1] == b"{" and b"\n" not in content else {}
        if path == "/api/repos/create":
            name = document.get("organization", "")
            name = f"{name}/{document['name']}" if name else document["name"]
            self._create(name)
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(document)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = [
                {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(LARGE)
                 else "regular", "shouldIgnore": False, "oid": None}
                for one in document["files"]
            ]  # fmt: skip
            self._json({"files": files})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            if self.hub.before_commit:
                self.hub.before_commit.pop()()
            self._take(found[1], [json.loads(line) for line in content.splitlines()])
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tag/([^/]+)", path):
            if self.hub.tag_faults:
                self._fail(self.hub.tag_faults.pop(), "", "scripted")
                return
            self._tag(found[1], document["tag"], found[2])
        else:
            self._fail(404, "", f"no such page {path}")

    def do_PUT(self) -> None:
        path, content = self._asked()
        self.uploads[path.rpartition("/")[2]] = content
        self._json({})

    def do_DELETE(self) -> None:
        path, _ = self._asked()
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tag/([^/]+)", path)
        assert found
        self.hub.repos[found[1]].refs.pop(found[2])
        self._json({})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(self.home / self.hub.repos[found[1]].refs.get(found[2], found[2]))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/refs", path):
            refs = self.hub.repos[found[1]].refs
            tags = [
                {"name": name, "ref": f"refs/tags/{name}", "targetCommit": commit}
                for name, commit in refs.items()
                if name != "main"
            ]
            self._json({"branches": [], "converts": [], "tags": tags})
        else:
            self._at(path)

    def do_HEAD(self) -> None:
        self._at(unquote(urlsplit(self.path).path))

    def _at(self, path: str) -> None:
        """Answer with the files of the commit that is asked for."""
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/.+", path)
        repo = self.hub.repos.get(found[1]) if found else None
        if found and repo:
            commit = repo.refs.get(found[2], found[2])
            repo.folder = self.home / commit
        self._answer(body=self.command != "HEAD")
        if repo:
            repo.folder = self.home / repo.refs["main"]

    def _asked(self) -> tuple[str, bytes]:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path, ""))
        return path, self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, document: object, status: int = 200) -> None:
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _create(self, name: str) -> None:
        if name in self.hub.repos:
            self._json({"error": "exists", "url": f"{self.hub.url}/{name}"}, 409)
            return
        commit = hashlib.sha1(name.encode()).hexdigest()
        (self.home / commit).mkdir()
        (self.home / commit / ".gitattributes").write_text("*.bin filter=lfs\n")
        self.hub.repos[name] = Repo(self.home / commit, {"main": commit})
        self._json({"url": f"{self.hub.url}/{name}", "name": name})

    def _batch(self, document: dict[str, Any]) -> None:
        objects = [
            {"oid": one["oid"], "size": one["size"], "authenticated": True,
             "actions": {"upload": {"href": f"{self.hub.url}/put/{one['oid']}", "header": {}}}}
            for one in document["objects"]
        ]  # fmt: skip
        self._json({"transfer": "basic", "objects": objects})

    def _take(self, name: str, lines: list[dict[str, Any]]) -> None:
        repo = self.hub.repos[name]
        if lines[0]["value"].get("parentCommit", repo.refs["main"]) != repo.refs["main"]:
            self._fail(412, "", "A commit has happened since. Please refresh and try again.")
            return
        commit = hashlib.sha1(json.dumps([repo.refs["main"], lines]).encode()).hexdigest()
        folder = self.home / commit
        shutil.copytree(repo.folder, folder)
        for line in lines:
            key, value = line["key"], line["value"]
            path = folder / value.get("path", "x")
            path.parent.mkdir(parents=True, exist_ok=True)
            if key == "file":
                path.write_bytes(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                path.write_bytes(self.uploads[value["oid"]])
            elif key == "deletedFile":
                path.unlink()
        repo.folder, repo.refs["main"] = folder, commit
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self._json({"commitUrl": url, "commitOid": commit, "hookOutput": ""})

    def _tag(self, name: str, tag: str, revision: str) -> None:
        self.hub.repos[name].refs[tag] = revision
        self._json({})

    def _tree(self, folder: Path) -> None:
        self._json([_file(folder, path) for path in folder.rglob("*") if path.is_file()])


def _file(folder: Path, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    found = {
        "type": "file",
        "path": path.relative_to(folder).as_posix(),
        "size": len(content),
        "oid": blob,
    }
    if path.name.endswith(LARGE):
        sha = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 134}
    return found
