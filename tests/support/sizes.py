"""Configurations with vLLM's own answers, and ours in the same words; see tests/sizes/README.md."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.checkpoints import tokenizer_json
from trtbuild import toolchain
from trtbuild.checkpoint import Checkpoint, CheckpointFile, TensorInfo, inspect
from trtbuild.modelspec import AttentionGroup, ModelSpec, SourceRef, Task
from trtbuild_builders.memory.load import load_of

FOLDER = Path(__file__).parents[1] / "sizes"
ANSWERS = FOLDER / "vllm-0.32.0.jsonl"
RELEASE = toolchain.vllm_release("0.24.0")
COMPARED = ("layers", "heads", "max_model_len", "runner", "attention_free", "hybrid", "groups")


@dataclass(frozen=True)
class Asked:
    """One configuration, the files beside it, and vLLM's answer."""

    name: str
    config: dict[str, Any]
    files: Mapping[str, Any]
    answer: Mapping[str, Any]


def asked() -> Iterator[Asked]:
    """Every configuration that vLLM has answered or refused."""
    answers = {line["name"]: line for line in _lines(ANSWERS)}
    for line in _lines(FOLDER / "configurations.jsonl"):
        yield Asked(line["name"], line["config"], line.get("files", {}), answers[line["name"]])


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def explained() -> dict[tuple[str, str], str]:
    """Why an answer of ours differs, by configuration and by what is compared."""
    table = tomllib.loads((FOLDER / "explained.toml").read_text(encoding="utf-8"))
    return {
        (name, what): row["why"]
        for row in table["difference"]
        for name in row["names"]
        for what in row["what"]
    }


def described(config: Mapping[str, Any], files: Mapping[str, Any]) -> ModelSpec:
    """What ``inspect`` makes of a checkpoint with these files."""
    contents = {name: json.dumps(content).encode() for name, content in files.items()}
    contents["tokenizer.json"] = tokenizer_json(64).encode()
    opened = Checkpoint(
        ref=SourceRef("local", "sizes"),
        default_name="sizes",
        files=tuple(CheckpointFile(name, len(data)) for name, data in contents.items()),
        tensors={"model.embed_tokens.weight": TensorInfo("BF16", (8, 8), "model", 0, 128)},
        config=config,
        reader=contents.get,
        materializer=lambda _: (),
    )
    return inspect(opened, trust_remote_code=True)


def ours(spec: ModelSpec) -> dict[str, Any]:
    """Our answer, in vLLM's words."""
    generates = spec.task in {Task.GENERATE, Task.VISION_LANGUAGE}
    element = load_of(spec, {}, RELEASE, None).kv_element
    counts: Counter[tuple[Any, ...]] = Counter()
    for group in spec.kv_cache.groups:
        for entry in _entries(group, element):
            counts[entry] += group.layers
    return {
        "layers": spec.num_layers,
        "heads": spec.num_attention_heads,
        "max_model_len": spec.context_length,
        "runner": "generate" if generates else "pooling",
        "attention_free": spec.kv_cache.kind == "recurrent",
        "hybrid": spec.kv_cache.kind == "hybrid",
        "groups": sorted([kind, layers, *rest] for (kind, *rest), layers in counts.items()),
    }


def _entries(group: AttentionGroup, element: float) -> Iterator[tuple[Any, ...]]:
    """vLLM counts an indexer's keys as a cache of its own."""
    size = group.token_bytes(element) - group.fixed_bytes
    state = group.state_bytes()
    yield (group.kind, _plain(size), group.window, _plain(state))
    if group.fixed_bytes:
        yield (group.kind, _plain(group.fixed_bytes), group.window, 0)


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() else number
