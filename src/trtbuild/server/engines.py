"""The ranks of a compiled engine, and which of their files exist.

This is all the server needs to start an engine's processes; other facts about engines are in the
plug-in that builds them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

CONFIG = "config.json"
_MAX_BYTES = 64 << 20
_SHOWN = 8


def engine_ranks(folder: Path) -> tuple[int, str]:
    """Return the ranks of an engine, and what keeps them from starting (or ``""``)."""
    try:
        world = _world(json.loads(_content(folder / CONFIG)))
        return world, _lacking(world, [path.name for path in folder.iterdir()])
    except OSError as error:
        why = error.strerror or str(error)
    except (ValueError, RecursionError) as error:
        why = str(error)
    return 1, f"the engine's {CONFIG} cannot be used: {why}"


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if not size:
        raise ValueError("it is empty")
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes")
    return path.read_bytes()


def _world(document: Any) -> int:
    """Return tensor × pipeline × context parallel size; ValueError for an invalid configuration."""
    model = document.get("pretrained_config") if isinstance(document, dict) else None
    mapping = model.get("mapping", {}) if isinstance(model, dict) else None
    if not isinstance(mapping, dict):
        raise ValueError("it has no pretrained_config with a mapping")
    tensor, pipeline = mapping.get("tp_size", 1), mapping.get("pp_size", 1)
    sizes = [tensor, pipeline, mapping.get("cp_size", 1), mapping.get("world_size", 1)]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError("a parallel size of its mapping is not a positive number")
    context = mapping.get("cp_size", max(1, sizes[-1] // (tensor * pipeline)))
    return int(tensor * pipeline * context)


def _lacking(world: int, names: list[str]) -> str:
    matches = (re.fullmatch(r"rank(\d+)\.engine", name) for name in names)
    there = {int(match[1]) for match in matches if match}
    if len(there) == world == max(there) + 1:
        return ""
    # a broken config.json may name more ranks than memory can hold
    missing = [rank for rank in range(min(world, len(there) + _SHOWN)) if rank not in there]
    more = sorted(rank for rank in there if rank >= world)
    parts = [f"rank{rank}.engine missing" for rank in missing[:_SHOWN]]
    parts += [f"rank{rank}.engine too many" for rank in more[:_SHOWN]]
    count = "1 rank" if world == 1 else f"{world} ranks"
    return f"it was built for {count}, and {len(there)} are there: {', '.join(parts)}"
