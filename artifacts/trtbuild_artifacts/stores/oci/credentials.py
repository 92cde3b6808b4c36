"""Credentials for a registry, from where docker and podman keep them.

Nothing here is logged or shown: values go into one header of one request.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.process import run
from trtbuild.resources import expanded

_DOCKER_HUB = "https://index.docker.io/v1/"
_HELPER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, or a token that is exchanged for others."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header; empty without a password."""
        if not self.password:
            return ""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def find(registry: str) -> Credentials:
    """What is known of ``registry`` (``HOST[:PORT]``), empty if nothing is.

    Looked at in this order: the JSON in ``DOCKER_AUTH_CONFIG``, ``config.json`` in
    ``DOCKER_CONFIG`` or ``~/.docker``, ``REGISTRY_AUTH_FILE``, podman's ``auth.json``.
    """
    for document in _documents():
        found = _looked_up(document, registry)
        if found is not None:
            return found
    return Credentials()


def _documents() -> Iterator[dict[str, Any]]:
    env = os.environ
    texts = [env.get("DOCKER_AUTH_CONFIG", "")]
    paths = []
    with contextlib.suppress(UsageError):  # a user without a home directory
        paths.append(expanded(env.get("DOCKER_CONFIG") or "~/.docker") / "config.json")
    paths += [Path(env["REGISTRY_AUTH_FILE"])] if env.get("REGISTRY_AUTH_FILE") else []
    if env.get("XDG_RUNTIME_DIR"):
        paths.append(Path(env["XDG_RUNTIME_DIR"], "containers", "auth.json"))
    for path in paths:
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    for text in texts:
        try:
            document = json.loads(text)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document


def _looked_up(document: dict[str, Any], registry: str) -> Credentials | None:
    keys = [registry, f"https://{registry}", f"http://{registry}"]
    if registry == "docker.io":
        keys = [_DOCKER_HUB, "index.docker.io", *keys]
    helpers = document.get("credHelpers")
    for key in keys:
        if isinstance(helpers, dict) and isinstance(helpers.get(key), str):
            return _helped(helpers[key], key)
    auths = document.get("auths")
    for key in keys:
        entry = auths.get(key) if isinstance(auths, dict) else None
        if isinstance(entry, dict) and (found := _entry(entry)):
            return found
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        return next((found for key in keys if (found := _helped(store, key))), None)
    return None


def _entry(entry: dict[str, Any]) -> Credentials | None:
    token = str(entry.get("identitytoken") or "")
    if entry.get("auth"):
        try:
            pair = base64.b64decode(str(entry["auth"])).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        username, _, password = pair.partition(":")
        return Credentials(username, password, token)
    if entry.get("username") and entry.get("password"):
        return Credentials(str(entry["username"]), str(entry["password"]), token)
    return Credentials(identity_token=token) if token else None


def _helped(name: str, key: str) -> Credentials | None:
    """Ask ``docker-credential-NAME``; ``<token>`` as the user name marks an identity token."""
    done = run([f"docker-credential-{name}", "get"], timeout=_HELPER_SECONDS, stdin=key)
    try:
        answer = json.loads(done.stdout) if done.ok else {}
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        return None
    if username == "<token>":
        return Credentials(identity_token=secret)
    return Credentials(username, secret)
