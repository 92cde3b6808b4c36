"""What is evaluated, as it is written on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from trtbuild.client.transport import Protocol
from trtbuild.errors import UsageError

_FORMS = "MODEL, grpc://HOST:PORT/MODEL, http://HOST:PORT/MODEL, vectors:FILE, run:FILE or bm25"

Kind = Literal["model", "vectors", "run", "bm25"]


@dataclass(frozen=True, slots=True)
class Target:
    """A served model, or a file.

    Attributes:
        name: Its name in results.
        kind: A served model, vectors of all texts, a ranking, or BM25.
        place: ``HOST:PORT`` of a model, empty for the server that has it; or the file.
        model: The served model's name.
    """

    name: str
    kind: Kind
    place: str = ""
    protocol: Protocol = "grpc"
    model: str = ""


def parse_targets(texts: tuple[str, ...], protocol: Protocol = "grpc") -> list[Target]:
    """Targets; ``NAME=`` before one gives it a name of its own. ``protocol`` is for those that are
    only a name.

    Raises:
        UsageError: None, one that is not a target, or two of one name.
    """
    if not texts:
        raise UsageError("there is nothing to evaluate", fix=f"name a target: {_FORMS}")
    found = [_target(text, protocol) for text in texts]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two targets are called {name!r}", fix=f"give one a name: new={texts[-1]}"
            )
    return found


def _target(text: str, protocol: Protocol) -> Target:
    name, equals, rest = text.partition("=")
    if not equals or set("/:") & set(name):
        name, rest = "", text
    scheme, colon, place = rest.removeprefix("triton:").partition(":")
    if rest == "bm25":
        return Target(name or "bm25", "bm25")
    if colon and scheme in ("vectors", "run") and place:
        return Target(name or place, "vectors" if scheme == "vectors" else "run", place)
    if colon:
        return _served(name, rest.removeprefix("triton:"))
    if not rest or "/" in rest:
        raise UsageError(f"{text!r} is not a target", fix=f"write {_FORMS}")
    return Target(name or rest, "model", protocol=protocol, model=rest)


def _served(name: str, text: str) -> Target:
    try:
        url = urlsplit(text)
        host, model = url.netloc, url.path.strip("/")
        sound = url.scheme in ("grpc", "http") and bool(url.port) and not url.username
    except ValueError:
        sound, host, model = False, "", ""
    if not sound or not model or "/" in model:
        shown = "a target with a user name" if "@" in text else repr(text)
        raise UsageError(f"{shown} is not a target", fix=f"write {_FORMS}")
    protocol: Protocol = "grpc" if text.startswith("grpc") else "http"
    return Target(name or model, "model", host, protocol, model)
