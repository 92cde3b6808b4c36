"""Count parameters and bytes from tensor headers.

Packed weights are counted by their values: 4-bit values in ``int32`` (GPTQ, AWQ,
compressed-tensors) are eight parameters each, in ``uint8`` (NVFP4, MXFP4, bitsandbytes) two.
Scales, zero points and index tables belong to the packing and are not parameters, nor are
stored buffers such as masks and rotary tables. A weight stored twice although the configuration
ties it counts once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from trtbuild.checkpoint import families
from trtbuild.files.safetensors import TensorInfo
from trtbuild.modelspec import Quantization

_AUXILIARY = re.compile(
    r"\.(qzeros|scales|g_idx|zeros|qscales?|weight_shape|weight_g_idx|weight_zero_point"
    r"|(?:weight|input|output|k|v|q|kv|kv_cache|prob)_(?:global_)?scale(?:_inv|_2|_per_tensor)?"
    r"|activation_scale|scale_inv|absmax|quant_map|nested_absmax|nested_quant_map"
    r"|quant_state\..*|SCB|weight_format|amax|pre_quant_scale|(?:input|weight|output)_amax)$"
    r"|\.weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)$"
    r"|_(scales|weight_scale|weight_scale_2|weight_scale_inv|input_scale)$"
)
_STACKED_DIMENSIONS = 3  # experts, rows, columns
_PACKED_I32 = re.compile(r"\.(qweight|weight_packed)$")
_BYTE_PACKED = re.compile(r"(_blocks|\.weight_packed|\.weight|_proj|\.w[123])$")
_PREDICTION = re.compile(r"(?:^|\.)mtp(?:_\w+)?\.")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
# Methods whose uint8 weights hold two values each.
_TWO_PER_BYTE = frozenset({"mxfp4", "modelopt", "modelopt_fp4", "nvfp4", "bitsandbytes",
                           "compressed-tensors", "petit_nvfp4"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Count:
    """Counted parameters and stored bytes."""

    parameters: int
    active: int
    bytes_by_dtype: Mapping[str, int]


def count(
    tensors: Mapping[str, TensorInfo],
    quantization: Quantization | None,
    *,
    tied: bool,
    layers: int,
    experts: int,
    experts_per_token: int,
    idle_experts: int = 0,
) -> Count:
    """Count ``tensors``.

    ``active`` parameters are those that one token uses on average: routed experts by
    ``experts_per_token / (experts + idle_experts)``, multi-token-prediction layers (named so, or
    numbered from ``layers``) not.
    """
    sizes: Counter[str] = Counter()
    total = active = routed = 0
    for name, info in tensors.items():
        sizes[info.dtype] += info.size
        if _is_twin(name, tensors, tied):
            continue
        parameters = _parameters(name, info, quantization)
        total += parameters
        if _PREDICTION.search(name) or _beyond(name, layers):
            continue
        if _is_routed(name, info, experts):
            routed += parameters
        else:
            active += parameters
    if experts and experts_per_token:
        routed = routed * experts_per_token // (experts + idle_experts)
    return Count(total, active + routed, dict(sorted(sizes.items())))


def _is_routed(name: str, info: TensorInfo, experts: int) -> bool:
    """Whether it is a routed expert by its name, or a layer's experts stacked in one tensor."""
    if any(mark in name for mark in families.ROUTED_EXPERT_MARKS):
        return True
    stacked = len(info.shape) == _STACKED_DIMENSIONS and info.shape[0] == experts
    return stacked and "conv" not in name


def _parameters(name: str, info: TensorInfo, quantization: Quantization | None) -> int:
    if _AUXILIARY.search(name) or _is_buffer(name, info):
        return 0
    if quantization is None:
        return info.elements
    return info.elements * _values_per_element(name, info.dtype, quantization)


def _values_per_element(name: str, dtype: str, quantization: Quantization) -> int:
    bits = quantization.detail.get("bits", 4)
    width = int(bits) if isinstance(bits, int | float) and bits else 4
    if dtype in {"I32", "U32"} and _PACKED_I32.search(name):
        return 32 // width
    if dtype == "U8" and quantization.method in _TWO_PER_BYTE and _BYTE_PACKED.search(name):
        return 2
    return 1


def _is_buffer(name: str, info: TensorInfo) -> bool:
    if not name.endswith(families.NOT_PARAMETERS):
        return False
    if name.endswith((".attn.bias", ".attention.bias")):
        return len(info.shape) == families.MASK_DIMENSIONS
    return True


def _is_twin(name: str, tensors: Mapping[str, TensorInfo], tied: bool) -> bool:
    """Whether it is the output matrix, stored although tied to the input matrix."""
    if not tied or not name.endswith("lm_head.weight"):
        return False
    endings = (".embed_tokens.weight", ".wte.weight", ".word_embeddings.weight")
    return any(other.endswith(endings) for other in tensors)


def _beyond(name: str, layers: int) -> bool:
    found = _LAYER.search(name)
    return bool(found and layers and int(found[1]) >= layers and ".vision" not in name)
