"""How ``trtbuild inspect`` looks, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trtbuild.cli.output import console, human_bytes, human_count, jsonable
from trtbuild.modelspec import Task
from trtbuild.recipe import listed
from trtbuild.toolchain import vision_family

if TYPE_CHECKING:
    from trtbuild.checkpoint import Checkpoint
    from trtbuild.modelspec import AttentionGroup, ModelSpec

Row = tuple[str, str]


def as_object(opened: Checkpoint, spec: ModelSpec) -> dict[str, Any]:
    """The spec as JSON, with what follows from it."""
    made: dict[str, Any] = jsonable(spec)
    made["weight_bytes"] = spec.weight_bytes
    made["kv_cache"]["bytes_per_token"] = spec.kv_cache.bytes_per_token()
    made["kv_cache"]["bytes_per_token_beyond_windows"] = spec.kv_cache.bytes_beyond_windows()
    made["kv_cache"]["bytes_per_sequence_at_context_length"] = spec.kv_cache.bytes_per_sequence(
        spec.context_length
    )
    made["default_name"] = opened.default_name
    made["pickle"] = opened.pickle
    made["files"] = [
        {"name": file.name, "size": file.size, "sha256": file.sha256} for file in opened.files
    ]
    return made


def print_spec(opened: Checkpoint, spec: ModelSpec) -> None:
    """A table in parts."""
    from rich.markup import escape
    from rich.table import Table

    from trtbuild.cli.head_view import head_rows

    parts = [_identity, _weights, _shape, _words]
    parts += [head_rows] if spec.head else []
    parts += [_images] if spec.vision else []
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for at, part in enumerate(parts):
        if at:
            table.add_row("", "")
        for label, text in part(opened, spec):
            table.add_row(label, escape(text))
    out = console()
    out.print(f"[bold]{escape(_title(spec))}[/bold]  {escape(_summary(spec))}")
    out.print()
    out.print(table)
    for warning in _warnings(opened, spec):
        out.print(f"\n[yellow]note:[/yellow] {escape(warning)}")


def _title(spec: ModelSpec) -> str:
    revision = spec.source.commit[:12] or spec.source.revision
    return f"{spec.source.text}@{revision}" if revision else spec.source.text


def _summary(spec: ModelSpec) -> str:
    size = f"{human_count(spec.parameters)} parameters" if spec.parameters else ""
    kind = spec.quantization.method if spec.quantization else spec.dtype
    return ", ".join(filter(None, (size, kind, human_bytes(spec.weight_bytes))))


def _identity(_: Checkpoint, spec: ModelSpec) -> Iterator[Row]:
    yield "architecture", f"{spec.architecture} ({spec.model_type})"
    yield "task", spec.task.value
    if spec.source.commit:
        yield "commit", spec.source.commit


def _weights(opened: Checkpoint, spec: ModelSpec) -> Iterator[Row]:
    yield (
        "parameters",
        f"{spec.parameters:,}" if spec.parameters else f"unknown ({spec.weights_format})",
    )
    if spec.num_experts:
        share = f"{human_count(spec.active_parameters)} active per token"
        yield "experts", f"{spec.num_experts} ({share})"
    stored = ", ".join(f"{kind} {human_bytes(n)}" for kind, n in spec.bytes_by_dtype.items())
    shards = sum(
        file.name.endswith((".safetensors", ".bin", ".onnx", "data")) for file in opened.files
    )
    yield "weights", f"{stored} in {shards} file{'s' if shards != 1 else ''}"
    if spec.quantization:
        detail = ", ".join(f"{key} {value}" for key, value in spec.quantization.detail.items())
        yield "quantization", f"{spec.quantization.method} ({detail})"


def _shape(_: Checkpoint, spec: ModelSpec) -> Iterator[Row]:
    yield "layers", f"{spec.num_layers} of width {spec.hidden_size:,}"
    heads = f"{spec.num_attention_heads} heads of {spec.head_size}"
    yield "attention", f"{spec.kv_cache.kind}: {heads}, {spec.num_kv_heads} for keys and values"
    yield "context", f"{spec.context_length:,} tokens" if spec.context_length else "unknown"
    if spec.kv_cache.groups and spec.task in (Task.GENERATE, Task.VISION_LANGUAGE):
        token, beyond = spec.kv_cache.bytes_per_token(), spec.kv_cache.bytes_beyond_windows()
        later = f" ({beyond:,} once windows are full)" if beyond != token else ""
        full = human_bytes(spec.kv_cache.bytes_per_sequence(spec.context_length))
        yield "KV cache", f"{token:,} bytes per token in 16 bits{later}; {full} for a full context"
    if len(spec.kv_cache.groups) > 1 or any(group.window for group in spec.kv_cache.groups):
        for group in spec.kv_cache.groups:
            yield "", _group(group)


def _group(group: AttentionGroup) -> str:
    text = f"{group.layers} {group.kind} layers"
    if group.window:
        text += f" of {group.window:,} tokens"
    if group.constant_elements:
        text += f" keeping {group.constant_elements:,} elements per sequence"
    return text


def _words(_: Checkpoint, spec: ModelSpec) -> Iterator[Row]:
    kind = spec.tokenizer.kind
    named = f"{kind}, {spec.tokenizer.tokenizer_class}" if spec.tokenizer.tokenizer_class else kind
    yield "tokenizer", f"{named}; {spec.vocab_size:,} tokens"
    yield "end of text", ", ".join(map(str, spec.eos_token_ids)) or "none declared"
    yield "chat template", "yes" if spec.tokenizer.chat_template else "no"
    yield "brings code", f"for its {listed(spec.code)} (auto_map)" if spec.code else "no"


def _images(_: Checkpoint, spec: ModelSpec) -> Iterator[Row]:
    vision = spec.vision
    if vision is None:
        return
    family = vision_family(spec.architecture)
    yield "vision family", family.title if family else "not in trtbuild's table"
    tokens = f", up to {vision.image_tokens:,} tokens" if vision.image_tokens else ""
    yield (
        "an image",
        (vision.placeholder.replace("{i}", "1") or "has no placeholder known") + tokens,
    )
    if vision.encoder_parameters:
        yield "vision encoder", f"{human_count(vision.encoder_parameters)} parameters"
    if vision.tasks:
        yield "named tasks", ", ".join(vision.tasks)
    if not vision.processor:
        yield "processor", "missing: no file says how images are prepared"


def _warnings(opened: Checkpoint, spec: ModelSpec) -> Iterator[str]:
    if spec.code:
        yield (
            "this checkpoint contains Python code: releases that support the model do not need "
            "it, others need --trust-remote-code (see trtbuild plan)"
        )
    yield from spec.notes
    if opened.pickle:
        yield "the weights are pickles: loading them can run code, so they are not inspected"
