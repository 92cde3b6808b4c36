"""Each check of ``doctor`` says what it saw and how to fix it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from pathlib import Path

import pytest

from trtbuild import doctor
from trtbuild.server import runtime
from trtbuild.signature.dialects import Broken, Installed


def fake_program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def usage(free: int) -> object:
    return shutil._ntuple_diskusage(100 * 2**30, 100 * 2**30 - free, free)


def test_a_taken_port_names_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check = doctor.check_port(port)
    assert check.status == "warn"
    assert f"pid {os.getpid()}" in check.message
    assert "--port auto" in check.fix


def test_a_request_schema_that_cannot_be_used_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_request_schemas().status == "ok"
    broken = Installed((), (Broken("mine", "plugin 1.0", "ImportError: no"),))
    monkeypatch.setattr(doctor, "installed", lambda: broken)
    check = doctor.check_request_schemas()
    assert (check.status, check.message) == ("warn", "mine of plugin 1.0: ImportError: no")
    assert "remove the package" in check.fix


def test_little_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRTBUILD_CACHE_DIR", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30))
    check = doctor.check_disk()
    assert (check.status, check.message.startswith("1.0 GiB free")) == ("warn", True)
    assert "TRTBUILD_CACHE_DIR" in check.fix


def test_little_shared_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**26))
    check = doctor.check_shm()
    assert check.status == "warn"
    assert "--shm-size" in check.fix


@pytest.mark.parametrize(
    ("machine", "libc", "status", "part"),
    [
        ("x86_64", ("glibc", "2.36"), "ok", "glibc 2.36"),
        ("x86_64", ("glibc", "2.31"), "warn", "glibc 2.35"),
        ("x86_64", ("", ""), "warn", "glibc"),
        ("aarch64", ("glibc", "2.36"), "warn", "x86_64 only"),
    ],
)
def test_where_the_embedded_server_exists(
    monkeypatch: pytest.MonkeyPatch, machine: str, libc: tuple[str, str], status: str, part: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    check = doctor.check_platform()
    assert check.status == status
    assert part in check.message


def test_a_half_installed_runtime_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRTBUILD_CACHE_DIR", str(tmp_path))
    missing = doctor.check_runtime()
    assert (missing.status, missing.fix) == ("warn", "run `trtbuild runtime install`")
    root = runtime.planned().root
    root.mkdir(parents=True)
    (root / "incomplete").touch()
    broken = doctor.check_runtime()
    assert (broken.status, broken.fix) == ("fail", "run `trtbuild runtime install --force`")
    assert "incomplete" in broken.message


def test_a_docker_client_without_an_engine_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_program(tmp_path, "docker", "raise SystemExit('cannot connect')")
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor.check_containers()
    assert check.status == "warn"
    assert "installed, but not running" in check.message


def test_a_docker_engine_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_program(tmp_path, "docker", "print('\"id\"')")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_containers() == doctor.Check("containers", "ok", "docker is running")


def test_a_gpu_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = "0, NVIDIA H200, 143771, 9.0\\n1, NVIDIA H200, 143771, 9.0"
    fake_program(tmp_path, "nvidia-smi", f"print('{rows}')")
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor.check_gpu()
    assert check.status == "ok"
    assert check.message.startswith("2 × ")


def test_the_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    check = doctor.check_hub()
    assert check.status == "ok"
    assert "hf_secretsecret" not in check.message + check.fix
