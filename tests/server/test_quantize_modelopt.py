"""The real ModelOpt on a tiny Llama: weights come back as what they were, within the format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.checkpoints import make_llama
from support.lanes import NIGHTLY
from support.rank_files import read_rank
from support.runtimes import state
from trtbuild_checkpoints.quantize import quantize

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_fp8_weights_are_the_original_ones_rounded(tmp_path: Path) -> None:
    if not NIGHTLY and state("modelopt").state != "ready":
        # Installing gigabytes takes minutes, the test ten seconds.
        pytest.skip("ModelOpt is not installed; `make nightly` installs it")
    source = make_llama(tmp_path / "tiny", hidden=128, intermediate=256, dtype="bfloat16")
    quantize(str(source), tmp_path / "out", format_name="fp8", samples=4, kv_cache="fp8")
    before = read_rank(source / "model.safetensors")
    after = read_rank(tmp_path / "out" / "model.safetensors")
    for name in ("self_attn.q_proj", "mlp.down_proj"):
        stem = f"model.layers.1.{name}"
        original = np.frombuffer(before[f"{stem}.weight"][2], "<u2").astype(np.uint32) << 16
        kind, shape, content = after[f"{stem}.weight"]
        assert (kind, shape) == ("F8_E4M3", before[f"{stem}.weight"][1])
        scale = np.frombuffer(after[f"{stem}.weight_scale"][2], "<f4")[0]
        found = _e4m3(np.frombuffer(content, np.uint8)) * scale
        expected = original.view(np.float32)
        # three bits of fraction: half a unit in the last place, which is larger below 2**-6
        bound = np.maximum(np.abs(expected) / 16, scale * 2.0**-10)
        assert (np.abs(found - expected) <= bound).all()
        assert f"{stem}.input_scale" in after
    declared = json.loads((tmp_path / "out" / "hf_quant_config.json").read_text())["quantization"]
    assert declared["kv_cache_quant_algo"] == "FP8"


def _e4m3(bits: np.ndarray) -> np.ndarray:
    """Values of OCP's 8-bit float: 1 sign, 4 exponent (bias 7), 3 fraction bits."""
    sign = np.where(bits & 0x80, -1.0, 1.0)
    exponent, fraction = ((bits >> 3) & 15).astype(int), (bits & 7).astype(float)
    normal = np.ldexp(1 + fraction / 8, exponent - 7)
    return sign * np.where(exponent > 0, normal, np.ldexp(fraction / 8, -6))
