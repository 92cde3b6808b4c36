"""DeepSeek-OCR as a user runs it, with random weights: converted, served, asked by ``infer``.

Its image encoders have their real sizes: a small page takes 20 s of a CPU, one of two crops 40.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from support import ocr_reference
from support.command_line import trtbuild
from support.lanes import NIGHTLY
from support.tiny_ocr import make_ocr
from support.triton import runtime_python, torchvision
from trtbuild.modelspec import Vision
from trtbuild.toolchain import vision_of_table

TOKENS = 64
ENGINE = {"dtype": "float32", "max_model_len": 2048}
PROCESSOR = "vllm.model_executor.models.deepseek_ocr:NGramPerReqLogitsProcessor"


def page(path: Path, width: int, height: int) -> Path:
    """A white page with bars where lines would be."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for top in range(20, height - 20, 30):
        draw.rectangle((20, top, width - 20 - top % 70, top + 12), fill=(top % 200, 0, 90))
    picture.save(path)
    return path


def offline(model: Path, requests: list[dict[str, Any]], work: Path) -> list[tuple[list[int], str]]:
    """Token ids and texts of vLLM without a server."""
    engine = {
        **ENGINE, "enable_prefix_caching": False, "mm_processor_cache_gb": 0,
        "logits_processors": [PROCESSOR], "limit_mm_per_prompt": {"image": 1},
        "skip_mm_profiling": True,
    }  # fmt: skip
    job, answers = work / "job.json", work / "answers.json"
    job.write_text(json.dumps({"model": str(model), "engine": engine, "requests": requests}))
    settings = {
        "PYTHONPATH": str(torchvision()), "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_USE_V2_MODEL_RUNNER": "0",
        "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    done = subprocess.run(
        [runtime_python(), ocr_reference.__file__, job, answers], capture_output=True, text=True,
        check=False, timeout=1800, env={**os.environ, **settings},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [(ids, text) for ids, text in json.loads(answers.read_text())]


def asked(task: str, image: Path) -> dict[str, Any]:
    words = ("--task", task, "--image", image, "--max-tokens", TOKENS, "--logprobs", 0)
    done = trtbuild("infer", "ocr", *words, "--json", "--timeout", 900)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def ids_of(answer: dict[str, Any]) -> list[int]:
    return [int(token) for position in answer["logprobs"] for token in position]


def equal_answers(
    checkpoint: Path, vision: Vision, pages: dict[str, Path], work: Path
) -> tuple[list[dict[str, Any]], list[int]]:
    """The served answers, which must be vLLM's own; and its ids for the first page without n-gram
    processor."""
    sampling = {**vision.sampling, "max_tokens": TOKENS}
    jobs = [
        {"prompt": f"<image>\n{vision.tasks[task].prompt}", "image": str(file),
         "sampling": sampling}
        for task, file in pages.items()
    ]  # fmt: skip
    jobs.append({**jobs[0], "sampling": {**sampling, "extra_args": None}})
    *wanted, (free, _) = offline(checkpoint, jobs, work)
    settings = [word for name, value in ENGINE.items() for word in ("--set", f"{name}={value}")]
    done = trtbuild("convert", checkpoint, "--repo", "made", "--name", "ocr", *settings)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "trtbuild", "serve", "made", "--mode", "embedded"]
    try:
        done = subprocess.run(
            [*command, "--detach", "--port", "auto"],
            capture_output=True, text=True, check=False, timeout=700,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = [asked(task, file) for task, file in pages.items()]
    finally:
        trtbuild("stop", "--all")
    assert [(ids_of(one), one["text"]) for one in found] == wanted
    return found, free


if NIGHTLY:  # the daily lane has the processor and the images on a LLaVA: test_vision_served.py

    @pytest.mark.long
    def test_answers_are_those_of_vllm_offline(tmp_path: Path) -> None:
        vision = vision_of_table("DeepseekOCRForCausalLM")
        assert vision is not None
        pages = {
            "layout": page(tmp_path / "small.png", 300, 200),
            "markdown": page(tmp_path / "wide.png", 1000, 500),
        }
        found, free = equal_answers(make_ocr(tmp_path / "weights"), vision, pages, tmp_path)
        # 17 x 16 + 1 tokens of a page, 10 x 21 more of two crops, and the prompt's
        assert [one["input_tokens"] for one in found] == [273 + 14, 273 + 210 + 27]
        assert ids_of(found[0]) not in (free, ids_of(found[1]))  # the processor broke a loop

    @pytest.mark.long
    def test_answers_of_the_second_are_those_of_vllm_offline(tmp_path: Path) -> None:
        vision = vision_of_table("DeepseekOCR2ForCausalLM")
        assert vision is not None
        pages = {"layout": page(tmp_path / "page.png", 300, 200)}
        checkpoint = make_ocr(tmp_path / "weights", second=True)
        (found,), _ = equal_answers(checkpoint, vision, pages, tmp_path)
        assert found["input_tokens"] == 257 + 14
