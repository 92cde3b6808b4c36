"""Pick the family of a model: by name, by its chat template, or by its ``response_template``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trtbuild_gateway.parsing.family import Close, Family, Region, by_name, families

OFF = "none"
"""The name that turns parsing off."""

_KINDS = {"thinking": "reasoning", "reasoning": "reasoning", "reasoning_content": "reasoning"}


class UnknownFamilyError(ValueError):
    """A name that is not a family; its text names the ones that are near."""


def named(name: str) -> Family | None:
    """Return the family of a name, also of one that vLLM or SGLang gives its parser.

    None for ``none``.

    Raises:
        UnknownFamilyError: There is no such family.
    """
    if name == OFF:
        return None
    key = name.lower()
    known = by_name()
    for one in (key, key.replace("-", "_"), key.replace("_", "-")):
        if one in known:
            return known[one]
    near = difflib.get_close_matches(key, known, 3) or [*families(), OFF]
    raise UnknownFamilyError(f"there is no parser {name!r}; there is {', '.join(near)}")


def choose(
    template: str = "",
    *,
    architectures: Sequence[str] = (),
    response_template: Mapping[str, Any] | None = None,
) -> Family | None:
    """Return the family that a model's files tell; None if they tell none.

    The chat template shows the model how to call: its markers decide. Without one, the architecture
    does.

    Args:
        template: The chat template.
        architectures: ``model_type`` and ``architectures`` of ``config.json``.
        response_template: That of ``tokenizer_config.json``, for a family that nobody knows.
    """
    # Jinja writes quotes in its strings with a backslash.
    text = template.replace('\\"', '"')
    found = [
        (-family.rank, max(sum(map(len, group)) for group in groups), family.name)
        for family in families().values()
        if (groups := [group for group in family.markers if all(mark in text for mark in group)])
    ]
    if found and (best := families()[max(found)[-1]]).calls:
        return best
    if response_template is not None and (own := _converted(response_template)) is not None:
        return own
    if found:
        return families()[max(found)[-1]]
    wanted = {name.lower() for name in architectures} if not template else set()
    rows = (family for family in families().values() if wanted & set(family.architectures))
    return next(rows, None)


def _converted(row: Mapping[str, Any]) -> Family | None:
    """Read transformers' ``response_template`` if it has plain markers only.

    A checkpoint's regular expressions are not run: one can be written to never end.
    """
    fields, anchors = row.get("fields"), _texts(row.get("start_anchor"))
    if not isinstance(fields, Mapping) or any("pattern" in str(key) for key in row):
        return None
    regions: list[Region] = []
    for name, field in fields.items():
        if not isinstance(field, Mapping) or any("pattern" in str(key) for key in field):
            return None
        if not _texts(field.get("open")):
            continue  # the text outside all regions
        region = _region(name, field)
        if region is None:
            return None
        regions.append(region)
    family = Family(
        "response_template",
        "the checkpoint's own `response_template`",
        (),
        "tokenizer_config.json",
        anchors=anchors,
        regions=tuple(regions),
    )
    try:
        for inside in (None, *regions):
            family.view(inside, calls=True)
    except ValueError:
        return None
    return family if regions else None


def _region(name: str, field: Mapping[str, Any]) -> Region | None:
    content, close = field.get("content", "text"), _texts(field.get("close"))
    made = Region(
        "call" if name == "tool_calls" else "reasoning",
        open=_texts(field["open"]),
        close=tuple(map(Close, close)),
    )
    if name in _KINDS and content == "text" and close:
        return made
    if name == "tool_calls" and content == "json":
        return replace(made, strings=('"',), balanced=not close, starts=("{", "["))
    if name == "tool_calls" and content == "python-call-list":
        return replace(made, strings=('"', "'"), balanced=not close, starts=("[",), format="calls")
    return None


def _texts(value: Any) -> tuple[str, ...]:
    rows = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(row for row in rows if isinstance(row, str) and row)


def special_marks(family: Family, special: Sequence[str]) -> bool:
    """Whether the markers of a family need special tokens in the text.

    Args:
        family: The family.
        special: The special tokens of the tokenizer.
    """
    marks = "\n".join(
        [
            *(text for region in family.regions for text in (*region.open, *region.strings)),
            *(close.text for region in family.regions for close in region.close),
            *(
                region.header.pattern.replace("\\", "")
                for region in family.regions
                if region.header
            ),
            family.header_end,
            *family.restart,
        ]
    )
    return any(token in marks for token in special if re.search(r"\w", token))
