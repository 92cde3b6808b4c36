"""A converted checkpoint computes what transformers computes, for every family and split."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from support import triton
from support.checkpoints import write_tokenizer
from support.trtllm_forward import Network
from trtbuild.errors import UnsupportedError
from trtbuild_engine_flow.engines.checkpoint import make_checkpoint

SPLITS = ((1, 1), (2, 1), (3, 1), (6, 1), (1, 2), (2, 2), (6, 4))
# Two key-value heads and three ranks, one of which would have none of its own; and what
# TensorRT-LLM's own converter does not split.
REFUSED = "neither shared nor repeated|does not split|splits phi3 over ranks"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    script = Path(triton.__file__).with_name("logits.py")
    command = [triton.runtime_python(), script, root]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    names = json.loads(done.stdout.splitlines()[-1])
    for name in names:
        write_tokenizer(root / name)
    return {name: root / name for name in names}


def test_logits_are_those_of_transformers(models: dict[str, Path], tmp_path: Path) -> None:
    compared: dict[str, int] = {}
    for name, source in models.items():
        expected = np.load(source / "logits.npy")
        for tp, pp in SPLITS:
            out = tmp_path / f"{name}-{tp}-{pp}"
            try:
                make_checkpoint(str(source), out, dtype="float32", tp=tp, pp=pp)
            except UnsupportedError as error:
                assert (tp, pp) != (1, 1), error.details
                with pytest.raises(UnsupportedError, match=REFUSED):
                    raise UnsupportedError("\n".join(error.details)) from None
                continue
            found = Network(out).logits(np.load(source.parent / "ids.npy"))
            worst = float(np.abs(found - expected).max())
            assert worst < 1e-3, f"{name} tp {tp} pp {pp}"
            compared[name] = compared.get(name, 0) + 1
    assert compared.keys() == models.keys()
