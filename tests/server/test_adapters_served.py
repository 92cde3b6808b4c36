"""Adapters of ours with real models, through the gateway."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from support import adapter_tasks, triton
from support.adapter_tasks import recording
from support.adapters_made import shipped
from support.checkpoints import make_tiny
from support.exporting import Run
from support.gateways import Served, run_as_served, serving
from support.lanes import NIGHTLY
from support.smollm2 import MAX_TOKENS
from support.tiny_encoders import make_classifier
from support.tiny_others import make_whisper
from support.torch_others import LANGUAGES, SECONDS

pytestmark = [pytest.mark.server, pytest.mark.vllm]


MOODS = ("sad", "glad", "angry")


async def classifies_and_transcribes(served: Served) -> None:
    """The tiny random models say nothing that makes sense; its form is what is checked."""
    asked = {"model": "moods", "input": ["a b", "c"]}
    rows = (await served.post("/v1/classify", **asked)).json()["data"]
    for row in rows:
        assert sum(row["probs"]) == pytest.approx(1)
        assert row["label"] == MOODS[row["probs"].index(max(row["probs"]))]
    raw = (await served.post("/v1/classify", **asked, raw_scores=True)).json()["data"]
    assert raw[0]["probs"] != rows[0]["probs"] and raw[0]["label"] == rows[0]["label"]

    async def heard(audio: bytes, **data: str) -> Any:
        path = "/v1/audio/transcriptions"
        return await served.client.post(
            path, files={"file": audio}, data={"model": "speech", **data}
        )

    given = {"language": "de", "response_format": "verbose_json", "prompt": "a b c"}
    found = (await heard(recording(2.5 * SECONDS), **given)).json()
    assert (found["language"], found["duration"]) == ("de", 2.5 * SECONDS)
    times = [(part["start"], part["end"]) for part in found["segments"]]
    assert len(times) >= 3 and times == sorted(times)
    assert all(0 <= start <= end <= found["duration"] for start, end in times)
    detected = (await heard(recording(1), response_format="verbose_json")).json()
    assert detected["language"] in LANGUAGES
    refused = await heard(recording(1), language="xx")
    assert refused.status_code == 400 and "unknown language 'xx'" in refused.text


def test_transformers_labels_and_hears_as_the_librarys_pipelines(
    exporter: Run, tmp_path: Path
) -> None:
    folders = make_classifier(tmp_path / "moods", MOODS), make_whisper(tmp_path / "speech")
    log, answers = tmp_path / "log", tmp_path / "answers.json"
    assert exporter(adapter_tasks.__file__, *folders, answers, log=log) == 0, log.read_text()
    found = json.loads(answers.read_text())
    assert found["tasks"] == ["classify", "transcribe"]
    assert found["labels"] == list(MOODS)
    assert np.allclose(found["scores"], found["pipeline scores"])
    assert found["text"] == found["pipeline text"] and found["text"]
    times = [time for part in found["segments"] for time in part[:2]]
    assert found["duration"] == 2.5 * SECONDS
    assert len(found["segments"]) >= 3 and times == sorted(times)
    assert times[0] >= 0 and times[-1] <= found["duration"]
    assert found["language"] in LANGUAGES
    said = (
        "unknown language 'xx'", "takes 16,000 of 16 bits: convert it (ffmpeg",
        "the recording is empty", "not a WAV file with samples", "the context of 'moods' is 64",
    )  # fmt: skip
    for words, refusal in zip(said, found["refusals"], strict=True):
        assert words in refusal


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
    if NIGHTLY:  # each is a process that imports PyTorch
        moods = make_classifier(tmp_path / "moods", MOODS)
        models["moods"] = {"source": str(moods), "options": options}
        models["speech"] = {"source": str(make_whisper(tmp_path / "speech")), "options": options}
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
                if NIGHTLY:
                    await classifies_and_transcribes(served)
                long = await served.post("/v1/embeddings", model="vectors", input=["a " * 9000])
                assert long.status_code == 400, long.text
            finally:
                await served.gateway.catalog.close()

    run_as_served(test())
