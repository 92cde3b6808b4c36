"""GPUs by name and by what nvidia-smi says."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import hardware
from trtbuild.errors import UsageError


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("h100", "h100"), ("H100-SXM", "h100"), ("A100", "a100-80"), ("a100 40", "a100-40"),
        ("v100", "v100-32"), ("RTX_4090", "rtx-4090"), ("4090", "rtx-4090"), ("l4", "l4"),
    ],
)  # fmt: skip
def test_ways_to_write_a_gpu(written: str, name: str) -> None:
    assert hardware.gpu(written).name == name


def test_an_unknown_gpu_names_the_nearest_and_all() -> None:
    with pytest.raises(UsageError) as caught:
        hardware.gpu("h1000")
    assert caught.value.exit_code == 2
    assert "did you mean 'h100'?" in caught.value.fix
    assert "rtx-pro-6000" in caught.value.fix


def test_the_table_is_in_order_and_sound() -> None:
    table = hardware.gpus()
    assert [g.memory_bytes for g in table] == sorted(g.memory_bytes for g in table)
    written = [alias for g in table for alias in (g.name, *g.aliases)]
    assert len(written) == len(set(written))
    for gpu in table:
        assert 70 <= gpu.sm <= 121
        assert gpu.memory_bytes > 14 * 2**30
        assert 3e11 <= gpu.bandwidth_bytes <= 1e13
        assert ("bfloat16" in gpu.tflops) == (gpu.sm >= 80), gpu.name
        assert ("fp8" in gpu.tflops) == (gpu.sm >= 89), gpu.name
        assert ("fp4" in gpu.tflops) == (gpu.sm >= 100), gpu.name
        assert gpu.nvlink in {"board", "bridge", "none"}
        assert gpu.source.startswith("memory: ")
        assert "; rest: " in gpu.source
        for smaller, larger in (("float16", "fp8"), ("fp8", "fp4")):  # twice the rate at least
            if larger in gpu.tflops:
                assert gpu.tflops[larger] >= 1.99 * gpu.tflops[smaller], gpu.name


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA H20", "h20"),
        ("NVIDIA H20-3e", "h20-3e"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA GH200 144G HBM3e", "gh200-144"),
        ("NVIDIA B300 SXM6 AC", "b300"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA A100-SXM4-40GB", "a100-40"),
        ("NVIDIA A100 80GB PCIe", "a100-80"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L4", "l4"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-16GB", "v100-16"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA RTX A4000", None),
        ("NVIDIA A40-24Q", None),  # a slice: less memory than the card
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),  # 16 GB
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_drivers_names(driver: str, name: str | None) -> None:
    found = hardware.recognise(driver)
    assert (found.name if found else None) == name


def fake_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_detection_reads_what_nvidia_smi_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        'echo "$@" > "$(dirname "$0")/asked"\n'
        "echo '0, NVIDIA H200, 143771, 9.0'\n"
        "echo 'warning: something, else'\n"
        "echo '1, NVIDIA Unheard-of, 12345, 13.1'\n"
        "echo '2, NVIDIA GB10, [N/A], 12.1'"
    )
    fake_smi(tmp_path, monkeypatch, script)
    first, second = hardware.detect()
    assert (first.name, first.sm, first.memory_bytes) == ("h200", 90, 143771 * 2**20)
    assert (second.name, second.info, second.sm) == ("NVIDIA Unheard-of", None, 131)
    asked = (tmp_path / "asked").read_text()
    assert "--query-gpu=index,name,memory.total,compute_cap" in asked
    assert "--format=csv,noheader,nounits" in asked


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'"])
def test_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    fake_smi(tmp_path, monkeypatch, script)
    assert hardware.detect() == ()


def test_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hardware.detect() == ()
