"""Record what vLLM answers to ``tests/sizes/configurations.jsonl``.

    python scripts/record_vllm_sizes.py [--torchvision DIR] [NAME …]

Asks the embedded runtime's vLLM (see ``scripts/vllm_sizes.py``), all of it or the named lines, and
writes ``tests/sizes/vllm-VERSION.jsonl``. Classes of models that see import torchvision:
``pip install --no-deps --target DIR torchvision`` before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from trtbuild.server import runtime

ROOT = Path(__file__).parents[1]
SIZES = ROOT / "tests" / "sizes"


def main() -> None:
    """Ask and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torchvision", default="")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    lines = (SIZES / "configurations.jsonl").read_text(encoding="utf-8").splitlines()
    order = [json.loads(line)["name"] for line in lines]
    wanted = [
        line for line, name in zip(lines, order, strict=True) if name in (given.names or order)
    ]
    answers = ask(wanted, given.torchvision)
    path = SIZES / f"vllm-{answers[0].pop('vllm')}.jsonl"
    known = {answer["name"]: answer for answer in _read(path)}
    for answer in answers:
        answer.pop("vllm", None)
        known[answer["name"]] = answer
    rows = [json.dumps(known[name], separators=(",", ":")) for name in order if name in known]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    built = sum("groups" in answer for answer in known.values())
    print(f"{len(answers)} asked; {built} of {len(known)} built, in {path.relative_to(ROOT)}")


def ask(lines: list[str], torchvision: str) -> list[dict[str, Any]]:
    """vLLM's answers, in order."""
    command = [str(runtime.ensure().python), str(ROOT / "scripts" / "vllm_sizes.py")]
    done = subprocess.run(
        command,
        input="\n".join(lines),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": torchvision},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
