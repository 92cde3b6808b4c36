"""Hands the options of a request from preprocessing to postprocessing, in shared memory.

The ensemble has no way for it that costs less than another step, and its tensors only meet the
first piece of a stream. Both models are children of one server on one machine, whose Python
backend needs /dev/shm itself. See docs/concepts/ensemble.md.

A writer has a file of slots that both map: making a small file for each request takes a tenth
of a millisecond. What does not fit into a slot or finds its slot taken by a text that still waits,
what a client named itself, and all while /dev/shm has no room for the slots, is a file.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
import tempfile
import time
from pathlib import Path

from llm_settings import SettingsError

_SLOTS = 8192  # about as many requests may be between the two models before files are needed
_SLOT = 512  # bytes: the key (0: the slot is free), when it was put, the length, the text
_HEAD = struct.Struct("<qdi")
_FREE = bytes(8)
# A text that nobody took: the engine refused the request, or the server was killed.
_STALE_SECONDS = 3600.0
_TIDY_SECONDS = 600.0  # how often they are looked for in a server that runs


class Mailbox:
    """Texts by key. Keys are numbers that a writer counts up, or texts that clients made."""

    def __init__(self, root=None):
        shared = Path(root or "/dev/shm")  # noqa: S108 - the directory below it is ours alone
        root = shared if shared.is_dir() else Path(tempfile.gettempdir())
        self._folder = root / f"trtbuild_streams_{os.getuid()}_{os.getppid()}"
        for folder in root.glob(f"trtbuild_streams_{os.getuid()}_*"):
            _sweep(folder)
        self._own = None
        self._no_ring_until = 0.0
        self._rings = {}
        self._tidied = time.monotonic()
        self._make()

    def put(self, key, text):
        """Leave ``text`` under ``key``, before anybody can ask for it."""
        data = text.encode("utf-8")
        if isinstance(key, int) and len(data) <= _SLOT - _HEAD.size and self._put(key, data):
            return
        self._tidy()
        path = self._path(key)
        try:
            path.write_bytes(data)
        except OSError:  # half of it would be taken for the whole
            path.unlink(missing_ok=True)
            raise

    def take(self, key):
        """The text under ``key``, or None."""
        if isinstance(key, int):
            found = self._look(key)
            if found is None and self._find_rings():
                found = self._look(key)
            if found is not None:
                return found
        path = self._path(key)
        try:
            text = path.read_text(encoding="utf-8")
            path.unlink()
        except FileNotFoundError:
            return None
        return text

    def close(self):
        """Remove what is ours, and the directory unless somebody else's lies in it."""
        if self._own:
            self._own.close()
            os.close(self._descriptor)
            self._own_path.unlink(missing_ok=True)
            self._own = None
        for ring in self._rings.values():
            ring.close()
        self._rings = {}
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _put(self, key, data):
        """Whether the slot of ``key`` was free, or of a text that nobody will take."""
        ring = self._own or self._open_own()
        if ring is None:
            return False
        at = key % _SLOTS * _SLOT
        waits, since, _ = _HEAD.unpack_from(ring, at)
        now = time.time()
        if waits and now - since < _STALE_SECONDS:
            return False
        ring[at : at + _HEAD.size + len(data)] = _HEAD.pack(key, now, len(data)) + data
        return True

    def _tidy(self):
        if time.monotonic() - self._tidied > _TIDY_SECONDS:
            self._tidied = time.monotonic()
            _sweep(self._folder)
            self._make()

    def _look(self, key):
        at = key % _SLOTS * _SLOT
        for ring in self._rings.values():
            found, _, length = _HEAD.unpack_from(ring, at)
            if found == key:
                text = ring[at + _HEAD.size : at + _HEAD.size + length].decode("utf-8")
                ring[at : at + len(_FREE)] = _FREE
                return text
        return None

    def _open_own(self):
        """Our ring, or None while there is no room for it."""
        if time.monotonic() < self._no_ring_until:
            return None
        self._make()
        self._own_path = self._folder / f"{os.getpid()}_{os.urandom(4).hex()}.ring"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._descriptor = os.open(self._own_path, flags, 0o600)
        # Held for as long as this process lives: by it others see that the file is in use.
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        try:
            # Writing to a page that a full /dev/shm cannot give would kill this process (SIGBUS).
            os.posix_fallocate(self._descriptor, 0, _SLOTS * _SLOT)
        except OSError:
            os.close(self._descriptor)
            self._own_path.unlink(missing_ok=True)
            self._no_ring_until = time.monotonic() + _TIDY_SECONDS
            return None
        self._own = mmap.mmap(self._descriptor, _SLOTS * _SLOT)
        return self._own

    def _find_rings(self):
        """Map the rings that are new; whether there are any."""
        new = [path for path in self._folder.glob("*.ring") if path.name not in self._rings]
        for path in new:
            with path.open("r+b") as file:
                self._rings[path.name] = mmap.mmap(file.fileno(), 0)
        return bool(new)

    def _make(self):
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if self._folder.is_symlink() or self._folder.stat().st_uid != os.getuid():
            raise SettingsError(f"{self._folder} belongs to somebody else: remove it")

    def _path(self, key):
        # A client's request id may be any text.
        return self._folder / hashlib.sha256(str(key).encode()).hexdigest()


def _sweep(folder):
    """Take away what dead processes left."""
    oldest = time.time() - _STALE_SECONDS
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _is_dead(path) if path.suffix == ".ring" else path.lstat().st_mtime < oldest:
                path.unlink()
        if folder.stat().st_mtime < oldest:
            folder.rmdir()


def _is_dead(path):
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
