"""The naive service beside vLLM on a real Triton: comparable, and compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from support import triton

pytestmark = pytest.mark.slow


def test_a_baseline_is_started_compared_and_gone(
    vllm_server: triton.Triton, smollm2: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.json"
    argv = [
        sys.executable, "-m", "trtbuild", "bench",
        f"Triton=triton:grpc://{vllm_server.grpc}/smollm2", "--baseline", "fastapi",
        "--checkpoint", str(smollm2), "--concurrency", "3", "--requests", "9", "--rounds", "1",
        "--prompt-tokens", "24", "--output-tokens", "8", "--batch", "4", "--out", str(out),
    ]  # fmt: skip
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    loads = {target["name"]: target["loads"][0] for target in result["targets"]}
    assert set(loads) == {"Triton", "fastapi", "fastapi-batched"}
    for name, load in loads.items():
        assert load["requests"]["ok"] == 9, name
        assert load["tokens"]["compared_with_server"]["server"] == 9 * 8, name
    # One at a time: of three who ask together the last waits for two others. Nine, because a pause
    # of the machine holds up three of them, which do not change the median.
    assert (
        loads["fastapi"]["metrics"]["ttft_ms"]["p50"]
        > loads["fastapi-batched"]["metrics"]["ttft_ms"]["p50"]
    )
    assert {row["reference"] for row in result["comparison"]["rows"]} == {"fastapi"}
    assert {row["bound_by"] for row in result["roofline"]["rows"]} <= {"bandwidth", "compute"}
    assert not [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any("baseline/service.py" in part for part in process.info["cmdline"] or ())
        and str(smollm2) in (process.info["cmdline"] or ())
    ]
