"""The sample model on a real server: how it is started and asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from support import triton
from support.paths import TESTS

PROMPTS = json.loads((TESTS / "server" / "prompts.json").read_text(encoding="utf-8"))
MAX_TOKENS = 32
CONTEXT = 512


@contextlib.contextmanager
def smollm2_served(smollm2: Path, work: Path, **arguments: Any) -> Iterator[triton.Triton]:
    """A server of its own with the model ``smollm2``."""
    repo = work / "repository"
    arguments = {"dtype": "float32", "max_model_len": CONTEXT, "max_num_seqs": 16, **arguments}
    triton.write_model(repo, "smollm2", smollm2, arguments)
    with triton.serving(repo, work, vision=True) as server:
        yield server


def generate(server: triton.Triton, path: str = "generate", **body: Any) -> httpx.Response:
    """POST to the generate extension; ``sampling`` becomes the JSON tensor."""
    if "sampling" in body:
        body["sampling_parameters"] = json.dumps(body.pop("sampling"))
    url = f"http://{server.http}/v2/models/smollm2/{path}"
    return httpx.post(url, json={"text_input": "The capital of France is", **body}, timeout=300)
