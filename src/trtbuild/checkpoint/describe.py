"""Describe an opened checkpoint as a :class:`~trtbuild.modelspec.ModelSpec`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from trtbuild.checkpoint import families
from trtbuild.checkpoint.attention import Heads, heads, kv_cache
from trtbuild.checkpoint.code import parts_of, wraps
from trtbuild.checkpoint.context import context_of
from trtbuild.checkpoint.counting import Count, count
from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.head import head_notes, head_of, sentence_files
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems, json_object
from trtbuild.checkpoint.quantized import quantization
from trtbuild.checkpoint.tasks import task_of
from trtbuild.checkpoint.tokens import special_id, tokenizer_config, tokenizer_info
from trtbuild.checkpoint.vision import vision_of
from trtbuild.errors import UnsupportedError
from trtbuild.modelspec import ModelSpec, Quantization, Task, spelling

_DTYPE_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}


def inspect(
    checkpoint: Checkpoint, *, trust_remote_code: bool = False, needs_tokenizer: bool = True
) -> ModelSpec:
    """Return everything known of ``checkpoint`` from its metadata and headers.

    Args:
        checkpoint: The opened checkpoint; no weights are read.
        trust_remote_code: Accept an unknown architecture if the checkpoint has its
            own code (``auto_map``); builders refuse it.
        needs_tokenizer: Refuse a checkpoint without a tokenizer.

    Raises:
        UnsupportedError: Unknown architecture, no usable tokenizer, invalid numbers; lists all.
    """
    problems = Problems()
    fields = Fields(checkpoint.config)
    settings = tokenizer_config(checkpoint)
    files = sentence_files(checkpoint)
    parts = parts_of(checkpoint, settings)
    code = "accepted" if parts and trust_remote_code else "offered" if parts else ""
    architecture, task = task_of(checkpoint, fields, files, code, problems)
    if task is Task.AUDIO:
        raise _no_audio(checkpoint, architecture)
    shape = _shape(fields, problems, pictures=task is Task.IMAGE_CLASSIFY)
    tokenizer = tokenizer_info(checkpoint, settings, fields.number(families.VOCAB))
    if tokenizer.kind == "none" and needs_tokenizer and task is not Task.IMAGE_CLASSIFY:
        problems.add(
            "there is no tokenizer (tokenizer.json, tokenizer.model or vocab.json + merges.txt)",
            "fetch the tokenizer's files into the same directory",
        )
    context = context_of(
        fields,
        settings,
        files.transformer,
        pooling=task not in {Task.GENERATE, Task.VISION_LANGUAGE},
    )
    head = head_of(
        checkpoint, fields, files=files, tokenizer=settings, problems=problems, task=task
    )
    problems.raise_if_any(checkpoint.ref.text)
    method = quantization(checkpoint, fields.values)
    counted = _count(checkpoint, fields, method, shape.layers)
    ids = _special_ids(checkpoint, fields, settings)
    return ModelSpec(
        source=checkpoint.ref,
        architecture=architecture,
        model_type=str(checkpoint.config.get("model_type") or fields.model_type or fields.family),
        task=task,
        parameters=counted.parameters,
        bytes_by_dtype=counted.bytes_by_dtype,
        # unknown for an export: the configuration has the type of the original weights
        dtype="" if checkpoint.onnx else _dtype(fields, counted.bytes_by_dtype),
        quantization=method,
        num_layers=shape.layers,
        hidden_size=fields.number(families.HIDDEN),
        num_attention_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        head_size=shape.size,
        context_length=context,
        vocab_size=fields.number(families.VOCAB),
        bos_token_id=next(iter(ids["bos"]), None),
        eos_token_ids=ids["eos"],
        pad_token_id=next(iter(ids["pad"]), None),
        kv_cache=kv_cache(fields, shape),
        tokenizer=tokenizer,
        remote_code=bool(parts),
        num_experts=fields.number(families.EXPERTS),
        active_parameters=counted.active,
        config_digest=_digest(checkpoint.config),
        code=parts,
        code_wraps="model" in parts and wraps(checkpoint),
        spelling=spelling.only_five(checkpoint.config, settings),
        spelling_problem=spelling.problem(checkpoint.config, settings),
        layout="hf" if checkpoint.has("config.json") else "mistral",
        notes=(*_notes(fields, method), *head_notes(head, files)),
        weights_format=checkpoint.weights_format,
        head=head,
        vision=vision_of(checkpoint, architecture) if task is Task.VISION_LANGUAGE else None,
    )


def _no_audio(checkpoint: Checkpoint, architecture: str) -> UnsupportedError:
    return UnsupportedError(
        f"{architecture} is a speech model, and Triton's vLLM backend has no audio input",
        where=checkpoint.ref.text,
        fix="serve it outside Triton, or through a Python model that you write yourself",
    )


def _shape(fields: Fields, problems: Problems, *, pictures: bool) -> Heads:
    """Return counts of layers and heads; an image model may have neither."""
    try:
        shape = heads(fields)
        hidden = fields.number(families.HIDDEN)
    except UnsupportedError as error:
        problems.take(error)
        return Heads(0, 0, 0, 0)
    if pictures:
        return shape
    needed = {families.LAYERS[0]: shape.layers, families.HIDDEN[0]: hidden}
    if fields.family not in families.ALL_RECURRENT:
        needed[families.HEADS[0]] = shape.heads
    for key, value in needed.items():
        if not value:
            problems.add(f"config.json has no {key}", f"add {key}, or fetch config.json again")
    return shape


def _count(
    checkpoint: Checkpoint, fields: Fields, method: Quantization | None, layers: int
) -> Count:
    if checkpoint.weights_format != "safetensors":
        size = sum(file.size for file in checkpoint.files if not _is_text(file.name))
        return Count(0, 0, {checkpoint.weights_format: size})
    # Only multi-token prediction has layers beyond the last; a vision tower has its own count.
    beyond = layers if fields.number(families.PREDICTION_LAYERS) else 0
    return count(
        checkpoint.tensors,
        method,
        tied=fields.flag("tie_word_embeddings"),
        layers=beyond,
        experts=fields.number(families.EXPERTS),
        experts_per_token=fields.number(families.EXPERTS_PER_TOKEN),
        idle_experts=fields.number(families.IDLE_EXPERTS),
    )


def _is_text(name: str) -> bool:
    return name.endswith((".json", ".txt", ".jinja", ".model", ".tiktoken", ".py"))


def _dtype(fields: Fields, sizes: Mapping[str, int]) -> str:
    """Return the configuration's ``dtype`` (``torch_dtype`` before 2025), else the most common."""
    for key in ("dtype", "torch_dtype"):
        value = fields.text(key).removeprefix("torch.")
        if value and value != "auto":
            return value
    floats = {kind: size for kind, size in sizes.items() if kind in _DTYPE_NAMES}
    return _DTYPE_NAMES[max(floats, key=lambda kind: floats[kind])] if floats else ""


def _special_ids(
    checkpoint: Checkpoint, fields: Fields, settings: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Return ``bos``, ``eos`` and ``pad`` ids from generation_config, config or tokenizer."""
    raw = checkpoint.read_bytes("generation_config.json")
    generation = {} if raw is None else json_object(raw, "generation_config.json")
    found: dict[str, tuple[int, ...]] = {}
    for role in ("bos", "eos", "pad"):
        ids = [*_ids(generation.get(f"{role}_token_id")), *_ids(fields.get(f"{role}_token_id"))]
        named = special_id(checkpoint, settings, f"{role}_token")
        ids += [] if named is None else [named]
        found[role] = tuple(dict.fromkeys(ids))
    return found


def _ids(value: object) -> list[int]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if type(item) is int and item >= 0]


def _notes(fields: Fields, method: Quantization | None) -> tuple[str, ...]:
    declared = fields.values.get("quantization_config")
    if method is None and isinstance(declared, dict) and declared:
        keys = ", ".join(sorted(map(str, declared)))
        return (
            f"quantization_config ({keys}) has no quant_method, so engines treat the weights "
            "as unquantized: add the method that made them",
        )
    return ()


def _digest(config: Mapping[str, Any]) -> str:
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
