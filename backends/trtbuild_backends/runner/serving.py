"""Load the adapter's class and serve its model until the gateway leaves."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from trtbuild_backends.backend import AbstractBackend, ModelFacts, ModelSource, RequestError
from trtbuild_backends.runner import tasks, triton
from trtbuild_backends.runner.family import end_family
from trtbuild_backends.runner.http import Answer, HttpError, Request, serve

LIFE = "/trtbuild/life"
"""The stream that ties the two processes together: each knows by it that the other lives."""

_BEAT_SECONDS = 1.0
_HEALTH_SECONDS = 2.0
_ALONE_SECONDS = 60.0  # for the gateway to connect
_UNLOAD_SECONDS = 10.0

_log = logging.getLogger("trtbuild.runner")


def main(settings: Path) -> None:
    """Serve the model that a file of settings describes; the process ends here."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    found = json.loads(settings.read_text("utf-8"))
    runner = Runner(ModelSource(**found["model"]), found["backend_class"])
    try:
        asyncio.run(runner.run(found["socket"]))
    finally:
        end_family()


class Runner:
    """One model, and the state in which it is."""

    def __init__(self, model: ModelSource, backend_class: str) -> None:
        self._model = model
        self._class = backend_class
        self._backend: AbstractBackend | None = None
        self._facts = ModelFacts()
        self._state, self._reason = "loading", ""
        self._requests = 0
        self._connected = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self, socket: str) -> None:
        """Serve until the gateway has left, or SIGTERM."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._over.set)
        server = await serve(f"{socket}.new", self._handle)
        Path(f"{socket}.new").rename(socket)  # whoever sees it can connect
        try:
            async with asyncio.timeout(_ALONE_SECONDS):
                await self._connected.wait()
        except TimeoutError:
            _log.error("the gateway did not connect within %g s", _ALONE_SECONDS)
            return
        loading = asyncio.create_task(self._load())
        await self._over.wait()
        loading.cancel()
        server.close()
        if self._backend is not None and self._state == "ready":
            try:
                async with asyncio.timeout(_UNLOAD_SECONDS):
                    await self._backend.unload()
            except Exception:
                _log.exception("unload failed")

    async def _load(self) -> None:
        try:
            made = _imported(self._class)(self._model)
            self._facts = await made.load()
            self._backend, self._state = made, "ready"
        except BaseException as error:
            _log.exception("the model could not be loaded")
            self._state, self._reason = "failed", _sentence(error)
            if not isinstance(error, Exception):
                raise

    async def _handle(self, request: Request) -> Answer:
        if request.path == LIFE:
            self._connected.set()
            return self._life()
        if request.path in ("/v2/health/live", "/v2/health/ready"):
            if request.path.endswith("ready") and self._state != "ready":
                raise HttpError(503, f"the model is {self._state}")
            return {}
        return self._of_model(request)

    def _of_model(self, request: Request) -> Answer:
        root = f"/v2/models/{self._model.name}"
        backend = self._backend
        if backend is None:
            raise HttpError(503, f"the model {self._model.name!r} is {self._state}")
        if request.path == root:
            return triton.metadata(self._model.name, self._facts)
        if request.path == f"{root}/config":
            return triton.config(self._model.name, self._facts)
        if request.path == f"{root}/generate_stream":
            return self._answers(backend, request.json())
        raise HttpError(404, f"{request.path} is not here")

    async def _answers(
        self, backend: AbstractBackend, body: Mapping[str, Any]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the events of an answer."""
        self._requests += 1
        answers = {
            "embed": self._embedded,
            "rerank": self._scored,
            "classify": self._classified,
            "transcribe": self._transcribed,
        }
        events = answers.get(self._facts.task, self._generated)(backend, body)
        try:
            async for event in events:
                yield event
        except RequestError as error:
            raise HttpError(400, str(error)) from None
        except Exception as error:
            _log.exception("a request failed")
            raise HttpError(500, _sentence(error)) from None
        finally:
            self._requests -= 1
            await events.aclose()

    async def _generated(self, backend: AbstractBackend, body: Mapping[str, Any]) -> Any:
        asked = triton.generate_request(body)
        known = type(backend).sampling
        unknown = sorted(asked.sampling.keys() - known) if known is not None else []
        if unknown:
            raise RequestError(
                f"{self._model.name!r} does not take {', '.join(unknown)}; leave it out"
            )
        deltas = backend.generate(asked)
        counted = False
        try:
            async for delta in deltas:
                yield triton.piece(self._model.name, delta, prompt_tokens=not counted)
                counted = counted or delta.prompt_tokens is not None
        finally:
            close = getattr(deltas, "aclose", None)
            if close is not None:
                await close()

    async def _embedded(self, backend: AbstractBackend, body: Mapping[str, Any]) -> Any:
        yield triton.vector(self._model.name, await backend.embed(triton.embed_request(body)))

    async def _scored(self, backend: AbstractBackend, body: Mapping[str, Any]) -> Any:
        yield triton.scores(self._model.name, await backend.score(triton.score_request(body)))

    async def _classified(self, backend: AbstractBackend, body: Mapping[str, Any]) -> Any:
        found = await backend.classify(tasks.classify_request(body))
        yield tasks.classes(self._model.name, found, self._facts.labels)

    async def _transcribed(self, backend: AbstractBackend, body: Mapping[str, Any]) -> Any:
        found = await backend.transcribe(tasks.transcribe_request(body))
        yield tasks.transcript(self._model.name, found, timed=self._facts.timestamps)

    async def _life(self) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the state every second; without a reader the process has no purpose."""
        try:
            while True:
                yield await self._beat()
                await asyncio.sleep(_BEAT_SECONDS if self._state == "ready" else 0.1)
        finally:
            self._over.set()

    async def _beat(self) -> Mapping[str, Any]:
        usage: Mapping[str, float] = {"engine_running": self._requests}
        if self._backend is not None and self._state == "ready":
            try:
                async with asyncio.timeout(_HEALTH_SECONDS):
                    await self._backend.health()
                usage = {**usage, **self._backend.usage()}
            except Exception as error:
                self._state, self._reason = "failed", _sentence(error)
        return {
            "state": self._state,
            "reason": self._reason,
            "requests": self._requests,
            "usage": dict(usage),
            "pid": os.getpid(),
        }


def _imported(name: str) -> type[AbstractBackend]:
    """Return the class of ``package.module:Class``."""
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, AbstractBackend)):
        raise TypeError(f"{name} is not a subclass of trtbuild_backends.backend.AbstractBackend")
    return found


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())[:1000]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
