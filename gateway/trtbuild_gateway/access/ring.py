"""The keys as the running gateway knows them: read again when the file changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from trtbuild.errors import RecipeError
from trtbuild_gateway.access.keys import Key, read_keys

_log = logging.getLogger("trtbuild.gateway")
_LOOK_SECONDS = 0.5
_OTHERS = 0o077


class KeyRing:
    """The keys of a file.

    A change counts at the latest half a second later, a revocation too. A file that cannot be read
    any more changes nothing: the log says so, and the keys stay as they were.

    Raises:
        RecipeError: The file cannot be read at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = self._marked()
        self._keys: Mapping[str, Key] = read_keys(path)
        self._looked = time.monotonic()
        if path.stat().st_mode & _OTHERS:
            _log.warning("other users can read %s: chmod 600 it", path)

    def __len__(self) -> int:
        return len(self._keys)

    def all(self) -> Iterable[Key]:
        """Return every key."""
        self._refresh()
        return self._keys.values()

    def find(self, key_id: str) -> Key | None:
        """Return the key with an id."""
        self._refresh()
        return self._keys.get(key_id)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._look()

    def _look(self) -> None:
        mark = self._marked()
        if mark == self._mark:
            return
        self._mark = mark
        try:
            self._keys = read_keys(self._path)
        except RecipeError as error:
            _log.error("%s; the keys stay as they were", error.what)
            return
        _log.info("%d keys read from %s", len(self._keys), self._path)

    def _marked(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
