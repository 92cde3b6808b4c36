"""A blob of a registry as a file that can be sought in: what is skipped is not downloaded."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx

from trtbuild_artifacts.stores.oci.client import Registry

_NEAR = 256 << 10
"""Bytes that are read and dropped rather than asked around with another request."""
_ATTEMPTS = 5
_MOST_AT_ONCE = 1 << 20
_PAUSE = 1.0


class BlobFile(io.RawIOBase):
    """Reads a blob from any position. A connection that breaks is opened again where it broke."""

    def __init__(self, registry: Registry, digest: str, size: int) -> None:
        self._registry, self._digest, self._size = registry, digest, size
        self._position = 0
        self._stream: Iterator[bytes] | None = None
        self._stream_at = 0
        self._rest = b""
        self._open = ExitStack()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Only remember the position: the next read goes there."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes | None:
        """Read what an archive's header has; what is longer is not a header."""
        if not 0 <= size <= _MOST_AT_ONCE:
            raise EOFError("its header is too long")
        return super().read(size)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; 0 at the end, also if the registry ends too early."""
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            return 0
        chunk = self._next()
        count = min(wanted, len(chunk))
        buffer[:count] = chunk[:count]
        self._rest = chunk[count:]
        self._position += count
        self._stream_at += count
        return count

    def chunks(self, offset: int, end: int) -> Iterator[bytes]:
        """The bytes from ``offset`` to ``end``, fewer if the registry ends too early."""
        self.seek(offset)
        while self._position < end:
            chunk = self._next()[: end - self._position]
            if not chunk:
                return
            self._rest = self._rest[len(chunk) :]
            self._position += len(chunk)
            self._stream_at += len(chunk)
            yield chunk

    def close(self) -> None:
        """End the connection."""
        self._open.close()
        super().close()

    def _next(self) -> bytes:
        """What comes at the position; empty at the end of the blob."""
        failures = 0
        while True:
            try:
                self._go()
                while not self._rest and self._stream is not None:
                    chunk = next(self._stream, b"")
                    if not chunk:
                        return b""
                    self._rest = chunk
                return self._rest
            except httpx.HTTPError as error:
                failures += 1
                self._forget()
                if failures == _ATTEMPTS:
                    raise self._registry.unreachable(error) from None
                time.sleep(_PAUSE)

    def _go(self) -> None:
        """Bring the stream to the position."""
        gap = self._position - self._stream_at
        if self._stream is not None and 0 <= gap <= _NEAR:
            while gap:
                self._rest = self._rest or next(self._stream, b"")
                if not self._rest:
                    return
                dropped = min(gap, len(self._rest))
                self._rest = self._rest[dropped:]
                self._stream_at += dropped
                gap -= dropped
            return
        self._forget()
        blob = self._registry.blob(self._digest, self._position)
        self._stream = self._open.enter_context(blob)
        self._stream_at = self._position

    def _forget(self) -> None:
        self._open.close()
        self._stream, self._rest = None, b""
