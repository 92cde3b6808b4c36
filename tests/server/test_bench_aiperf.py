"""Our figures beside AIPerf's on the same server, where AIPerf is installed.

The scripted server is the same for both, so each figure is compared with the other's and with the
truth. Definitions that agree: TTFT (first content), inter-chunk latency, and its "inter token
latency", which is our TPOT.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.bench import mock, tokenizer_folder

AIPERF = os.environ.get("TRTBUILD_TEST_AIPERF") or shutil.which("aiperf")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AIPERF, reason="AIPerf is not installed"),
]


def tokenizer(folder: Path) -> Path:
    """What AIPerf's tokenizer loader wants besides tokenizer.json."""
    made = tokenizer_folder(folder)
    (made / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    settings |= {"eos_token": "<unk>", "bos_token": "<unk>"}
    (made / "tokenizer_config.json").write_text(json.dumps(settings))
    return made


def test_the_same_server_has_the_same_figures(tmp_path: Path) -> None:
    folder = tokenizer(tmp_path / "tokenizer")
    shared = ["--concurrency", "4", "--requests", "24", "--tokenizer", str(folder)]
    shared += ["--prompt-tokens", "32", "--output-tokens", "42"]
    with mock() as url:
        target = f"openai:{url}#mock"
        ours = run(target, *shared, "--out", str(tmp_path / "ours.json"))
        assert ours.returncode == 0, ours.stderr
        exported = run(target, *shared, "--export", "aiperf")
        argv = [str(AIPERF), *shlex.split(exported.stdout)[1:]]
        argv += ["--output-artifact-dir", str(tmp_path / "theirs"), "--ui-type", "none"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    compare(tmp_path / "ours.json", tmp_path / "theirs")


def test_every_form_of_an_exported_command_is_understood(tmp_path: Path) -> None:
    """Rates, objectives, a shared prefix, a time limit, a trace: AIPerf runs what was printed."""
    shared = ["--tokenizer", str(tokenizer(tmp_path / "tokenizer")), "--timeout", "20"]
    trace = tmp_path / "trace.jsonl"
    rows = [{"timestamp": 100 * n, "input_length": 8, "output_length": 42} for n in range(6)]
    trace.write_text("\n".join(map(json.dumps, rows)))
    rate = ["--rate", "8", "--arrivals", "constant", "--duration", "2", "--shared-prefix", "8"]
    rate += ["--slo", "ttft=500ms,itl=50ms,e2e=2s", "--prompt-tokens", "normal:32:4"]
    forms = {"rate": rate, "trace": ["--trace", str(trace)]}
    with mock() as url:
        for name, form in forms.items():
            exported = run(f"openai:{url}#mock", *shared, *form, "--export", "aiperf")
            assert exported.returncode == 0, exported.stderr
            argv = [str(AIPERF), *shlex.split(exported.stdout)[1:], "--ui-type", "none"]
            argv += ["--output-artifact-dir", str(tmp_path / name)]
            done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, (name, (done.stdout + done.stderr)[-4000:])
            found = exported_figures(tmp_path / name)
            assert found["time_to_first_token"]["p50"] == pytest.approx(100, rel=0.2), name
            if name == "rate":
                assert found["goodput"]["avg"] > 0
            else:
                assert found["request_count"]["avg"] == 6


def run(*args: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "trtbuild", "bench", *args]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)


def compare(ours: Path, theirs: Path) -> None:
    metrics = json.loads(ours.read_text())["targets"][0]["loads"][0]["metrics"]
    found = exported_figures(theirs)
    assert metrics["ttft_ms"]["p50"] == pytest.approx(found["time_to_first_token"]["p50"], rel=0.1)
    assert metrics["e2e_ms"]["p50"] == pytest.approx(found["request_latency"]["p50"], rel=0.05)
    assert metrics["tpot_ms"]["p50"] == pytest.approx(found["inter_token_latency"]["p50"], rel=0.05)


def exported_figures(folder: Path) -> dict[str, Any]:
    """Of the measured phase and of all: AIPerf keeps those of the warm-up in directories below."""
    found: dict[str, Any] = json.loads((folder / "profile_export_aiperf.json").read_text())
    return found
