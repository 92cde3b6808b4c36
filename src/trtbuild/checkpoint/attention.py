"""The KV cache that a configuration implies: what each layer caches, per token or per sequence.

Formulas, in cache elements: MHA, GQA and MQA keep ``n_kv * (d_k + d_v)`` a token and layer;
latent attention is in :mod:`trtbuild.checkpoint.latent`; recurrent layers keep a fixed state: a
convolution's last inputs and a state matrix.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from trtbuild.checkpoint import families
from trtbuild.checkpoint.families import LayerKind
from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.latent import is_latent, latent_caches, sparse_index
from trtbuild.checkpoint.layer_kinds import block_kv_heads, layer_count, layer_kinds, window_of
from trtbuild.checkpoint.recurrent import state_of
from trtbuild.modelspec import AttentionGroup, KVCache

_ENCODES = re.compile(r"Bidirectional|(EncoderModel|ForImageClassification)$")
_ORDER = ("full", "mla", "sliding", "recurrent")


@dataclass(frozen=True, slots=True)
class Heads:
    """The shape of attention: counts of layers and heads, size of one head."""

    layers: int
    heads: int
    kv_heads: int
    size: int


def heads(fields: Fields) -> Heads:
    """Return layers, attention heads, KV heads and head size, under every known key."""
    if fields.family in families.ALL_RECURRENT:
        return Heads(layer_count(fields), 0, 0, 0)  # Mamba 2 calls parts of its state "heads"
    count = fields.number(families.HEADS)
    size = fields.number(families.HEAD_SIZE)
    if not size and count:
        size = fields.number(families.HIDDEN) // count
    return Heads(layer_count(fields), count, _kv_heads(fields, count), size)


def _kv_heads(fields: Fields, count: int) -> int:
    if fields.family in {"falcon", "refinedweb", "refinedwebmodel"}:
        return _falcon_kv_heads(fields, count)
    grouped = fields.number(families.KV_HEADS) or max(block_kv_heads(fields), default=0)
    flags = [fields.get(key) for key in families.MULTI_QUERY_FLAGS]
    if False in flags and fields.family in {"gpt_bigcode", "chatglm"}:
        return count
    if grouped:
        return grouped
    return 1 if True in flags else count


def _falcon_kv_heads(fields: Fields, count: int) -> int:
    """Return groups for ``new_decoder_architecture``, else 1 for ``multi_query``."""
    if fields.flag("new_decoder_architecture"):
        return fields.number(families.KV_HEADS, count)
    return 1 if fields.get("multi_query") is not False else count


def kv_cache(fields: Fields, shape: Heads) -> KVCache:
    """Return the cache's kind and groups; see :class:`trtbuild.modelspec.AttentionGroup`."""
    if attends_both_ways(fields) or not shape.layers:
        return KVCache("none")
    kinds = layer_kinds(fields, shape.layers)
    kept = (cache for at, kind in enumerate(kinds) for cache in _caches(fields, shape, at, kind))
    groups = _grouped(kept)
    return KVCache(_name(groups, shape), groups)


def attends_both_ways(fields: Fields) -> bool:
    """Whether it is an encoder: every token attends to later ones, so there is no cache."""
    if fields.family in families.ENCODERS or _ENCODES.search(fields.architecture):
        return True
    if fields.family in families.MAY_ATTEND_BOTH_WAYS and fields.flag(
        "use_bidirectional_attention"
    ):
        return True
    return fields.get("is_causal") is False


def _grouped(kept: Iterable[AttentionGroup]) -> tuple[AttentionGroup, ...]:
    counts = Counter(kept)
    found = (replace(cache, layers=layers) for cache, layers in counts.items())
    return tuple(sorted(found, key=lambda g: (_ORDER.index(g.kind), g.elements_per_token)))


def _name(groups: tuple[AttentionGroup, ...], shape: Heads) -> str:
    kinds = {group.kind for group in groups}
    if "recurrent" in kinds:
        return "hybrid" if len(kinds) > 1 else "recurrent"
    if "mla" in kinds:
        return "MLA"
    if "sliding" in kinds:
        return "sliding-window"
    if not kinds:
        return "none"
    if shape.kv_heads == 1 and shape.heads > 1:
        return "MQA"
    return "MHA" if shape.kv_heads >= shape.heads else "GQA"


def _caches(fields: Fields, shape: Heads, layer: int, kind: LayerKind) -> Iterator[AttentionGroup]:
    """Return everything that one layer caches, each as a group of one layer."""
    apart = fields.at_layer(layer)
    if apart is not fields:
        fields, shape = apart, replace(heads(apart), layers=shape.layers)
    if kind in {"recurrent", "both"}:
        state, wide = state_of(fields, shape.heads * shape.size * shape.size)
        yield AttentionGroup("recurrent", 1, 0, constant_elements=state, wide_elements=wide)
    shared = fields.number("num_kv_shared_layers")
    if kind in {"none", "recurrent"} or (shared and layer >= shape.layers - shared):
        return
    if is_latent(fields):
        yield from latent_caches(fields, layer)
    else:
        yield from _plain_caches(fields, shape, layer, kind == "sliding")


def _plain_caches(
    fields: Fields, shape: Heads, layer: int, sliding: bool
) -> Iterator[AttentionGroup]:
    count = _kv_heads_at(fields, shape, layer, sliding)
    if not count:
        return
    key_and_value = _key_and_value(fields, shape, sliding)
    window = window_of(fields, layer) if sliding else 0
    index = sparse_index(fields, layer)
    yield AttentionGroup(
        "sliding" if sliding else "full",
        1,
        count * key_and_value + index,
        window,
        fixed_bytes=2 * index,
        kv_heads=count,
    )
    for _ in range(1, fields.number(("loop_num", "total_ut_steps"))):
        yield _looped(fields, key_and_value * count, count)
    if fields.family in families.CONVOLVED:
        # Key, value and the outputs of attention and MLP by head, padded to a power of two.
        width = key_and_value + 2 * (fields.number(families.HIDDEN) // count)
        padded = 1 << (width - 1).bit_length()
        kept = fields.number(("conv_kernel_size", "sconv_kernel_size"), 4)
        yield AttentionGroup("sliding", 1, count * padded, kept, kv_heads=count)


def _looped(fields: Fields, elements: int, count: int) -> AttentionGroup:
    """Add a cache for each repeated run of a layer: a window (IQuest-Coder) or all (Ouro)."""
    window = fields.number("loop_window_size")
    kind: Literal["sliding", "full"] = "sliding" if window else "full"
    return AttentionGroup(kind, 1, elements, window, kv_heads=count)


def _kv_heads_at(fields: Fields, shape: Heads, layer: int, sliding: bool) -> int:
    """Return the KV heads of one layer: from a list, by its kind, or as for all layers."""
    listed = fields.per_layer(families.KV_HEADS, shape.layers) or block_kv_heads(fields)
    if len(listed) == shape.layers:
        return listed[layer]
    if sliding:
        return fields.number("swa_num_key_value_heads", shape.kv_heads)
    return fields.number("num_global_key_value_heads", shape.kv_heads)


def _key_and_value(fields: Fields, shape: Heads, sliding: bool) -> int:
    """Return ``d_k + d_v``: twice the head size, unless family or layer kind differ."""
    if fields.number("kv_lora_rank"):
        # An expanded latent: vLLM pads values to the size of keys.
        rope = fields.number("qk_rope_head_dim")
        return 2 * max(fields.number("qk_nope_head_dim") + rope, fields.number("v_head_dim"))
    if sliding and fields.number("swa_head_dim"):
        key = fields.number("swa_head_dim")
        return key + fields.number("swa_v_head_dim", key)
    if not sliding and fields.number("global_head_dim"):
        return 2 * fields.number("global_head_dim")
    # 0 in a configuration whose latent attention is switched off (DeepSeek-OCR)
    return shape.size + (fields.number("v_head_dim") or shape.size)
