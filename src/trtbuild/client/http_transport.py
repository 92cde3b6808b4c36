"""Triton's HTTP protocol: /generate for one answer, /generate_stream (SSE) for pieces."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from trtbuild.client import failures
from trtbuild.client.metadata import ModelMetadata, read
from trtbuild.errors import TrtbuildError
from trtbuild.signature import ServedModel
from trtbuild.wire import kserve
from trtbuild.wire.direct import loopback
from trtbuild.wire.tensors import InferRequest, Outputs, TensorError, TensorValue


class HttpTransport:
    """One connection pool. Every error is a ServerError."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(
            base_url=f"http://{url}", timeout=10, trust_env=not loopback(url)
        )

    def close(self) -> None:
        """End the connections: an open keep-alive connection would delay a server's exit."""
        self._client.close()

    def metadata(self, name: str, timeout: float, card: ServedModel | None = None) -> ModelMetadata:
        """Inputs, outputs and transaction policy of a model."""
        found = self._json("GET", f"/v2/models/{name}", name, timeout)
        config = self._json("GET", f"/v2/models/{name}/config", name, timeout)
        return read(name, found, config, card)

    def models(self) -> list[str]:
        """Names of the models that are ready."""
        index = self._json("POST", "/v2/repository/index", "", 10)
        return sorted({item["name"] for item in index if item.get("state") == "READY"})

    def ready(self, name: str) -> bool:
        """Whether the server says that the model is ready; False while nothing answers."""
        try:
            return self._client.get(f"/v2/models/{name}/ready", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def responses(
        self,
        model: str,
        request: InferRequest,
        timeout: float,
        *,
        stream: bool = True,
    ) -> Iterator[Outputs]:
        """Responses as they come. Closing the iterator closes the connection, which cancels."""
        path = f"/v2/models/{model}/generate" + ("_stream" if stream else "")
        until = time.monotonic() + timeout
        try:
            with self._client.stream(
                "POST", path, json=generate_body(request), timeout=timeout
            ) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise self._refusal(model, answer)
                for line in answer.iter_lines():
                    body = line[5:].strip() if stream else line
                    if not body or (stream and not line.startswith("data:")):
                        continue
                    response = json.loads(body)
                    if "error" in response:
                        raise failures.refused(model, str(response["error"]))
                    yield generate_outputs(response)
                    if time.monotonic() > until:
                        raise failures.timed_out(self.url, timeout)
        except httpx.HTTPError as error:
            raise self._transport(error, timeout) from None

    def infer(
        self, model: str, request: InferRequest, timeout: float, *, decoupled: bool | None
    ) -> Outputs:
        """The only response to a request. Of a decoupled model the infer endpoint refuses to ask
        for it, and the generate endpoint takes no batch."""
        if decoupled:
            found = list(self.responses(model, request, timeout, stream=False))
            return found[-1] if found else {}
        body, _ = kserve.encode_request(request, binary=False)
        path = f"/v2/models/{model}/infer"
        try:
            answer = self._client.post(path, content=body, timeout=timeout)
        except httpx.HTTPError as error:
            raise self._transport(error, timeout) from None
        if answer.status_code != 200:
            raise self._refusal(model, answer)
        try:
            return kserve.decode_response(answer.content).outputs
        except TensorError as error:
            raise failures.refused(model, str(error)) from None

    def _json(self, method: str, path: str, name: str, timeout: float) -> Any:
        try:
            answer = self._client.request(method, path, timeout=timeout)
        except httpx.HTTPError as error:
            raise self._transport(error, timeout) from None
        if answer.status_code != 200:
            raise self._refusal(name, answer)
        return answer.json()

    def _transport(self, error: httpx.HTTPError, timeout: float) -> TrtbuildError:
        if isinstance(error, httpx.TimeoutException):
            return failures.timed_out(self.url, timeout)
        return failures.unreachable(self.url, str(error))

    def _refusal(self, name: str, answer: httpx.Response) -> TrtbuildError:
        try:
            # /generate_stream writes its refusals as an event, too.
            found = json.loads(answer.text.strip().removeprefix("data:"))
            message = str(found.get("error", answer.text))
        except (ValueError, AttributeError):
            message = answer.text or f"HTTP {answer.status_code}"
        if "unknown model" in message:
            return failures.unknown_model(self.url, name, self.models())
        return failures.refused(name, message)


def generate_body(request: InferRequest) -> dict[str, Any]:
    """A request of the generate endpoint: a value, or a list of several, by tensor."""
    body = {
        tensor.name: tensor.data[0] if len(tensor.data) == 1 else list(tensor.data)
        for tensor in request.inputs
    }
    return {**body, **({"parameters": dict(request.parameters)} if request.parameters else {})}


def generate_outputs(response: Mapping[str, Any]) -> Outputs:
    """A response of the generate endpoint, which has no types and no shapes."""
    found = {}
    for name, value in response.items():
        data = value if isinstance(value, list) else [value]
        found[name] = TensorValue(name, "", (len(data),), data)
    return found
