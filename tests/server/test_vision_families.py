"""Tiny checkpoints of vision-language families: converted, served, compared with transformers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import tiny_seers
from support.command_line import trtbuild
from support.lanes import NIGHTLY
from support.pictures import text_of
from support.triton import Triton, runtime_python, torchvision
from trtbuild.client import LLMClient, Sampling, collect
from trtbuild.signature.requests import GenerateRequest


def answers_as_transformers(vllm_server: Triton, tmp_path: Path, family: str) -> None:
    source = tmp_path / "source"
    done = subprocess.run(
        [runtime_python(), tiny_seers.__file__, family, source], capture_output=True,
        text=True, check=False, timeout=300, env={**os.environ, "PYTHONPATH": str(torchvision())},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    wanted = json.loads(done.stdout)
    settings = ("dtype=float32", "max_model_len=256", "enforce_eager=true", "max_num_seqs=4")
    chosen = [word for one in settings for word in ("--set", one)]
    made = trtbuild("convert", str(source), "--repo", "made", "--name", family, *chosen)
    assert made.returncode == 0, made.stderr
    shutil.copytree(tmp_path / "made" / family, vllm_server.repo / family)
    try:
        status, text = vllm_server.control("load", family)
        assert status == 200, text
        sampling = Sampling(tiny_seers.TOKENS, temperature=0, ignore_eos=True)
        image = text_of((source / "image.png").read_bytes())
        request = GenerateRequest(wanted["prompt"], sampling, images=(image,))
        with LLMClient(vllm_server.grpc) as client:
            found = collect(client.stream(family, request))
        assert found.text == wanted["text"].rstrip("\ufffd")
        assert found.output_tokens == tiny_seers.TOKENS
    finally:
        vllm_server.control("unload", family)
        shutil.rmtree(vllm_server.repo / family)


if NIGHTLY:  # the daily lane has a LLaVA, in test_vision_served.py

    @pytest.mark.long
    @pytest.mark.parametrize("family", tiny_seers.FAMILIES)
    def test_a_family_answers_as_transformers(
        vllm_server: Triton, tmp_path: Path, family: str
    ) -> None:
        answers_as_transformers(vllm_server, tmp_path, family)
