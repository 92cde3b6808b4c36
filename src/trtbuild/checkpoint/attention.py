"""The KV cache a configuration implies: which layers keep what, per token or for ever.

Formulas, in cache elements: MHA, GQA and MQA keep ``n_kv * (d_k + d_v)`` a token and layer;
MLA keeps ``kv_lora_rank + qk_rope_head_dim`` (DeepSeek-V2, arXiv 2405.04434, section 2.1);
recurrent layers keep a constant: a convolution's last inputs and a state matrix.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from trtbuild.checkpoint import families
from trtbuild.checkpoint.families import LayerKind
from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.recurrent import state_elements
from trtbuild.spec import AttentionGroup, KVCache

Kinds = tuple[LayerKind, ...]
"""What each layer keeps, first to last."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The shape of attention: counts of layers and heads, size of one head."""

    layers: int
    heads: int
    kv_heads: int
    size: int


def heads(fields: Fields) -> Heads:
    """Layers, attention heads, KV heads and head size, by every spelling known."""
    count = fields.number(families.HEADS)
    size = fields.number(families.HEAD_SIZE)
    if not size and count:
        size = fields.number(families.HIDDEN) // count
    return Heads(
        fields.number(families.LAYERS) or _listed_layers(fields),
        count,
        _kv_heads(fields, count),
        size,
    )


def _listed_layers(fields: Fields) -> int:
    """The length of a list with a word for each layer, all that Nemotron-H says since 2026."""
    listed = next((fields.get(key) for key in families.LAYER_LISTS if fields.get(key)), None)
    return len(listed or fields.text("hybrid_override_pattern"))


def _kv_heads(fields: Fields, count: int) -> int:
    if fields.model_type in {"falcon", "RefinedWeb", "RefinedWebModel"}:
        return _falcon_kv_heads(fields, count)
    grouped = fields.number(families.KV_HEADS)
    flags = [fields.get(key) for key in families.MULTI_QUERY_FLAGS]
    if False in flags and fields.model_type in {"gpt_bigcode", "chatglm"}:
        return count
    if grouped:
        return grouped
    return 1 if True in flags else count


def _falcon_kv_heads(fields: Fields, count: int) -> int:
    """``new_decoder_architecture`` makes the groups count, else ``multi_query`` means one."""
    if fields.flag("new_decoder_architecture"):
        return fields.number(families.KV_HEADS, count)
    return 1 if fields.get("multi_query") is not False else count


def kv_cache(fields: Fields, shape: Heads) -> KVCache:
    """The cache's kind and its groups of layers; see :class:`trtbuild.spec.AttentionGroup`."""
    if fields.model_type in families.ENCODERS or not shape.layers:
        return KVCache("none")
    kinds = layer_kinds(fields, shape.layers)
    counts = Counter(kinds)
    groups: list[AttentionGroup] = []
    if counts["full"]:
        groups += _full(fields, shape, kinds)
    if counts["sliding"]:
        groups.append(
            AttentionGroup(
                "sliding", counts["sliding"], _sliding_elements(fields, shape), _window(fields)
            )
        )
    recurrent = counts["recurrent"]
    if fields.model_type in families.PARALLEL_HYBRID:
        recurrent = shape.layers
    if recurrent:
        state = state_elements(fields, shape.heads * shape.size * shape.size)
        groups.append(AttentionGroup("recurrent", recurrent, 0, constant_elements=state))
    return KVCache(_name(groups, shape), tuple(groups))


def _name(groups: list[AttentionGroup], shape: Heads) -> str:
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


def _full(fields: Fields, shape: Heads, kinds: Kinds) -> list[AttentionGroup]:
    """Full-attention layers, as one group or one for each number of KV heads."""
    indexes = [at for at, kind in enumerate(kinds) if kind == "full"]
    rank = fields.number("kv_lora_rank")
    if rank and fields.model_type not in families.MLA_EXPANDED:
        elements = rank + fields.number("qk_rope_head_dim")
        return [AttentionGroup("mla", len(indexes), elements)]
    size = _key_and_value(fields, shape)
    by_layer = fields.per_layer(families.KV_HEADS, shape.layers)
    if not by_layer:
        kv_heads = fields.number("num_global_key_value_heads", shape.kv_heads)
        if fields.number("global_head_dim"):
            size = 2 * fields.number("global_head_dim")
        return [AttentionGroup("full", len(indexes), kv_heads * size)]
    counts = Counter(by_layer[at] for at in indexes)
    return [AttentionGroup("full", n, kv * size) for kv, n in sorted(counts.items()) if kv]


def _sliding_elements(fields: Fields, shape: Heads) -> int:
    """Sliding layers may have heads of their own (MiMo-V2: ``swa_*``)."""
    kv_heads = fields.number("swa_num_key_value_heads", shape.kv_heads)
    key = fields.number("swa_head_dim")
    if not key:
        return kv_heads * _key_and_value(fields, shape)
    return kv_heads * (key + fields.number("swa_v_head_dim", key))


def _key_and_value(fields: Fields, shape: Heads) -> int:
    """``d_k + d_v``: two head sizes, unless the family sizes them apart."""
    rope = fields.number("qk_rope_head_dim")
    if rope and fields.number("kv_lora_rank"):
        return fields.number("qk_nope_head_dim") + rope + fields.number("v_head_dim", shape.size)
    return shape.size + fields.number("v_head_dim", shape.size)


def _window(fields: Fields) -> int:
    return fields.number(("sliding_window", "sliding_window_size", "attention_chunk_size"))


def layer_kinds(fields: Fields, layers: int) -> Kinds:
    """What every layer keeps, from the first source that says so."""
    for read in (_listed, _pattern, _indexes, _periods, _linear_config):
        kinds = read(fields, layers)
        if len(kinds) == layers:
            return _without_window(fields, kinds)
    if fields.model_type in families.ALL_RECURRENT:
        return _every("recurrent", layers)
    return _by_family(fields, layers)


def _every(kind: LayerKind, layers: int) -> Kinds:
    return tuple(kind for _ in range(layers))


def _without_window(fields: Fields, kinds: Kinds) -> Kinds:
    if _window(fields):
        return kinds
    return tuple("full" if kind == "sliding" else kind for kind in kinds)


def _listed(fields: Fields, _layers: int) -> Kinds:
    """``layer_types`` and its older spellings; the shorter ones repeat."""
    for key in families.LAYER_LISTS:
        words = fields.get(key)
        if isinstance(words, list) and words and all(isinstance(w, str) for w in words):
            if len(words) < _layers:
                words = (words * (_layers // len(words) + 1))[:_layers]
            return tuple(_kind(word) for word in words)
    return ()


def _kind(word: str) -> LayerKind:
    return families.LAYER_KINDS.get(word, "full")


def _pattern(fields: Fields, _layers: int) -> Kinds:
    """``hybrid_override_pattern`` ("M-M*-…") or ``attn_type_list`` (0 linear, 1 full)."""
    letters = fields.text("hybrid_override_pattern")
    if letters:
        return tuple(families.PATTERN_LETTERS.get(x, "full") for x in letters)
    codes = fields.get("attn_type_list")
    if isinstance(codes, list):
        return tuple("full" if code == 1 else "recurrent" for code in codes)
    return ()


def _indexes(fields: Fields, layers: int) -> Kinds:
    """Lists of the layers that have attention (Bamba, LFM2, Zamba2)."""
    for key in ("attn_layer_indices", "full_attn_idxs", "hybrid_layer_ids"):
        chosen = fields.get(key)
        if isinstance(chosen, list):
            return tuple("full" if at in chosen else "recurrent" for at in range(layers))
    return ()


def _periods(fields: Fields, layers: int) -> Kinds:
    """One attention layer in every few (Jamba, Qwen3-Next)."""
    period = fields.number("attn_layer_period")
    if period:
        offset = fields.number("attn_layer_offset")
        return tuple("full" if at % period == offset else "recurrent" for at in range(layers))
    interval = fields.number("full_attention_interval")
    if interval:
        return tuple("recurrent" if (at + 1) % interval else "full" for at in range(layers))
    return ()


def _linear_config(fields: Fields, layers: int) -> Kinds:
    """Kimi-Linear numbers its full layers from one."""
    linear = fields.get("linear_attn_config")
    chosen = linear.get("full_attn_layers") if isinstance(linear, dict) else None
    if not isinstance(chosen, list):
        return ()
    return tuple("full" if at + 1 in chosen else "recurrent" for at in range(layers))


def _by_family(fields: Fields, layers: int) -> Kinds:
    """Sliding windows that only the family's code knows the layers of."""
    if not _window(fields):
        return _every("full", layers)
    kind = fields.model_type
    every = (
        fields.number(("sliding_window_pattern", "_sliding_window_pattern"))
        if (not isinstance(fields.get("sliding_window_pattern"), str))
        else 0
    )
    every = every or families.SLIDING_EVERY.get(kind, 0)
    if every > 1:
        return tuple("sliding" if (at + 1) % every else "full" for at in range(layers))
    if kind in families.SLIDING_FLAGGED:
        first = fields.number("max_window_layers", layers)
        sliding = fields.flag("use_sliding_window")
        return tuple("sliding" if sliding and at >= first else "full" for at in range(layers))
    if kind.startswith("llama4"):
        return _llama4(fields, layers)
    return _every("sliding" if kind in families.SLIDING_ALL else "full", layers)


def _llama4(fields: Fields, layers: int) -> Kinds:
    """Layers with rope attend within chunks; ``no_rope_layers`` is 1 for those."""
    rope = fields.get("no_rope_layers")
    if isinstance(rope, list) and len(rope) == layers:
        return tuple("sliding" if flag else "full" for flag in rope)
    return tuple("sliding" if (at + 1) % 4 else "full" for at in range(layers))
