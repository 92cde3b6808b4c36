"""Async clients for code without an event loop: results, errors, and an end in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator

import pytest

from trtbuild.wire.blocking import iterate, run


async def double(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError("negative")
    return 2 * number


def test_a_result_and_an_error() -> None:
    assert run(double(4)) == 8
    with pytest.raises(ValueError, match="negative"):
        run(double(-1))


def test_many_callers_share_one_thread() -> None:
    before = threading.active_count()
    assert [run(double(number)) for number in range(50)] == list(range(0, 100, 2))
    assert threading.active_count() <= before + 1


class Numbers:
    """Notes when it is closed."""

    def __init__(self, fails: bool = False) -> None:
        self.closed = False
        self.fails = fails

    async def count(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                yield number
                await asyncio.sleep(0)
            if self.fails:
                raise ValueError("three")
            await asyncio.sleep(0.01)
        finally:
            await asyncio.sleep(0.01)
            self.closed = True

    async def forever(self) -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            self.closed = True


def test_items_come_in_order_and_errors_behind_them() -> None:
    numbers = Numbers()
    assert list(iterate(numbers.count())) == [0, 1, 2]
    assert numbers.closed
    failing = iterate(Numbers(fails=True).count())
    assert [next(failing) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(failing)


def test_who_leaves_waits_until_it_is_closed() -> None:
    numbers = Numbers()
    found = iterate(numbers.forever())
    assert next(found) == 1
    found.close()
    assert numbers.closed
