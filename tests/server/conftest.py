"""One vLLM server for all the tests that can share it: starting it takes half a minute."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import exporting, triton
from support.reference_answers import recorded
from support.smollm2 import smollm2_served
from support.tasks_server import write_tasks
from trtbuild.errors import TrtbuildError


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the shared server come last, so that never two engines live at a time."""
    shared = [item for item in items if "vllm_server" in getattr(item, "fixturenames", ())]
    for item in shared:
        item.add_marker(pytest.mark.vllm)
    items.sort(key=lambda item: item.get_closest_marker("vllm") is not None)
    _group(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show why a server failed: its directory is gone by the time that anybody could look."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if report.failed and isinstance(error, TrtbuildError):
        report.sections.append(("details", "\n".join(error.details)))
        if error.where.endswith(".log") and Path(error.where).is_file():
            lines = Path(error.where).read_text(errors="replace").splitlines()
            report.sections.append((f"the end of {error.where}", "\n".join(lines[-60:])))
    return report


def _group(items: list[pytest.Item]) -> None:
    """Where several workers share the tests, a file is one worker's, and so is a shared server."""
    shared = {"vllm_server": "vllm", "tasks_server": "tasks"}
    groups: dict[Path, str] = {}
    for item in items:
        names = getattr(item, "fixturenames", ())
        for fixture, group in shared.items():
            if fixture in names:
                groups[item.path] = group
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups.get(item.path, item.path.name)))


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
def reference() -> list[dict[str, Any]]:
    """What transformers answers to each of ``prompts.json``, greedily, in fp32."""
    return recorded("smollm2")
