"""Settings that transformers 5 writes and transformers 4 misreads, in both spellings.

transformers 5 writes rope's settings only in ``rope_parameters``, the type in ``dtype``, and names
generic tokenizer classes (``TokenizersBackend``). transformers 4 ignores the first, so that
``rope_theta`` silently becomes the family's default, and rejects the last. Facts: transformers
4.57.1 and 5.19.0 (``modeling_rope_utils.py``, ``configuration_utils.py``,
``tokenization_utils_base.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_NESTED = (
    "text_config", "llm_config", "language_config", "thinker_config", "text_model_config",
    "vision_config", "audio_config",
)  # fmt: skip
_ROPE, _SHARE = "rope_parameters", "partial_rotary_factor"
# Nemotron-H's words for its layers, and the letters that its classes read before.
_LAYER_LETTERS = {
    "mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*", "moe": "E",
    "mlp": "-",
}  # fmt: skip
# Families whose lists of layers use the words that transformers 5 has for every family, where
# transformers 4 takes their own.
_OLDER_WORDS = {"linear_attention": "mamba", "full_attention": "attention"}
_WORDED = {"granitemoehybrid": "layer_types", "zamba": "layers_block_type",
           "zamba2": "layers_block_type"}  # fmt: skip
# Families with other names for rope's base and the rotated share of a head.
_ROPE_KEYS = {
    "gpt_neox": ("rotary_emb_base", "rotary_pct"),
    "gpt_neox_japanese": ("rotary_emb_base", "rotary_pct"),
}
# transformers 5's generic classes, and the equivalent classes of transformers 4.
_TOKENIZERS = {"TokenizersBackend": "PreTrainedTokenizerFast"}
_ONLY_FIVE = frozenset({"SentencePieceBackend", "PythonBackend", "MistralCommonBackend"})
CLASSES_OF_FIVE = _ONLY_FIVE | frozenset(_TOKENIZERS)
"""Tokenizer classes that transformers 4 does not have."""
# Keys of families whose layers use two rope bases: transformers 4's names for those that
# transformers 5 has under rope_parameters.full_attention and .sliding_attention.
_BY_LAYER = {
    "gemma3_text": ("rope_theta", "rope_local_base_freq"),
    "gemma3n_text": ("rope_theta", "rope_local_base_freq"),
    "modernbert": ("global_rope_theta", "local_rope_theta"),
    "modernbert-decoder": ("global_rope_theta", "local_rope_theta"),
    "t5gemma2_text": ("rope_theta", "rope_local_base_freq"),
    "olmo3": ("rope_theta", "rope_theta"),
}


def only_five(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that transformers 4 would ignore or misread."""
    older, _ = older_config(config)
    found = {key.rpartition(".")[2] for key in _changed(config, older)}
    found |= {key for key in older_tokenizer(tokenizer) if tokenizer.get(key) is not None}
    if tokenizer.get("tokenizer_class") in _ONLY_FIVE:
        found.add("tokenizer_class")
    return tuple(sorted(found))


def problem(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> str:
    """Return why there is no older spelling, with the fix; empty if there is one."""
    name = tokenizer.get("tokenizer_class")
    if name in _ONLY_FIVE:
        return f"it has no {name}, the class of this tokenizer; use a newer --triton"
    return older_config(config)[1]


def older_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return ``config`` with the older keys added, and why that may not be enough."""
    made, wrong = dict(config), ""
    for part in _NESTED:
        if isinstance(made.get(part), dict):
            made[part], inner = older_config(made[part])
            wrong = wrong or inner
    if isinstance(made.get("dtype"), str):
        made.setdefault("torch_dtype", made["dtype"])
    wrong = _rope(made) or wrong
    _layers(made)
    return made, wrong


def _layers(config: dict[str, Any]) -> None:
    kinds = config.get("layers_block_type")
    if config.get("model_type") == "nemotron_h" and isinstance(kinds, list):
        letters = "".join(_LAYER_LETTERS.get(str(kind), "?") for kind in kinds)
        if "?" not in letters:
            config.setdefault("hybrid_override_pattern", letters)
            config.setdefault("num_hidden_layers", len(kinds))
    key = _WORDED.get(str(config.get("model_type")), "")
    if isinstance(config.get(key), list):
        config[key] = [_OLDER_WORDS.get(word, word) for word in config[key]]


def _rope(config: dict[str, Any]) -> str:
    """Write ``rope_parameters`` as ``rope_theta`` and ``rope_scaling``; return why if not."""
    rope = config.get(_ROPE)
    if not isinstance(rope, dict) or not rope:
        return ""
    if all(isinstance(value, dict) for value in rope.values()):
        return _rope_by_layer(config, rope)
    names = _ROPE_KEYS.get(str(config.get("model_type")), ("rope_theta", "partial_rotary_factor"))
    for key, value in zip(names, map(rope.get, ("rope_theta", _SHARE)), strict=True):
        if value is not None:
            config.setdefault(key, value)
    scaling = {k: v for k, v in rope.items() if k not in {"rope_theta", _SHARE}}
    kind = scaling.get("rope_type", scaling.get("type"))
    scaled = kind not in {None, "default"} or "mrope_section" in scaling
    if scaled and config.get("rope_scaling") is None:
        config["rope_scaling"] = _phi3(config, scaling) if kind == "longrope" else scaling
    return ""


def _phi3(config: dict[str, Any], scaling: dict[str, Any]) -> dict[str, Any]:
    """Write Phi-3's: transformers 4 allows only three keys, one of them at the top."""
    if config.get("model_type") != "phi3":
        return scaling
    original = scaling.get("original_max_position_embeddings")
    if original is not None:
        config.setdefault("original_max_position_embeddings", original)
    return {"type": "longrope", **{k: scaling.get(k) for k in ("short_factor", "long_factor")}}


def _rope_by_layer(config: dict[str, Any], rope: Mapping[str, Any]) -> str:
    first, *others = rope.values()
    if all(part == first for part in others):
        only = {**config, _ROPE: first}
        wrong = _rope(only)
        config.update({key: value for key, value in only.items() if key != _ROPE})
        return wrong
    keys = _BY_LAYER.get(str(config.get("model_type")), ())
    full, sliding = rope.get("full_attention") or {}, rope.get("sliding_attention") or {}
    bases = [part.get("rope_theta") for part in (full, sliding)] if full and sliding else []
    if len(bases) != len(keys) or (len(set(keys)) < len(set(bases))):
        return (
            "its layers have different rope_parameters, which transformers 4 cannot express "
            f"in a {config.get('model_type') or 'nameless'} model; use a newer --triton"
        )
    for key, base in zip(keys, bases, strict=True):
        if base is not None:
            config.setdefault(key, base)
    scaling = {key: value for key, value in full.items() if key != "rope_theta"}
    if scaling.get("rope_type", "default") != "default" and config.get("rope_scaling") is None:
        config["rope_scaling"] = scaling
    return ""


def older_tokenizer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of ``tokenizer_config.json`` to change; None removes a key."""
    changes: dict[str, Any] = {}
    name = settings.get("tokenizer_class")
    if name in _TOKENIZERS:
        changes["tokenizer_class"] = _TOKENIZERS[name]
    extra = settings.get("extra_special_tokens")
    if isinstance(extra, list):  # transformers 4 requires an object there
        changes["extra_special_tokens"] = None
        if extra:
            changes["additional_special_tokens"] = extra
    return changes


def older_merges(tokenizer: bytes) -> bytes | None:
    """Return ``tokenizer.json`` with merges for tokenizers before 0.20; None if unchanged.

    Since then each merge is a pair; before, it was a text with a space in between.
    """
    if not re.search(rb'"merges"\s*:\s*\[\s*\[', tokenizer):
        return None
    try:
        document = json.loads(tokenizer)
    except (ValueError, RecursionError):
        return None
    model = document.get("model") if isinstance(document, dict) else None
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(merges, list):
        return None
    if not all(isinstance(m, list) and len(m) == 2 and not _spaced(m) for m in merges):
        return None
    model["merges"] = [" ".join(pair) for pair in merges]
    return json.dumps(document, ensure_ascii=False).encode("utf-8")


def _spaced(pair: list[object]) -> bool:
    return any(not isinstance(half, str) or " " in half for half in pair)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return which newer keys caused the change."""
    names = {"torch_dtype": "dtype", "hybrid_override_pattern": "layers_block_type",
             "num_hidden_layers": "layers_block_type", "layer_types": "layer_types",
             "layers_block_type": "layers_block_type"}  # fmt: skip
    found = []
    for key, value in after.items():
        if before.get(key) == value:
            continue
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            found += _changed(before[key], value)
        else:
            found.append(names.get(key, _ROPE))
    return found
