"""The open requests of one model of one server: how many there are, and how they are ended.

Before a model is unloaded new requests are refused, and the open ones end in their own time or are
ended with an error that their clients get.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from trtbuild_gateway.failures import ApiError, unavailable


class OpenRequests:
    """The requests that a server has not answered completely.

    Attributes:
        model: The model's name at the server, for messages.
        refusal: Why requests are refused now, such as ``is being unloaded``; empty while they are
            taken.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.refusal = ""
        self._tasks: set[asyncio.Task[object]] = set()
        self._ended: dict[asyncio.Task[object], str] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._tasks)

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Count what the current task does in the block as a request.

        Raises:
            ApiError: Requests are refused (503), or this one was ended (503).
        """
        if self.refusal:
            raise self._refused(self.refusal)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._idle.clear()
        try:
            yield
        except asyncio.CancelledError:
            why = self._ended.get(task)
            # A client may have left in the same moment: then its own cancellation goes on.
            if why is not None and task.uncancel() == 0:
                raise self._refused(why) from None
            raise
        finally:
            self._tasks.discard(task)
            self._ended.pop(task, None)
            if not self._tasks:
                self._idle.set()

    async def none_left(self, seconds: float) -> bool:
        """Wait until no request is open, at most this long; whether none is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        return not self._tasks

    def end(self, why: str) -> int:
        """Cancel the open requests, which answer with ``why``; return how many there were."""
        for task in self._tasks - self._ended.keys():
            self._ended[task] = why
            task.cancel()
        return len(self._tasks)

    def _refused(self, why: str) -> ApiError:
        return unavailable(f"the model {self.model!r} {why}", "model_not_ready")
