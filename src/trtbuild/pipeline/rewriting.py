"""Rewrite small files of a checkpoint that cannot be placed unchanged.

Weights are never changed. A configuration is rewritten if the release would misread it, and
loses ``auto_map`` if the checkpoint's code must not run: some releases ran it regardless
(CVE-2026-22807).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trtbuild.builder import Builder, Case
from trtbuild.checkpoint import Checkpoint
from trtbuild.checkpoint.code import PROCESSORS
from trtbuild.checkpoint.problems import dump_json, json_object
from trtbuild.modelspec import spelling
from trtbuild.recipe import EngineSupport, ModelRecipe, engine_support

_CONFIG, _TOKENIZER, _FAST = "config.json", "tokenizer_config.json", "tokenizer.json"

Rewritten = Mapping[str, bytes | None]
"""Name -> what is placed instead of the checkpoint's file, None to leave it out."""


def rewritten_of(builder: Builder, case: Case, checkpoint: Checkpoint) -> Rewritten:
    """Return replacements for files of the checkpoint; empty if no file is copied."""
    if case.recipe.weights == "hub":
        return {}
    support = engine_support(case.spec, case.toolchain, builder.image(case.toolchain))
    return rewritten(checkpoint, case.recipe, support)


def rewritten(checkpoint: Checkpoint, recipe: ModelRecipe, support: EngineSupport) -> Rewritten:
    """Return the files of ``checkpoint`` that the engine needs rewritten."""
    runs = support.runs_code(recipe)
    changed: dict[str, bytes | None] = {}
    if not runs:
        changed = {file.name: None for file in checkpoint.files if file.name.endswith(".py")}
    for name in (_CONFIG, _TOKENIZER, *PROCESSORS):
        before = _document(checkpoint, name)
        after = _older(name, before) if support.respelled else dict(before)
        if not runs:
            after.pop("auto_map", None)
        if after != before:
            changed[name] = dump_json(after)
    return changed | dict(_merges(checkpoint, support))


def _document(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    raw = checkpoint.read_bytes(name) if checkpoint.has(name) else None
    return {} if raw is None else json_object(raw, name)


def _older(name: str, document: dict[str, Any]) -> dict[str, Any]:
    if name == _CONFIG:
        return spelling.older_config(document)[0]
    changes = spelling.older_tokenizer(document) if name == _TOKENIZER else {}
    gone = {key for key, value in changes.items() if value is None}
    return {key: value for key, value in (document | changes).items() if key not in gone}


def _merges(checkpoint: Checkpoint, support: EngineSupport) -> Iterator[tuple[str, bytes]]:
    if support.reading is None or support.reading.reads_paired_merges or not checkpoint.has(_FAST):
        return
    made = spelling.older_merges(checkpoint.read_bytes(_FAST) or b"")
    if made is not None:
        yield _FAST, made
