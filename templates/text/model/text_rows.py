"""From texts to the rows that the graph computes: tokens, batches, padding.

The served model and the accuracy check of a conversion both run this. It needs numpy and
tokenizers, and no Triton.
"""

import json
from pathlib import Path

import numpy as np
from text_template import Template, Tokens

SETTINGS = "settings.json"
_DIRECTIONS = {"END": "right", "START": "left"}


class Refused(Exception):  # noqa: N818 - what happened
    """A request that cannot be answered; the text is for its sender."""


class Texts:
    """The tokenizer of one model, with its limits."""

    def __init__(self, folder, settings):
        from tokenizers import Tokenizer, normalizers

        self._settings = settings
        self._tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        # A tokenizer.json may cut and pad by itself, and to other lengths than the model has.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if settings["lower"]:
            own = self._tokenizer.normalizer
            both = [normalizers.Lowercase(), *([own] if own else [])]
            self._tokenizer.normalizer = normalizers.Sequence(both)
        template = settings.get("pair_template")
        self._template = Template(template) if template else None
        self._appended = settings.get("append", [])
        if settings["head"] == "multi-vector":
            self._register_marks()
        skipped = map(self._tokenizer.token_to_id, settings.get("skip_words", ()))
        self._skipped = [number for number in skipped if number is not None]

    def encode(self, items, truncate, use="", prompt=""):
        """Tokens of texts or of pairs.

        Args:
            items: What to tokenize, with its prompt.
            truncate: ``NONE``, ``END`` or ``START``.
            use: ``query`` or ``passage``, where a model treats them differently.
            prompt: The beginning of each item that pooling leaves out.

        Raises Refused for an item that is too long under ``NONE``.
        """
        limit = self._limit(use) - len(self._appended)
        if self._template:
            return self._filled(items, truncate, limit)
        if truncate == "NONE" or limit <= 0:
            self._tokenizer.no_truncation()
        else:
            strategy, direction = self._settings["truncation"], _DIRECTIONS[truncate]
            self._tokenizer.enable_truncation(limit, strategy=strategy, direction=direction)
        if self._settings["head"] == "token-labels":
            encodings = self._tokenizer.encode_batch(items)
        else:
            encodings = self._tokenizer.encode_batch_fast(items)
        for number, encoding in enumerate(encodings):
            if 0 < limit < len(encoding.ids):
                raise _too_long(number, len(encoding.ids), limit)
        skip = self.skipped(prompt) if prompt else 0
        return [
            self._tokens(text, one, use, skip) for text, one in zip(items, encodings, strict=True)
        ]

    def _limit(self, use):
        settings = self._settings
        other = {"query": "query_tokens", "passage": "document_tokens"}.get(use, "")
        return settings.get(other) or settings["max_tokens"]

    def _tokens(self, text, encoding, use, skip):
        more = len(self._appended)
        made = Tokens(
            [*encoding.ids, *self._appended],
            [*encoding.type_ids, *[0] * more],
            [*encoding.special_tokens_mask, *[1] * more],
            skip=skip,
        )
        if self._settings["head"] == "token-labels":
            made.offsets = encoding.offsets
            made.inner = list(self._continuations(text, encoding))
        elif self._settings["head"] == "multi-vector":
            if use == "query":
                self._expand(made)
            # sentence-transformers skips words of documents only.
            made.kept = ~np.isin(made.ids, [] if use == "query" else self._skipped)
        return made

    def _expand(self, made):
        """Fill a short query with the mask token, which gets vectors, too."""
        settings = self._settings
        missing = settings["query_tokens"] - len(made.ids)
        if settings["query_expansion"] and missing > 0:
            made.attended = [1] * len(made.ids)
            made.attended += [int(settings["query_expansion"] == "attended")] * missing
            made.ids += [settings["expansion_id"]] * missing
            made.type_ids += [0] * missing

    def _continuations(self, text, encoding):
        """Whether a token continues a word, as transformers' pipeline sees it."""
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        prefix = getattr(self._tokenizer.model, "continuing_subword_prefix", None)
        rows = zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True)
        for number, token, (start, end) in rows:
            # A Unigram model keeps the characters of what it does not know.
            if token == unknown or token != self._tokenizer.id_to_token(number):
                yield False
            elif prefix:
                yield len(token) != end - start
            else:
                yield start > 0 and " " not in text[start - 1 : start + 1]

    def _register_marks(self):
        """A prompt like ``[unused0] `` is one token, as sentence-transformers registers it."""
        from tokenizers import AddedToken

        known = self._tokenizer.get_vocab()
        for prompt in filter(str.strip, self._settings["prompts"].values()):
            mark = next((one for one in (prompt, prompt.split(None, 1)[0]) if one in known), None)
            if mark and self._tokenizer.encode(mark, add_special_tokens=False).tokens != [mark]:
                added = AddedToken(mark, normalized=False, special=True)
                self._tokenizer.add_special_tokens([added])

    def _filled(self, pairs, truncate, limit):
        """Tokens of pairs in the template of a language model."""
        self._tokenizer.no_truncation()
        encodings = self._tokenizer.encode_batch(
            [self._template.text(*pair) for pair in pairs],
            add_special_tokens=not self._settings.get("template_is_whole", False),
        )
        for number, (pair, whole) in enumerate(zip(pairs, encodings, strict=True)):
            if limit <= 0 or len(whole.ids) <= limit:
                encodings[number] = Tokens(whole.ids, whole.type_ids, whole.special_tokens_mask)
                continue
            if truncate == "NONE":
                raise _too_long(number, len(whole.ids), limit)
            start = truncate == "START"
            encodings[number] = self._template.shortened(whole, pair, limit, start=start)
            if encodings[number] is None:
                raise Refused(
                    f"text {number}: its query alone leaves the document no room in the {limit} "
                    "tokens that the model takes: shorten the query"
                )
        return encodings

    def skipped(self, prompt):
        """Leading tokens that a prompt takes, without the special one that closes a text: as
        sentence-transformers counts them."""
        self._tokenizer.no_truncation()
        found = self._tokenizer.encode(prompt)
        return len(found.ids) - sum(found.special_tokens_mask[-1:])


def _too_long(number, size, limit):
    return Refused(
        f"text {number} has {size} tokens and the model takes {limit}: shorten it, or send the "
        "parameter truncate with END or START"
    )


class Rows:
    """Runs tokens through the graph, padded as little as possible."""

    def __init__(self, settings, core):
        self._settings = settings
        self._core = core

    def run(self, texts):
        """A row of the graph's output for each text: a vector, or one for each token."""
        result = [None] * len(texts)
        lengths = [len(one.ids) for one in texts]
        more = {"most": self._settings.get("rows", 0), **self._settings.get("packs", {})}
        for pack in packs(lengths, self._settings["token_budget"], **more):
            inputs = self._inputs([texts[at] for at in pack])
            for at, row in zip(pack, self._pooled(self._core(inputs), inputs), strict=True):
                result[at] = row if row.ndim == 1 else row[: lengths[at]]
        return result

    def _inputs(self, texts):
        settings = self._settings
        width = max(1, *(len(one.ids) for one in texts))
        left = settings["padding_side"] == "left"
        filled = {
            name: np.full((len(texts), width), value, dtype=np.int64)
            for name, value in settings["inputs"].items()
        }
        for row, one in enumerate(texts):
            size = len(one.ids)
            place = slice(width - size, width) if left else slice(0, size)
            values = {
                "input_ids": one.ids,
                "attention_mask": one.attended or 1,
                "token_type_ids": one.type_ids,
                "pooling_mask": np.arange(size) >= one.skip,
            }
            for name, array in filled.items():
                array[row, place] = values[name]
        return filled

    def _pooled(self, output, inputs):
        """The output itself, unless the graph leaves pooling to us."""
        modes = self._settings["pooling"]
        if not modes:
            return output
        vectors = pooled(output, inputs.get("pooling_mask", inputs["attention_mask"]), modes)
        return unit(vectors) if self._settings["normalized"] else vectors


def packs(lengths, budget, most=0, ratio=1.3, slack=8):
    """Indices in groups of similar lengths, the shortest first.

    A group has at most ``most`` items (0: any number) and, padded, ``budget`` tokens. No item is
    longer than ``ratio`` times the shortest (or ``slack`` tokens longer): padding is computed like
    text, and on a CPU a larger batch wins nothing.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    group = []
    for at in order:
        length = max(1, lengths[at])
        shortest = lengths[group[0]] if group else length
        near = length <= max(ratio * shortest, shortest + slack)
        full = length * (len(group) + 1) > budget or len(group) == most
        if group and (full or not near):
            yield group
            group = []
        group.append(at)
    if group:
        yield group


def unit(vectors):
    """The vectors with length 1; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def pooled(states, mask, modes):
    """One vector for each text of the states of its tokens; several modes side by side."""
    return np.concatenate([_POOLING[mode](states, mask) for mode in modes], axis=1)


def _mean(states, mask):
    kept = mask[:, :, None].astype(np.float32)
    return (states * kept).sum(axis=1) / np.maximum(kept.sum(axis=1), 1e-9)


def _max(states, mask):
    return np.where(mask[:, :, None] > 0, states, -np.inf).max(axis=1)


def _cls(states, mask):
    return states[np.arange(len(states)), mask.argmax(axis=1)]


def _last(states, mask):
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return states[np.arange(len(states)), last]


def _mean_sqrt(states, mask):
    kept = mask[:, :, None].astype(np.float32)
    return (states * kept).sum(axis=1) / np.sqrt(np.maximum(kept.sum(axis=1), 1e-9))


def _weighted(states, mask):
    return _mean(states, mask * np.arange(1, mask.shape[1] + 1))


_POOLING = {
    "cls": _cls, "mean": _mean, "max": _max, "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted, "lasttoken": _last,
}  # fmt: skip


def read_settings(folder):
    """The settings that the conversion wrote beside this file."""
    return json.loads((Path(folder) / SETTINGS).read_text(encoding="utf-8"))
