"""Write the tables in templates/backends/vllm/backend_tensors.py from templates/vllm/tensors.toml.

python scripts/write_vllm_tensors.py
"""

from __future__ import annotations

import tomllib
from pathlib import Path

_TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
TARGET = _TEMPLATES / "backends" / "vllm" / "backend_tensors.py"
_REQUIRED = "text_input"


def module() -> str:
    """The whole module, with new tables; its functions stay as they are."""
    tensors = tomllib.loads((_TEMPLATES / "vllm" / "tensors.toml").read_text(encoding="utf-8"))
    lines = ["INPUTS = (\n"]
    lines += [
        f'    ("{row["name"]}", "{row["type"]}", {row["dims"]}, {row["name"] != _REQUIRED}),\n'
        for row in tensors["input"]
    ]
    lines += [")\n\nOUTPUTS = (\n"]
    lines += [
        f'    ("{row["name"]}", "{row["type"]}", {row["dims"]}),\n' for row in tensors["output"]
    ]
    written = TARGET.read_text(encoding="utf-8")
    before, _, rest = written.partition("INPUTS = (\n")
    functions = rest[rest.index(")\n\n\ndef ") :]
    return f"{before}{''.join(lines)}{functions}"


def main() -> None:
    """Write the module."""
    TARGET.write_text(module(), encoding="utf-8")


if __name__ == "__main__":
    main()
