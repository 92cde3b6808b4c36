"""A gateway on a free port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from support.tokenizers_made import byte_level
from trtbuild_gateway.app import create_app
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.running import listen
from trtbuild_gateway.settings import settings_of
from trtbuild_gateway.upstream.catalog import Catalog

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

    async def post(self, path: str, **body: Any) -> httpx.Response:
        """POST a JSON body."""
        return await self.client.post(path, json=body)


@contextlib.asynccontextmanager
async def serving(url: str, **settings: Any) -> AsyncIterator[Served]:
    """Serve the gateway in front of ``url``."""
    found = settings_of({"url": url, **settings})
    gateway = Gateway(found, Catalog(found))
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(create_app(gateway), log_config=None, http="httptools", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listening]))
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=base, timeout=20, trust_env=False) as client:
            while not server.started:
                await asyncio.sleep(0.005)
            yield Served(gateway, base, client)
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
