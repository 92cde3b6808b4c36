"""Read how weights are quantised from a checkpoint's ``quantization_config``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.modelspec.model import Quantization

_DETAILS = (
    "bits", "group_size", "quant_algo", "kv_cache_quant_algo", "format", "fmt",
    "activation_scheme", "weight_block_size", "desc_act", "sym", "zero_point", "version",
    "checkpoint_format", "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "quant_type",
    "quantization_status", "modules_to_not_convert",
)  # fmt: skip


_BYTE = 8  # bits


def declared_quantization(declared: Mapping[str, Any]) -> Quantization | None:
    """Return the quantization in a ``quantization_config``; None if it names no method.

    ModelOpt's first exports have it in a nested object.
    """
    inner = declared.get("quantization")
    if isinstance(inner, dict):
        declared = {**declared, **inner}
    method = declared.get("quant_method")
    if not isinstance(method, str) or not method:
        method = _guess(declared)
    if not method:
        return None
    return Quantization(method.lower().replace("compressed_", "compressed-"), _details(declared))


def _guess(declared: Mapping[str, Any]) -> str:
    """Return the method of files older than ``quant_method``, from keys that only they have."""
    if "desc_act" in declared:
        return "gptq"
    if "w_bit" in declared or "zero_point" in declared:
        return "awq"
    if "load_in_4bit" in declared or "load_in_8bit" in declared:
        return "bitsandbytes"
    return "modelopt" if "quant_algo" in declared else ""


def _details(declared: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {}
    for key in _DETAILS:
        value = declared.get(key)
        if isinstance(value, str | int | float | bool):
            found[key] = value
        elif key == "weight_block_size" and isinstance(value, list):
            found[key] = "x".join(str(item) for item in value)
    for key, other in (("bits", "w_bit"), ("group_size", "q_group_size")):
        if key not in found and isinstance(declared.get(other), int):
            found[key] = declared[other]
    return found | _cache_scheme(declared) | _compressed(declared)


def _cache_scheme(declared: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return a ``kv_cache_scheme`` under ModelOpt's name of its type: FP8, INT8, NVFP4.

    Engines read it only for ModelOpt and compressed-tensors. A dynamic scheme in ModelOpt's exports
    has no effect (vLLM keeps the computing type).
    """
    method = str(declared.get("quant_method") or _guess(declared)).lower()
    modelopt = method.startswith("modelopt")
    scheme = declared.get("kv_cache_scheme")
    if not modelopt and method.replace("_", "-") != "compressed-tensors":
        return {}
    if not isinstance(scheme, dict):
        return {"kv_cache_quant_algo": scheme.upper()} if isinstance(scheme, str) else {}
    if modelopt and scheme.get("dynamic") is not False and scheme.get("num_bits") == _BYTE:
        return {}
    kind = {"float": "FP", "int": "INT"}.get(str(scheme.get("type")).lower(), "TYPE")
    name = f"{kind}{scheme.get('num_bits')}"
    return {"kv_cache_quant_algo": "NVFP4" if modelopt and name == "FP4" else name}


def _compressed(declared: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Read compressed-tensors' schemes, one for each group of layers; see :func:`_speaking`."""
    groups = declared.get("config_groups")
    listed = list(groups.values()) if isinstance(groups, dict) else []
    weights = [group.get("weights") for group in listed if isinstance(group, dict)]
    schemes = [scheme for scheme in weights if isinstance(scheme, dict)]
    if not schemes:
        return {}
    names = {"num_bits": "bits", "type": "type", "group_size": "group_size", "strategy": "strategy"}
    speaks = _speaking(schemes)
    found: dict[str, str | int | float | bool] = {
        ours: speaks[theirs]
        for theirs, ours in names.items()
        if isinstance(speaks.get(theirs), str | int) and theirs in speaks
    }
    kinds = {(scheme.get("num_bits"), scheme.get("type")) for scheme in schemes}
    return found | ({"schemes": len(kinds)} if len(kinds) > 1 else {})


def _speaking(schemes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the group that decides: an integer one, which few engines load, else the first."""
    integers = (scheme for scheme in schemes if str(scheme.get("type", "")).lower() == "int")
    return next(integers, schemes[0])
