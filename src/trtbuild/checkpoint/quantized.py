"""Read a checkpoint's declaration of quantised weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import json_object
from trtbuild.modelspec import Quantization, declared_quantization


def quantization(checkpoint: Checkpoint, values: Mapping[str, Any]) -> Quantization | None:
    """Read ``quantization_config`` (of the language model or the top) or ModelOpt's own file.

    ``values`` is the merged configuration. None if the checkpoint is not quantised.
    """
    declared = values.get("quantization_config") or values.get("compression_config")
    if isinstance(declared, dict) and declared:
        return declared_quantization(declared)
    raw = checkpoint.read_bytes("hf_quant_config.json")
    if raw is not None:
        inner = json_object(raw, "hf_quant_config.json").get("quantization")
        if isinstance(inner, dict) and inner.get("quant_algo"):
            return declared_quantization({**inner, "quant_method": "modelopt"})
    for name in ("quantize_config.json", "quant_config.json"):  # AutoGPTQ, AutoAWQ before 2024
        raw = checkpoint.read_bytes(name)
        if raw is not None:
            return declared_quantization(json_object(raw, name))
    return None
