"""How many connections the client may have open at once."""

from __future__ import annotations

try:
    import resource
except ImportError:  # Windows, where sockets are no files
    resource = None  # type: ignore[assignment]

_RESERVED = 256  # files that are no connections: modules, logs, the tokenizer, /proc, the result
_FEWEST = 16
_MOST = 60_000  # what the ports of one address to one server allow, nearly


def connections_allowed() -> int:
    """Connections that may be open at once; lifts the soft limit of open files to the hard one.

    A load generator that runs out of files cannot even write down what it has measured. Source
    of the limit: ``getrlimit(2)``, RLIMIT_NOFILE.
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
    except (OSError, ValueError):  # macOS names a hard limit that it does not take
        return soft
    return hard
