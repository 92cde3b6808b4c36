"""As much of vLLM as our pooling model uses: an engine that answers with its tokens' ids."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

HANGS, KILLS, REFUSED = 1_000_001, 1_000_002, 1_000_003  # tokens


class EngineDeadError(Exception):
    """The engine has ended."""


class VLLMClientError(Exception):
    """A request that vLLM refuses."""


@dataclasses.dataclass
class AsyncEngineArgs:
    model: str = ""
    runner: str = "auto"
    disable_log_stats: bool = False


class PoolingParams:
    """Takes ``use_activation``, or the older names of it."""

    def __init__(self, task: str, **values: Any) -> None:
        self.task, self.values, self.extra_kwargs = task, values, None
        self.valid_parameters = {task: [FakeEngine.switch, "dimensions"]}

    def clone(self) -> PoolingParams:
        return PoolingParams(self.task, **self.values)


class _Data:
    def __init__(self, row: np.ndarray) -> None:
        self._row = row

    def float(self) -> _Data:
        return self

    def numpy(self) -> np.ndarray:
        return self._row


class FakeEngine:
    """A row of a text: how many tokens it has, and ``width - 1`` zeros.

    A text with token HANGS waits forever, KILLS kills the engine, REFUSED is refused.
    """

    switch = "use_activation"
    tasks = ("embed", "classify", "token_embed")
    width = 6
    made: FakeEngine | None = None

    def __init__(self) -> None:
        self.errored = False
        self.asked: list[Any] = []
        self.aborted: list[str] = []
        self.ended = False

    @classmethod
    def from_engine_args(cls, arguments: AsyncEngineArgs) -> FakeEngine:
        if arguments.model == "broken":
            raise ValueError("no such\nweights")
        cls.made = cls()
        return cls.made

    async def get_supported_tasks(self) -> tuple[str, ...]:
        return self.tasks

    async def encode(self, prompt: Any, params: Any, name: str) -> AsyncIterator[Any]:
        ids = prompt["prompt_token_ids"]
        self.asked.append((ids, params))
        try:
            if KILLS in ids:
                self.errored = True
                raise EngineDeadError
            if REFUSED in ids:
                raise VLLMClientError(f"Token id {REFUSED} is out of vocabulary")
            if HANGS in ids:
                await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.aborted.append(name)
            raise
        states = np.zeros((len(ids), self.width), np.float32)
        states[:, 0] = ids
        whole = np.array([len(ids), *[0] * (self.width - 1)], np.float32)
        row = states if params.task.startswith("token") else whole
        yield SimpleNamespace(outputs=SimpleNamespace(data=_Data(row)))

    def shutdown(self) -> None:
        self.ended = True


@contextmanager
def installed(**changes: Any) -> Iterator[type[FakeEngine]]:
    """The package ``vllm`` is this; ``changes`` are attributes of the engine's class."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(FakeEngine, name, value)
        names = {
            "vllm.engine.arg_utils": {"AsyncEngineArgs": AsyncEngineArgs},
            "vllm.v1.engine.async_llm": {"AsyncLLM": FakeEngine},
            "vllm.pooling_params": {"PoolingParams": PoolingParams},
        }
        for name, members in names.items():
            module = ModuleType(name)
            for member, value in members.items():
                setattr(module, member, value)
            patch.setitem(__import__("sys").modules, name, module)
        yield FakeEngine
