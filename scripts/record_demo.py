"""Make ``docs/images/demo.svg``, the picture of a terminal in the README, from a real run.

    python scripts/record_demo.py [--out docs/images/demo.svg]

Runs the commands below in a scratch directory, one after another, and draws what they printed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = (
    "trtbuild convert sample:smollm2",
    "trtbuild validate model_repository",
    'trtbuild up sample:smollm2 --port auto --once --prompt "The capital of France is"',
)
WIDTH = 92


def run(command: str, folder: str) -> str:
    """What ``command`` prints, output and progress in the order they came."""
    done = subprocess.run(
        [sys.executable, "-m", "trtbuild", *shlex.split(command)[1:]],
        cwd=folder,
        env={**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stdout}")
    return done.stdout.rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/demo.svg"))
    options = parser.parse_args()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        with tempfile.TemporaryDirectory() as folder:
            for command in COMMANDS:
                console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
                console.print(Text.from_ansi(run(command, folder)), "")
        options.out.write_text(console.export_svg(title="trtbuild"), encoding="utf-8")


if __name__ == "__main__":
    main()
