"""Claims: several machines divide the parts of a job without knowing of each other.

A claim is a small file that only one process can create, with the time when it lapses. Its owner
renews it; when the owner is gone, the next generation of the claim can be created, again by only
one. Whoever lost a claim without noticing (a paused machine) does harm to nobody: it publishes the
same rows under the same name, at once.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trtbuild.wire.failures import UNREADABLE
from trtbuild_batch.places import Place

_RENEWALS = 4  # in the time that a claim lasts


@dataclass(slots=True)
class Claims:
    """The claims of one process.

    Args:
        folder: The output directory that the processes share.
        seconds: How long a claim lasts without being renewed.
        clock: Seconds since 1970; the machines' clocks must agree to a fraction of ``seconds``.
    """

    folder: Place
    seconds: float = 60.0
    clock: Callable[[], float] = time.time
    owner: str = field(
        default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    )
    _held: dict[int, int] = field(default_factory=dict)
    _renewed: float = 0.0
    _closed: bool = False
    # Threads take, renew and release; one of them may outlive the job that it belongs to.
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, part: int) -> bool:
        """Claim a part; False if somebody else has it."""
        with self._lock:
            if part in self._held:
                return True
            newest = max(self._generations(part), default=0)
            if self._closed or (newest and self._lapses(part, newest) > self.clock()):
                return False
            if not self._file(part, newest + 1).create(self._content()):
                return False
            self._held[part] = newest + 1
            return True

    def release(self, part: int) -> None:
        """Give up a part that is published, and remove all that was claimed of it."""
        with self._lock:
            if self._held.pop(part, None):
                for generation in self._generations(part):
                    self._file(part, generation).remove()

    def withdraw(self, part: int) -> None:
        """Take back our own claim of a part: its former owner is alive, and may renew its own."""
        with self._lock:
            if generation := self._held.pop(part, None):
                self._file(part, generation).remove()

    def renew(self) -> None:
        """Make the claims last, several times before they would lapse."""
        with self._lock:
            now = self.clock()
            if now - self._renewed < self.seconds / _RENEWALS:
                return
            self._renewed = now
            for part, generation in self._held.items():
                self._file(part, generation).write(self._content())

    def give_up(self) -> None:
        """Let others take at once what is not done."""
        with self._lock:
            self._closed = True
            for part, generation in self._held.items():
                self._file(part, generation).write(self._content(lapsed=True))
            self._held.clear()

    def _generations(self, part: int) -> list[int]:
        stem = f".claim-{part:05d}."
        ends = (name.removeprefix(stem) for name in self.folder.names() if name.startswith(stem))
        return [int(end) for end in ends if end.isascii() and end.isdigit()]

    def _file(self, part: int, generation: int) -> Place:
        return self.folder / f".claim-{part:05d}.{generation}"

    def _content(self, *, lapsed: bool = False) -> bytes:
        until = 0.0 if lapsed else self.clock() + self.seconds
        return json.dumps({"owner": self.owner, "until": until}).encode()

    def _lapses(self, part: int, generation: int) -> float:
        try:
            return float(json.loads(self._file(part, generation).read() or b"{}")["until"])
        except UNREADABLE:
            return 0.0  # removed, or of a disk that was full
