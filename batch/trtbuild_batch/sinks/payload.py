"""The kept columns of a row as JSON, which databases store beside a vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def payload(row: Mapping[str, Any], text: Callable[[str], str] = str) -> dict[str, Any]:
    """Return the row with nothing that JSON does not have: NaN and infinity become null, as no
    database reads them, and what is not a number, text or list becomes text.

    Args:
        row: Values by column.
        text: Changes each text, for a database that does not take all of them.
    """

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {text(str(name)): plain(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return text(str(value))

    return {name: plain(value) for name, value in row.items()}
