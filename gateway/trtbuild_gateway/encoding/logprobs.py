"""Log probabilities in OpenAI's two forms, from the positions that vLLM's backend sends.

A position maps token ids to ``logprob``, ``rank`` and ``decoded_token``; its first entry is the
token of the text. Source: vLLM 0.32.0, v1/engine/logprobs.py. TensorRT-LLM has no
``decoded_token``, and may have no ``rank``.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from trtbuild_gateway.failures import ApiError

TokenBytes = Callable[[int], bytes | None]
"""The bytes of a token id; None if they are unknown."""

_ID = "token_id:"
_FLOOR = -9999.0  # what OpenAI sends for a probability of 0, which JSON has no logarithm of


class Token(NamedTuple):
    """A token with its log probability."""

    text: str
    logprob: float
    content: bytes


def chat_logprobs(
    positions: Iterable[Mapping[str, Any]], most: int, token_bytes: TokenBytes, *, ids: bool = False
) -> dict[str, Any]:
    """Return ``logprobs`` of a chat choice; ``ids`` is as in :func:`completion_logprobs`."""
    return {
        "content": [
            {
                **_chat_token(chosen),
                "top_logprobs": [_chat_token(token) for token in best[:most]],
            }
            for chosen, best in (_tokens(position, token_bytes, ids) for position in positions)
        ],
        "refusal": None,
    }


def completion_logprobs(
    positions: Iterable[Mapping[str, Any] | None],
    most: int,
    token_bytes: TokenBytes,
    *,
    first: int | None = None,
    text: str = "",
    ids: bool = False,
) -> dict[str, Any]:
    """Return ``logprobs`` of a completion choice.

    Args:
        positions: Of its tokens; None for a prompt's first, which nothing comes before.
        most: How many alternatives of each token.
        token_bytes: The bytes of a token id.
        first: The id of the prompt's first token.
        text: The prompt: a first token that is not in it has no length.
        ids: Write ``token_id:504`` in place of a token's text, as vLLM does for
            ``return_tokens_as_token_ids``.
    """
    made: dict[str, list[Any]] = {
        "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": [],
    }  # fmt: skip
    decoded = codecs.getincrementaldecoder("utf-8")("replace")
    offset = 0
    for position in positions:
        made["text_offset"].append(offset)
        if position is None:
            content = b"" if first is None else token_bytes(first) or b""
            name = content.decode("utf-8", "replace")
            made["tokens"].append(f"{_ID}{first}" if ids else name)
            made["token_logprobs"].append(None)
            made["top_logprobs"].append(None)
            offset += len(name) if text.startswith(name) else 0
            continue
        chosen, best = _tokens(position, token_bytes, ids)
        made["tokens"].append(chosen.text)
        made["token_logprobs"].append(chosen.logprob)
        ranked = {token.text: token.logprob for token in best[:most]}
        made["top_logprobs"].append({**ranked, chosen.text: chosen.logprob})
        offset += len(decoded.decode(chosen.content))
    return made


def _tokens(
    position: Mapping[str, Any], token_bytes: TokenBytes, ids: bool
) -> tuple[Token, Sequence[Token]]:
    """Return the token of the text, and the most probable ones in order; ApiError for a position
    that names no token, such as a bare number."""
    try:
        entries = [
            (_token(int(token), entry, token_bytes, ids), entry)
            for token, entry in position.items()
        ]
        ranked = sorted(entries, key=lambda pair: pair[1].get("rank") or 1 << 30)
        return entries[0][0], [token for token, _ in ranked]
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        raise ApiError(
            502,
            "the server sent log probabilities without their tokens; leave out 'logprobs'",
            code="upstream_error",
        ) from None


def _token(token: int, entry: Mapping[str, Any], token_bytes: TokenBytes, ids: bool) -> Token:
    text = entry.get("decoded_token")
    content = token_bytes(token)
    if not isinstance(text, str):
        text = "" if content is None else content.decode("utf-8", "replace")
    value = entry["logprob"]
    logprob = _FLOOR if value is None or value < _FLOOR else float(value)
    content = text.encode("utf-8") if content is None else content
    return Token(f"{_ID}{token}" if ids else text, logprob, content)


def _chat_token(token: Token) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.content)}
