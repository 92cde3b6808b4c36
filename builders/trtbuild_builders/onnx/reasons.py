"""Why a checkpoint cannot be served as an ONNX graph: all reasons, each with its fix."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind, ModelSpec, Task
from trtbuild.toolchain import transformers_architectures
from trtbuild_builders.onnx.export import given_graph

_TASKS = (Task.EMBED, Task.RERANK, Task.CLASSIFY)
_KINDS = (HeadKind.DENSE, HeadKind.SCORE, HeadKind.LABELS)
TRIED = frozenset({
    "BertModel", "RobertaModel", "XLMRobertaModel", "DistilBertModel", "MPNetModel",
    "ModernBertModel", "T5EncoderModel", "Qwen3Model", "Gemma3TextModel",
    "BertForSequenceClassification", "DebertaV2ForSequenceClassification",
    "ElectraForSequenceClassification", "Qwen3ForSequenceClassification",
})  # fmt: skip
"""Classes of transformers 5.19 whose export was compared with them; the others go the same way."""
_POOLING_OF_GIVEN = frozenset({"cls", "mean", "max", "lasttoken"})


def reasons(case: Case) -> Iterator[str]:
    """Return every reason against it."""
    spec = case.spec
    if spec.task not in _TASKS:
        yield (
            "it serves models that embed, rerank or classify texts, and this model's task is "
            f"{spec.task.value}: use --backend vllm or trtllm"
        )
        return
    if spec.architecture not in transformers_architectures() and not given_graph(case):
        yield (
            f"the export has no class for the architecture {spec.architecture!r}: use --backend "
            "vllm, or a checkpoint of a class that transformers has"
        )
    yield from _weights(spec)
    yield from _head(case)
    if spec.tokenizer.kind != "fast":
        yield (
            "the checkpoint has no tokenizer.json, which the served model tokenizes with: save its "
            "tokenizer with transformers' AutoTokenizer"
        )
    if spec.weights_format == "onnx" and case.checkpoint and not given_graph(case):
        yield "the checkpoint has no onnx/model.onnx or model.onnx: fetch one, or the safetensors"


def _weights(spec: ModelSpec) -> Iterator[str]:
    if spec.weights_format == "pickle":
        yield "its weights are pickles, which the export does not open: fetch the safetensors"
    if spec.quantization:
        yield (
            f"its weights are quantized ({spec.quantization.method}), which the export does not "
            "read: start from the original"
        )
    if spec.layout != "hf":
        yield "it has Mistral's own layout (params.json): fetch the one with config.json"
    if spec.remote_code:
        yield (
            "the checkpoint brings code (auto_map), which the export never runs: use a checkpoint "
            "of a class that transformers has"
        )


def _head(case: Case) -> Iterator[str]:
    head = case.spec.head
    if head is None:
        return
    if head.kind not in _KINDS:
        yield f"its head is {head.kind.value}, which the builder onnx has no graph for yet"
    if head.kind is HeadKind.DENSE and not head.pooling:
        yield "its class pools inside the model, which the builder onnx does not export: use vllm"
    if head.append_eos:
        yield "its tokenizer.json adds no end-of-text token, which the reference does: add it there"
    if head.pair_template or head.score_words or head.score_tokens:
        yield "it reranks by a template or the logits of words: use --backend vllm"
    if head.kind is not HeadKind.DENSE and head.layers:
        yield (
            "its score comes from sentence-transformers' modules behind a body without a head, "
            "which the builder onnx has no graph for yet"
        )
    if given_graph(case) and (head.layers or not _POOLING_OF_GIVEN.issuperset(head.pooling)):
        yield (
            "the given graph is served as it is, and the head has more than it may lack (Dense "
            f"layers, or pooling {', '.join(head.pooling)}): fetch the safetensors"
        )
