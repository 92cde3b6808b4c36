"""Resumable downloads of large files from the hub.

``huggingface_hub`` 2 restarts an interrupted file, because it downloads into a file with a random
name. Here a file of known digest is collected under that digest next to its final place in the
hub's own cache, so a second run requests only the rest, and every other tool finds the result.
The layout (``blobs/<etag>``, ``snapshots/<commit>/<name>`` pointing there) is documented
at https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO

from trtbuild.checkpoint.hub_errors import HubUnreachableError, explained
from trtbuild.files import exclusive
from trtbuild.progress import Progress

_THREADS = 4
_TRIES = 5  # consecutive failures without any new byte
_TIMEOUT_S = 30.0
_TICK_S = 0.1
_LEAVE_S = 1.0


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file to download: its name, URL, and size and SHA-256 as the hub declares them."""

    name: str
    url: str
    size: int
    sha256: str


class Download:
    """A download of files of one commit into the cache directory of a repository."""

    def __init__(self, repo: str, commit: str, folder: Path) -> None:
        self._repo, self._commit, self._folder = repo, commit, folder
        self._stop = Event()
        self._have: dict[str, int] = {}

    def run(self, files: Sequence[WantedFile], progress: Progress, done: int, total: int) -> None:
        """Download ``files``; ``done`` of ``total`` bytes were already there.

        Raises:
            BuildError: The hub refuses, cannot be reached, or the disk is full. What arrived
                is kept for the next time, after Ctrl-C too.
        """
        (self._folder / "blobs").mkdir(parents=True, exist_ok=True)
        with exclusive(self._folder / "blobs"):
            same: dict[str, list[WantedFile]] = {}
            for file in files:
                same.setdefault(file.sha256, []).append(file)
            tasks = [(Future[None](), group) for group in same.values()]
            waiting = iter(tasks)  # shared: each task is one thread's
            # Daemons: at the end nothing waits for one whose server is silent.
            threads = [
                Thread(target=self._work, args=(waiting,), daemon=True) for _ in range(_THREADS)
            ]
            for thread in threads:
                thread.start()
            try:
                self._watch([task for task, _ in tasks], progress, done, total)
            except BaseException:
                self._stop.set()
                until = time.monotonic() + _LEAVE_S
                for thread in threads:
                    thread.join(max(0.0, until - time.monotonic()))
                raise

    def _work(self, waiting: Iterator[tuple[Future[None], list[WantedFile]]]) -> None:
        for task, group in waiting:
            if self._stop.is_set():
                return
            try:
                self._one(group)
                task.set_result(None)
            except BaseException as error:
                task.set_exception(error)

    def _watch(self, tasks: list[Future[None]], progress: Progress, done: int, total: int) -> None:
        while True:
            finished = [task for task in tasks if task.done()]
            for task in finished:
                task.result()
            progress.advance(min(done + sum(self._have.copy().values()), total), total)
            if len(finished) == len(tasks):
                return
            time.sleep(_TICK_S)

    def _one(self, group: list[WantedFile]) -> None:
        """Download the content that several names share, once."""
        file = group[0]
        blob = self._folder / "blobs" / file.sha256
        if not blob.is_file():
            part = blob.with_name(f"{file.sha256}.trtbuild.incomplete")
            with explained(self._repo, self._commit):
                self._collect(file, part)
            if self._stop.is_set():
                return
            part.replace(blob)
        for each in group:
            self._have[each.name] = each.size
            self._point(each.name, blob)

    def _collect(self, file: WantedFile, part: Path) -> None:
        """Append until the file is complete; reconnect after a broken connection."""
        with part.open("ab") as out:
            tries = 0
            while out.tell() < file.size and not self._stop.is_set():
                before = out.tell()
                try:
                    with explained(self._repo, self._commit):
                        self._receive(file, out)
                except HubUnreachableError:
                    tries = 0 if out.tell() > before else tries + 1
                    if tries >= _TRIES:
                        raise
                    self._stop.wait(0.5 * 2**tries)
            if out.tell() > file.size and not self._stop.is_set():
                out.truncate(0)  # not our content: start over the next time

    def _receive(self, file: WantedFile, out: BinaryIO) -> None:
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        headers = build_hf_headers(library_name="trtbuild")
        headers |= {"Range": f"bytes={out.tell()}-", "Accept-Encoding": "identity"}
        with get_session().stream(
            "GET", file.url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True
        ) as response:
            hf_raise_for_status(response)
            if response.status_code != 206 and not self._stop.is_set():
                out.seek(0)
                out.truncate()
            for chunk in response.iter_raw():
                if self._stop.is_set():  # a later download may be writing the file
                    return
                out.write(chunk)
                out.flush()
                self._have[file.name] = out.tell()

    def _point(self, name: str, blob: Path) -> None:
        """Link the snapshot's name to the blob; without links, copy it."""
        pointer = self._folder / "snapshots" / self._commit / name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            pointer.unlink()
        try:
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:
            shutil.copyfile(blob, pointer)
