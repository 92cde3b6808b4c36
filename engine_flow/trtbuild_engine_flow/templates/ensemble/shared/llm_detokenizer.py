"""Text out of a stream of token ids; all pieces together are exactly the one-shot decode.

What a token adds to a text does not depend on the tokens before it, for nearly every decoder:
what depends is whether it is the first, whether a character is complete, and, for decoders with
byte fallback, whether a run of bytes is valid as a whole. So a token's piece is worked out once
and then looked up: O(1) for each token, and no window of earlier tokens to decode again.
Decoders that are not known to be like that go through the library's DecodeStream.
"""

import codecs
import json
import re

from llm_settings import SettingsError
from llm_tokenizer import byte_alphabet

_UTF8 = codecs.getincrementaldecoder("utf-8")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# Decoders that work on each token alone, but for the first; Fuse and Strip must come last.
_LOCAL = ("Replace", "ByteFallback", "Metaspace", "WordPiece", "Fuse", "Strip")


def detokenizers(tokenizer, skip_special=True):
    """A function that makes the detokeniser of one text.

    A detokeniser has ``step(token)``, the text that is certain now, and ``flush()``, the rest.
    ``skip_special`` leaves special tokens out, as decoding usually does.
    """
    skipped = frozenset(
        number
        for number, token in tokenizer.get_added_tokens_decoder().items()
        if token.special and skip_special
    )
    chain = _chain(tokenizer)
    if chain == ["ByteLevel"]:
        table = _BytePieces(tokenizer, skipped)
        return lambda: ByteStream(table)
    if _is_local(chain):
        anchor = _anchor(tokenizer, skipped)
        if anchor is not None:
            pieces = _TextPieces(tokenizer, skipped, anchor, "ByteFallback" in chain)
            return lambda: PieceStream(tokenizer, pieces)
    return lambda: LibraryStream(tokenizer, skip_special)


class ByteStream:
    """Byte-level tokenizers: a token is bytes, and text is their UTF-8."""

    __slots__ = ("_decode", "_table")

    def __init__(self, table):
        self._table = table
        self._decode = _UTF8("replace").decode

    def step(self, token):
        """The characters that ``token`` completes."""
        return self._decode(self._table[token])

    def flush(self):
        """What is left of an incomplete character."""
        return self._decode(b"", True)


class PieceStream:
    """Decoders whose tokens add the same text wherever they stand, but at the start."""

    __slots__ = ("_head", "_pieces", "_run", "_tokenizer")

    def __init__(self, tokenizer, pieces):
        self._tokenizer = tokenizer
        self._pieces = pieces
        self._head = []
        self._run = bytearray()

    def step(self, token):
        """The text that is certain with ``token``; a run of bytes is once it has ended."""
        piece = self._pieces[token]
        if piece is None:
            return ""
        if self._head is not None:
            return self._begin(token, piece)
        if piece.__class__ is int:
            self._run.append(piece)
            return ""
        return self._end_run() + piece if self._run else piece

    def flush(self):
        """What is left: the start of a text that has not begun, or a run of bytes."""
        if self._head:
            return self._tokenizer.decode(self._head, skip_special_tokens=False)
        return self._end_run()

    def _begin(self, token, piece):
        # Decoders treat the start of a text specially until there is some text.
        self._head.append(token)
        if piece.__class__ is int:
            return ""
        text = self._tokenizer.decode(self._head, skip_special_tokens=False)
        if text:
            self._head = None
        return text

    def _end_run(self):
        run = self._run
        if not run:
            return ""
        try:
            text = run.decode("utf-8")
        except UnicodeDecodeError:
            text = "\N{REPLACEMENT CHARACTER}" * len(run)
        run.clear()
        return text


class LibraryStream:
    """Any decoder, by the library's DecodeStream; what it holds back comes with the flush."""

    __slots__ = ("_ids", "_sent", "_skip", "_stream", "_tokenizer")

    def __init__(self, tokenizer, skip_special):
        try:
            from tokenizers.decoders import DecodeStream
        except ImportError:
            raise SettingsError(
                "this tokenizer's decoder needs the library tokenizers 0.21 or newer"
            ) from None
        self._tokenizer = tokenizer
        self._skip = skip_special
        self._stream = DecodeStream(skip_special_tokens=skip_special)
        self._ids = []
        self._sent = []

    def step(self, token):
        """The text that DecodeStream holds to be certain."""
        self._ids.append(token)
        if self._stream is None:
            return ""
        try:
            text = self._stream.step(self._tokenizer, token) or ""
        except BaseException:
            # "Invalid prefix", or a panic: from here on, all text comes with the flush.
            self._stream = None
            return ""
        self._sent.append(text)
        return text

    def flush(self):
        """What the one-shot decode has beyond what was sent."""
        whole = self._tokenizer.decode(self._ids, skip_special_tokens=self._skip)
        # A later token may change what was sent (ByteFallback in an unknown chain): better one
        # wrong character than the rest of a text lost.
        return whole[sum(map(len, self._sent)) :]


class _BytePieces(dict):
    """Token id to bytes, filled as tokens are met; unknown and skipped tokens have none."""

    def __init__(self, tokenizer, skipped):
        super().__init__()
        self._tokenizer = tokenizer
        self._skipped = skipped
        self._bytes = {character: byte for byte, character in byte_alphabet().items()}

    def __missing__(self, token):
        text = None if token in self._skipped else self._tokenizer.id_to_token(token)
        try:
            found = bytes(self._bytes[character] for character in text or "")
        except KeyError:  # an added token that is written as it is
            found = text.encode("utf-8")
        self[token] = found
        return found


class _TextPieces(dict):
    """Token id to text, to a number for a byte token, to None for one that is not decoded."""

    def __init__(self, tokenizer, skipped, anchor, bytes_fall_back):
        super().__init__()
        self._tokenizer = tokenizer
        self._skipped = skipped
        self._anchor = anchor
        self._before = tokenizer.decode([anchor], skip_special_tokens=False)
        self._bytes = bytes_fall_back

    def __missing__(self, token):
        text = None if token in self._skipped else self._tokenizer.id_to_token(token)
        byte = _BYTE_TOKEN.fullmatch(text) if self._bytes and text else None
        if byte:
            text = int(byte[1], 16)
        elif text is not None:
            pair = [self._anchor, token]
            text = self._tokenizer.decode(pair, skip_special_tokens=False)[len(self._before) :]
        self[token] = text
        return text


def _chain(tokenizer):
    """Names of the tokenizer's decoders, in order."""
    if tokenizer.decoder is None:
        return []  # tokens are joined by spaces
    found = json.loads(tokenizer.decoder.__getstate__())
    found = found.get("decoders", [found])
    if any(item.get("stop") for item in found if item["type"] == "Strip"):
        return ["unknown"]  # strips the end of a text, too
    return [item["type"] for item in found]


def _is_local(chain):
    whole = [name for name in chain if name in ("Fuse", "Strip")]
    return all(name in _LOCAL for name in chain) and chain[len(chain) - len(whole) :] == whole


def _anchor(tokenizer, skipped):
    """An ordinary token, to see what another one adds after it."""
    for token in tokenizer.encode("a", add_special_tokens=False).ids:
        if token not in skipped and tokenizer.decode([token], skip_special_tokens=False):
            return token
    return None
