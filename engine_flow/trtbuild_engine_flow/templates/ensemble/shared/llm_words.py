"""Stop words and bad words as the engine takes them: sequences of token ids.

A word has other tokens at the start of a text than after a character or a space, so each word
gives several sequences. They only have to be right, not complete: where the model spells a stop
word in yet another way, postprocessing finds it in the text.
"""

import numpy as np

# What may stand before a word: a letter, punctuation, a line break.
_BEFORE = ("a", ".", "\n")


def stop_sequences(tokenizer, words):
    """For each word, the sequences whose text has the word in it."""
    return [found for word in words for found in sorted(_sequences(tokenizer, word))]


def bad_sequences(tokenizer, words):
    """For each word, the sequences that spell it, with and without a space before it."""
    return [
        found
        for word in words
        for found in sorted(_sequences(tokenizer, word) | _sequences(tokenizer, " " + word))
    ]


def _sequences(tokenizer, word):
    found = set()
    if not word:
        return found
    raw = tokenizer.raw
    for before in _BEFORE:
        encoded = raw.encode(before + word, add_special_tokens=False)
        starts = [index for index, (start, _) in enumerate(encoded.offsets) if start == len(before)]
        # Without a token that starts with the word, the word has no tokens of its own here.
        if starts:
            found.add(tuple(encoded.ids[starts[0] :]))
    found.add(tuple(raw.encode(word, add_special_tokens=False).ids))
    return {ids for ids in found if ids and _spell(raw, ids, word)}


def _spell(raw, ids, word):
    """Whether ``ids`` write the word whatever is before them. Those of a character's last bytes,
    of a text in other letters and of unknown characters do not, and would end other texts."""
    anchor = raw.encode("a", add_special_tokens=False).ids
    before = raw.decode(anchor, skip_special_tokens=False)
    text = raw.decode([*anchor, *ids], skip_special_tokens=False)
    return word in text.removeprefix(before)


def engine_list(rows):
    """The tensor of word lists, INT32 [rows, 2, longest]: ids, then the end of each sequence.

    Both are padded, ids with 0 and ends with -1, which is where the engine stops reading.
    """
    length = max(1, *(sum(map(len, row)) for row in rows))
    table = np.zeros((len(rows), 2, length), dtype=np.int32)
    table[:, 1] = -1
    for index, row in enumerate(rows):
        ids = [token for sequence in row for token in sequence]
        table[index, 0, : len(ids)] = ids
        table[index, 1, : len(row)] = np.cumsum([len(sequence) for sequence in row])
    return table
