"""One vLLM server for all the tests that can share it: starting it takes half a minute."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import exporting, triton
from support.smollm2 import MAX_TOKENS, PROMPTS, smollm2_served
from support.tasks_server import write_tasks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the shared server come last, so that never two engines live at a time."""
    shared = [item for item in items if "vllm_server" in getattr(item, "fixturenames", ())]
    for item in shared:
        item.add_marker(pytest.mark.vllm)
    items.sort(key=lambda item: item.get_closest_marker("vllm") is not None)


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SmolLM2 sample in fp32."""
    return triton.smollm2(tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="session")
def tasks_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.Triton]:
    """A server with a light model for each task, and an LLM that streams letters."""
    work = tmp_path_factory.mktemp("tasks")
    write_tasks(work / "repository")
    with triton.serving(work / "repository", work) as server:
        yield server


@pytest.fixture(scope="session")
def exporter() -> Iterator[exporting.Run]:
    """Runs a script in a fork of one process of the export environment: importing PyTorch and
    transformers takes seconds."""
    with exporting.exporter() as run:
        yield run


@pytest.fixture(scope="session")
def vllm_server(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.Triton]:
    """A server with the model ``smollm2``: our backend, metrics and health check on."""
    with smollm2_served(smollm2, tmp_path_factory.mktemp("vllm")) as server:
        yield server


@pytest.fixture(scope="session")
def reference(smollm2: Path) -> list[dict[str, Any]]:
    """What transformers answers to each of ``prompts.json``, greedily, in fp32."""
    script = Path(triton.__file__).with_name("reference.py")
    job = {"model": str(smollm2), "max_tokens": MAX_TOKENS, "prompts": PROMPTS}
    done = subprocess.run(
        [triton.runtime_python(), script],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers
