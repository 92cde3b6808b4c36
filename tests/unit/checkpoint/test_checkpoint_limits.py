"""``trtbuild checkpoint`` in processes of its own: what it holds, and what the kernel refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkpoints import llama_config, llama_shapes, make_described, make_llama

# The high-water mark of a child begins with its parent's; writing 5 resets it.
_MEASURED = """
import sys
open("/proc/self/clear_refs", "w").write("5")
from trtbuild_engine_flow.engines.checkpoint import make_checkpoint
from pathlib import Path
make_checkpoint(sys.argv[1], Path(sys.argv[2]), dtype="float16", tp=2)
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(line.split()[1])
"""
_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.argv = ["trtbuild", "checkpoint", sys.argv[1], "--out", sys.argv[2], "--json"]
from trtbuild.cli.app import main
main()
"""
_TERMINATED = """
import os, signal, sys
from trtbuild_engine_flow.converter import transfer, writing
class Ended(transfer.Transfer):
    def run(self):
        os.kill(os.getpid(), signal.SIGTERM)
        super().run()
writing.Transfer = Ended
sys.argv = ["trtbuild", "checkpoint", sys.argv[1], "--out", sys.argv[2]]
from trtbuild.cli.app import main
main()
"""


def run(code: str, source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """300 MB of weights, with matrices of 32 MB, in less than 150 MB."""
    config = llama_config(
        layers=2, hidden=2048, heads=16, kv_heads=4, intermediate=8192, vocab=8192,
        dtype="bfloat16", max_position_embeddings=131072,
    )  # fmt: skip
    source = make_described(tmp_path / "large", config, llama_shapes(config))
    assert (source / "model.safetensors").stat().st_size > 300e6
    done = run(_MEASURED, source, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150_000, "kilobytes"


def test_a_file_that_the_kernel_refuses_to_lengthen(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny")
    done = run(_LIMITED, source, tmp_path / "out")
    assert done.returncode == 5, done.stderr
    assert "full" in json.loads(done.stdout)["what"]
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_signal_leaves_nothing_half_written(tmp_path: Path) -> None:
    """What a supervisor sends while the bytes move."""
    source = make_llama(tmp_path / "tiny")
    done = run(_TERMINATED, source, tmp_path / "out")
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr.endswith("terminated\n")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
