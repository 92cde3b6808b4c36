"""lm-evaluation-harness against the gateway in front of a real model.

`make nightly` installs it into an environment beside the development environment.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import triton
from support.gateways import Served, run_as_served, serving
from support.paths import ROOT
from support.smollm2 import CONTEXT, generate
from trtbuild_measure.answers.options import LmOptions
from trtbuild_measure.jobs.lm import Measured, lm

pytestmark = pytest.mark.nightly

PROGRAM = Path(os.environ.get("TRTBUILD_CLIENTS", ROOT / ".venv-clients")) / "bin/lm_eval"
QUESTIONS = [
    {"question": "The capital of France is", "choices": ["Paris", "Rome", "Oslo"], "answer": 0},
    {"question": "Two plus two is", "choices": ["seven", "four", "nine"], "answer": 1},
    {"question": "The sky on a clear day is", "choices": ["green", "square", "blue"], "answer": 2},
    {"question": "Water freezes to", "choices": ["ice", "gold", "smoke"], "answer": 1},  # not so
]
GENERATED = [{"question": "Repeat the word: hello", "answer": "hello"}]


def task(folder: Path, name: str, rows: list[dict[str, Any]], **more: Any) -> None:
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    described = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        **more,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(described))


def best_choice(server: triton.Triton, row: dict[str, Any]) -> int:
    """The choice with the highest probability, by the server's own tensors."""
    sums = []
    for choice in row["choices"]:
        sampling = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": 1, "logprobs": 1}
        found = generate(
            server, text_input=f"{row['question']} {choice}", sampling=sampling,
            return_logprobs=True, exclude_input_in_output=True,
        ).json()  # fmt: skip
        positions = json.loads(found["logprobs"][1])[1:]
        sums.append(sum(next(iter(one.values()))["logprob"] for one in positions))
    # The question's tokens add the same to each sum.
    return sums.index(max(sums))


def test_tasks_of_both_kinds(
    vllm_server: triton.Triton, smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    choice = {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}"}
    task(tmp_path, "local_choice", QUESTIONS, **choice, metric_list=[{"metric": "acc"}])
    generates = {"output_type": "generate_until", "generation_kwargs": {"max_gen_toks": 4}}
    task(tmp_path, "local_text", GENERATED, **generates, metric_list=[{"metric": "exact_match"}])
    found: dict[str, Measured] = {}

    async def test(served: Served) -> None:
        for name in ("local_choice", "local_text"):
            options = LmOptions(
                tasks=(name,), include_path=tmp_path, harness=str(PROGRAM), concurrency=2,
                target=f"openai:{served.url}/v1#smollm2", out=tmp_path / "results",
            )  # fmt: skip
            found[name] = await asyncio.to_thread(lm, options)

    async def main() -> None:
        models = {"smollm2": {"tokenizer": str(smollm2), "context_length": CONTEXT}}
        async with serving(vllm_server.http, models=models) as served:
            await test(served)

    run_as_served(main())
    assert found["local_choice"].api == "completions"
    right = sum(best_choice(vllm_server, row) == row["answer"] for row in QUESTIONS)
    assert found["local_choice"].results["local_choice"]["acc,none"] == right / len(QUESTIONS)
    assert right >= 2  # a model that is scored by chance would not
    assert found["local_text"].api == "chat"
    assert "--apply_chat_template" in found["local_text"].command
    assert "exact_match,none" in found["local_text"].results["local_text"]
