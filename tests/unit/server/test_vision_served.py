"""What a server of a vision-language model gets: torchvision beside the runtime, and variables."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.checkpoints import make_tiny
from support.command_line import trtbuild
from support.vision import make_published
from trtbuild import server
from trtbuild.progress import SILENT
from trtbuild.server import LaunchOptions, runtime
from trtbuild.server.runtime import pip


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with a DeepSeek-OCR."""
    folder = make_published(tmp_path / "ocr", "DeepseekOCRForCausalLM")
    done = trtbuild("convert", str(folder), "--repo", str(tmp_path / "repo"), "--name", "ocr")
    assert done.returncode == 0, done.stderr
    return tmp_path / "repo"


def environment(repo: Path, mode: Any, **options: Any) -> str:
    return server.dry_run(server.read_contents(repo), mode, LaunchOptions(**options))


def test_the_embedded_server_finds_torchvision_and_the_family_its_variables(repo: Path) -> None:
    line = environment(repo, "embedded")
    assert "TRTBUILD_TORCHVISION=" in line and "torchvision-0.28.0-cp3" in line
    assert "VLLM_USE_V2_MODEL_RUNNER=0" in line


def test_a_container_gets_the_variables_and_a_user_can_change_them(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtbuild.server.docker.shutil.which", lambda name: f"/bin/{name}")
    assert "VLLM_USE_V2_MODEL_RUNNER=0" in environment(repo, "docker")
    chosen = {"VLLM_USE_V2_MODEL_RUNNER": "1"}
    assert "VLLM_USE_V2_MODEL_RUNNER=1" in environment(repo, "docker", env=chosen)


def test_a_repository_cannot_set_variables_of_its_choice(repo: Path) -> None:
    path = repo / "trtbuild.lock"
    lock = json.loads(path.read_bytes())
    lock["models"]["ocr"]["served"]["vision"]["environment"] = {"LD_PRELOAD": "/models/evil.so"}
    path.write_text(json.dumps(lock))
    assert "LD_PRELOAD" not in environment(repo, "embedded")


def test_a_repository_without_a_lock_is_judged_by_its_files(repo: Path) -> None:
    (repo / "trtbuild.lock").unlink()
    assert "TRTBUILD_TORCHVISION=" in environment(repo, "embedded")


def test_a_text_model_needs_none_of_it(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "tiny")
    trtbuild("convert", str(folder), "--repo", str(tmp_path / "repo"), "--backend", "vllm")
    line = environment(tmp_path / "repo", "embedded")
    assert "TORCHVISION" not in line and "V2_MODEL_RUNNER" not in line


def test_torchvision_is_installed_once_with_its_operators_declared(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def install(_python: Path, arguments: list[str], **_: Any) -> None:
        calls.append(arguments)
        package = Path(arguments[arguments.index("--target") + 1]) / "torchvision"
        package.mkdir()
        (package / "extension.py").write_text("def _has_ops():\n    return False\n")

    monkeypatch.setattr(pip, "install", install)
    found: Any = SimpleNamespace(interpreter=SimpleNamespace(tag="cp311"), python=Path("python"))
    home = runtime.ensure_torchvision(found, SILENT)
    assert home == runtime.torchvision_home(found) == runtime.ensure_torchvision(found, SILENT)
    assert home.is_relative_to(cache_dir)
    assert [call[-1] for call in calls] == ["torchvision==0.28.0"]
    text = (home / "torchvision" / "extension.py").read_text()
    compile(text, "extension.py", "exec")
    assert '.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")' in text
