"""``triton:http://HOST:PORT/MODEL``: ``/generate_stream`` of Triton's HTTP endpoint."""

from __future__ import annotations

import json
import time
from typing import Any

from trtbuild.signature import ServedModel
from trtbuild.wire import jsontext
from trtbuild.wire.kserve import generate_body, generate_outputs
from trtbuild.wire.pool import Pool
from trtbuild_measure.bench.model import Generation, Stream
from trtbuild_measure.bench.targets.pooling import PoolingModel
from trtbuild_measure.bench.targets.streaming import UNREADABLE, converse, failure_in
from trtbuild_measure.bench.targets.triton import Reader, TritonModel, find_model


class TritonHttpTarget:
    """A served model over HTTP; ``url`` is ``HOST:PORT``."""

    def __init__(
        self,
        name: str,
        url: str,
        model: str,
        generation: Generation,
        *,
        timeout: float = 600,
        connections: int | None = None,
        card: ServedModel | None = None,
    ) -> None:
        self.name = name
        self.ignored: tuple[str, ...] = ()
        self._url = url
        self._name = model
        self._generation = generation
        self._timeout = timeout
        self._pool = Pool(f"http://{url}", limit=connections)
        self._model: TritonModel | None = None
        self.pooling: PoolingModel | None = None
        self._card = card

    async def open(self) -> None:
        """See :class:`~trtbuild_measure.bench.model.Target`."""
        found = await find_model(
            self._url, self._name, "http", self._generation, timeout=self._timeout, card=self._card
        )
        if isinstance(found, PoolingModel):
            self.pooling = found
        else:
            self._model, self.ignored = found, found.ignored()

    async def ask(self, stream: Stream) -> None:
        """See :class:`~trtbuild_measure.bench.model.Target`."""
        if self.pooling is not None:
            await self.pooling.ask(stream)
            return
        assert self._model is not None
        reader = Reader(self._model, stream)

        def event(now: float, data: bytes) -> None:
            try:
                found: dict[str, Any] = jsontext.parse(data)
                if failed := failure_in(found):
                    stream.fail(now, "server error", failed)
                else:
                    reader.response(now, generate_outputs(found))
            except UNREADABLE:
                said = data[:80].decode("utf-8", "replace")
                stream.fail(
                    time.perf_counter(), "malformed", f"not a response of the model: {said}"
                )

        body = json.dumps(generate_body(self._model.request(stream.prompt))).encode()
        path = f"/v2/models/{self._name}/generate_stream"
        await converse(
            self._pool, self._pool.request("POST", path, body), stream, event, self._timeout
        )

    async def close(self) -> None:
        """See :class:`~trtbuild_measure.bench.model.Target`."""
        if self.pooling is not None:
            await self.pooling.close()
        self._pool.close()
