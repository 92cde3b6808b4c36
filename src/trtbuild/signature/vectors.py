"""The types of a vector's numbers, for servers that send only floats.

``templates/text/model/text_tasks.py`` computes the same inside Triton.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtbuild.errors import UsageError

TYPES = ("float", "binary", "ubinary", "int8", "uint8")
"""The values of the request parameter ``embedding_type``."""


def require_type(kind: str) -> None:
    """Raise UsageError if ``kind`` is neither a type nor empty."""
    if kind and kind not in TYPES:
        raise UsageError(f"unknown embedding type {kind!r}", fix=f"use one of {', '.join(TYPES)}")


def typed(vector: Sequence[float], kind: str) -> tuple[float, ...]:
    """Return a vector as numbers of a type.

    ``int8`` and ``uint8`` have a scale of their own for each vector, which keeps its direction.
    ``binary`` and ``ubinary`` are the signs as bits, eight to a byte, the first in the highest bit.
    """
    offset = {"binary": -128, "uint8": 128}.get(kind, 0)
    if kind in ("binary", "ubinary"):
        bits = [number > 0 for number in vector]
        bits += [False] * (-len(bits) % 8)
        parts = (bits[at : at + 8] for at in range(0, len(bits), 8))
        return tuple(sum(bit << (7 - n) for n, bit in enumerate(b)) + offset for b in parts)
    if kind in ("int8", "uint8"):
        scale = 127 / max((1e-12, *map(abs, vector)))
        return tuple(round(number * scale) + offset for number in vector)
    return tuple(vector)
