"""Target addresses: ``triton:grpc://HOST:PORT/MODEL``, ``openai:http://…/v1#MODEL``…"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from trtbuild.errors import UsageError
from trtbuild.wire.pool import host_of

Kind = Literal["triton-grpc", "triton-http", "openai", "baseline"]

FORMS = (
    "triton:grpc://HOST:PORT/MODEL, triton:http://HOST:PORT/MODEL, "
    "openai:http://HOST:PORT/v1#MODEL or baseline:fastapi"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed target address.

    ``url`` is ``HOST:PORT`` for Triton, the base URL for OpenAI, empty for a baseline. ``model``
    is the model's name there, or the baseline's kind.
    """

    text: str
    kind: Kind
    url: str
    model: str
    name: str

    @property
    def port(self) -> int:
        """The port it listens on, 0 if unknown."""
        parts = urlsplit(self.url if "//" in self.url else f"//{self.url}")
        return parts.port or 0

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        parts = urlsplit(self.url if "//" in self.url else f"//{self.url}")
        return parts.hostname in ("127.0.0.1", "localhost", "::1")


def parse_target(text: str) -> Address:
    """Parse a target, optionally with a ``NAME=`` prefix.

    Raises:
        UsageError: It is not a target.
    """
    label, found, rest = text.partition("=")
    if not found or ":" in label or "/" in label:
        label, rest = "", text
    if _with_password(rest):  # which the result and the report would hold
        raise UsageError(
            "a target must not contain a user name or password",
            where=_hidden(rest),
            fix="leave them out; --api-key-env NAME sends the key that a variable holds",
        )
    try:
        address = _parse(rest)
    except ValueError:  # an invalid port or host
        address = None
    if address is None:
        raise UsageError(f"{_hidden(text)!r} is not a target", fix=f"write {FORMS}")
    kind, url, model = address
    return Address(text, kind, url, model, label or _name(kind, model))


def _with_password(rest: str) -> bool:
    try:
        return "@" in urlsplit(rest.partition(":")[2]).netloc
    except ValueError:
        return False


def _hidden(text: str) -> str:
    """Return the address for printing, without what precedes an ``@``: it may be a password."""
    head, found, rest = text.rpartition("@")
    return f"{head.partition('//')[0]}//***@{rest}" if found and "//" in head else text


def _parse(rest: str) -> tuple[Kind, str, str] | None:
    scheme, _, where = rest.partition(":")
    if scheme == "baseline" and where in ("fastapi", "fastapi-batched"):
        return "baseline", "", where
    parts = urlsplit(where)
    if not parts.hostname or (parts.port is not None and parts.port <= 0):
        return None
    host_of(parts)
    if scheme == "openai" and parts.scheme in ("http", "https") and parts.fragment:
        return "openai", where.partition("#")[0].rstrip("/"), parts.fragment
    model = parts.path.strip("/")
    if scheme == "triton" and model and "/" not in model and parts.port:
        if parts.scheme == "grpc":
            return "triton-grpc", parts.netloc, model
        if parts.scheme == "http":
            return "triton-http", parts.netloc, model
    return None


def _name(kind: Kind, model: str) -> str:
    return model if kind == "baseline" else f"{model} ({kind.replace('-', ' ')})"


def unique_names(addresses: list[Address]) -> None:
    """Raise UsageError if two targets have the same name."""
    seen: set[str] = set()
    for address in addresses:
        if address.name in seen:
            raise UsageError(
                f"two targets are called {address.name!r}",
                fix="give one a name of its own: NAME=openai:http://…",
            )
        seen.add(address.name)
