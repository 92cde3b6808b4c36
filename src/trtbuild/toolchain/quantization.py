"""How TensorRT-LLM's LLM API loads a quantised checkpoint (``data/trtllm_quantization.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from trtbuild.resources import data_file

# Ampere: the oldest row of TensorRT-LLM's hardware support matrix (features/quantization.md).
TRTLLM_LEAST_SM = 80


@dataclass(frozen=True, slots=True)
class Route:
    """How a quantised checkpoint is loaded.

    Attributes:
        algorithm: TensorRT-LLM's name of the algorithm, empty if it is rejected.
        since: The first release that loads it, empty for every known one.
        sm: Compute capabilities without the dot (89 is 8.9) that can run it.
        preferred: Whether TensorRT-LLM is the default engine for it.
        refused: Why it is not loaded, empty if it is.
    """

    algorithm: str
    since: str = ""
    sm: tuple[int, ...] = ()
    preferred: bool = False
    refused: str = ""


@cache
def _rows() -> tuple[Mapping[str, Any], ...]:
    text = data_file("trtllm_quantization.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["row"])


def trtllm_route(method: str, detail: Mapping[str, object]) -> Route:
    """Return the route of a checkpoint; without a row it is rejected.

    Args:
        method: Hugging Face's name of the quantization method.
        detail: The declared settings (``quant_algo``, ``bits``, ``type``, …).
    """
    for row in _rows():
        if row["method"] == method and _matches(row.get("when", {}), detail):
            said = {"quant_algo": "unnamed algorithm", "bits": "few", **detail}
            return Route(
                algorithm=row["algorithm"],
                since=row.get("since", ""),
                sm=tuple(row.get("sm", ())),
                preferred=row.get("preferred", False),
                refused=row.get("refused", "").format_map(said),
            )
    return Route("", refused=f"{method} is not a quantization that it is known to load")


def _matches(expected: Mapping[str, str], detail: Mapping[str, object]) -> bool:
    """Whether a value matches: ``*`` is any value except none; case is ignored."""
    for key, value in expected.items():
        found = str(detail.get(key, "")).upper()
        if not found or value not in ("*", found):
            return False
    return True
