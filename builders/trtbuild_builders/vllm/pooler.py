"""vLLM's pooling arguments for a checkpoint's head, and the heads that vLLM computes wrongly.

Facts from vLLM's own sources (config/pooler.py, transformers_utils/config.py and
model_executor/models/adapters.py of 0.10.1 to 0.32.0). All that a head says is written out: vLLM
reads modules.json only in the spelling that its release knows, and else takes a default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from packaging.version import Version

from trtbuild.builder import Case
from trtbuild.modelspec import Head, HeadKind, ModelSpec, Task
from trtbuild.toolchain import VllmRelease

POOLED = (Task.EMBED, Task.RERANK, Task.CLASSIFY, Task.TOKEN_CLASSIFY)
POOLING = {"cls": "CLS", "lasttoken": "LAST", "mean": "MEAN"}
_CONFIGS = ("pooler_config", "override_pooler_config")
_USE_ACTIVATION_SINCE = "0.15.0"  # `normalize` before
_NEW_NAMES_SINCE = "0.31.0"  # class names of sentence-transformers 6 in modules.json
_OLD_DENSE = "sentence_transformers.models.Dense"
_NEW_DENSE = "sentence_transformers.base.modules.dense.Dense"
# Read by vLLM's get_act_fn under the names of torch's modules.
_ACTIVATIONS = frozenset({"identity", "tanh", "gelu", "relu", "sigmoid", "silu"})


def pooling_arguments(spec: ModelSpec, release: VllmRelease) -> dict[str, Any]:
    """Return the engine arguments of a model that does not generate."""
    ours: dict[str, Any] = {"runner": "pooling"} if "runner" in release.arguments else {}
    if not ours:
        ours["task"] = "embed"
    head = spec.head
    known = next((name for name in _CONFIGS if name in release.arguments), "")
    dense = head is not None and head.kind is HeadKind.DENSE
    if head and dense and known and len(head.pooling) == 1 and head.pooling[0] in POOLING:
        ours[known] = {
            "pooling_type": POOLING[head.pooling[0]],
            activation_switch(release): head.normalized,
        }
    if head and head.score_words:
        ours["hf_overrides"] = classifier_overrides(spec.architecture, head.score_words)
    return ours


def kept_dtype(spec: ModelSpec) -> dict[str, Any]:
    """Return the type for a text model in float32, which vLLM would run in 16 bits."""
    keeps = spec.task in POOLED and spec.dtype == "float32" and not spec.quantization
    return {"dtype": spec.dtype} if keeps else {}


def classifier_overrides(architecture: str, words: Sequence[str]) -> dict[str, Any]:
    """Return what makes a classifier of a language model whose words' logits are the score.

    Its one row is that of the word for yes, less that of the word for no where there is one.
    """
    made = architecture.removesuffix("ForCausalLM") + "ForSequenceClassification"
    overrides: dict[str, Any] = {
        "architectures": [made],
        "classifier_from_token": list(reversed(words)),  # no, then yes
        "method": "from_2_way_softmax" if len(words) > 1 else "no_post_processing",
    }
    if made == "Qwen3ForSequenceClassification":
        overrides["is_original_qwen3_reranker"] = True
    return overrides


def activation_switch(release: VllmRelease) -> str:
    """Return the release's name of the switch for vectors of length 1."""
    new = Version(release.version) >= Version(_USE_ACTIVATION_SINCE)
    return "use_activation" if new else "normalize"


def layer_reasons(case: Case, release: VllmRelease) -> Iterator[str]:
    """Return why vLLM does not compute the Dense layers of a head as the reference does."""
    head = case.spec.head
    if head is None or not head.layers or case.spec.architecture == "HF_ColBERT":
        return
    instead = "use --backend onnx"
    if any(layer.residual for layer in head.layers):
        yield f"vLLM leaves out the residual of a Dense layer: {instead}"
    if any(layer.activation not in _ACTIVATIONS for layer in head.layers):
        yield f"vLLM does not know the activation of a Dense layer: {instead}"
    if case.checkpoint is None:
        return
    for layer in head.layers:
        config = json.loads(case.checkpoint.read_bytes(f"{layer.directory}/config.json") or b"{}")
        if not config.get("activation_function"):
            yield (
                f"{layer.directory}/config.json has no activation_function, which vLLM takes for "
                f"none and sentence-transformers for tanh: write it there, or {instead}"
            )
    names = json.loads(case.checkpoint.read_bytes("modules.json") or b"[]")
    new = Version(release.version) >= Version(_NEW_NAMES_SINCE)
    known = {_OLD_DENSE, _NEW_DENSE} if new else {_OLD_DENSE}
    dense = {row["type"] for row in names if row["type"].endswith("Dense")}
    if unknown := dense - known:
        yield (
            f"vLLM {release.version} leaves out Dense layers that modules.json names "
            f"{min(unknown)}: write {_OLD_DENSE} there, or {instead}"
        )


def vector_reasons(case: Case, release: VllmRelease) -> Iterator[str]:
    """Return why NVIDIA's vLLM backend gives other vectors than the reference."""
    head = case.spec.head
    if head is None or case.spec.task is not Task.EMBED:
        return
    yield from pooling_reasons(head, "use --backend vllm-pooling or onnx")
    yield from layer_reasons(case, release)
    if head.truncate_dimension:
        yield (
            f"the reference keeps {head.truncate_dimension} numbers of a vector (truncate_dim), "
            "and Triton's vLLM backend sends all: use --backend vllm-pooling or onnx"
        )
    if head.append_eos:
        yield (
            "its tokenizer.json adds no end-of-text token, which the reference does: use --backend "
            "vllm-pooling, or add it there"
        )


def pooling_reasons(head: Head, instead: str) -> Iterator[str]:
    """Return why vLLM has no such pooling."""
    other = [mode for mode in head.pooling if mode not in POOLING]
    if other or len(head.pooling) > 1:
        yield f"vLLM has no pooling {' + '.join(head.pooling)}: {instead}"
    if head.prompts and not head.include_prompt:
        yield f"vLLM cannot leave a prompt's tokens out of the pooling: {instead}"
