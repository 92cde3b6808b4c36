"""What a key has used, counted in this process: sliding windows of 60 slots, and open requests.

A window holds for *any* 60 seconds or 24 hours: the slot in which it begins counts as a whole.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

SLOTS = 60
_SWEEP_EVERY = 1000  # reservations


class Wanted(NamedTuple):
    """What a request takes from one limit.

    Attributes:
        name: The limit, such as ``tokens_per_minute``.
        amount: What it takes, as far as it is known.
        most: The limit.
        span: The window in milliseconds.
    """

    name: str
    amount: int
    most: int
    span: int

    @property
    def unit(self) -> str:
        """``requests`` or ``tokens``."""
        return self.name.partition("_")[0]


class Row(NamedTuple):
    """A window at the time of a reservation.

    Attributes:
        slot: Where the amount was added.
        used: What was used before it.
        wait: Milliseconds until the amount fits; 0 if it does.
        reset: Milliseconds until the window is empty, if nothing is added later.
    """

    slot: int
    used: int
    wait: int
    reset: int


class Reservation(NamedTuple):
    """The answer to :meth:`Store.reserve`.

    Attributes:
        rows: One for each of what was wanted.
        full: Whether as many requests as allowed are open.
    """

    rows: Sequence[Row]
    full: bool

    @property
    def granted(self) -> bool:
        """Whether the amounts were taken."""
        return not self.full and not any(row.wait for row in self.rows)


class Store(Protocol):
    """Where is counted. Every method may raise StoreError."""

    async def reserve(
        self, owner: str, wanted: Sequence[Wanted], most_open: int | None, lease: str
    ) -> Reservation:
        """Take all amounts and a place among the open requests, or nothing."""

    async def settle(
        self, owner: str, wanted: Sequence[Wanted], slots: Sequence[int], lease: str
    ) -> None:
        """Add the amounts to slots of before, which may be negative, and free the place."""

    async def close(self) -> None:
        """Close connections."""


class StoreError(Exception):
    """The store cannot be reached."""


class _Window:
    """Amounts by slot, oldest first."""

    def __init__(self, span: int) -> None:
        self._width = span / SLOTS
        self._slots: deque[list[int]] = deque()
        self.total = 0

    def look(self, now: int, amount: int, most: int) -> Row:
        slot = int(now // self._width)
        while self._slots and self._slots[0][0] < slot - SLOTS:
            self.total -= self._slots.popleft()[1]
        excess = self.total + amount - most
        if excess <= 0:
            return Row(slot, self.total, 0, self._until(slot, now))
        newest = self._slots[-1][0] if self._slots else slot
        wait = self._until(self._freeing(excess), now)
        return Row(slot, self.total, wait, self._until(newest, now))

    def _freeing(self, excess: int) -> int:
        """Return the slot with whose end so much is free again."""
        for slot, held in self._slots:
            excess -= held
            if excess <= 0:
                return slot
        return self._slots[-1][0] if self._slots else 0

    def _until(self, slot: int, now: int) -> int:
        return max(1, round((slot + SLOTS + 1) * self._width - now))

    def add(self, slot: int, amount: int) -> None:
        if not self._slots or self._slots[-1][0] < slot:
            self._slots.append([slot, 0])
        for entry in reversed(self._slots):
            if entry[0] == slot:
                change = max(amount, -entry[1])
                entry[1] += change
                self.total += change
                return


class _Owner:
    def __init__(self) -> None:
        self.windows: dict[str, _Window] = {}
        self.leases: set[str] = set()

    def window(self, wanted: Wanted) -> _Window:
        found = self.windows.get(wanted.name)
        if found is None:
            found = self.windows[wanted.name] = _Window(wanted.span)
        return found


class LocalStore:
    """Counts in this process; a restart forgets it. A :class:`Store`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._owners: dict[str, _Owner] = {}
        self._until_sweep = _SWEEP_EVERY

    async def reserve(
        self, owner: str, wanted: Sequence[Wanted], most_open: int | None, lease: str
    ) -> Reservation:
        """See :class:`Store`."""
        now = int(self._clock() * 1000)
        self._until_sweep -= 1
        if not self._until_sweep:
            self._sweep(now)
        held = self._owners.setdefault(owner, _Owner())
        rows = [held.window(one).look(now, one.amount, one.most) for one in wanted]
        full = most_open is not None and len(held.leases) >= most_open
        made = Reservation(rows, full)
        if made.granted:
            held.leases.add(lease)
            for one, row in zip(wanted, rows, strict=True):
                held.window(one).add(row.slot, one.amount)
        return made

    async def settle(
        self, owner: str, wanted: Sequence[Wanted], slots: Sequence[int], lease: str
    ) -> None:
        """See :class:`Store`."""
        held = self._owners[owner]
        held.leases.discard(lease)
        for one, slot in zip(wanted, slots, strict=True):
            if one.amount:
                held.window(one).add(slot, one.amount)

    async def close(self) -> None:
        """See :class:`Store`."""

    def _sweep(self, now: int) -> None:
        """Forget whoever has used nothing lately."""
        self._until_sweep = _SWEEP_EVERY
        for name, owner in list(self._owners.items()):
            used = any(window.look(now, 0, 0).used for window in owner.windows.values())
            if not used and not owner.leases:
                del self._owners[name]
