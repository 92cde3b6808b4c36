"""Values inside parsed documents, whatever their shape.

Apart from the view of deployment files, because every validation imports the rules and few of them
see such files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def get(value: Any, *path: str | int) -> Any:
    """The value at ``path`` inside mappings and lists, None if there is none."""
    for part in path:
        if isinstance(part, int):
            value = value[part] if isinstance(value, Sequence) and part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def items(value: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list; nothing where it is not a list."""
    found = value if isinstance(value, list) else []
    return [one for one in found if isinstance(one, Mapping)]


def number(value: Any) -> int | None:
    """A whole number, also as text; None for anything else."""
    if isinstance(value, bool):
        return None
    return int(value) if isinstance(value, int) or re.fullmatch("[0-9]{1,18}", str(value)) else None
