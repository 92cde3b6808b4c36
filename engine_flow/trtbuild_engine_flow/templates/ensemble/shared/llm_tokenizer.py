"""The tokenizer of a checkpoint, by the Rust library alone where it has a tokenizer.json."""

from llm_settings import SettingsError, read_json
from tokenizers import Tokenizer

# More characters than most tokens have, and more tokens than a cut in a text can change.
_CHARACTERS = 8
_BESIDE_A_CUT = 256


def byte_alphabet():
    """The character by which byte-level tokenizers write each byte: GPT-2's table.

    Bytes that print stand for themselves; the others, in order, take the characters from U+0100.
    """
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    table = {byte: chr(byte) for byte in printing}
    table.update({byte: chr(0x100 + index) for index, byte in enumerate(others)})
    return table


class LlmTokenizer:
    """Text to token ids, and what the checkpoint says about its special tokens.

    ``raw`` is the library's tokenizer; ``end_ids`` are all ids that end a text, the first one is
    the engine's ``end_id``; ``pad_id`` fills shorter rows of a batch.
    """

    def __init__(self, folder):
        self.folder = folder
        self.raw = _load(folder)
        # A checkpoint may carry the limits of its training; the engine has its own.
        self.raw.no_truncation()
        self.raw.no_padding()
        self.settings = read_json(folder / "tokenizer_config.json")
        self._special = read_json(folder / "special_tokens_map.json")
        self.end_ids = self._end_ids()
        pad = self._id_of("pad_token")
        self.pad_id = pad if pad is not None else (self.end_ids or (0,))[0]
        self._bytes = None

    def encode(self, texts, special):
        """Ids of each text; ``special``: with the tokens that the tokenizer puts around one."""
        if len(texts) == 1:
            return [self.raw.encode(texts[0], add_special_tokens=special).ids]
        return [
            found.ids for found in self.raw.encode_batch_fast(texts, add_special_tokens=special)
        ]

    def exceeds(self, text, most):
        """Whether a long text has more than ``most`` tokens; its beginning tells, where it can.

        A cut changes the tokens beside it and no others: what is far beyond the limit without
        the rest is beyond it with the rest. False is not a promise: ``encode`` counts exactly.
        """
        size = (most + _BESIDE_A_CUT) * _CHARACTERS
        while size < len(text):
            found = self.raw.encode(text[: int(size)], add_special_tokens=False)
            if len(found) > most + _BESIDE_A_CUT:
                return True
            size *= 2
        return False

    def byte_ids(self, data):
        """Ids that spell ``data`` byte by byte; None when the vocabulary has no bytes."""
        if self._bytes is None:
            self._bytes = self._byte_table()
        found = [self._bytes.get(byte) for byte in data]
        return None if None in found else found

    def _byte_table(self):
        find = self.raw.token_to_id
        fallback = {byte: find(f"<0x{byte:02X}>") for byte in range(256)}
        if all(found is not None for found in fallback.values()):
            return fallback
        return {byte: find(character) for byte, character in byte_alphabet().items()}

    def token_text(self, name):
        """The special token of that name ("bos_token") as text, or None."""
        value = self.settings.get(name)
        if value is None:  # older checkpoints keep them in a file of their own
            value = self._special.get(name)
        return value.get("content") if isinstance(value, dict) else value

    def _id_of(self, name):
        text = self.token_text(name)
        return self.raw.token_to_id(text) if isinstance(text, str) else None

    def _end_ids(self):
        """Of generation_config.json; without them of config.json, where transformers looks too
        when a checkpoint has no generation_config.json; without any the tokenizer's."""
        config = read_json(self.folder / "config.json")
        inner = config.get("text_config")
        generation = read_json(self.folder / "generation_config.json")
        for found in (generation, config, inner if isinstance(inner, dict) else {}):
            named = found.get("eos_token_id")
            ids = named if isinstance(named, list) else [named]
            known = tuple(dict.fromkeys(token for token in ids if type(token) is int))
            if known:
                return known
        own = self._id_of("eos_token")
        return () if own is None else (own,)


def _load(folder):
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise SettingsError(f"{path}: not a tokenizer: {error}") from None
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(folder), use_fast=True).backend_tokenizer
    except Exception as error:
        raise SettingsError(
            f"{folder} has no tokenizer.json, and transformers cannot make one: {error}"
        ) from None
