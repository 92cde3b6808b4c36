"""Our converter against what TensorRT-LLM's own wrote from the same tiny checkpoints.

``trtllm_checkpoint/<case>/hf`` is the source; beside it lie the results, named
``<dtype>[-tpN][-ppN]``, of TensorRT-LLM 0.14's ``convert_checkpoint.py``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.checkpoints import write_tokenizer
from support.rank_files import read_rank
from trtbuild_engine_flow.engines.checkpoint import make_checkpoint

HERE = Path(__file__).parent / "trtllm_checkpoint"
CASES = sorted(path.parent for path in HERE.glob("*/*/config.json") if path.parent.name != "hf")
TABLES = {"embed_positions", "embed_positions_for_gpt_attention", "rotary_inv_freq"}


def test_all_cases_are_found() -> None:
    assert len(CASES) == 10


@pytest.mark.parametrize("golden", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_equal_bit_for_bit(golden: Path, tmp_path: Path) -> None:
    dtype, *parts = golden.name.split("-")
    split: dict[str, Any] = {part[:2]: int(part[2:]) for part in parts}
    source = tmp_path / "source"
    shutil.copytree(golden.parent / "hf", source)
    write_tokenizer(source)
    made = make_checkpoint(
        str(source),
        tmp_path / "out",
        dtype=dtype,
        release="0.14.0",
        **split,
    )
    assert made.result is not None
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == json.loads(
        (golden / "config.json").read_text()
    )
    names = sorted(path.name for path in golden.glob("*.safetensors"))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == names
    for name in names:
        _compare(tmp_path / "out" / name, golden / name)


def _compare(path: Path, golden: Path) -> None:
    ours, theirs = read_rank(path), read_rank(golden)
    assert list(ours) == list(theirs), "the same tensors in the same order"
    for name, (dtype, shape, content) in theirs.items():
        assert ours[name][:2] == (dtype, shape), name
        if name not in TABLES:
            assert ours[name][2] == content, name
            continue
        # neighbouring floats are neighbouring integers, once negatives are put in order
        a, b = (_ordered(np.frombuffer(c, "<i4")) for c in (ours[name][2], content))
        assert np.abs(a - b).max() <= 1, name


def _ordered(bits: np.ndarray) -> np.ndarray:
    wide = bits.astype(np.int64)
    return np.where(wide < 0, -(2**31) - wide, wide)
