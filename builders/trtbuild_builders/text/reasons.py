"""Reasons against a text model whose requests we tokenize, whatever then computes it."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild_builders.text.settings import expansion_id


def tokenizer_reasons(case: Case) -> Iterator[str]:
    """Return the reason if there is no tokenizer to serve."""
    if case.spec.tokenizer.kind != "fast":
        yield (
            "the checkpoint has no tokenizer.json, which the served model tokenizes with: save its "
            "tokenizer with transformers' AutoTokenizer"
        )


def input_reasons(case: Case) -> Iterator[str]:
    """Return reasons against how the head's texts become tokens."""
    head = case.spec.head
    if head is None:
        return
    if head.append_eos and not case.spec.eos_token_ids:
        yield (
            "its tokenizer appends an end-of-text token that config.json does not name: add "
            "eos_token_id there"
        )
    if head.score_tokens and not (head.pair_template and head.score_words):
        yield (
            "it reranks by the logits of tokens (LogitScore), and its files have no chat template "
            "that takes a query and then a document, or no such tokens: fetch chat_template.jinja "
            "and tokenizer.json"
        )
    if head.query_expansion and expansion_id(case) is None:
        yield (
            "its queries are filled with the mask token, which tokenizer.json does not have: fetch "
            "the checkpoint's own tokenizer.json"
        )
