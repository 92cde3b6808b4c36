"""A stand-in for Kubernetes' API: it stores what helm sends, and takes only what a cluster takes.

Helm applies objects as YAML (server-side apply) and keeps its releases in Secrets, which its client
sends as protobuf: the messages are k8s.io/apimachinery's runtime.Unknown and k8s.io/api's Secret.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from support.kubernetes import require_valid

_MAGIC = b"k8s\x00"
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))/namespaces/[^/]+/"
    r"(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?"
)
_KINDS = {
    "v1": ("Pod", "Service", "ServiceAccount", "ConfigMap", "Secret"),
    "apps/v1": ("Deployment",),
    "policy/v1": ("PodDisruptionBudget",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
}


@dataclass
class Api:
    """What was sent: objects by kind and name, the releases of helm, and every write."""

    url: str = ""
    version: str = "1.34"
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)


@contextlib.contextmanager
def kubernetes_api() -> Iterator[Api]:
    """Serve an empty cluster."""
    api = Api()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(api)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield api
        server.shutdown()


def _handler(api: Api) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self._body())

        do_PUT = do_PATCH = do_DELETE = do_POST

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, body: bytes) -> None:
            try:
                status, found = _answer(api, self.command, self.path, body)
            except Exception as error:  # what a cluster refuses is an answer, too
                status, found = 422, _status(422, f"{type(error).__name__}: {error}"[:2000])
            packed = isinstance(found, bytes)
            content = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            kind = "application/vnd.kubernetes.protobuf" if packed else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


def _status(code: int, text: str) -> dict[str, Any]:
    reason = {404: "NotFound", 409: "AlreadyExists", 422: "Invalid"}[code]
    return {
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "code": code, "message": text,
    }  # fmt: skip


def _answer(api: Api, method: str, target: str, body: bytes) -> tuple[int, Any]:
    url = urlsplit(target)
    match = _PATH.fullmatch(url.path)
    if match is None:
        return _discovery(api, url.path)
    group = match["core"] or match["group"]
    plural, name = match["plural"], match["name"] or ""
    if plural == "secrets":
        return _secret(api, method, name, body, parse_qs(url.query))
    kind = next(kind for kind in _KINDS[group] if _plural(kind) == plural)
    key = (kind, name)
    if method == "GET":
        found = api.objects.get(key)
        return (200, found) if found else (404, _status(404, f"{kind} {name} not found"))
    if method == "DELETE":
        api.writes.append(f"DELETE {kind}/{name}")
        gone = api.objects.pop(key, None)
        return (200, gone) if gone else (404, _status(404, f"{kind} {name} not found"))
    sent = yaml.safe_load(body)
    key = (kind, sent["metadata"]["name"])
    kept = {k: v for k, v in sent["metadata"].items() if k not in ("managedFields", "uid")}
    require_valid({**sent, "metadata": kept}, api.version)
    before = api.objects.get(key)
    if before and kind == "Deployment" and before["spec"]["selector"] != sent["spec"]["selector"]:
        return 422, _status(422, "spec.selector: field is immutable")
    if before is None or {**before, "metadata": kept} != {**sent, "metadata": kept}:
        api.writes.append(f"{method} {kind}/{key[1]}")
    api.objects[key] = {**sent, "metadata": {**kept, "uid": "1", "resourceVersion": "1"}}
    return (200 if before else 201), api.objects[key]


def _plural(kind: str) -> str:
    lower = kind.lower()
    return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"


def _discovery(api: Api, path: str) -> tuple[int, Any]:
    """The groups and kinds that the cluster has."""
    if path == "/version":
        major, minor = api.version.split(".")
        return 200, {"major": major, "minor": minor, "gitVersion": f"v{api.version}.0"}
    if path == "/api":
        return 200, {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [
            {"name": name.partition("/")[0], "versions": [version := {"groupVersion": name,
             "version": "v1"}], "preferredVersion": version}
            for name in _KINDS if "/" in name
        ]  # fmt: skip
        return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    group = path.removeprefix("/apis/").removeprefix("/api/")
    if group in _KINDS:
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        rows = [
            {"name": _plural(kind), "namespaced": True, "kind": kind, "verbs": verbs}
            for kind in _KINDS[group]
        ]
        found = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group}
        return 200, {**found, "resources": rows}
    return 404, _status(404, f"{path} not found")


def _secret(
    api: Api, method: str, name: str, body: bytes, query: dict[str, list[str]]
) -> tuple[int, Any]:
    """A Secret as the bytes of its message."""
    if method in ("POST", "PUT"):
        secret = _unpacked(body)
        meta = _first(secret, 1)
        name = name or _first(meta, 1).decode()
        if method == "POST" and name in api.secrets:
            return 409, _status(409, f"secrets {name} already exists")
        api.secrets[name] = secret
        return 201, _packed("Secret", secret)
    if method == "GET" and not name:
        wanted = dict(
            pair.split("=", 1) for pair in query.get("labelSelector", [""])[0].split(",") if pair
        )
        found = [one for one in api.secrets.values() if wanted.items() <= _labels(one).items()]
        return 200, _packed("SecretList", _field(1, b"") + b"".join(_field(2, s) for s in found))
    if name not in api.secrets:
        return 404, _status(404, f'secrets "{name}" not found')
    if method == "DELETE":
        return 200, _packed("Secret", api.secrets.pop(name))
    return 200, _packed("Secret", api.secrets[name])


def _labels(secret: bytes) -> dict[str, str]:
    entries = [value for number, value in _fields(_first(secret, 1)) if number == 11]
    return {_first(one, 1).decode(): _first(one, 2).decode() for one in entries}


def _unpacked(body: bytes) -> bytes:
    assert body.startswith(_MAGIC), "a Secret that is not protobuf"
    return _first(body[len(_MAGIC) :], 2)


def _packed(kind: str, message: bytes) -> bytes:
    types = _field(1, b"v1") + _field(2, kind.encode())
    return _MAGIC + _field(1, types) + _field(2, message)


def _first(message: bytes, number: int) -> bytes:
    return next((value for found, value in _fields(message) if found == number), b"")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message with their numbers; those that are not bytes are passed over."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            _, at = _varint(message, at)
        else:
            assert tag & 7 == 2, "a field of fixed size"
            size, at = _varint(message, at)
            yield tag >> 3, message[at : at + size]
            at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _field(number: int, value: bytes) -> bytes:
    made = bytearray([number << 3 | 2])
    size = len(value)
    while size > 127:
        made.append(size & 127 | 128)
        size >>= 7
    made.append(size)
    return bytes(made) + value
