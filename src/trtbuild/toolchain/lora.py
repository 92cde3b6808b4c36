"""Whether a vLLM release can run a LoRA adapter, from its ``adapter_config.json``.

What vLLM rejects is in ``data/vllm_adapters.toml`` (keys of the configuration) and
``data/vllm_lora.json`` (architectures, read out of the sources by ``scripts/add_lora_support.py``).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from packaging.version import Version

from trtbuild.resources import data_file

DEFAULT_RANK = 16
"""vLLM's ``max_lora_rank`` when model.json does not say it."""

Kind = Literal["config", "feature", "rank", "modules", "shapes", "architecture"]


@dataclass(frozen=True, slots=True)
class AdapterFault:
    """Why an adapter cannot be used.

    Attributes:
        kind: What is wrong: the configuration itself, a feature, …
        what: A clause about the adapter, such as ``it is a DoRA adapter``.
        fix: What to do.
        server: A part of vLLM's message, empty if it reports nothing.
        loads: The engine loads the adapter, but its answers are wrong.
    """

    kind: Kind
    what: str
    fix: str
    server: str = ""
    loads: bool = False


_MERGE = (
    "merge the adapter into the checkpoint (PEFT's merge_and_unload) and convert that, or train it "
    "as plain LoRA"
)
_PLAIN = "give a LoRA adapter as PEFT's save_pretrained writes it"


def config_faults(
    config: Mapping[str, Any], release: str, settings: Mapping[str, Any]
) -> Iterator[AdapterFault]:
    """Return what is wrong with ``adapter_config.json`` for a vLLM ``release``.

    ``settings`` are engine arguments: ``max_lora_rank`` and, before 0.11.1, ``enable_lora_bias``.
    """
    rank = config.get("r")
    missing = [key for key in ("r", "lora_alpha", "target_modules") if config.get(key) is None]
    if missing:
        named = ", ".join(map(repr, missing))
        yield AdapterFault(
            "config",
            f"its adapter_config.json has no {named}",
            _PLAIN,
            "Missing required configuration fields",
        )
    ranks = _ranks(config)
    if rank is not None and ranks is None:
        what = "one of its ranks is not a positive whole number: "
        shown = config.get("rank_pattern") if type(rank) is int and rank > 0 else rank
        yield AdapterFault("config", f"{what}{shown!r:.80}", _PLAIN)
    limit = settings.get("max_lora_rank", DEFAULT_RANK)
    if ranks and isinstance(limit, int) and max(ranks) > limit:
        yield AdapterFault(
            "rank",
            f"its rank is {max(ranks)}, and max_lora_rank {limit}",
            'write "max_lora_rank" into model.json (trtbuild convert … --adapter does)',
            f"LoRA rank {max(ranks)} is greater than max_lora_rank {limit}.",
        )
    yield from _features(config, Version(release), settings)


def _ranks(config: Mapping[str, Any]) -> list[int] | None:
    """Return every rank, None if one is not a positive whole number."""
    pattern = config.get("rank_pattern") or {}
    found = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else [None])]
    sound = all(type(rank) is int and rank > 0 for rank in found)
    return [rank for rank in found if isinstance(rank, int)] if sound else None


def _features(
    config: Mapping[str, Any], release: Version, settings: Mapping[str, Any]
) -> Iterator[AdapterFault]:
    table = _table()
    for row in table["feature"]:
        value = config.get(row["key"])
        if not _has(row, value) or _tolerated(row["key"], value, release, settings):
            continue
        refused = release >= Version(row["since"])
        yield AdapterFault(
            "feature",
            row["what"] + ("" if refused else ", which this vLLM silently ignores"),
            _MERGE,
            row["server"] if refused else "",
            loads=not refused,
        )
    for row in table["unread"]:
        if config.get(row["key"]) and release < Version(row["since"]):
            what = f"{row['what']}, which vLLM reads since {row['since']}"
            yield AdapterFault("feature", what, _MERGE, loads=True)


def _has(row: Mapping[str, Any], value: Any) -> bool:
    if "allowed" not in row:
        return bool(value)
    return isinstance(value, str) and value.lower() not in row["allowed"]


def _tolerated(key: str, value: Any, release: Version, settings: Mapping[str, Any]) -> bool:
    rules = _table()["rules"]
    if key == "bias":
        return bool(settings.get(rules["bias_argument"]))
    if key == "modules_to_save" and release >= Version(rules["classifier_since"]):
        return isinstance(value, list) and set(map(str, value)) <= set(rules["classifier"])
    return False


def architecture_fault(architecture: str, release: str) -> AdapterFault | None:
    """Return the fault if ``release`` supports no adapters for this architecture."""
    if lora_embeddings(architecture, release) is not None or not _known(architecture, release):
        return None
    return AdapterFault(
        "architecture",
        f"vLLM {release} does not support adapters for {architecture}",
        "merge the adapter into the checkpoint (PEFT's merge_and_unload) and convert that",
        f"{architecture} does not support LoRA",
    )


def lora_embeddings(architecture: str, release: str) -> frozenset[str] | None:
    """Return the embeddings that adapters may change; None without adapters or if unknown."""
    value = _changes(architecture, release)
    return frozenset(value.split()) if isinstance(value, str) else None


def _known(architecture: str, release: str) -> bool:
    return _changes(architecture, release) is None and architecture in _support()["architectures"]


def _changes(architecture: str, release: str) -> str | bool | None:
    """Return the table's value: embeddings, None without adapters, False if unknown."""
    table = _support()
    if not table["releases"] or Version(release) < Version(table["releases"][0]):
        return False
    value: str | bool | None = False
    for since, found in table["architectures"].get(architecture, ()):
        if Version(since) <= Version(release):
            value = found
    return value


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(data_file("vllm_adapters.toml").read_text(encoding="utf-8"))


@cache
def _support() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(data_file("vllm_lora.json").read_text(encoding="utf-8"))
    return found
