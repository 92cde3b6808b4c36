"""The engine flow can be deleted: without its package everything else works as with it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import make_llama
from support.command_line import trtbuild
from support.paths import ROOT, WHEEL_ROOTS
from trtbuild.check import Example, all_rules, write_example
from trtbuild.check.examples import engine_parameters

FLOW = "trtbuild_engine_flow"
_CHILD = f"""
import importlib.metadata, json, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{FLOW}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

entry_points = importlib.metadata.entry_points

def left(**given):
    points = entry_points(**given)
    return type(points)(p for p in points if not p.value.startswith("{FLOW}"))

sys.meta_path.insert(0, Hidden())
importlib.metadata.entry_points = left
from support.command_line import trtbuild
from support.paths import ROOT, WHEEL_ROOTS
done = [trtbuild(*words) for words in json.load(sys.stdin)]
print(json.dumps([[one.returncode, one.stdout, one.stderr] for one in done]))
"""


def run(commands: list[list[str]], folder: Path) -> list[Any]:
    """Exit code, output and errors of each command, all in one process without the flow."""
    result = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps(commands),
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "TRTBUILD_CACHE_DIR": str(folder / "c")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found: list[Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deleted")
    make_llama(folder / "llama")
    (folder / "engine").mkdir()
    write_example(Example(engine_parameters(), base="engine"), folder / "engine")
    (folder / "server.log").write_text(
        "E0729 model_lifecycle.cc:654] failed to load 'm' version 1: Internal: unexpected error "
        "when creating modelInstanceState: [TensorRT-LLM][ERROR] Assertion failed: mpiSize\n"
    )
    return folder


@pytest.mark.slow
def test_every_other_command_works(place: Path) -> None:
    repo = str(place / "repository")
    commands = [
        ["--help"],
        ["builders", "llama"],
        ["plan", "llama", "--backend", "vllm"],
        ["convert", "llama", "--backend", "vllm", "--repo", repo],
        ["validate", repo],
        ["validate", "engine"],
        ["list", "--repo", repo],
        ["rules"],
        ["toolchains", "25.10", "--arguments"],
        ["serve", repo, "--mode", "docker", "--dry-run"],
    ]
    for words, (code, out, err) in zip(commands, run(commands, place), strict=True):
        assert code == 0, (words, out, err)
        assert "Traceback" not in err
        assert FLOW not in out + err
        assert "trtllm-engine" not in out + err, words


def test_the_core_names_no_rule_of_the_flow() -> None:
    theirs = {rule.id for rule in all_rules() if rule.check.__module__.startswith(FLOW)}
    assert theirs
    for root in set(WHEEL_ROOTS) - {"engine_flow"}:
        for path in (ROOT / root).rglob("*.*"):
            if path.suffix in (".py", ".toml", ".json"):
                named = set(re.findall(r"TRT\d{3}", path.read_text(encoding="utf-8")))
                assert not named & theirs, path


def test_the_package_adds_its_builder_and_commands(place: Path) -> None:
    assert "trtllm-engine" in trtbuild("builders", str(place / "llama")).stdout
    assert "  launch " in trtbuild("--help").stdout


@pytest.mark.slow
def test_what_is_written_is_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, the lock's key included."""
    monkeypatch.chdir(place)
    words = ["convert", "llama", "--backend", "vllm", "--repo"]
    done = trtbuild(*words, "with")
    assert done.returncode == 0, done.stderr
    [(code, _, err)] = run([[*words, "without"]], place)
    assert code == 0, err
    assert files_of(place / "with") == files_of(place / "without")


def files_of(root: Path) -> dict[str, bytes]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_what_belongs_to_the_flow_is_an_error_with_a_fix(place: Path) -> None:
    commands = [
        ["launch", "engine"],
        ["migrate", "engine"],
        ["convert", "llama", "--backend", "trtllm-engine", "--repo", "other"],
        ["toolchains", "25.10", "--arguments", "--backend", "trtllm-engine"],
    ]
    explain = ["explain", "server.log", "--repo", "engine"]
    *refused, (explained, cause, told) = run([*commands, explain], place)
    for words, (code, out, err) in zip(commands, refused, strict=True):
        assert code == 2, (words, out, err)
        assert "Traceback" not in err
    assert explained == 0, told
    assert "root cause" in cause
