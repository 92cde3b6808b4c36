"""What each layer caches, from the first key of the configuration that tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtbuild.checkpoint import families
from trtbuild.checkpoint.families import LayerKind
from trtbuild.checkpoint.fields import Fields
from trtbuild.errors import UnsupportedError

Kinds = tuple[LayerKind, ...]
"""What each layer keeps, first to last."""


_MOST = 10_000  # layers; a larger number is an error, and each layer costs time


def layer_count(fields: Fields) -> int:
    """Return the number of layers, counted if no key has it.

    Raises:
        UnsupportedError: There are implausibly many.
    """
    layers = _layer_count(fields)
    if layers > _MOST:
        raise UnsupportedError(
            f"config.json: {layers:,} layers are more than any model has",
            where="config.json",
            fix="correct the number of layers, or fetch config.json again",
        )
    return layers


def _layer_count(fields: Fields) -> int:
    if fields.family in families.TWO_BLOCKS_A_LAYER:
        # transformers 5 writes the number of blocks as num_hidden_layers.
        return fields.number(("num_layers", *families.LAYERS))
    listed = fields.number(families.LAYERS)
    if listed:
        return listed
    words = _words(fields)
    return len(words) or len(fields.text("hybrid_override_pattern"))


def layer_kinds(fields: Fields, layers: int) -> Kinds:
    """Return what every layer caches, from the first source that tells."""
    if fields.family in families.PARALLEL_HYBRID:
        return _every("both", layers)
    if fields.family == "phi4flash":
        return tuple(_sambay(at, layers) for at in range(layers))
    for read in (_listed, _blocks, _pattern, _indexes, _periods, _linear_config, _windows_listed):
        kinds = read(fields, layers)
        if len(kinds) == layers:
            return _windowed(fields, kinds)
    if fields.family in families.RECURRENT_UNLESS_LISTED:
        return _every("recurrent", layers)
    return _by_family(fields, layers)


def window_of(fields: Fields, layer: int) -> int:
    """Return the window of a sliding layer; 0 without one."""
    for key in families.WINDOW_LISTS:
        listed = fields.get(key)
        if isinstance(listed, list) and listed:
            value = listed[layer % len(listed)]
            return value if type(value) is int else 0
    return fields.number(families.WINDOWS)


def _has_window(fields: Fields) -> bool:
    return any(isinstance(fields.get(key), list) for key in families.WINDOW_LISTS) or bool(
        fields.number(families.WINDOWS)
    )


def _every(kind: LayerKind, layers: int) -> Kinds:
    return tuple(kind for _ in range(layers))


def _windowed(fields: Fields, kinds: Kinds) -> Kinds:
    if not _has_window(fields):
        return tuple("full" if kind == "sliding" else kind for kind in kinds)
    if fields.family in families.WINDOW_FOR_ALL:
        return tuple("sliding" if kind == "full" else kind for kind in kinds)
    mixed = fields.family in families.WINDOW_IN_ALL_OR_NONE and "full" in kinds
    return _every("full", len(kinds)) if mixed else kinds


def _words(fields: Fields) -> list[str]:
    """Return the list of layer kinds: ``layer_types`` or an older spelling."""
    for key in families.LAYER_LISTS:
        words = fields.get(key)
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            return words
    blocks = fields.get("block_configs")
    if not isinstance(blocks, list):
        return []
    kinds = [block.get("block_type") for block in blocks if isinstance(block, dict)]
    named = [kind for kind in kinds if isinstance(kind, str)]
    return named if len(named) == len(kinds) else []


def _listed(fields: Fields, layers: int) -> Kinds:
    """Return the list of layer kinds; a shorter one repeats."""
    words = _words(fields)
    if words and len(words) < layers:
        words = (words * (layers // len(words) + 1))[:layers]
    return _kinds_of(fields, words)


def _kinds_of(fields: Fields, words: Sequence[str]) -> Kinds:
    kinds: Kinds = tuple(families.LAYER_KINDS.get(word, "full") for word in words)
    if fields.family in families.CONVOLVED:  # its "hybrid" is attention beside a convolution
        return tuple("full" if kind == "both" else kind for kind in kinds)
    return kinds


def _blocks(fields: Fields, _layers: int) -> Kinds:
    """Llama-Nemotron's ``block_configs``: a block without attention caches nothing."""
    return tuple("full" if kv_heads else "none" for kv_heads in block_kv_heads(fields))


def block_kv_heads(fields: Fields) -> Sequence[int]:
    """Return the KV heads of every block in ``block_configs``, 0 without attention."""
    blocks = fields.get("block_configs")
    if not isinstance(blocks, list):
        return ()
    return [_kv_heads_of(fields, block) for block in blocks if isinstance(block, dict)]


def _kv_heads_of(fields: Fields, block: dict[str, Any]) -> int:
    attention = block.get("attention")
    if not isinstance(attention, dict):
        return fields.number(families.KV_HEADS)
    if attention.get("no_op") is True or attention.get("replace_with_linear") is True:
        return 0
    inner = Fields(attention)
    given = inner.number(("num_key_value_heads", "num_kv_heads"))
    group = inner.number("n_heads_in_group")
    return given or (fields.number(families.HEADS) // group if group else 0)


def _pattern(fields: Fields, _layers: int) -> Kinds:
    """A letter or a number for each layer (Nemotron-H, MiniMax-Text, MiMo-V2)."""
    letters = fields.text("hybrid_override_pattern")
    if letters:
        return tuple(families.PATTERN_LETTERS.get(x, "full") for x in letters)
    for key, kinds in families.PATTERN_CODES.items():
        codes = fields.get(key)
        if isinstance(codes, list):
            return tuple(kinds.get(code, "full") if type(code) is int else "full" for code in codes)
    return ()


def _indexes(fields: Fields, layers: int) -> Kinds:
    """Lists of the layers that have attention (Bamba, LFM2, Zamba2) or a window (Inkling)."""
    local = fields.get("local_layer_ids")
    if isinstance(local, list):
        return tuple("sliding" if at in local else "full" for at in range(layers))
    for key in ("attn_layer_indices", "full_attn_idxs", "hybrid_layer_ids"):
        chosen = fields.get(key)
        if isinstance(chosen, list):
            kind: LayerKind = "both" if key == "hybrid_layer_ids" else "full"
            return tuple(kind if at in chosen else "recurrent" for at in range(layers))
    return ()


def _periods(fields: Fields, layers: int) -> Kinds:
    """One attention layer in every few (Jamba, Qwen3-Next, Ling 2.5, PLaMo 2)."""
    period = fields.number("attn_layer_period")
    if period:
        offset = fields.number("attn_layer_offset")
        return tuple("full" if at % period == offset else "recurrent" for at in range(layers))
    step = fields.number("mamba_step")
    if step > 1:
        return tuple("full" if at % step == step // 2 else "recurrent" for at in range(layers))
    interval = fields.number(("full_attention_interval", "layer_group_size"))
    if interval > 1:
        return tuple("recurrent" if (at + 1) % interval else "full" for at in range(layers))
    return ()


def _linear_config(fields: Fields, layers: int) -> Kinds:
    """Kimi-Linear numbers its full layers from one."""
    linear = fields.get("linear_attn_config")
    chosen = linear.get("full_attn_layers") if isinstance(linear, dict) else None
    if not isinstance(chosen, list):
        return ()
    return tuple("full" if at + 1 in chosen else "recurrent" for at in range(layers))


def _windows_listed(fields: Fields, layers: int) -> Kinds:
    """A window for each layer, null or 0 for a full one (PLaMo 3, openPangu)."""
    for key in families.WINDOW_LISTS:
        if isinstance(fields.get(key), list):
            return tuple("sliding" if window_of(fields, at) else "full" for at in range(layers))
    return ()


def _by_family(fields: Fields, layers: int) -> Kinds:
    """Return what only the family's code defines."""
    kind = fields.family
    every = 0
    if not isinstance(fields.get("sliding_window_pattern"), str):
        every = fields.number(("sliding_window_pattern", "_sliding_window_pattern"))
    if kind.startswith("llama4"):
        # Layers with rope attend within chunks.
        attends: Kinds = tuple("sliding" if rope else "full" for rope in _ropes(fields, layers))
        return _windowed(fields, attends)
    period = fields.get("layer_period")
    if isinstance(period, list) and every < 2:
        words = (period * (layers // len(period) + 1))[:layers]
        few = kind == "olmo_hybrid" and "full_attention" not in words  # it needs one
        if few or kind in families.LAST_IS_FULL:
            words[-1:] = ["full_attention"]
        return _windowed(fields, _kinds_of(fields, words))
    if not fields.number("sliding_window"):
        return _every("full", layers)
    if every > 1:
        return tuple("sliding" if (at + 1) % every else "full" for at in range(layers))
    return _switched(fields, layers)


def _switched(fields: Fields, layers: int) -> Kinds:
    """Return which layers have the only window there is, by ``use_sliding_window``."""
    kind = fields.family
    if fields.get("use_sliding_window") is None:
        return _every("sliding", layers)  # vLLM does this for all families
    if not fields.flag("use_sliding_window") or kind in families.WINDOW_IN_ALL_OR_NONE:
        return _every("full", layers)
    if kind == "smollm3":
        return tuple("full" if rope else "sliding" for rope in _ropes(fields, layers))
    first = 0 if kind in families.WINDOW_IN_ALL else fields.number("max_window_layers", layers)
    return tuple("sliding" if at >= first else "full" for at in range(layers))


def _sambay(layer: int, layers: int) -> LayerKind:
    """Phi-4-mini-flash: the second half reads the cache of the layer after the middle."""
    if layer > layers // 2:
        return "full" if layer == layers // 2 + 1 else "none"
    return "sliding" if layer % 2 else "recurrent"


def _ropes(fields: Fields, layers: int) -> list[bool]:
    """Return which layers have rope: ``no_rope_layers`` is 1 for those, else all but a few."""
    listed = fields.get("no_rope_layers")
    if isinstance(listed, list) and len(listed) >= layers:
        return [bool(flag) for flag in listed[:layers]]
    every = fields.number("no_rope_layer_interval", 4) or 4
    return [bool((at + 1) % every) for at in range(layers)]
