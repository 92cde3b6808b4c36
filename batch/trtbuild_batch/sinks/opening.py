"""What ``--sink`` names, and the sink for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from trtbuild.errors import UsageError
from trtbuild_batch.places import SCHEMES, absolute, place
from trtbuild_batch.sinks.model import Sink, SinkAddress

FORMS = (
    "FILE.parquet, lancedb:DIRECTORY#TABLE, postgresql://HOST/DATABASE#TABLE, "
    "qdrant:http://HOST:6333#COLLECTION or qdrant:DIRECTORY#COLLECTION"
)
EXTRAS = {"lancedb": "lancedb", "postgresql": "psycopg", "qdrant": "qdrant_client"}
"""The package that each kind of sink needs; the extra has the name of the kind."""
_SCHEMES = {"lancedb": SCHEMES, "postgresql": ("postgresql",), "qdrant": ("http", "https")}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


def parse(text: str, folder: Path = Path()) -> SinkAddress:
    """Return the sink that ``--sink`` names; ``folder`` is where a relative path begins.

    Raises:
        UsageError: It names none, or has a password.
    """
    if text.endswith(".parquet") and "#" not in text:
        return SinkAddress("parquet", str(_local(text, folder)))
    address, _, name = text.partition("#")
    kind, found, where = address.partition(":")
    if kind in ("postgresql", "postgres"):
        kind, where = "postgresql", f"postgresql:{where}"
    if not found or kind not in EXTRAS or not where or not _NAME.fullmatch(name):
        raise _no_sink(text)
    if "://" in where:
        try:
            parts = urlsplit(where)
            sound = parts.scheme in _SCHEMES[kind]
            secret = parts.password is not None or "password" in parts.query
        except ValueError:
            raise _no_sink(text) from None
        if secret or ("@" in parts.netloc and kind != "postgresql"):
            raise UsageError(
                "the URL of a sink must not contain a password",
                where="--sink",
                fix="leave it out: PostgreSQL reads PGPASSWORD and ~/.pgpass, Qdrant's key is in "
                "QDRANT_API_KEY",
            )
        if not sound:
            raise _no_sink(text)
        return SinkAddress(kind, where, name)
    if kind == "postgresql":
        raise _no_sink(text)
    return SinkAddress(kind, str(_local(where, folder)), name)


def _local(text: str, folder: Path) -> Path | str:
    return text if "://" in text else absolute(text, folder)


def _no_sink(text: str) -> UsageError:
    # What precedes an @ may be a password.
    shown = "a sink with a user name" if "@" in text else repr(text)
    return UsageError(
        f"{shown} is not a sink",
        where="--sink",
        fix=f"write {FORMS}; a name has letters, digits and _, at most 40",
    )


@contextmanager
def open_sink(address: SinkAddress, scratch: Path) -> Iterator[Sink]:
    """Yield the sink of an address; nothing is written yet.

    Args:
        address: The sink.
        scratch: A directory of this machine for temporary files.

    Raises:
        UsageError: Its library is not installed.
        BuildError: The database does not answer.
    """
    try:
        sink = _opened(address, scratch)
    except ImportError as error:
        missing = EXTRAS.get(address.kind, "")
        if not missing or (error.name or "").partition(".")[0] != missing:
            raise
        raise UsageError(
            f"{address} needs {missing}, which is not installed",
            fix=f"pip install 'trtbuild[batch,{address.kind}]'",
        ) from None
    try:
        yield sink
    finally:
        sink.close()


def _opened(address: SinkAddress, scratch: Path) -> Sink:
    if address.kind == "lancedb":
        from trtbuild_batch.sinks.lance import LanceSink

        return LanceSink(address)
    if address.kind == "postgresql":
        from trtbuild_batch.sinks.postgres import PostgresSink

        return PostgresSink(address)
    if address.kind == "qdrant":
        from trtbuild_batch.sinks.qdrant import QdrantSink

        return QdrantSink(address)
    from trtbuild_batch.sinks.parquet import ParquetSink

    return ParquetSink(place(address.where), scratch)
