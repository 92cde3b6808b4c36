"""All reasons against a conversion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trtbuild.modelspec import ModelSpec, Task
from trtbuild.toolchain import trtllm_route
from trtbuild_engine_flow.converter.eras import completed, era_of, first_release, of_release
from trtbuild_engine_flow.converter.families import FAMILIES, Family
from trtbuild_engine_flow.converter.fixed import contradictions, has_fixed_rope
from trtbuild_engine_flow.converter.shape import (
    LONG_ROPE,
    SCALES,
    Shape,
    family_of,
    has_long_rope,
    is_positive,
    original_positions,
    rope_kind,
    rope_scaling,
    shape_of,
)

_CONTAINER = "use TensorRT-LLM's own convert_checkpoint.py in its container"


def unsupported(
    spec: ModelSpec,
    config: Mapping[str, Any],
    *,
    tp: int = 1,
    pp: int = 1,
    release: str = "1.2.1",
) -> tuple[str, ...]:
    """Return all reasons why this checkpoint cannot be converted exactly, each with its fix.

    Empty if it can. Uses only headers and configuration.
    """
    family = family_of(spec, config)
    if family is None:
        known = ", ".join(sorted(FAMILIES))
        return (
            f"{spec.architecture} is none of the architectures converted here ({known}); "
            f"{_CONTAINER}, or deploy it with another builder (trtbuild plan)",
        )
    config = completed(spec.architecture, config)
    shape = shape_of(spec, config)
    return (
        *_of_checkpoint(spec, config, family),
        *contradictions(family, config, shape),
        *(_of_network(family, config, release) or _of_release(family, config, release)),
        *_of_split(of_release(family, era_of(release)), shape, tp, pp),
    )


def miscomputed(
    spec: ModelSpec, config: Mapping[str, Any], release: str = "1.2.1"
) -> tuple[str, ...]:
    """Return why no engine of this checkpoint would be correct, with any converter."""
    family = family_of(spec, config)
    if family is None:
        return ()
    config = completed(spec.architecture, config)
    shape = shape_of(spec, config)
    return (*contradictions(family, config, shape), *_of_network(family, config, release))


def _of_network(family: Family, config: Mapping[str, Any], release: str) -> tuple[str, ...]:
    since = first_release("network", family, rope_kind(config), era_of(release))
    if not since:
        return ()
    what = f"{family.name} with {rope_kind(config)} rope" if rope_kind(config) else family.name
    return (f"TensorRT-LLM {release} cannot compute {what}: {_newer(since)}",)


def _of_release(family: Family, config: Mapping[str, Any], release: str) -> tuple[str, ...]:
    kind = rope_kind(config) if has_long_rope(config) else ""
    since = first_release("written", family, kind, era_of(release))
    if not since:
        return ()
    what = "the tables of long rope" if kind else f"the fields or tensors of {family.name}"
    return (f"TensorRT-LLM {release} names {what} otherwise: {_newer(since)}, or {_CONTAINER}",)


def _newer(since: str) -> str:
    return f"use a Triton release with TensorRT-LLM {since} or newer (--triton)"


def _of_checkpoint(spec: ModelSpec, config: Mapping[str, Any], family: Family) -> Iterator[str]:
    if spec.task is not Task.GENERATE:
        yield (
            f"it is for {spec.task.value}, and engines of this flow generate text: use another "
            "builder (trtbuild builders SOURCE)"
        )
    if spec.quantization:
        method = spec.quantization.method
        refused = trtllm_route(method, spec.quantization.detail).refused
        other = "--backend vllm" if refused else "--backend trtllm or --backend vllm"
        yield (
            f"its weights are quantized ({method}); convert the unquantized checkpoint, or deploy "
            f"this one with {other}"
        )
    kind = rope_kind(config)
    if family.name == "phi3" and kind in LONG_ROPE:
        yield from _of_long_rope(spec, config)
    elif kind and kind not in SCALES and family.tables and not has_fixed_rope(family):
        yield (
            f"its rope scaling is {kind!r}; only {' and '.join(SCALES)} tables are computed "
            f"as TensorRT-LLM does: {_CONTAINER}"
        )
    elif kind in SCALES:
        yield from _of_scaling(kind, rope_scaling(config) or {})
    if config.get("mlp_bias"):
        yield f"its MLP has biases, which TensorRT-LLM's Llama leaves out: {_CONTAINER}"
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        yield f"only some of its layers have experts: {_CONTAINER}"
    if family.name.startswith("falcon"):
        yield from _of_falcon(config)


def _of_scaling(kind: str, scaling: Mapping[str, Any]) -> Iterator[str]:
    """Numbers that no table can be computed from."""
    for key in SCALES[kind]:
        value = scaling.get(key, 1.0)
        if not is_positive(value):
            yield f"its rope_scaling.{key} is {value!r}: fetch config.json again"
            return
    low, high = scaling.get("low_freq_factor", 1.0), scaling.get("high_freq_factor", 4.0)
    if kind == "llama3" and low >= high:
        yield (
            f"its rope_scaling.low_freq_factor {low} is not below its high_freq_factor {high}: "
            "fetch config.json again"
        )


def _of_long_rope(spec: ModelSpec, config: Mapping[str, Any]) -> Iterator[str]:
    scaling, wanted = rope_scaling(config) or {}, shape_of(spec, config).rotary // 2
    for key in ("short_factor", "long_factor"):
        factors = scaling.get(key)
        found = factors if isinstance(factors, list) else []
        if len(found) != wanted or not all(map(is_positive, found)):
            yield f"rope_scaling.{key} is not a list of {wanted} numbers: fetch config.json again"
    if not original_positions(config):
        yield "original_max_position_embeddings is not given: fetch config.json again"
    if not has_long_rope(config):
        yield (
            "its rope is scaled for fewer than 128,000 positions, which TensorRT-LLM does not "
            f"recognise: {_CONTAINER}"
        )


def _of_falcon(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("alibi"):
        yield f"it uses ALiBi positions, which no golden file covers: {_CONTAINER}"
    if config.get("parallel_attn", True) is False:
        yield f"its attention is not parallel to its MLP: {_CONTAINER}"
    new = config.get("new_decoder_architecture")
    if new and config.get("num_ln_in_parallel_attn", 2) == 1:
        yield f"it has one layer norm for attention and MLP (Falcon 2): {_CONTAINER}"


def _of_split(family: Family, shape: Shape, tp: int, pp: int) -> Iterator[str]:
    if family.max_tp and tp > family.max_tp:
        yield (
            f"how TensorRT-LLM splits {family.name} over ranks differs between its releases: "
            f"use --tp {family.max_tp}"
        )
    if family.max_pp and pp > family.max_pp:
        yield (
            f"TensorRT-LLM's own converter does not split {family.name} into stages: "
            f"use --pp {family.max_pp}"
        )
    if shape.layers % pp:
        yield (
            f"{shape.layers} layers cannot be shared evenly by {pp} stages: "
            f"use --pp {_nearest(shape.layers, pp)}"
        )
    yield from _of_ranks(family, shape, tp)


def _of_ranks(family: Family, shape: Shape, tp: int) -> Iterator[str]:
    if shape.heads % tp:
        yield (
            f"{shape.heads} attention heads cannot be shared evenly by {tp} ranks: "
            f"use --tp {_nearest(shape.heads, tp)}"
        )
    small, large = sorted((shape.kv_heads, tp))
    if large % small:
        yield (
            f"{shape.kv_heads} key-value heads can be neither shared nor repeated evenly over "
            f"{tp} ranks: use --tp {_nearest(shape.kv_heads, tp)}"
        )
    if shape.inner % tp:
        yield (
            f"an intermediate size of {shape.inner:,} is not a multiple of {tp} ranks: "
            f"use --tp {_nearest(shape.inner, tp)}"
        )
    if family.name == "gemma2" and shape.vocab % tp:
        yield (
            f"Gemma shares its vocabulary of {shape.vocab:,} over the ranks, and {tp} does not "
            f"divide it: use --tp {_nearest(shape.vocab, tp)}"
        )


def _nearest(count: int, limit: int) -> int:
    """Return the largest divisor of ``count`` up to ``limit``."""
    return next(n for n in range(min(count, limit), 0, -1) if count % n == 0)
