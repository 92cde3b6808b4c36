"""The pre-commit hooks and the GitHub Action do what they say, run by the real programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from trtbuild.check import Example, write_example

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / ".pre-commit-hooks.yaml"
ACTION = ROOT / "action.yml"
BIN = Path(sys.executable).parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git project with a model repository ``models``, and trtbuild on the PATH."""
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "pre-commit"))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    git(folder, "init", "--quiet")
    return folder


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    result = subprocess.run(
        ["git", *identity, *args], cwd=folder, check=True, capture_output=True, text=True
    )
    return result.stdout.strip()


def write_model(project: Path, config: str) -> Path:
    write_example(Example(config), project / "models")
    return project / "models/m/config.pbtxt"


def pre_commit(project: Path, hook: str) -> subprocess.CompletedProcess[str]:
    """Run a hook of the manifest on what is staged; only its language is changed, so that the
    trtbuild of this environment runs and nothing is downloaded."""
    hooks = project.parent / "hooks"
    if not hooks.exists():
        hooks.mkdir()
        (hooks / MANIFEST.name).write_bytes(MANIFEST.read_bytes())
        git(hooks, "init", "--quiet")
        git(hooks, "add", ".")
        git(hooks, "commit", "--quiet", "-m", "hooks")
    config = {
        "repos": [
            {
                "repo": str(hooks),
                "rev": git(hooks, "rev-parse", "HEAD"),
                "hooks": [{"id": hook, "args": ["models"], "language": "system"}],
            }
        ]
    }
    (project / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    git(project, "add", ".")
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", "run"],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_manifest_is_one() -> None:
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-manifest", str(MANIFEST)], check=True
    )


@pytest.mark.parametrize(
    ("path", "concerned"),
    [
        ("models/m/config.pbtxt", True),
        ("models/m/configs/small.pbtxt", True),
        ("models/m/1/model.json", True),
        ("models/m/1/model.py", True),
        ("trtbuild.yaml", True),
        ("models/trtbuild.lock", True),
        ("README.md", False),
        ("src/my_model.py", False),
    ],
)
def test_a_hook_runs_for_the_files_of_a_repository(path: str, concerned: bool) -> None:
    for hook in yaml.safe_load(MANIFEST.read_bytes()):
        assert bool(re.search(hook["files"], path)) is concerned


@pytest.mark.slow
def test_a_fault_stops_the_commit(project: Path) -> None:
    write_model(project, "max_batch_size: -1")
    result = pre_commit(project, "trtbuild-validate")
    assert result.returncode == 1, result.stderr
    assert "exit code: 6" in result.stdout
    assert "error TRT303  max_batch_size is -1" in result.stdout
    write_model(project, "")
    assert pre_commit(project, "trtbuild-validate").returncode == 0


@pytest.mark.slow
def test_the_fixing_hook_changes_the_file(project: Path) -> None:
    path = write_model(project, "max_batch_size: -1")
    result = pre_commit(project, "trtbuild-validate-fix")
    assert result.returncode == 1, result.stdout
    assert "files were modified by this hook" in result.stdout
    assert path.read_text().startswith("max_batch_size: 0\n")
    assert pre_commit(project, "trtbuild-validate-fix").returncode == 0


def action() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(ACTION.read_bytes())
    return document


def run_action(project: Path, **inputs: str) -> tuple[int, str, str]:
    """The action's own script as GitHub runs it: exit code, annotations, outputs."""
    step = next(step for step in action()["runs"]["steps"] if step.get("id") == "validate")
    outputs = project.parent / "outputs"
    outputs.write_text("")
    environment = {"GITHUB_OUTPUT": str(outputs)}
    for name, value in step["env"].items():
        key = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value)
        assert key, value
        environment[name] = inputs.get(key[1], action()["inputs"][key[1]]["default"])
    result = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=project, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result.returncode, result.stdout, outputs.read_text()


def test_the_action_is_one() -> None:
    import check_jsonschema

    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor"
    schema = yaml.safe_load((folder / "github-actions.json").read_bytes())
    jsonschema.validate(action(), schema)


def test_no_input_is_written_into_a_script() -> None:
    for step in action()["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_the_action_annotates_and_fails(project: Path) -> None:
    write_model(project, "max_batch_size: -1")
    code, printed, outputs = run_action(project, repositories="models")
    assert code == 6
    assert printed.startswith("::error file=models/m/config.pbtxt,line=1,col=17,")
    assert outputs == "valid=false\n"


@pytest.mark.slow
def test_the_action_passes_and_writes_sarif(project: Path) -> None:
    write_model(project, "instance_group [ { count: 0 kind: KIND_CPU } ]")
    code, printed, outputs = run_action(
        project, repositories="models", arguments="--triton 26.07 --ignore TRT307", sarif="x.sarif"
    )
    assert code == 0, printed
    assert printed.startswith("::warning file=models/m/config.pbtxt,")
    assert outputs == "valid=true\n"
    assert '"version": "2.1.0"' in (project / "x.sarif").read_text()


def test_the_action_says_when_it_was_asked_wrongly(project: Path) -> None:
    code, _, outputs = run_action(project, repositories="nowhere")
    assert code == 2
    assert outputs == "valid=false\n"
