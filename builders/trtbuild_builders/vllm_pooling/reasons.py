"""Why vLLM cannot pool a checkpoint behind our model: all reasons, each with its fix."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind, Task
from trtbuild.toolchain import releases, vllm_release
from trtbuild_builders.text.reasons import input_reasons, tokenizer_reasons
from trtbuild_builders.text.settings import head_of
from trtbuild_builders.vllm.names import name_reasons
from trtbuild_builders.vllm.pooler import layer_reasons
from trtbuild_builders.vllm.reasons import engine_reasons
from trtbuild_builders.vllm_pooling.settings import by_tokens

SINCE = "25.11"  # vLLM 0.11.0: runner, convert and pooler_config
_TASKS = (Task.EMBED, Task.RERANK, Task.CLASSIFY, Task.TOKEN_CLASSIFY)
_GENERATES = frozenset({"generate", "vision-language"})


def reasons(case: Case) -> Iterator[str]:
    """Return every reason against it."""
    spec, toolchain = case.spec, case.toolchain
    if spec.task not in _TASKS:
        yield (
            "it serves models that embed, rerank or label texts, and this model's task is "
            f"{spec.task.value}: use another builder (trtbuild builders)"
        )
        return
    yield from engine_reasons(spec, case.recipe, toolchain)
    yield from tokenizer_reasons(case)
    yield from input_reasons(case)
    if not toolchain.vllm:
        return
    if toolchain.triton < SINCE:
        yield f"vLLM of Triton {toolchain.triton} pools otherwise: use --triton {SINCE} or newer"
        return
    yield from _architecture(case)
    yield from _head(case)
    yield from name_reasons(case)


def _architecture(case: Case) -> Iterator[str]:
    release, name = vllm_release(case.toolchain.vllm), case.spec.architecture
    tasks = release.tasks_of(name)
    if name.endswith("ForRanking"):
        yield (
            f"{name} takes a query and its documents in a prompt of its own, which is not known: "
            "use another builder"
        )
        return
    # A language model becomes an embedding model as it is, a classifier by its head's words.
    converts = case.spec.task is Task.EMBED or bool(head_of(case).score_words)
    if tasks and (converts or not _GENERATES.issuperset(tasks)):
        return
    if tasks:
        yield (
            f"vLLM runs {name} for {', '.join(tasks)}, and no file says how that becomes a score: "
            "use a checkpoint that was saved as a classifier"
        )
        return
    newer = (row for row in reversed(releases()) if row.vllm and row.triton > case.toolchain.triton)
    able = (row.triton for row in newer if vllm_release(row.vllm).tasks_of(name))
    other = next((f"--triton {triton}" for triton in able), "--backend onnx")
    yield f"vLLM {release.version} has no {name}: use {other}"


def _head(case: Case) -> Iterator[str]:
    head = case.spec.head
    if head is None:
        return
    release = vllm_release(case.toolchain.vllm)
    if head.kind is HeadKind.SPARSE:
        yield "vLLM computes no sparse vectors as the reference does: use --backend onnx"
    if head.query_expansion == "masked":
        yield "vLLM attends to the tokens that fill a query, the reference not: use --backend onnx"
    scores = head.kind in (HeadKind.SCORE, HeadKind.LABELS)
    if scores and head.layers:
        yield (
            "its score comes from sentence-transformers' modules behind a body without a head, "
            "which vLLM does not read: use --backend onnx"
        )
        return
    yield from layer_reasons(case, release)
    if by_tokens(case) and head.layers:
        yield (
            f"vLLM has no pooling {' + '.join(head.pooling)}, and Dense layers after it are not "
            "computed here: use --backend onnx"
        )
