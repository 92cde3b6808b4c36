"""docs/reference lists what the builders take; ``make lint`` compares the whole of it."""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = (ROOT / "docs/reference/supported-models.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts/document_support.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_releases_is_that_of_the_table(script: ModuleType) -> None:
    page = (ROOT / "docs/reference/triton-releases.md").read_text(encoding="utf-8")
    assert page == script.releases_page(), "python scripts/document_support.py"


def test_a_sample_of_architectures_is_listed_as_the_builders_answer(script: ModuleType) -> None:
    rows = set(MODELS.splitlines())
    sample = [
        (name, task)
        for task in script.TASKS
        for name in script.names_of(task)
        if zlib.crc32(name.encode()) % 36 == 0
    ]
    assert len(sample) > 12
    wrong = {
        name: line
        for name, task in sample
        if (
            line := script.architecture_row(
                name, script.reasons_against(script.sound(name, task)), script.columns(task)
            )
        )
        and line.strip() not in rows
    }
    assert not wrong, "python scripts/document_support.py"


def test_the_page_names_a_release_for_well_known_models() -> None:
    assert "\n| LlamaForCausalLM | 24.06 | 25.09–26.07 | 24.06–26.07 |\n" in MODELS
    assert "| DogeForCausalLM | 25.09, wrapped | – | – |" in MODELS
    assert "| vLLM refuses it while it loads | BartForCausalLM," in MODELS


def test_an_unserved_task_is_said_with_its_reason() -> None:
    section = MODELS.partition("\n## Audio\n")[2].partition("\n## ")[0]
    assert "not served" in section
