"""How each load of a result compares with the device's theoretical maximum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from trtbuild import hardware
from trtbuild.checkpoint import inspect, open_checkpoint
from trtbuild.errors import TrtbuildError
from trtbuild_measure.bench.device import measure_cpu, of_gpu
from trtbuild_measure.bench.model import Json
from trtbuild_measure.bench.results import rounded
from trtbuild_measure.roofline import Device, Workload, decode_step, prefill

_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}


def bounds(checkpoint: Path, result: Json, dtype: str) -> Json | None:
    """Return the device and a row for each load; None if the model or the device is unknown.

    Only for targets on this machine, because the device of a remote server is unknown. ``dtype`` is
    assumed if a target does not report its precision.
    """
    try:
        spec = inspect(open_checkpoint(str(checkpoint)))
    except TrtbuildError:
        return None  # a directory with only a tokenizer, enough for everything else
    device = _device(dtype)
    rows: list[Json] = []
    for target in result["targets"]:
        element = _BYTES.get(target["precision"] or dtype, 2.0)
        stored = spec.quantization is not None
        weights = float(spec.weight_bytes) if stored else spec.parameters * element
        work = Workload(spec, weights, element)
        rows.extend(_rows(target, work, device))
    found: Json = rounded({"device": asdict(device), "rows": rows})
    return found


def _device(dtype: str) -> Device:
    known = [gpu.info for gpu in hardware.detect() if gpu.info is not None]
    return of_gpu(known[0], len(known), dtype) if known else measure_cpu()


def _rows(target: Json, work: Workload, device: Device) -> Iterator[Json]:
    for load in target["loads"]:
        itl, ttft = load["metrics"]["itl_ms"], load["metrics"]["ttft_ms"]
        rate, ok = load["metrics"]["output_tokens_per_s"], load["requests"]["ok"]
        if not (itl and ttft and rate and ok):
            continue
        # Tokens per second times seconds per token: the number of sequences decoding at once.
        together = max(1.0, rate * itl["mean"] / 1e3)
        tokens = load["tokens"]
        prompt, answer = round(tokens["input"] / ok), tokens["output"] / ok
        step = decode_step(work, device, together, round(prompt + answer / 2))
        yield {
            "target": target["name"],
            "load": load["load"]["label"],
            "sequences": together,
            "decode_bound": together / step.seconds,
            "decode_measured": rate,
            "decode_share": rate * step.seconds / together,
            "prefill_bound_ms": prefill(work, device, max(prompt, 1)).seconds * 1e3,
            "ttft_ms": ttft["p50"],
            "bound_by": step.bound_by,
        }
