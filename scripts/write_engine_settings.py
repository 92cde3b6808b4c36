"""Write docs/reference/trtllm-settings.md from the tables of the engine flow.

python scripts/write_engine_settings.py
"""

from __future__ import annotations

from pathlib import Path

from trtbuild_engine_flow.parameters import Setting, build_options, triton_parameters

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "trtllm-settings.md"
_HEAD = """\
# Settings of the engine flow

Written by `scripts/write_engine_settings.py` from `engine_flow/trtbuild_engine_flow/data`:
do not edit.
Each is given with `--set NAME=VALUE` or under `engine:` in the recipe, together with `dtype`,
`tensor_parallel_size`, `pipeline_parallel_size` and `profile`; see
[TensorRT engines](../guides/trtllm-engine.md). Releases are TensorRT-LLM's.

## Parameters of the Triton models

| Setting | Takes | Since | Meaning |
|---|---|---|---|
"""
_UNREAD = """
Refused, because they would change nothing:

"""
_BUILD = """
Written by trtbuild itself: {fixed}.

## Options of trtllm-build

| Setting | Takes | Since | Until |
|---|---|---|---|
"""
_TYPES = {
    "int": "whole number",
    "float": "number",
    "bool": "true, false",
    "flag": "true, false",
    "switch": "true, false",
    "str": "text",
    "list": "list of words",
    "ints": "whole number or list",
    "sets": "`[[0, 1], [2, 3]]` or `0,1;2,3`",
    "tree": "`[[0], [0, 1]]`",
}


def page() -> str:
    """The whole page."""
    free = [row for row in triton_parameters().values() if not row.fixed and not row.unread]
    unread = [f"- `{r.name}`: {r.unread}\n" for r in triton_parameters().values() if r.unread]
    fixed = ", ".join(f"`{row.name}`" for row in triton_parameters().values() if row.fixed)
    lines = [
        f"| `{r.name}` | {_takes(r)} | {r.former_since or r.since} | {r.meaning} |\n" for r in free
    ]
    options = [
        f"| `{r.name}` | {_takes(r)} | {r.since} | {r.until} |\n" for r in build_options().values()
    ]
    parts = [_HEAD, *lines, _UNREAD, *unread, _BUILD.format(fixed=fixed), *options]
    return "".join(parts)


def _takes(row: Setting) -> str:
    if row.choices:
        return ", ".join(f"`{choice}`" for choice in row.choices)
    least = "" if row.minimum is None else f"{'>' if row.above else '≥'} {row.minimum:g}"
    most = "" if row.maximum is None else f"≤ {row.maximum:g}"
    return ", ".join(filter(None, (_TYPES[row.type], least, most)))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
