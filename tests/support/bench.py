"""Running the benchmark against the scripted server, which is a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

from support.mock_llm_server import WORDS

# Who measures milliseconds goes first, where that may be asked for: other tests run beside it.
FIRST = ["nice", "-n", "-15"] if shutil.which("nice") and os.geteuid() == 0 else []
SERVER = Path(__file__).with_name("mock_llm_server.py")


@contextlib.contextmanager
def mock(port: int = 0, **script: Any) -> Iterator[str]:
    """The URL of a server that follows ``script``."""
    process = subprocess.Popen(
        [*FIRST, sys.executable, SERVER, "--port", str(port), "--script", json.dumps(script)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@cache
def tokenizer_json() -> str:
    """A tokenizer for which each word of the script is one token, and each other word too."""
    names = [word.replace(" ", "Ġ") for word in WORDS]
    vocabulary = {name: number for number, name in enumerate(["<unk>", *names])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return made.to_str()


def tokenizer_folder(folder: Path) -> Path:
    """A checkpoint directory with nothing but that tokenizer."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder
