"""Vision-language families (``data/vision_families.toml``) and placeholders of images."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from trtbuild.resources import data_file

if TYPE_CHECKING:
    from trtbuild.modelspec.vision import Vision, VisionTask


@dataclass(frozen=True, slots=True)
class VisionFamily:
    """A row of the table; its file has the meaning of each field."""

    name: str
    title: str
    architectures: tuple[str, ...]
    url: str
    tokens: str = ""
    processor: bool = False
    after: str = ""
    media: tuple[str, ...] = ()
    images: int = 1
    since: str = ""
    end: str = ""
    boxes: str = ""
    engine: Mapping[str, Any] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, VisionTask] = field(default_factory=dict)


@cache
def vision_families() -> tuple[VisionFamily, ...]:
    """Return all families, in the table's order."""
    return tuple(_family(row) for row in _table()["family"])


def vision_family(architecture: str) -> VisionFamily | None:
    """Return the family of an architecture; None if the table has none."""
    rows = _table()["family"]
    return next((_family(row) for row in rows if architecture in row["architectures"]), None)


def vision_of_table(architecture: str) -> Vision | None:
    """Return how an architecture takes images, as far as it does not depend on a checkpoint.

    None if neither table has it.
    """
    placeholder = vision_placeholders().get(architecture, "")
    family = vision_family(architecture)
    if family is None and not placeholder:
        return None
    from trtbuild.modelspec.vision import Vision  # most checkpoints take no images

    if family is None:
        return Vision(placeholder=placeholder, marker=_marker(placeholder))
    return Vision(
        family=family.name,
        placeholder=placeholder,
        marker=_marker(placeholder),
        after=family.after,
        images=family.images,
        tasks=family.tasks,
        sampling=family.sampling,
        boxes=family.boxes,
        end=family.end,
    )


@cache
def vision_placeholders() -> Mapping[str, str]:
    """Return what stands for an image in a prompt, by architecture."""
    text = data_file("vision_placeholders.json").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text)["placeholders"]
    return found


def _marker(placeholder: str) -> str:
    """Return the part of a placeholder that the engine replaces."""
    markers: dict[str, str] = _table()["markers"]
    return markers.get(placeholder, placeholder)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(data_file("vision_families.toml").read_text(encoding="utf-8"))


def _family(row: Mapping[str, Any]) -> VisionFamily:
    from trtbuild.modelspec.vision import VisionTask

    known = {key: value for key, value in row.items() if key != "task"}
    for key in ("architectures", "media"):
        known[key] = tuple(known.get(key, ()))
    tasks = {
        name: VisionTask(task["prompt"], task.get("boxes", ""))
        for name, task in row.get("task", {}).items()
    }
    return VisionFamily(**known, tasks=tasks)
