"""Limits of a key: what a request reserves, what it is settled with, and the headers about it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import msgspec

from trtbuild_gateway.access.counting import Reservation, Store, StoreError, Wanted
from trtbuild_gateway.access_settings import Limits
from trtbuild_gateway.failures import ApiError, unavailable
from trtbuild_gateway.seams import FREE, Admission, Outcome

_log = logging.getLogger("trtbuild.gateway")
_SPANS = {"minute": 60_000, "day": 86_400_000}
_SAY_EVERY = 10.0  # seconds
_RETRY_OPEN = 1000  # milliseconds: nobody knows when an open request ends
_NONE = Limits()


class Limiter:
    """Admits requests within limits.

    Args:
        store: Where is counted.
        admit_uncounted: Whether to admit requests while the store cannot be reached.
    """

    def __init__(self, store: Store, *, admit_uncounted: bool = False) -> None:
        self._store = store
        self._admit_uncounted = admit_uncounted
        self._said = -math.inf

    async def admit(self, owner: str, limits: Limits, tokens: int) -> Admission:
        """Admit a request of ``tokens`` for prompt and answer.

        Raises:
            ApiError: It needs more than a limit ever allows (400), a limit is reached (429), or
                nobody can tell (503).
        """
        if limits == _NONE:
            return FREE
        wanted = wanted_of(limits, tokens)
        for one in wanted:
            if one.amount > one.most:
                raise _never(one)
        # The client's request id must not name the lease: it may send the same one twice.
        lease = uuid4().hex
        try:
            found = await self._store.reserve(owner, wanted, limits.concurrent, lease)
        except StoreError as error:
            return self._without_store(error)
        headers = headers_of(wanted, found)
        if not found.granted:
            raise _refused(owner, limits, wanted, found, headers)
        slots = [row.slot for row in found.rows]
        return _Limited(self, owner, lease, tokens, wanted, slots, headers)

    def _without_store(self, error: StoreError) -> Admission:
        self.say(error)
        if self._admit_uncounted:
            return FREE
        raise unavailable("the limits cannot be checked now; try again later", "limits_unavailable")

    async def settle(
        self, owner: str, wanted: Sequence[Wanted], slots: Sequence[int], lease: str
    ) -> None:
        """Correct a reservation; a store that is gone forgets it with the window."""
        try:
            await self._store.settle(owner, wanted, slots, lease)
        except StoreError as error:
            self.say(error)

    def say(self, error: StoreError) -> None:
        """Log that the store is gone, not for every request."""
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            what = "admitted uncounted" if self._admit_uncounted else "refused"
            _log.error("%s: requests with limits are %s", error, what)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()


@dataclass(slots=True)
class _Limited:
    """An admitted request; an :class:`~trtbuild_gateway.seams.Admission`."""

    limiter: Limiter
    owner: str
    lease: str
    tokens: int
    wanted: Sequence[Wanted]
    slots: Sequence[int]
    headers: Mapping[str, str] = field(default_factory=dict)

    async def settle(self, outcome: Outcome) -> None:
        """Exchange the reserved tokens for the used ones."""
        change = outcome.prompt_tokens + outcome.completion_tokens - self.tokens
        changes = [
            one._replace(amount=change if one.unit == "tokens" else 0) for one in self.wanted
        ]
        await self.limiter.settle(self.owner, changes, self.slots, self.lease)


def wanted_of(limits: Limits, tokens: int) -> list[Wanted]:
    """Return what a request takes from each limit."""
    made = []
    for name, most in msgspec.structs.asdict(limits).items():
        unit, _, span = name.partition("_per_")
        if most is not None and span:
            made.append(Wanted(name, 1 if unit == "requests" else tokens, most, _SPANS[span]))
    return made


def headers_of(wanted: Sequence[Wanted], found: Reservation) -> dict[str, str]:
    """Return OpenAI's headers; of a minute and a day, the one with less left counts."""
    made: dict[str, str] = {}
    for unit in ("requests", "tokens"):
        left = [
            (max(0, one.most - row.used - (one.amount if found.granted else 0)), one, row)
            for one, row in zip(wanted, found.rows, strict=True)
            if one.unit == unit
        ]
        if not left:
            continue
        remaining, one, row = min(left, key=lambda entry: entry[0] / entry[1].most)
        made[f"x-ratelimit-limit-{unit}"] = str(one.most)
        made[f"x-ratelimit-remaining-{unit}"] = str(remaining)
        made[f"x-ratelimit-reset-{unit}"] = duration(row.reset)
    return made


def duration(milliseconds: int) -> str:
    """Return a time as OpenAI's headers write it: ``1h2m3s``, ``250ms``."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, seconds = divmod(math.ceil(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{value}{unit}" for value, unit in parts if value)


def _refused(
    owner: str,
    limits: Limits,
    wanted: Sequence[Wanted],
    found: Reservation,
    headers: Mapping[str, str],
) -> ApiError:
    what, wait = f"{limits.concurrent} requests are open, the most at the same time", _RETRY_OPEN
    waiting = [(row.wait, one) for one, row in zip(wanted, found.rows, strict=True) if row.wait]
    if waiting:
        wait, one = max(waiting)
        what = f"the limit of {one.most:,} {one.name.replace('_', ' ')} is reached"
    again = {"retry-after": str(math.ceil(wait / 1000)), "retry-after-ms": str(wait)}
    return ApiError(
        429,
        f"{what} for {owner}; try again in {duration(wait)}",
        code="rate_limit_exceeded",
        headers={**headers, **again},
    )


def _never(one: Wanted) -> ApiError:
    limit = one.name.replace("_", " ")
    return ApiError(
        400,
        f"prompt and answer may have {one.amount:,} tokens, the limit is {one.most:,} {limit}: "
        "shorten the prompt or set a smaller limit for the answer",
        param="max_tokens",
        code="tokens_exceed_limit",
    )
