"""The roles of an ensemble's tensors, followed through its maps to those of its members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_DEEPEST = 8  # ensembles in ensembles


def roles(entry: str, configs: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """Return the usual name of each tensor of ``entry``, as far as its members' tensors tell.

    ``known`` has the usual names of the members' tensors: ``QUERY`` is ``text_input``.
    """
    config = configs[entry]
    found: dict[str, str] = {}
    for side, tensors in (("input", config.input), ("output", config.output)):
        for tensor in tensors:
            ends = _ends(config, tensor.name, side, configs, _DEEPEST)
            role = next((known[end] for end in ends if end in known), "")
            if role:
                found[tensor.name] = role
    return found


def _ends(
    config: Any, name: str, side: str, configs: Mapping[str, Any], depth: int
) -> Iterator[str]:
    """Return the members' tensors that an ensemble's tensor maps to; for a plain model its own."""
    if not config.ensemble_scheduling.step:
        yield name
        return
    for step in config.ensemble_scheduling.step if depth else ():
        member = configs.get(step.model_name)
        for inner, outer in getattr(step, f"{side}_map").items():
            if outer == name and member is not None:
                yield from _ends(member, inner, side, configs, depth - 1)
            elif outer == name:
                yield inner
