"""The second run of tests that failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/repeat_failed_tests.py"
TEST = """\
import pathlib

def test_it():
    seen = pathlib.Path("seen")
    first = not seen.exists()
    seen.touch()
    assert not first or not {passes}
    assert {passes} or not "always"

def test_sound():
    pass
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], check=False, capture_output=True, text=True, cwd=folder
    )


@pytest.mark.slow
@pytest.mark.parametrize(("lane", "passes"), [("server", True), ("unit", True), ("server", False)])
def test_a_test_that_failed_once_runs_alone(lane: str, passes: bool, tmp_path: Path) -> None:
    (tmp_path / "tests" / lane).mkdir(parents=True)
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "tests" / lane / "test_m.py").write_text(TEST.format(passes=passes))
    first = run(tmp_path, "-m", "pytest", "-q", "-p", "no:randomly")
    assert first.returncode == 1, first.stdout + first.stderr
    second = run(tmp_path, str(SCRIPT), lane)
    warned = f"::warning title=unstable test::tests/{lane}/test_m.py::test_it" in second.stdout
    assert (second.returncode == 0) == warned == passes, second.stdout
    assert "1 passed" in second.stdout or not passes


@pytest.mark.parametrize(("count", "said"), [(0, "0 tests failed"), (4, "4 tests failed")])
def test_many_failures_or_none_are_not_repeated(count: int, said: str, tmp_path: Path) -> None:
    record = tmp_path / ".pytest_cache/v/cache/lastfailed"
    record.parent.mkdir(parents=True)
    names = ", ".join(f'"tests/server/test_m.py::test_{one}": true' for one in range(count))
    record.write_text(f'{{"tests/unit/test_n.py::test_it": true{", " if names else ""}{names}}}')
    told = run(tmp_path, str(SCRIPT), "server")
    assert (told.returncode, told.stdout.split(";")[0]) == (1, said)
