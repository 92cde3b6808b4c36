"""Why transformers in vLLM's image cannot serve a checkpoint: all reasons, each with its fix."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild import toolchain as toolchains
from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind, ModelSpec, Task
from trtbuild.toolchain import Reading, vllm_reading
from trtbuild_builders.common import layout, onnx_only
from trtbuild_builders.text.reasons import input_reasons, tokenizer_reasons
from trtbuild_builders.torch.settings import KINDS

_WHISPER = "WhisperForConditionalGeneration"


def reasons(case: Case) -> Iterator[str]:
    """Return every reason against it."""
    spec = case.spec
    if spec.task not in KINDS:
        yield (
            "it serves models that embed, rerank or label texts, label images or transcribe speech "
            f"(Whisper), and this model's task is {spec.task.value}: use --backend vllm or trtllm"
        )
        return
    if not case.toolchain.vllm:
        yield (
            f"Triton {case.toolchain.triton} has no vLLM image, which has the PyTorch and "
            f"transformers it needs: use --triton {_newest()}"
        )
    else:
        yield from _release(case)
    yield from _weights(spec)
    if KINDS[spec.task] == "texts":
        yield from tokenizer_reasons(case)
        yield from input_reasons(case)
    yield from _head(case)
    if spec.task is Task.TRANSCRIBE and spec.architecture != _WHISPER:
        yield (
            f"of speech models it serves Whisper, and this is {spec.architecture}: serve it by a "
            "Python model of your own"
        )
    if spec.task is Task.IMAGE_CLASSIFY and case.checkpoint and not _has_processor(case):
        yield (
            "the checkpoint has no preprocessor_config.json, which says how images are resized: "
            "fetch it"
        )


def _newest() -> str:
    return next(row.triton for row in toolchains.releases() if row.vllm)


def _release(case: Case) -> Iterator[str]:
    """Return reasons against the transformers of the release's image."""
    spec, reading = case.spec, vllm_reading(case.toolchain.vllm)
    if not reading.reads_dtype:
        yield (
            f"the vLLM image of Triton {case.toolchain.triton} may have transformers "
            f"{reading.transformers}, which is too old for the served code: use --triton "
            f"{_since(lambda other: other.reads_dtype)} or newer"
        )
    elif not reading.knows_type(spec.model_type):
        yield _unknown(case, reading)
    if spec.spelling_problem and reading.maybe_four:
        yield f"{reading.engine} reads config.json with transformers 4: {spec.spelling_problem}"


def _unknown(case: Case, reading: Reading) -> str:
    """Return the reason against a ``model_type`` that transformers surely has no class for."""
    kind = case.spec.model_type
    if case.spec.remote_code:
        return (
            f"transformers has no class for {kind!r}, and the code that the checkpoint brings "
            "(auto_map) is never run: use a checkpoint of a class that transformers has"
        )
    if reading.nobody_knows(kind):
        return f"transformers has no class for the model_type {kind!r}: correct config.json"
    since = _since(lambda other: other.knows_type(kind))
    return (
        f"the vLLM image of Triton {case.toolchain.triton} may have transformers "
        f"{reading.transformers}, which has no class for {kind!r}: "
        + (f"use --triton {since} or newer" if since else "no release known has one that does")
    )


def _since(suits: object) -> str:
    """Return the oldest release from which on every one suits; empty without one."""
    found = ""
    for row in toolchains.releases():
        if row.vllm:
            if not suits(vllm_reading(row.vllm)):  # type: ignore[operator]
                break
            found = row.triton
    return found


def _weights(spec: ModelSpec) -> Iterator[str]:
    yield from onnx_only(spec, "transformers")
    yield from layout(spec)
    if spec.weights_format == "pickle":
        yield "its weights are pickles, which can run code when loaded: fetch the safetensors"
    if spec.quantization:
        yield (
            f"its weights are quantized ({spec.quantization.method}), whose kernels the image may "
            "not have: start from the original"
        )


def _has_processor(case: Case) -> bool:
    names = ("preprocessor_config.json", "processor_config.json")
    return case.checkpoint is not None and any(map(case.checkpoint.has, names))


def _head(case: Case) -> Iterator[str]:
    head = case.spec.head
    if head is None:
        return
    if head.kind is HeadKind.DENSE and not head.pooling:
        yield (
            "its class pools inside the model, in a way that config.json does not say: use "
            "--backend vllm"
        )
    if head.pair_template and not head.score_words:
        yield "it is a classifier with a template for pairs: use --backend vllm-pooling"
