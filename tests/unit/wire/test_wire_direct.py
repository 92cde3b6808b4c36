"""A proxy of the environment does not stand between us and a server of this machine."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from support.ports import refusing
from trtbuild.client import LLMClient
from trtbuild.errors import ServerError
from trtbuild.wire.blocking import fetch
from trtbuild.wire.direct import loopback
from trtbuild.wire.failures import UnreachableError
from trtbuild_measure.bench.model import Generation
from trtbuild_measure.bench.targets.triton import TritonTarget
from trtbuild_measure.bench.targets.triton_grpc import GrpcExchange
from trtbuild_measure.bench.watching.prometheus import read_metrics

messages: Any = service_pb2
GAUGE = {"vllm:num_requests_running": 3.0}
MODEL = {"name": "m", "inputs": [], "outputs": []}


@pytest.fixture(autouse=True)
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that answers nobody."""
    with refusing() as port:
        for name in ("http_proxy", "HTTP_PROXY", "grpc_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'vllm:num_requests_running{model_name="m"} 3\n'
        if self.path != "/metrics":
            body = json.dumps(MODEL).encode()
        self.send_response(301 if self.path == "/moved" else 404 if self.path == "/no" else 200)
        if self.path == "/moved":
            self.send_header("Location", "/metrics")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def http() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_http_is_asked_itself(http: str) -> None:
    with LLMClient(http, "http") as client:
        assert client.describe("m").metadata.name == "m"
    assert read_metrics(f"http://{http}/metrics", "m") == {"vllm:num_requests_running": 3.0}


class _Triton(grpc.GenericRpcHandler):
    """A model without tensors: enough to be found, and to be no LLM."""

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        answers: dict[str, Callable[[], Any]] = {
            "ModelMetadata": lambda: messages.ModelMetadataResponse(name="m"),
            "ModelConfig": lambda: messages.ModelConfigResponse(config={"name": "m"}),
        }
        if name not in answers:
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda *_: answers[name](), response_serializer=lambda one: one.SerializeToString()
        )


def test_grpc_is_asked_itself() -> None:
    server = grpc.server(ThreadPoolExecutor(2), handlers=(_Triton(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    url = f"127.0.0.1:{port}"
    with LLMClient(url, "grpc") as client:
        assert client.describe("m").metadata.name == "m"
    target = TritonTarget("t", url, "m", Generation(), GrpcExchange(url, "m", 60), timeout=60)
    with pytest.raises(ServerError) as error:
        asyncio.run(target.open())
    assert "nothing answers" not in error.value.what
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("127.0.0.1:8000", True),
        ("127.9.0.1:8000", True),
        ("[::1]:8000", True),
        ("localhost:8001", True),
        ("10.0.0.1:8000", False),
        ("localhost.example.org:1", False),
        ("h", False),
    ],
)
def test_what_is_this_machine(url: str, is_here: bool) -> None:
    assert loopback(url) is is_here


def test_metrics_that_moved_are_read_where_they_are_now(http: str) -> None:
    assert read_metrics(f"http://{http}/moved", "m") == GAUGE


def test_no_metrics_are_read_from_a_page_that_is_not_there(http: str) -> None:
    assert fetch(f"http://{http}/no", seconds=5).status == 404
    assert read_metrics(f"http://{http}/no", "m") is None


@pytest.mark.parametrize("path", ["", "/v2/models/m/ready"])
def test_nothing_is_read_where_nothing_listens(path: str) -> None:
    with refusing() as port, pytest.raises(UnreachableError):
        fetch(f"http://127.0.0.1:{port}{path}", seconds=5)
