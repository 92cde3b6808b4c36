"""What trtbuild's tables say of a vision-language model, for adapters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trtbuild.toolchain.vision import VisionFamily, vision_family, vision_of_table


def family_of(source: str, architecture: str) -> VisionFamily | None:
    """Return the family of a checkpoint; None if the table has none.

    Args:
        source: The checkpoint, if it is a directory of this machine.
        architecture: Of a checkpoint that is not.
    """
    try:
        config = json.loads((Path(source) / "config.json").read_text("utf-8"))
        architecture = str(config["architectures"][0])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # the adapter says what it is for, and itself reports a damaged checkpoint
    return vision_family(architecture)


def described(family: VisionFamily) -> Mapping[str, Any]:
    """Return the facts that a worker needs of a family, as JSON can hold them."""
    vision = vision_of_table(family.architectures[0])
    assert vision is not None
    return {
        "placeholder": vision.placeholder,
        "marker": vision.marker,
        "after": family.after,
        "tasks": {name: asdict(task) for name, task in family.tasks.items()},
        "sampling": dict(family.sampling),
        "engine": dict(family.engine),
        "boxes": vision.boxes,
    }
