"""Where the parts of a deployment answer, as a user wrote it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from trtbuild.errors import UsageError


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts of a deployment answer.

    Attributes:
        server: Triton's HTTP address.
        metrics: Pages with metrics, as whole addresses.
        gateway: The gateway's address; empty without one.
        traces: The API of Jaeger or Tempo; empty: no trace is looked for.
    """

    server: str
    metrics: tuple[str, ...] = ()
    gateway: str = ""
    traces: str = ""

    def require_sound(self) -> None:
        """Raise UsageError for the first one that is not an address."""
        require_address("--url", self.server, "127.0.0.1:8000")
        for page in self.metrics:
            require_address("--metrics", page, "http://127.0.0.1:8002/metrics", full=True)
        if self.gateway:
            require_address("--gateway", self.gateway, "https://chat.example.org")
        if self.traces:
            require_address("--traces", self.traces, "http://tempo:3200", full=True)


def require_address(option: str, text: str, example: str, *, full: bool = False) -> None:
    """Raise UsageError unless ``text`` is HOST:PORT or a URL; ``full``: a URL.

    A login is refused, because no request would send it, and the text not repeated.
    """
    url = text if full or "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", text)
    except ValueError:
        sound = False
    if not sound or parts.scheme not in ("http", "https"):
        raise UsageError(f"{option} {text!r} is not an address", fix=f"such as {example}")
    if parts.username is not None:
        raise UsageError(
            f"{option} has a login, which no request sends", fix=f"leave it out, such as {example}"
        )
