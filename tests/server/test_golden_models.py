"""Recorded answers through vLLM: batches raise no false alarm, and other models are found."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from support.checkpoints import make_llama
from support.smollm2 import smollm2_served
from trtbuild_measure.answers.golden import Outcome
from trtbuild_measure.answers.options import GoldenCheckOptions, GoldenRecordOptions
from trtbuild_measure.jobs import golden

RUNS, TOKENS = 100, 10
SUBJECTS = ("the capital of France", "why the sky is blue", "how to boil an egg",
            "the three primary colours", "what a compiler does", "the largest planet")  # fmt: skip
ASKED = ("Tell me about", "Explain in one sentence")
VOCABULARY = 49152


@contextmanager
def served(weights: Path, work: Path) -> Iterator[str]:
    """The target of a model in bfloat16, whose sums depend on the size of a batch."""
    work.mkdir()
    with smollm2_served(weights, work, dtype="bfloat16") as server:
        yield f"triton:grpc://{server.grpc}/smollm2"


def rounded(source: Path, folder: Path) -> Path:
    """The model with int8 weights of one scale a tensor, in the layers."""
    shutil.copytree(source, folder)
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        for name, weight in tensors.items():
            if weight.ndim == 2 and ".layers." in name:
                scale = np.abs(weight).max() / 127
                tensors[name] = (np.round(weight / scale) * scale).astype(weight.dtype)
        save_file(tensors, path, {"format": "pt"})
    return folder


def another(source: Path, folder: Path) -> Path:
    """A model of other sizes and weights that has the same tokens."""
    make_llama(folder, heads=2, kv_heads=1, vocab=VOCABULARY, tokenizer=False)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)
    return folder


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_batches_raise_no_alarm_and_other_models_do(smollm2: Path, tmp_path: Path) -> None:
    prompts, recording = tmp_path / "prompts.jsonl", tmp_path / "golden.jsonl"
    texts = [{"prompt": f"{verb} {subject}."} for verb in ASKED for subject in SUBJECTS]
    prompts.write_text("".join(json.dumps(one) + "\n" for one in texts))

    def check(target: str, concurrency: int = 8) -> golden.Check:
        options = GoldenCheckOptions(target=target, recording=recording, concurrency=concurrency)
        return golden.check(options)

    drawn = random.Random(0)
    with served(smollm2, tmp_path / "same") as target:
        golden.record(
            GoldenRecordOptions(target=target, prompts=prompts, out=recording, max_tokens=TOKENS)
        )
        runs = [check(target, drawn.randint(1, len(texts))) for _ in range(RUNS)]
    alarms = [one.counts for one in runs if any(verdict.failed for verdict in one.verdicts)]
    narrow = sum(one.counts[Outcome.NOISE.value] for one in runs)
    print(f"noise {runs[0].noise:.4f}, wide from {runs[0].wide:.4f} nats, {narrow} narrow flips, "
          f"margins changed by up to {max(one.shift for one in runs):.4f}")  # fmt: skip
    assert not alarms

    for make in (rounded, another):
        weights = make(smollm2, tmp_path / make.__name__)
        with served(weights, tmp_path / f"serving-{make.__name__}") as target:
            found = check(target)
        print(f"{make.__name__}: {found.counts}")
        assert found.counts[Outcome.REGRESSION.value] > 0
        assert found.counts[Outcome.PROMPT.value] == 0
