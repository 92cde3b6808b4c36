"""Files that builders write, compared byte for byte with what is committed.

After a change that is meant: ``pytest tests/golden --update-golden``, and read the difference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.specs import llama_8b
from trtbuild import toolchain
from trtbuild.builder import Case, discover
from trtbuild.modelspec import Head, HeadKind, SourceRef, Task
from trtbuild.recipe import ModelRecipe

HERE = Path(__file__).parent
LOCAL = llama_8b(source=SourceRef("local", "llama"))

# builder, case, spec, release, recipe
CASES: list[tuple[str, str, Any, str, dict[str, Any]]] = [
    ("vllm", "plain", LOCAL, "26.07", {"engine": {"max_model_len": 8192}}),
    (
        "vllm",
        "hub-adapters",
        llama_8b(),
        "25.08",
        {"weights": "hub", "adapters": {"fr": "a", "de": "b"}, "health_check": False},
    ),
    ("vllm", "oldest", LOCAL, "24.06", {"metrics": False}),
    ("trtllm", "plain", LOCAL, "26.07", {"engine": {"max_seq_len": 8192}}),
    (
        "trtllm",
        "everything",
        llama_8b(),
        "26.03",
        {
            "weights": "hub",
            "adapters": {"fr": "a", "de": "b"},
            "engine": {
                "tensor_parallel_size": 2,
                "kv_cache_config": {"free_gpu_memory_fraction": 0.8, "dtype": "fp8"},
                "cuda_graph_config": {"enable_padding": True, "max_batch_size": 64},
                "speculative_config": {
                    "decoding_type": "NGram",
                    "max_draft_len": 4,
                    "max_matching_ngram_size": 2,
                },
                "guided_decoding_backend": "xgrammar",
                "triton_config": {"instances": 2, "gpu_device_ids": "0,1;2,3"},
            },
        },
    ),
    ("trtllm-engine", "balanced", LOCAL, "26.07", {}),
    (
        "trtllm-engine",
        "everything",
        LOCAL,
        "26.07",
        {
            "engine": {
                "profile": "throughput",
                "bls": True,
                "tensor_parallel_size": 2,
                "max_seq_len": 4096,
                "lora_plugin": "auto",
                "guided_decoding_backend": "xgrammar",
                "gpu_device_ids": [[0, 1]],
                "kv_cache_free_gpu_mem_fraction": 0.8,
                "add_special_tokens": False,
            }
        },
    ),
    ("trtllm-engine", "oldest", LOCAL, "24.06", {"engine": {"profile": "latency"}}),
    ("onnx", "embed", llama_8b(source=LOCAL.source, task=Task.EMBED), "26.07", {}),
    (
        "onnx",
        "rerank",
        llama_8b(source=LOCAL.source, task=Task.RERANK),
        "25.11",
        {"engine": {"instances": 2, "truncate": "NONE", "max_batch_size": 32}},
    ),
    (
        "onnx",
        "tensorrt",
        llama_8b(source=LOCAL.source, task=Task.EMBED),
        "26.07",
        {"engine": {"accelerator": "tensorrt", "quantize": "fp16"}},
    ),
    (
        "onnx",
        "images",
        llama_8b(
            source=LOCAL.source,
            task=Task.IMAGE_CLASSIFY,
            head=Head(HeadKind.IMAGE_LABELS, labels=("cat", "dog"), activation="softmax"),
        ),
        "26.07",
        {"engine": {"accelerator": "tensorrt", "batch_size": 8}},
    ),
    (
        "torch",
        "embed",
        llama_8b(source=LOCAL.source, task=Task.EMBED),
        "26.07",
        {"engine": {"padding": False, "dtype": "bfloat16"}},
    ),
    ("torch", "images", llama_8b(source=LOCAL.source, task=Task.IMAGE_CLASSIFY), "26.08", {}),
    (
        "torch",
        "recordings",
        llama_8b(source=LOCAL.source, task=Task.TRANSCRIBE),
        "25.12",
        {"engine": {"max_seconds": 600, "instances": 2}},
    ),
    ("vllm", "embed", llama_8b(source=LOCAL.source, task=Task.EMBED), "26.08", {}),
    ("vllm-pooling", "embed", llama_8b(source=LOCAL.source, task=Task.EMBED), "25.11", {}),
    (
        "vllm-pooling",
        "rerank",
        llama_8b(
            source=LOCAL.source,
            task=Task.RERANK,
            head=Head(
                HeadKind.SCORE,
                pair_template="Q {query} D {document}",
                score_words=("yes", "no"),
                max_tokens=4096,
                activation="sigmoid",
            ),
        ),
        "26.08",
        {"engine": {"truncate": "NONE", "dtype": "bfloat16", "tensor_parallel_size": 2}},
    ),
]


@pytest.mark.parametrize(("name", "case", "spec", "triton", "recipe"), CASES)
def test_golden(
    name: str,
    case: str,
    spec: Any,
    triton: str,
    recipe: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    builder = next(found.builder for found in discover() if found.name == name)
    assert builder is not None
    model = ModelRecipe(source="x", name="llama", **recipe)
    written = {
        f"{entry.name}/{file.path}": file.content
        for entry in builder.models(Case(spec, model, toolchain.load(triton)))
        for file in entry.files
        # those copied from a template as they are have their own tests
        if not file.path.endswith(".py")
    }
    folder = HERE / name / case
    if request.config.getoption("--update-golden", default=False):
        for path, content in written.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    golden = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert written == golden


def test_every_builder_has_a_golden_case() -> None:
    """Every builder of ours; what else is installed is its own authors' to test."""
    ours = {found.name for found in discover() if found.distribution.startswith("trtbuild ")}
    assert ours == {case[0] for case in CASES}
