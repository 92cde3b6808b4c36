"""Caches of latent attention (MLA), of its indexers, and of compressed latents.

MLA keeps ``kv_lora_rank + qk_rope_head_dim`` elements a token (DeepSeek-V2, arXiv 2405.04434,
section 2.1). DeepSeek Sparse Attention adds an indexer's key: a byte an element and a float32 scale
for 128 of them. DeepSeek V4 keeps one latent of ``head_dim`` for several tokens, and the last
tokens whole. Sizes are those of vLLM 0.32 (``deepseek_v2.py``, ``deepseek_v4/attention.py``).
"""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.checkpoint import families
from trtbuild.checkpoint.fields import Fields
from trtbuild.modelspec import AttentionGroup

_SCALED = 128  # elements of an indexer's key that share a float32 scale


def is_latent(fields: Fields) -> bool:
    """Whether its layers cache latents instead of keys and values."""
    if compress_ratios(fields):
        return True
    return bool(fields.number("kv_lora_rank")) and fields.family not in families.MLA_EXPANDED


def compress_ratios(fields: Fields) -> list[int]:
    """Return the tokens that share one latent, for every layer; empty for other families."""
    ratios = fields.get("compress_ratios")
    rates, words = fields.get("compress_rates"), fields.get("layer_types")
    if ratios is None and isinstance(rates, dict) and isinstance(words, list):
        ratios = [rates.get(word, 0) for word in words]  # as transformers 5 writes it
    if not isinstance(ratios, list) or not all(type(ratio) is int for ratio in ratios):
        return []
    return ratios


def latent_caches(fields: Fields, layer: int) -> Iterator[AttentionGroup]:
    """Return the caches of one layer of latent attention."""
    ratios = compress_ratios(fields)
    if ratios:
        yield from _compressed(fields, ratios[layer] if layer < len(ratios) else 0)
        return
    elements = fields.number("kv_lora_rank") + fields.number("qk_rope_head_dim")
    index, tail = 0.0, 0
    if _has_indexer(fields, layer):
        pooled = fields.number("index_kpool", 1) or 1
        index = _index_bytes(fields) / pooled
        # The group being filled: a key and a score for each of its tokens, in 16 bits.
        tail = pooled * 2 * fields.number("index_head_dim") if pooled > 1 else 0
    blocks = 2 if fields.family in families.TWO_BLOCKS_A_LAYER else 1
    for _ in range(blocks):
        yield AttentionGroup("mla", 1, _tidy(elements + index / 2), 0, tail, _tidy(index))


def sparse_index(fields: Fields, layer: int) -> int:
    """Return the elements of the index key of block-sparse attention (MiniMax M3), in 16 bits."""
    words = fields.get("layer_types")
    if isinstance(words, list) and layer < len(words) and words[layer] == "minimax_m3_sparse":
        return fields.number("index_head_dim")  # as transformers 5 writes it
    sparse = fields.get("sparse_attention_config")
    if not isinstance(sparse, dict):
        return 0
    chosen = sparse.get("sparse_attention_freq")
    if not isinstance(chosen, list) or layer >= len(chosen) or not chosen[layer]:
        return 0
    return Fields(sparse).number("sparse_index_dim")


def _compressed(fields: Fields, ratio: int) -> Iterator[AttentionGroup]:
    """Return the window of full latents of every layer, and the compressed ones of most."""
    size = fields.number("head_dim")
    if ratio > 1:
        indexed = ratio == families.INDEXED_RATIO
        index = _index_bytes(fields) / ratio if indexed else 0
        # A compressor keeps its pending entries: a key and a score, in float32.
        window = ratio * 2 if indexed else ratio
        widths = size + (fields.number("index_head_dim") if indexed else 0)
        state = window * 2 * widths * (2 if indexed else 1)
        elements = _tidy(size / ratio + index / 2)
        yield AttentionGroup("mla", 1, elements, 0, state, _tidy(index), state)
    yield AttentionGroup("sliding", 1, size, fields.number("sliding_window"), kv_heads=1)


def _index_bytes(fields: Fields) -> int:
    """Return the bytes of an indexer's key: 8-bit elements and their scales."""
    size = fields.number("index_head_dim")
    return size + size // _SCALED * 4


def _has_indexer(fields: Fields, layer: int) -> bool:
    """Whether the layer has its own indexer instead of using that of an earlier layer."""
    if not fields.number("index_topk"):
        return False
    types, words = fields.get("indexer_types"), fields.get("layer_types")
    if fields.family == "hy_v4":  # dense unless listed, and by default every fourth has its own
        word = words[layer] if isinstance(words, list) and layer < len(words) else ""
        if word not in families.INDEXED_LAYERS or types is None:
            return word in families.INDEXED_LAYERS and (layer % 4 == 1 or not layer)
    if isinstance(types, list) and layer < len(types):
        return bool(types[layer] == "full")
    pattern = fields.get("index_topk_pattern")
    if isinstance(pattern, str | list) and layer < len(pattern):
        return bool(pattern[layer] != "S")
    every = fields.number("index_topk_freq", 1) or 1
    offset = fields.number("index_skip_topk_offset", 2)
    return max(layer - offset + 1, 0) % every == 0


def _tidy(number: float) -> float:
    return int(number) if float(number).is_integer() else number
