"""What a TensorRT-LLM release reads, and its names (``data/checkpoint.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from trtbuild_engine_flow.converter.families import HEAD, Family, Row
from trtbuild_engine_flow.resources import data_file

Era = tuple[int, int]
"""Major and minor version of TensorRT-LLM."""


def era_of(release: str) -> Era:
    """``(1, 2)`` of ``1.2.1``."""
    major, minor = (*release.split("."), "0")[:2]
    return int(major), int(minor)


@cache
def _table() -> Mapping[str, Any]:
    path = data_file("checkpoint.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _rows(kind: str, era: Era) -> Iterator[Mapping[str, Any]]:
    """Return the rows that apply to a release."""
    for row in _table()[kind]:
        late = "until" in row and era >= era_of(row["until"])
        if not late and era >= era_of(row.get("since", "0.0")):
            yield row


def _concerns(row: Mapping[str, Any], family: Family, rope: str = "") -> bool:
    families, ropes = row.get("families", (family.name,)), row.get("rope", (rope,))
    return family.name in families and rope in ropes


def first_release(kind: str, family: Family, rope: str, era: Era) -> str:
    """Return the release that a family and its rope scaling require; ``""`` if this one is enough.

    Args:
        kind: ``network`` for one whose classes can compute it at all, ``written`` for one that
            reads what is written here.
    """
    waits = [
        row["since"]
        for row in _table()[kind]
        if _concerns(row, family, rope) and era < era_of(row["since"])
    ]
    return max(waits, key=era_of, default="")


def architecture_of(architecture: str, era: Era) -> str:
    """Return the name of an architecture in the release's model table."""
    names = {row["name"]: row["written"] for row in _rows("architecture", era)}
    return str(names.get(architecture, architecture))


def moe_keys(era: Era) -> frozenset[str]:
    """Return the fields of ``moe`` in the release; empty if it has no such object."""
    return frozenset(key for row in _rows("moe", era) for key in row["keys"])


def reads_field(name: str, era: Era) -> bool:
    """Whether the release reads a field that not all releases do."""
    return any(row["name"] == name for row in _rows("field", era))


def wants_head(family: str, era: Era) -> bool:
    """Whether the release requires a head even for a family with tied embeddings."""
    return any(family in row["families"] for row in _rows("head", era))


def of_release(family: Family, era: Era) -> Family:
    """Return the family's tensors under the release's names."""
    if any(_concerns(row, family) for row in _rows("stages", era)):
        family = replace(family, max_pp=0)
    if wants_head(family.name, era):
        family = replace(family, last=(*family.last, HEAD))
    renamed = [row for row in _rows("tensor", era) if _concerns(row, family)]
    return replace(family, layer=tuple(_named(row, renamed) for row in family.layer))


def _named(row: Row, renamed: list[Mapping[str, Any]]) -> Row:
    for one in renamed:
        if row.target.startswith(one["name"]):
            return replace(row, target=one["written"] + row.target.removeprefix(one["name"]))
    return row


def completed(architecture: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``config.json`` with the defaults of transformers' class for missing fields."""
    defaults = dict(_table()["defaults"].get(architecture, {}))
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        defaults.pop("rope_theta", None)
    aliases = {"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"}
    for key, other in aliases.items():
        if other in config or (isinstance(rope, dict) and other in rope):
            defaults.pop(key, None)
    if "max_position_embeddings" in config:
        defaults.pop("n_positions", None)
    return defaults | dict(config)
