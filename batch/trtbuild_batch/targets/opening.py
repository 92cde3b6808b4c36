"""What ``--target`` names, and the client for it."""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from trtbuild.client.transport import Protocol
from trtbuild.errors import UsageError
from trtbuild.server_records import find_server
from trtbuild.signature.requests import EmbedRequest
from trtbuild_batch.asking import Question
from trtbuild_batch.engine import Outcome

FORMS = (
    "MODEL of a running server, triton:grpc://HOST:PORT/MODEL, triton:http://HOST:PORT/MODEL, "
    "http://HOST:PORT/v1 with --model, or openai:http://HOST:PORT/v1#MODEL"
)


class Target(typing.Protocol):
    """A served model, or an endpoint with several."""

    async def open(self) -> Mapping[str, Any]:
        """Check that it answers; return what identifies the model, for the fingerprint."""

    async def ask(self, question: Question) -> Outcome:
        """Return the answer. CallError without one."""

    async def embed(self, request: EmbedRequest) -> list[Outcome]:
        """Return a vector for each text of the request. CallError without them."""

    async def alive(self) -> bool:
        """Whether it answers anything now."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class Address:
    """A target: ``kind`` is ``openai``, ``triton-grpc`` or ``triton-http``; ``url`` is a base URL
    or ``HOST:PORT``; ``metrics`` is where Triton or vLLM has its metrics."""

    kind: str
    url: str
    model: str
    metrics: str = ""


def parse(text: str, model: str = "") -> Address:
    """Return the target that ``--target`` and ``--model`` name.

    Raises:
        UsageError: They name none.
    """
    if "://" not in text and ":" not in text and text:
        return _running(text)
    where = text if text.startswith("http") else text.partition(":")[2]
    try:
        parts = urlsplit(where)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or "@" in parts.netloc:
        raise _no_target(text)
    named = parts.path.strip("/")
    if text.startswith("triton:") and parts.scheme in ("grpc", "http") and parts.port:
        if named and "/" not in named:
            kind = f"triton-{parts.scheme}"
            return Address(kind, parts.netloc, named, _metrics(kind, parts.netloc))
    elif parts.scheme in ("http", "https") and text.startswith(("http", "openai:")):
        url = where.partition("#")[0].rstrip("/")
        return Address("openai", url, model or parts.fragment, _metrics("openai", url))
    raise _no_target(text)


def _no_target(text: str) -> UsageError:
    # What precedes an @ may be a password.
    shown = "a target with a user name" if "@" in text else repr(text)
    return UsageError(
        f"{shown} is not a target",
        where="--target",
        fix=f"write {FORMS}; --api-key-env NAME sends a key",
    )


def _running(name: str) -> Address:
    server = find_server(name)
    if server is None:
        raise UsageError(
            f"no running server has the model {name!r}",
            where="--target",
            fix=f"start one with `trtbuild serve`, or write {FORMS}",
        )
    metrics = f"http://{server.host}:{server.metrics_port}/metrics"
    return Address("triton-grpc", server.url("grpc"), name, metrics)


def _metrics(kind: str, url: str) -> str:
    """Return where metrics usually are: at OpenAI endpoints below the root, at Triton on the port
    that follows those of gRPC and HTTP."""
    if kind == "openai":
        return urlsplit(url)._replace(path="/metrics", query="", fragment="").geturl()
    host, _, port = url.rpartition(":")
    after = {"8000": "8002", "8001": "8002"}.get(port, "")
    return f"http://{host}:{after}/metrics" if after else ""


def open_target(
    address: Address, *, timeout: float, api_key_env: str = "", connections: int = 512
) -> Target:
    """Return the client for an address; nothing is sent yet.

    Raises:
        UsageError: The variable with the API key is not set.
    """
    key = os.environ.get(api_key_env, "") if api_key_env else ""
    if api_key_env and not key:
        raise UsageError(
            f"the variable {api_key_env} is not set", where="--api-key-env", fix="export it first"
        )
    if address.kind == "openai":
        from trtbuild_batch.targets.openai import OpenAITarget

        return OpenAITarget(
            address.url, address.model, timeout=timeout, api_key=key, connections=connections
        )
    from trtbuild_batch.targets.triton import TritonTarget

    protocol: Protocol = "grpc" if address.kind == "triton-grpc" else "http"
    return TritonTarget(address.url, address.model, protocol, timeout=timeout)
