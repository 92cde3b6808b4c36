"""Bounds on GPUs of the table, beside numbers worked out by hand.

Peaks are dense ones (vendors print twice as much with sparsity): H100 SXM 3,350 GB/s, 989 TFLOPS in
bfloat16 and 1,979 in FP8 (NVIDIA H100 data sheet); A100 80 GB SXM 2,039 GB/s and 312 TFLOPS (NVIDIA
A100 data sheet nvidia-1758950-r4); L4 300 GB/s and 121 TFLOPS (NVIDIA L4 data sheet).
"""

from __future__ import annotations

import pytest

from support.specs import llama_8b, llama_70b
from trtbuild import hardware
from trtbuild_measure.bench.device import of_gpu
from trtbuild_measure.roofline import Workload, decode_step, prefill


@pytest.mark.parametrize(
    ("name", "dtype", "bandwidth", "flops"),
    [
        ("h100", "bfloat16", 3.35e12, 989e12),
        ("h100", "fp8", 3.35e12, 1979e12),
        ("a100-80", "bfloat16", 2.039e12, 312e12),
        ("l4", "float16", 0.3e12, 121e12),
    ],
)
def test_the_device_is_that_of_the_data_sheet(
    name: str, dtype: str, bandwidth: float, flops: float
) -> None:
    found = of_gpu(hardware.gpu(name), 1, dtype)
    assert (found.bandwidth, found.flops) == (bandwidth, flops)
    two = of_gpu(hardware.gpu(name), 2, dtype)
    assert (two.bandwidth, two.flops) == (2 * bandwidth, 2 * flops)
    assert "data sheet" in found.source


def test_a_type_without_a_peak_says_whose_is_taken() -> None:
    found = of_gpu(hardware.gpu("a100-80"), 1, "float32")
    assert found.flops == 312e12
    assert found.source.endswith("peak of bfloat16 for float32")
    assert of_gpu(hardware.gpu("t4"), 1, "bfloat16").source.endswith("for bfloat16")


# Llama-3.1-8B in bfloat16: 16.0605 GB of weights; 131,072 B of KV cache a token.
# Llama-3.3-70B in FP8: 70.5537 GB; KV in eight bits 163,840 B a token.
EIGHT = Workload(llama_8b(), 2 * 8_030_261_248)
SEVENTY = Workload(llama_70b(), 70_553_706_496, kv_element=1.0)


@pytest.mark.parametrize(
    ("work", "name", "dtype", "sequences", "context", "milliseconds", "bound"),
    [
        # 16.0605e9 / 3.35e12 = 4.794 ms; a context of 1000 adds 0.131 GB: 0.039 ms.
        (EIGHT, "h100", "bfloat16", 1, 0, 4.794, "bandwidth"),
        (EIGHT, "h100", "bfloat16", 1, 1000, 4.833, "bandwidth"),
        # 64 sequences of 2000 tokens: 16.777 GB of cache, as much again as the weights.
        (EIGHT, "h100", "bfloat16", 64, 2000, 9.802, "bandwidth"),
        (EIGHT, "a100-80", "bfloat16", 1, 0, 7.877, "bandwidth"),
        (EIGHT, "l4", "bfloat16", 1, 0, 53.535, "bandwidth"),
        # 2 x 8.0303e9 x 512 / 989e12 = 8.314 ms of arithmetic beside 4.794 of reading.
        (EIGHT, "h100", "bfloat16", 512, 0, 8.314, "compute"),
        # 70.5537e9 / 3.35e12; two cards half of it.
        (SEVENTY, "h100", "fp8", 1, 0, 21.061, "bandwidth"),
    ],
)
def test_a_decode_step(
    work: Workload,
    name: str,
    dtype: str,
    sequences: int,
    context: int,
    milliseconds: float,
    bound: str,
) -> None:
    step = decode_step(work, of_gpu(hardware.gpu(name), 1, dtype), sequences, context)
    assert step.seconds * 1e3 == pytest.approx(milliseconds, abs=1e-3)
    assert step.bound_by == bound


def test_two_cards_halve_a_step() -> None:
    one, two = (of_gpu(hardware.gpu("h100"), count, "fp8") for count in (1, 2))
    assert decode_step(SEVENTY, two, 4, 500).seconds == pytest.approx(
        decode_step(SEVENTY, one, 4, 500).seconds / 2
    )


@pytest.mark.parametrize(
    ("work", "name", "dtype", "tokens", "milliseconds", "bound"),
    [
        # 2 x 8.0303e9 x 2048 = 3.2892e13; attention 2 x 2048^2 x 4096 x 32 = 1.0995e12: 34.37 ms.
        (EIGHT, "h100", "bfloat16", 2048, 34.370, "compute"),
        # The same 3.3991e13 at 121 TFLOPS.
        (EIGHT, "l4", "bfloat16", 2048, 280.922, "compute"),
        # Below 295 tokens (989e12 / 3.35e12) the weights take longer to read than to use.
        (EIGHT, "h100", "bfloat16", 128, 4.794, "bandwidth"),
        # 2 x 70.5537e9 x 1000 + 2 x 1000^2 x 8192 x 80 = 1.42418e14 at 1,979 TFLOPS.
        (SEVENTY, "h100", "fp8", 1000, 71.965, "compute"),
    ],
)
def test_a_prefill(
    work: Workload, name: str, dtype: str, tokens: int, milliseconds: float, bound: str
) -> None:
    step = prefill(work, of_gpu(hardware.gpu(name), 1, dtype), tokens)
    assert step.seconds * 1e3 == pytest.approx(milliseconds, abs=1e-3)
    assert step.bound_by == bound
