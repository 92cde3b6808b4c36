"""How many connections the client may have open at once."""

from __future__ import annotations

try:
    import resource
except ImportError:  # Windows, where sockets are not files
    resource = None  # type: ignore[assignment]

_RESERVED = 256  # other open files: modules, logs, the tokenizer, /proc, the result
_FEWEST = 16
_MOST = 60_000  # about as many as the ports of one address allow


def connections_allowed() -> int:
    """Return how many connections may be open; raises the soft limit of open files first.

    A load generator that runs out of files cannot even write its result. Source of the limit:
    ``getrlimit(2)``, RLIMIT_NOFILE.
    """
    if resource is None:
        return _MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        soft = _lifted(soft, hard)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return int(max(_FEWEST, min(_MOST, soft - _RESERVED)))


def _lifted(soft: int, hard: int) -> int:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS reports a hard limit that it does not accept
        return soft
    return hard
