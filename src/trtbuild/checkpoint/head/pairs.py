"""How a LogitScore reranker makes one text of a query and a document: by its chat template.

Source: sentence-transformers 6.2.0, ``base/modality.py`` (roles, structured or flat content, the
prompt as a system message) and ``base/modules/transformer.py`` (``processing_kwargs``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trtbuild.checkpoint.head.files import SentenceFiles
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.errors import UsageError
from trtbuild.modelspec import Head

_QUERY, _DOCUMENT = "trtbuild-the-query", "trtbuild-the-document"
# A template with one of these takes content as a list of parts.
_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")


def with_pair_template(head: Head, checkpoint: Checkpoint, files: SentenceFiles) -> Head:
    """Return ``head`` with the words behind its ``score_tokens`` and the template around a pair;
    without the template if the files have none that takes both."""
    words = _words(checkpoint, head.score_tokens)
    return replace(head, score_words=words, pair_template=_template(head, checkpoint, files))


def _template(head: Head, checkpoint: Checkpoint, files: SentenceFiles) -> str:
    from trtbuild.chat import FILES, render_chat, template_in  # here, because it loads Jinja

    found = template_in({n: raw for n in FILES if (raw := checkpoint.read_bytes(n)) is not None})
    if found is None:
        return ""
    said = _object(_object(files.transformer, "processing_kwargs"), "chat_template")
    given = {key: value for key, value in said.items() if key != "restore_suffix"}
    message = _object(_object(files.transformer, "modality_config"), "message")
    form = message.get("format")
    if form not in ("flat", "structured"):
        form = "structured" if any(part in found.text for part in _STRUCTURED) else "flat"
    messages = _messages(head.prompt(""), structured=form == "structured")
    answer = given.pop("add_generation_prompt", False) is True
    try:
        # Special tokens are those that the template itself writes.
        plain = replace(found, adds_bos=False)
        text = render_chat(plain, messages, answer=answer, variables=given)
    except UsageError:
        return ""
    if (text.count(_QUERY), text.count(_DOCUMENT)) != (1, 1) or "{query}" in text:
        return ""
    if "{document}" in text or text.index(_QUERY) > text.index(_DOCUMENT):
        return ""
    return text.replace(_QUERY, "{query}").replace(_DOCUMENT, "{document}")


def _messages(prompt: str, *, structured: bool) -> Sequence[Mapping[str, Any]]:
    rows = (("system", prompt), ("query", _QUERY), ("document", _DOCUMENT))
    return [
        {"role": role, "content": [{"type": "text", "text": text}] if structured else text}
        for role, text in rows
        if text
    ]


def _object(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _words(checkpoint: Checkpoint, ids: Sequence[int]) -> tuple[str, ...]:
    """Return the tokens with these ids; none if tokenizer.json lacks one."""
    try:
        tokenizer = json.loads(checkpoint.read_bytes("tokenizer.json") or b"{}")
        vocabulary = tokenizer["model"]["vocab"]
        if isinstance(vocabulary, dict):
            named = {number: word for word, number in vocabulary.items()}
        else:  # Unigram: pieces with their scores
            named = {number: row[0] for number, row in enumerate(vocabulary)}
        named |= {row["id"]: row["content"] for row in tokenizer.get("added_tokens", ())}
        words = tuple(named[number] for number in ids)
    except (ValueError, LookupError, TypeError, AttributeError):
        return ()
    return words if all(isinstance(word, str) for word in words) else ()
