"""Adapters of ours with real models, through the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import triton
from support.adapters_made import shipped
from support.checkpoints import make_tiny
from support.gateways import run_as_served, serving
from support.smollm2 import MAX_TOKENS
from support.tiny_encoders import make_classifier

pytestmark = [pytest.mark.server, pytest.mark.vllm]


def test_transformers_answers_as_the_library_does(
    tmp_path: Path, smollm2: Path, reference: list[dict[str, Any]]
) -> None:
    python = shipped(tmp_path / "env", "transformers", triton.site_packages())
    options = {"dtype": "float32"}
    tiny = make_tiny(tmp_path / "tiny")
    ranker = make_classifier(tmp_path / "ranker", ("relevance",))
    models = {
        "text": {"source": str(smollm2), "options": options},
        "vectors": {"source": str(tiny), "options": {**options, "task": "embed"}},
        "ranks": {"source": str(ranker), "options": options},
    }
    registry = tmp_path / "registry.yaml"
    value = {
        "models": {
            name: {"adapter": "transformers-adapter", **one} for name, one in models.items()
        },
        "adapters": {"transformers-adapter": {"python": str(python)}},
    }
    registry.write_text(yaml.safe_dump(value))

    async def test() -> None:
        async with serving("", registry=str(registry), control={"load_seconds": 300}) as served:
            try:
                loads = [
                    served.control.post("/v1/model/load", json={"model": name}, timeout=300)
                    for name in models
                ]
                for answer in await asyncio.gather(*loads):
                    assert answer.status_code == 200, answer.text
                served.client.timeout = 120
                for row in reference[:2]:
                    asked = {"model": "text", "prompt": row["prompt"], "max_tokens": MAX_TOKENS}
                    found = (await served.post("/v1/completions", temperature=0, **asked)).json()
                    assert found["choices"][0]["text"] == row["text"], found
                    assert found["usage"]["prompt_tokens"] == row["input_tokens"]
                stopped = await served.post(
                    "/v1/completions",
                    model="text",
                    prompt=reference[0]["prompt"],
                    temperature=0,
                    stop=[reference[0]["text"][5:9]],
                    max_tokens=MAX_TOKENS,
                )
                choice = stopped.json()["choices"][0]
                assert (choice["text"], choice["finish_reason"]) == (
                    reference[0]["text"][:5],
                    "stop",
                )
                vectors = await served.post("/v1/embeddings", model="vectors", input=["a b", "c"])
                rows = [row["embedding"] for row in vectors.json()["data"]]
                assert all(abs(sum(x * x for x in row) - 1) < 1e-4 for row in rows)
                assert rows[0] != rows[1]
                pairs = {"query": "a b", "documents": ["c", "a b c d", "b"]}
                ranked = (await served.post("/v1/rerank", model="ranks", **pairs)).json()["results"]
                found = [row["relevance_score"] for row in ranked]
                assert found == sorted(found, reverse=True)
                assert len(set(found)) == 3
                assert all(0 < score < 1 for score in found)
                long = await served.post("/v1/embeddings", model="vectors", input=["a " * 9000])
                assert long.status_code == 400, long.text
            finally:
                await served.gateway.catalog.close()

    run_as_served(test())
