"""Why a checkpoint cannot be served as an ONNX graph: all reasons, each with its fix."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind, ModelSpec, Task
from trtbuild.toolchain import transformers_architectures
from trtbuild_builders.common import onnx_only
from trtbuild_builders.onnx.export import given_graph
from trtbuild_builders.onnx.images import image_reasons
from trtbuild_builders.onnx.settings import is_images
from trtbuild_builders.text.reasons import input_reasons, tokenizer_reasons

_TASKS = (Task.EMBED, Task.RERANK, Task.CLASSIFY, Task.TOKEN_CLASSIFY, Task.IMAGE_CLASSIFY)
TRIED = frozenset({
    "AlbertModel", "BertModel", "CamembertModel", "DebertaV2Model", "DistilBertModel",
    "ElectraModel", "EuroBertModel", "Gemma3TextModel", "HF_ColBERT", "JinaEmbeddingsV3Model",
    "LlamaModel", "MPNetModel", "MistralModel", "ModernBertModel", "NomicBertModel", "Qwen2Model",
    "Qwen3Model", "RobertaModel", "T5EncoderModel", "XLMRobertaModel",
    "AlbertForSequenceClassification", "BertForSequenceClassification",
    "DebertaV2ForSequenceClassification", "DistilBertForSequenceClassification",
    "ElectraForSequenceClassification", "MPNetForSequenceClassification",
    "ModernBertForSequenceClassification", "Qwen3ForCausalLM", "Qwen3ForSequenceClassification",
    "RobertaForSequenceClassification", "XLMRobertaForSequenceClassification",
    "BertForTokenClassification", "DebertaV2ForTokenClassification",
    "DistilBertForTokenClassification", "RobertaForTokenClassification",
    "BertForMaskedLM", "DistilBertForMaskedLM", "ModernBertForMaskedLM",
    "ConvNextForImageClassification", "ResNetForImageClassification",
    "SiglipForImageClassification", "ViTForImageClassification",
})  # fmt: skip
"""Classes of transformers 5.19 whose export was compared with them by
``scripts/tabulate_onnx_families.py``; the others go the same way."""
_POOLING_OF_GIVEN = frozenset({"cls", "mean", "max", "lasttoken"})


def reasons(case: Case) -> Iterator[str]:
    """Return every reason against it."""
    spec = case.spec
    if spec.task not in _TASKS:
        yield (
            "it serves models that embed, rerank or label texts or images, and this model's task "
            f"is {spec.task.value}: use another builder (trtbuild plan SOURCE names one)"
        )
        return
    if not _exported(spec.architecture) and not given_graph(case):
        yield (
            f"the export has no class for the architecture {spec.architecture!r}: use another "
            "builder (trtbuild builders SOURCE), or a checkpoint of a class that transformers has"
        )
    yield from _weights(spec)
    if is_images(case):
        yield from onnx_only(spec, "the export")
        yield from image_reasons(case)
        return
    yield from _head(case)
    yield from tokenizer_reasons(case)
    yield from input_reasons(case)
    if spec.weights_format == "onnx" and case.checkpoint and not given_graph(case):
        yield "the checkpoint has no onnx/model.onnx or model.onnx: fetch one, or the safetensors"


def _exported(architecture: str) -> bool:
    """Whether transformers has the class. ColBERT's is a BERT with a projection; of the classes
    that fill in masks, the table has no rows of their own."""
    known = transformers_architectures()
    body = architecture.removesuffix("ForMaskedLM")
    masked = body != architecture and f"{body}Model" in known
    return architecture in known or masked or architecture == "HF_ColBERT"


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
    if head.kind is HeadKind.DENSE and not head.pooling:
        yield "its class pools inside the model, which the export leaves out: use --backend vllm"
    if head.pair_template and not head.score_words:
        yield "it is a classifier with a template for pairs: use --backend vllm-pooling"
    if given_graph(case) and (head.layers or not _POOLING_OF_GIVEN.issuperset(head.pooling)):
        yield (
            "the given graph is served as it is, and the head has more than it may lack (Dense "
            f"layers, or pooling {', '.join(head.pooling)}): fetch the safetensors"
        )
