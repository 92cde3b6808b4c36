"""What the documentation shows below a command is what the command prints."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from support import triton

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/document_output.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["first-model", "serving-patterns"])
def test_commands_without_a_server_print_what_the_page_shows(
    name: str, script: ModuleType, tmp_path: Path
) -> None:
    (path,) = (path for path in script.PAGES if path.stem == name)
    page = path.read_text(encoding="utf-8")
    now = script.rewritten(page, script.runner(tmp_path))
    assert script.settled(now) == script.settled(page), "python scripts/document_output.py"


def test_the_question_is_answered_as_the_page_shows(
    script: ModuleType, tmp_path: Path, vllm_server: triton.Triton
) -> None:
    page = script.PAGE.read_text(encoding="utf-8")
    shown = re.search(r"^\$ (trtbuild infer .*)\n(?P<output>(?:.+\n)+?)```", page, re.MULTILINE)
    assert shown
    printed = script.runner(tmp_path)(f"{shown[1]} --url {vllm_server.grpc}")
    assert script.settled(printed).split() == script.settled(shown["output"]).split()
