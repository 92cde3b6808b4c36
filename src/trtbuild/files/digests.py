"""Cached SHA-256 digests: a file whose identity has not changed is not read again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Event, Lock

from trtbuild.files.staging import atomic_write
from trtbuild.progress import SILENT, Progress
from trtbuild.resources import cache_dir

_BLOCK = 1 << 20
_THREADS = 4
_KEPT = 8192
_WORTH_SAYING = 64 << 20
# A file rewritten within one tick of the file system's clock keeps its time stamp. Files younger
# than this are digested again the next time.
_RACY_NS = 200_000_000

_Digested = tuple[str, os.stat_result | None]
"""A digest, and the file's status; None if it was written while it was read."""


class DigestCache:
    """Digests by ``(device, inode, size, mtime)``, kept in a small JSON file.

    Losing it only costs time, so a damaged or unwritable file is not an error.
    """

    def __init__(self) -> None:
        self._path = cache_dir("digests", "sha256.json")
        self._known: dict[str, str] | None = None
        self._new: dict[str, str] = {}
        self._lock = Lock()

    def get(self, path: Path) -> str:
        """Return the digest of ``path`` as it is now, empty if it must be computed."""
        with self._lock:
            if self._known is None:
                self._known = self._read()
            key = _identity(path.stat())
            return self._new.get(key) or self._known.get(key, "")

    def put(self, status: os.stat_result, sha256: str) -> None:
        """Store the digest of the file that had this status from before it was read until after,
        unless it is too young for its time stamp to be reliable."""
        if time.time_ns() - status.st_mtime_ns > _RACY_NS:
            with self._lock:
                self._new[_identity(status)] = sha256

    def save(self) -> None:
        """Write new digests, merged with those of other processes; the oldest are dropped first."""
        if not self._new:
            return
        merged = {**self._read(), **self._new}
        kept = dict(list(merged.items())[-_KEPT:])
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self._path, json.dumps(kept).encode())

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(known, dict):
            return {}
        return {k: v for k, v in known.items() if isinstance(k, str) and isinstance(v, str)}


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def digest(path: Path, progress: Progress = SILENT, *, fresh: bool = False) -> str:
    """Return the SHA-256 of a file in hex. ``fresh`` reads it even if its digest is cached."""
    return digest_all({"": path}, progress, fresh=fresh)[""]


def digest_all(
    paths: Mapping[str, Path], progress: Progress = SILENT, *, fresh: bool = False
) -> dict[str, str]:
    """Return the SHA-256 of many files, by the same keys; reads in parallel. Raises OSError."""
    cache = DigestCache()
    found = {name: "" if fresh else cache.get(path) for name, path in paths.items()}
    wanted = [name for name, sha256 in found.items() if not sha256]
    if wanted:
        total = sum(paths[name].stat().st_size for name in wanted)
        if total > _WORTH_SAYING:
            progress.step(f"computing the SHA-256 of {len(wanted)} file{'s' * (len(wanted) > 1)}")
        counter = _Counter(total, progress)
        computed = _in_threads([paths[name] for name in wanted], counter)
        for name, (sha256, status) in zip(wanted, computed, strict=True):
            found[name] = sha256
            if status is not None:
                cache.put(status, sha256)
        cache.save()
    return found


class _Counter:
    def __init__(self, total: int, progress: Progress) -> None:
        self.done, self._total, self._progress = 0, total, progress
        self._lock = Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.done += count
            if self._total > _WORTH_SAYING:
                self._progress.advance(self.done, self._total)


def _in_threads(paths: Iterable[Path], counter: _Counter) -> list[_Digested]:
    from concurrent.futures import ThreadPoolExecutor

    stop = Event()
    with ThreadPoolExecutor(max_workers=min(_THREADS, os.cpu_count() or 1)) as pool:
        try:
            tasks = [pool.submit(_sha256, path, counter.add, stop) for path in paths]
            return [task.result() for task in tasks]
        except BaseException:  # on Ctrl-C, do not read the remaining gigabytes first
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _sha256(path: Path, add: Callable[[int], None], stop: Event) -> _Digested:
    sha = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as stream:
        before = os.fstat(stream.fileno())
        while not stop.is_set() and (count := stream.readinto(block)):
            sha.update(block[:count])
            add(count)
        same = _identity(before) == _identity(os.fstat(stream.fileno()))
    return sha.hexdigest(), before if same else None
