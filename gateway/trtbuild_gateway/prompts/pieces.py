"""Token ids as text and bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_made: WeakKeyDictionary[Tokenizer, Callable[[int], bytes | None]] = WeakKeyDictionary()


def text_of(tokenizer: Tokenizer, ids: Sequence[int]) -> str | None:
    """Return the text that a tokenizer turns into exactly these ids; None if there is none.

    A first token that the tokenizer adds itself is not part of the text.
    """
    for start in (0, 1):
        text = str(tokenizer.decode(list(ids[start:]), skip_special_tokens=False))
        if tokenizer.encode(text).ids == list(ids):
            return text
    return None


def first_token(tokenizer: Tokenizer, text: str) -> int | None:
    """Return the id of a text's first token; None without any."""
    ids = tokenizer.encode(text).ids[:1]
    return int(ids[0]) if ids else None


def token_bytes(tokenizer: Tokenizer) -> Callable[[int], bytes | None]:
    """Return a function from token ids to their bytes, which need not be whole characters."""
    decoder = json.loads(tokenizer.to_str()).get("decoder") or {}
    steps = [decoder, *decoder.get("decoders", ())]
    kinds = {step.get("type") for step in steps}
    by_letter = _letters() if "ByteLevel" in kinds else None
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}

    def found(token: int) -> bytes | None:
        piece = tokenizer.id_to_token(token)
        if piece is None:
            return None
        if piece in special:
            return bytes(piece, "utf-8")
        if by_letter is not None:
            return bytes(by_letter[c] for c in piece) if set(piece) <= by_letter.keys() else None
        if byte := _BYTE.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        return piece.replace("▁", " ").encode()

    return found


def _letters() -> dict[str, int]:
    """Return the byte for each letter of GPT-2's alphabet: printable bytes are themselves, and the
    others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(0x100 + at): byte for at, byte in enumerate(others)}
