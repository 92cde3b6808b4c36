"""A gateway on a free port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from support.fake_triton import INPUTS, OUTPUTS, FakeTriton, fake_triton, words
from support.tokenizers_made import byte_level
from trtbuild_gateway.access.gate import gate_for
from trtbuild_gateway.adapters import adapted, workers_of
from trtbuild_gateway.experiments.running import experiments_for
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.running import Server, listen, server_for
from trtbuild_gateway.settings import settings_of
from trtbuild_gateway.telemetry.otel import traces_for
from trtbuild_gateway.upstream.catalog import Catalog

if TYPE_CHECKING:
    import openai

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}: {{ message.content }}\n"
    "{% endfor %}{% if tools %}tools: {{ tools | tojson }}\n{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)


def write_tokenizer(folder: Path, template: str = TEMPLATE) -> Path:
    """A small byte-level tokenizer with a chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    byte_level().save(str(folder / "tokenizer.json"))
    settings = {"chat_template": template, "eos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@dataclass
class Served:
    """A running gateway and a client of it."""

    gateway: Gateway
    url: str
    client: httpx.AsyncClient
    server: Server
    control: httpx.AsyncClient

    async def post(self, path: str, **body: Any) -> httpx.Response:
        """POST a JSON body."""
        return await self.client.post(path, json=body)


def http_client(base_url: str = "", seconds: float = 120) -> httpx.AsyncClient:
    """A client without TLS: reading the authorities' certificates costs more than most tests."""
    return httpx.AsyncClient(base_url=base_url, timeout=seconds, trust_env=False, verify=False)


@contextlib.asynccontextmanager
async def serving(url: str, **settings: Any) -> AsyncIterator[Served]:
    """Serve the gateway in front of ``url``."""
    found = adapted(settings_of({"url": url, **settings}))
    gateway = Gateway(
        found,
        Catalog(found, workers_of(found)),
        gate_for(found),
        traces=traces_for(found.traces),
        experiments=experiments_for(found),
    )
    listening, control = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    server = server_for(gateway, control)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    # Without the loop of serve, which sleeps.
    await server.startup([listening, control])
    base, control_base = (f"http://127.0.0.1:{s.getsockname()[1]}" for s in (listening, control))
    try:
        async with (
            http_client(base) as client,
            http_client(control_base) as controller,
        ):
            yield Served(gateway, base, client, server, controller)
    finally:
        # uvicorn's own shutdown sleeps a tenth of a second after the same steps
        for one in server.servers:
            one.close()
        for listener in (listening, control):
            listener.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        await gateway.gate.close()
        if gateway.experiments is not None:
            await gateway.experiments.close()
        await asyncio.to_thread(gateway.traces.close)


@cache
def tokenizer() -> Path:
    """The directory of a small tokenizer, written once."""
    return write_tokenizer(Path(tempfile.mkdtemp(prefix="trtbuild-tokenizer-")))


def in_front(
    test: Callable[[FakeTriton, Served], Awaitable[None]],
    *,
    script: Any = None,
    spec: tuple[Any, Any] = (INPUTS, OUTPUTS),
    **settings: Any,
) -> None:
    """Run a test with a gateway in front of a scripted server with the model ``m``."""

    async def run() -> None:
        async with fake_triton(m=script or words("Hel", "lo", "!")) as triton:
            triton.spec = spec
            model = {"m": {"tokenizer": str(tokenizer()), "context_length": 64}}
            async with serving(**{"url": triton.url, "models": model, **settings}) as served:
                await test(triton, served)

    run_as_served(run())


def run_as_served(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on the event loop that the program uses."""
    factory = uvicorn.Config("", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(test)


def client(served: Served, api_key: str = "none") -> openai.AsyncOpenAI:
    """OpenAI's own client."""
    import openai  # half a second in every process that only collects the tests

    return openai.AsyncOpenAI(
        base_url=f"{served.url}/v1", api_key=api_key, max_retries=0, http_client=http_client()
    )
