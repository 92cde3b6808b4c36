"""``triton:http://HOST:PORT/MODEL``: ``/generate_stream`` of Triton's HTTP endpoint."""

from __future__ import annotations

import json
import time
from typing import Any

from trtbuild.client.transport import Protocol
from trtbuild.wire.kserve import generate_body, generate_outputs
from trtbuild.wire.pool import Pool
from trtbuild_measure.bench.model import Stream
from trtbuild_measure.bench.targets import jsontext
from trtbuild_measure.bench.targets.streaming import UNREADABLE, converse, failure_in
from trtbuild_measure.bench.targets.triton import Reader, TritonModel


class HttpExchange:
    """Prompts for one model over HTTP; ``url`` is ``HOST:PORT``."""

    protocol: Protocol = "http"

    def __init__(
        self, url: str, model: str, timeout: float, connections: int | None = None
    ) -> None:
        self._name = model
        self._timeout = timeout
        self._pool = Pool(f"http://{url}", limit=connections)

    async def generate(self, model: TritonModel, stream: Stream) -> None:
        """See :class:`~trtbuild_measure.bench.targets.triton.Exchange`."""
        reader = Reader(model, stream)

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

        body = json.dumps(generate_body(model.request(stream.prompt))).encode()
        path = f"/v2/models/{self._name}/generate_stream"
        await converse(
            self._pool, self._pool.request("POST", path, body), stream, event, self._timeout
        )

    async def close(self) -> None:
        """See :class:`~trtbuild_measure.bench.targets.triton.Exchange`."""
        self._pool.close()
