"""Put what the program prints below each ``console`` command of the pages that show real output.

    python scripts/document_output.py

The commands of a page run in a scratch directory, in the order of the page. Those of ``LEFT`` take
a server or a GPU host, and what is written below them stays.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "getting-started/first-model.md"
PAGES = (PAGE, DOCS / "guides/serving-patterns.md")
BLOCK = re.compile(r"(?<=```console\n).*?(?=```\n)", re.DOTALL)
LEFT = ("up", "serve model_repository --detach", "infer", "stop")
WIDTH = 92
# What another machine or another moment prints differently.
VARIES = (
    (r"\d+(\.\d+)? m?s\b", "… s"),
    (r"\d+(\.\d+)? tokens/s", "… tokens/s"),
    (r"trtbuild-[0-9a-f]{6}\b", "trtbuild-…"),
)


def rewritten(page: str, run: Callable[[str], str]) -> str:
    """The page with what ``run`` says that each command prints."""

    def block(match: re.Match[str]) -> str:
        parts = re.split(r"(?m)^\$ ", match[0])[1:]
        return "".join(_shown(part, run) for part in parts)

    return BLOCK.sub(block, page)


def _shown(part: str, run: Callable[[str], str]) -> str:
    command, _, before = part.partition("\n")
    is_left = command.removeprefix("trtbuild ").startswith(LEFT)
    return f"$ {command}\n{before if is_left else run(command)}"


def settled(text: str) -> str:
    """A page without what varies."""
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text)
    return text


def runner(directory: Path) -> Callable[[str], str]:
    """Runs a command of the page in ``directory`` and returns what a terminal would show."""
    environment = {
        **os.environ,
        "COLUMNS": str(WIDTH),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def run(command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        printed = done.stdout.replace(str(directory), "/home/me").rstrip()
        return "".join(f"{line.rstrip()}\n" for line in printed.splitlines())

    return run


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as scratch:
            after = rewritten(before, runner(Path(scratch)))
        if settled(after) != settled(before):
            page.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
