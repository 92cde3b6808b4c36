"""Build ``tokenizer.json`` and related files from ``tokenizer.ggml.*``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtbuild.checkpoint.problems import dump_json
from trtbuild.errors import UnsupportedError
from trtbuild_checkpoints.ggml.file import GgufFile
from trtbuild_checkpoints.ggml.sentencepiece import spm_decoder, spm_merges, spm_normalizer

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4

# The patterns with which these tokenizers split text before merging, as their authors publish
# them in tokenizer.json. Each belongs to a vocabulary; a wrong one changes every token.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"|[^\r\n\p{L}\p{N}]?\p{L}+|"
_LLAMA3 = _CONTRACTIONS + _WORD + r"\p{N}{1,3}" + _REST
_QWEN2 = _CONTRACTIONS + _WORD + r"\p{N}" + _REST


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """How one value of ``tokenizer.ggml.pre`` splits text.

    An empty ``pattern`` means GPT-2's own; ``digits`` splits off every digit first;
    ``whole_words`` keeps a word that is in the vocabulary, before any merge.
    """

    pattern: str = ""
    digits: bool = False
    whole_words: bool = False
    normalizer: str = ""
    adds_bos: bool = False


_LLAMA3_ROW = PreTokenizer(_LLAMA3, whole_words=True, adds_bos=True)
_QWEN2_ROW = PreTokenizer(_QWEN2, normalizer="NFC")
PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "gpt-2": PreTokenizer(),
    "smollm": PreTokenizer(digits=True),
    "starcoder": PreTokenizer(digits=True),
    "refact": PreTokenizer(digits=True),
    "codeshell": PreTokenizer(digits=True),
    "llama-bpe": _LLAMA3_ROW,
    "llama3": _LLAMA3_ROW,
    "llama-v3": _LLAMA3_ROW,
    "qwen2": _QWEN2_ROW,
    "deepseek-r1-qwen": _QWEN2_ROW,
}


# Vocabularies that imply one way of splitting: a token, and a minimum size.
_KNOWN_BY = (
    ("llama-bpe", "<|begin_of_text|>", 128_000),
    ("qwen2", "<|im_start|>", 151_643),
)


def tokenizer_files(file: GgufFile, length: int) -> dict[str, bytes]:
    """``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``.

    ``length`` is the model's context, including rope scaling.

    Raises:
        UnsupportedError: There is no tokenizer, or one that we cannot rebuild exactly.
    """
    tokens = file.items("tokenizer.ggml.tokens")
    kind = file.text("tokenizer.ggml.model")
    if not tokens:
        raise UnsupportedError(
            f"{file.name} holds no tokenizer", where=file.name, fix="use a complete GGUF file"
        )
    if kind == "gpt2":
        made = _byte_level(file, tokens)
    elif kind == "llama":
        made = _sentencepiece(file, tokens)
    else:
        raise UnsupportedError(
            f"{file.name} has a tokenizer of kind {kind!r}",
            where=file.name,
            fix="known are gpt2 and llama; else use the model's Hugging Face id",
        )
    special = _special(file, tokens)
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": length or 1_000_000,
        **special,
    }
    template = file.text("tokenizer.chat_template")
    if template:
        settings["chat_template"] = template
    return {
        "special_tokens_map.json": dump_json(special),
        "tokenizer.json": json.dumps(made, ensure_ascii=False).encode("utf-8"),
        "tokenizer_config.json": dump_json(settings),
    }


def _special(file: GgufFile, tokens: list[str]) -> dict[str, str]:
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    found = {name: file.token_id(role) for name, role in roles.items()}
    return {f"{name}_token": tokens[at] for name, at in found.items() if at is not None}


def _adds(file: GgufFile, role: str) -> bool:
    """Whether encoding adds bos or eos; llama.cpp's defaults if the file does not say."""
    declared = file.metadata.get(f"tokenizer.ggml.add_{role}_token")
    if isinstance(declared, bool):
        return declared
    if role == "eos":
        return False
    if file.text("tokenizer.ggml.model") == "llama":
        return True
    row = PRE_TOKENIZERS.get(_pre(file))
    return bool(row and row.adds_bos)


def _pre(file: GgufFile) -> str:
    """Return the pre-tokenizer; older files do not name it, but some vocabularies imply it."""
    declared = file.text("tokenizer.ggml.pre")
    if declared or file.text("tokenizer.ggml.model") != "gpt2":
        return declared
    tokens = file.items("tokenizer.ggml.tokens")
    for name, token, least in _KNOWN_BY:
        if len(tokens) >= least and token in tokens:
            return name
    return ""


def _byte_level(file: GgufFile, tokens: list[str]) -> dict[str, Any]:
    """Return a byte-level BPE. The vocabulary uses GPT-2's byte alphabet already."""
    name = _pre(file)
    row = PRE_TOKENIZERS.get(name)
    if row is None and not name:
        raise UnsupportedError(
            f"{file.name} does not say how its tokenizer splits text (tokenizer.ggml.pre), like "
            "files made before May 2024",
            where=file.name,
            fix="convert the model to GGUF again with a current llama.cpp, or use its Hugging "
            "Face id",
        )
    if row is None:
        raise UnsupportedError(
            f"{file.name} cuts text by {name!r}, which is unknown here",
            where=file.name,
            fix=f"known are {', '.join(PRE_TOKENIZERS)}; else use the model's Hugging Face id",
        )
    vocab = _vocabulary(file, tokens)
    merges = [merge.split(" ", 1) for merge in file.items("tokenizer.ggml.merges")]
    if not merges or any(len(pair) != 2 for pair in merges):
        raise UnsupportedError(
            f"{file.name} has no usable merges",
            where=file.name,
            fix="convert the model to GGUF again with a current llama.cpp",
        )
    return _document(
        added=_added(file, tokens),
        normalizer={"type": row.normalizer} if row.normalizer else None,
        pre_tokenizer=_pre_tokenizer(row),
        post_processor=_post_processor(file, tokens),
        decoder=_BYTE_LEVEL_DECODER,
        model=_bpe(vocab, merges, ignore_merges=row.whole_words),
    )


_BYTE_LEVEL_DECODER = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}


def _vocabulary(file: GgufFile, tokens: list[str]) -> dict[str, int]:
    vocab = {token: number for number, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise UnsupportedError(
            f"{file.name} has a token twice in its vocabulary",
            where=file.name,
            fix="use the model's Hugging Face id",
        )
    return vocab


def _pre_tokenizer(row: PreTokenizer) -> dict[str, Any]:
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": not row.pattern,
    }
    if row.digits:
        first: dict[str, Any] = {"type": "Digits", "individual_digits": True}
    elif row.pattern:
        first = {
            "type": "Split",
            "pattern": {"Regex": row.pattern},
            "behavior": "Isolated",
            "invert": False,
        }
    else:
        return byte_level
    return {"type": "Sequence", "pretokenizers": [first, byte_level]}


def _bpe(
    vocab: dict[str, int], merges: list[list[str]], *, ignore_merges: bool = False, **other: Any
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": vocab,
        "merges": merges,
        **other,
    }


def _document(*, added: list[dict[str, Any]], **parts: Any) -> dict[str, Any]:
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **parts}


def _added(file: GgufFile, tokens: list[str]) -> list[dict[str, Any]]:
    """Return added tokens: control tokens as special ones, user-defined ones as plain."""
    kinds = file.items("tokenizer.ggml.token_type")
    wanted = {_CONTROL, _USER_DEFINED, _UNKNOWN} if _is_spm(file) else {_CONTROL, _USER_DEFINED}
    return [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != _USER_DEFINED,
        }
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=False))
        if kind in wanted
    ]


def _is_spm(file: GgufFile) -> bool:
    return file.text("tokenizer.ggml.model") == "llama"


def _post_processor(file: GgufFile, tokens: list[str]) -> dict[str, Any] | None:
    """Return the post-processor: bos and eos if the file says so; else only offsets are trimmed."""
    before = [file.token_id("bos")] if _adds(file, "bos") else []
    after = [file.token_id("eos")] if _adds(file, "eos") else []
    used = [number for number in (*before, *after) if number is not None]
    if not used:
        if _is_spm(file):
            return None
        return {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": False,
            "use_regex": True,
        }

    def template(sequences: tuple[str, ...]) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for number, sequence in enumerate(sequences):
            made += [_special_piece(tokens[n], number) for n in before if n is not None]
            made.append({"Sequence": {"id": sequence, "type_id": number}})
            made += [_special_piece(tokens[n], number) for n in after if n is not None]
        return made

    return {
        "type": "TemplateProcessing",
        "single": template(("A",)),
        "pair": template(("A", "B")),
        "special_tokens": {
            tokens[n]: {"id": tokens[n], "ids": [n], "tokens": [tokens[n]]} for n in used
        },
    }


def _special_piece(token: str, number: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": token, "type_id": number}}


def _sentencepiece(file: GgufFile, tokens: list[str]) -> dict[str, Any]:
    """Return SentencePiece's BPE: merges are the pairs whose union is a token, best score first."""
    vocab = _vocabulary(file, tokens)
    scores = file.items("tokenizer.ggml.scores")
    if len(scores) != len(tokens):
        raise UnsupportedError(
            f"{file.name} has {len(scores)} scores for {len(tokens)} tokens",
            where=file.name,
            fix="convert the model to GGUF again with a current llama.cpp",
        )
    unknown = file.token_id("unknown")
    prefix = file.metadata.get("tokenizer.ggml.add_space_prefix") is not False
    return _document(
        added=_added(file, tokens),
        normalizer=spm_normalizer(prefix),
        pre_tokenizer=None,
        post_processor=_post_processor(file, tokens),
        decoder=spm_decoder(prefix),
        model=_bpe(
            vocab,
            spm_merges(vocab, scores),
            unk_token=tokens[unknown] if unknown is not None else None,
            fuse_unk=True,
            byte_fallback=True,
        ),
    )
