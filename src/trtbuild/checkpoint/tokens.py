"""Read the tokenizer's files: its kind, special tokens and chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import json_object
from trtbuild.modelspec import TokenizerInfo
from trtbuild.wire.syntax import number

FAST = "tokenizer.json"
_KINDS = (
    (FAST, "fast"),
    ("tekken.json", "tekken"),
    ("tokenizer.model", "sentencepiece"),
    ("spiece.model", "sentencepiece"),
    ("sentencepiece.bpe.model", "sentencepiece"),
    ("vocab.json", "bpe"),
    ("vocab.txt", "wordpiece"),
)
_HEAD = 4_000_000  # the part before the vocabulary; 4 MB hold tens of thousands of tokens


def tokenizer_kind(checkpoint: Checkpoint) -> str:
    """``fast``, ``sentencepiece``, ``tekken``, ``bpe``, ``wordpiece``, ``tiktoken`` or ``none``."""
    for name, kind in _KINDS:
        if checkpoint.has(name) and (kind != "bpe" or checkpoint.has("merges.txt")):
            return kind
    names = [file.name for file in checkpoint.files]
    if any(name.endswith((".tiktoken", "tiktoken.model")) for name in names):
        return "tiktoken"
    if any(name.startswith("tokenizer.model.v") for name in names):  # Mistral's own, by version
        return "sentencepiece"
    return "none"


def tokenizer_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return ``tokenizer_config.json``, empty without one."""
    raw = checkpoint.read_bytes("tokenizer_config.json")
    return {} if raw is None else json_object(raw, "tokenizer_config.json")


def tokenizer_info(
    checkpoint: Checkpoint, settings: Mapping[str, Any], vocab_size: int
) -> TokenizerInfo:
    """Return facts of the tokenizer. ``vocab_size`` is that of the model."""
    name = settings.get("tokenizer_class")
    return TokenizerInfo(
        kind=tokenizer_kind(checkpoint),
        tokenizer_class=name if isinstance(name, str) else "",
        vocab_size=vocab_size,
        chat_template=chat_template(checkpoint, settings),
    )


def chat_template(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> str:
    """Return the default chat template: from its own file, the processor or the tokenizer."""
    from trtbuild.chat import FILES, template_in  # here, because it loads Jinja

    names = [name for name in FILES if "chat_template" in name]
    files = {name: raw for name in names if (raw := checkpoint.read_bytes(name)) is not None}
    found = template_in({**files, "tokenizer_config.json": json.dumps(settings).encode()})
    return found.text if found else ""


def special_id(checkpoint: Checkpoint, settings: Mapping[str, Any], role: str) -> int | None:
    """Return the id of ``bos_token``, ``eos_token`` or ``pad_token``; None if unknown."""
    declared = settings.get(role)
    if declared is None:
        raw = checkpoint.read_bytes("special_tokens_map.json")
        declared = json_object(raw, "special_tokens_map.json").get(role) if raw else None
    text = declared.get("content") if isinstance(declared, dict) else declared
    if not isinstance(text, str) or not text:
        return None
    return added_tokens(checkpoint, settings).get(text)


def added_tokens(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> dict[str, int]:
    """Return added tokens and their ids, from whichever file lists them."""
    decoder = settings.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        return {
            str(entry["content"]): id
            for key, entry in decoder.items()
            if isinstance(entry, dict) and "content" in entry and (id := number(key)) is not None
        }
    found: dict[str, int] = {}
    raw = checkpoint.read_bytes("added_tokens.json")
    if raw is not None:
        listed = json_object(raw, "added_tokens.json")
        found = {text: number for text, number in listed.items() if isinstance(number, int)}
    return found or _from_tokenizer_json(checkpoint)


def appends_token(checkpoint: Checkpoint) -> bool:
    """Whether tokenizer.json itself appends a special token to a text."""
    processor = _section(checkpoint, b'"post_processor"')
    steps = [processor]
    if isinstance(processor, dict) and isinstance(processor.get("processors"), list):
        steps = processor["processors"]
    return any(_appends(step) for step in steps if isinstance(step, dict))


def _appends(step: Mapping[str, Any]) -> bool:
    if step.get("type") in {"BertProcessing", "RobertaProcessing"}:
        return True
    single = step.get("single")
    last = single[-1] if isinstance(single, list) and single else None
    return isinstance(last, dict) and "SpecialToken" in last


def _from_tokenizer_json(checkpoint: Checkpoint) -> dict[str, int]:
    entries = _section(checkpoint, b'"added_tokens"')
    if not isinstance(entries, list):
        return {}
    return {
        entry["content"]: entry["id"]
        for entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("content"), str)
        and isinstance(entry.get("id"), int)
    }


def _section(checkpoint: Checkpoint, key: bytes) -> Any:
    """Return a part of tokenizer.json before the vocabulary, or None: parsing the whole file
    costs 0.5 s and 150 MB."""
    if not checkpoint.has(FAST):
        return None
    head = (checkpoint.read_bytes(FAST) or b"")[:_HEAD]
    at = head.find(key)
    if at < 0:
        return None
    text = head[at + len(key) :].decode("utf-8", "replace").lstrip(" \t\r\n:")
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None
