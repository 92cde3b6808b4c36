"""Choose the ports of a server before it starts."""

from __future__ import annotations

from trtbuild import process
from trtbuild.errors import UsageError
from trtbuild.server import Ports

_AUTO = "auto"


def choose_ports(
    port: str,
    *,
    host: str,
    http: int | None = None,
    grpc: int | None = None,
    metrics: int | None = None,
    here: bool = True,
) -> Ports:
    """Return the three ports.

    Args:
        port: Empty for 8000, 8001, 8002; a number for three from there on; ``auto`` for free ones.
        host: The address they are on.
        http, grpc, metrics: Override one; 0 takes a free one.
        here: Whether the server runs on this machine, whose addresses and free ports are known.

    Raises:
        UsageError: An invalid or duplicate port, or an address that this machine does not have.
    """
    free = iter(_free_ports(host)) if here else iter(())
    if port == _AUTO and not here:
        raise UsageError(
            "cannot find free ports on another machine",
            fix="name the first of three: --port 8000",
        )
    if port == _AUTO:
        chosen = [next(free) for _ in range(3)]
    else:
        first = _port_number(port or "8000")
        chosen = [first, first + 1, first + 2]
    for index, given in enumerate((http, grpc, metrics)):
        if given is not None:
            chosen[index] = given or next(free)
    if len(set(chosen)) < 3:
        raise UsageError(
            f"HTTP, gRPC and metrics cannot share a port: {', '.join(map(str, chosen))}",
            fix="give each its own (--http-port, --grpc-port, --metrics-port)",
        )
    return Ports(*chosen)


def _free_ports(host: str) -> tuple[int, ...]:
    try:
        return process.free_ports(6, host)
    except (OSError, TypeError, UnicodeError) as error:  # the others: text that is no name
        raise UsageError(
            f"cannot listen on {host!r}: {getattr(error, 'strerror', None) or error}",
            fix="use --host 127.0.0.1, 0.0.0.0 for every address, or one that this machine has",
        ) from None


def _port_number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) <= 65533:
        return int(text)
    raise UsageError(f"{text!r} is not a port", fix="use --port auto, or a number up to 65533")
