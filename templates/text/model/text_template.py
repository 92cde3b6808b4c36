"""A pair as one text, for rerankers that are language models: their template around it.

What is too long loses tokens of its document alone: the words after it ask the question.
"""

from dataclasses import dataclass


@dataclass
class Tokens:
    """What a tokenizer's encoding has, as far as a model needs it."""

    ids: list
    type_ids: list
    special_tokens_mask: list
    attended: list | None = None
    """1 for each token that the others attend to; None: all."""
    skip: int = 0
    """Leading tokens that pooling leaves out."""
    kept: object = None
    """For a vector per token: which tokens have one; None: all."""
    offsets: list | None = None
    """For labels of tokens: where each is in the text."""
    inner: list | None = None
    """For labels of tokens: whether each continues a word."""


class Template:
    """Where the query and the document of a pair stand in a text."""

    def __init__(self, text):
        self._head, _, rest = text.partition("{query}")
        self._middle, _, self._tail = rest.partition("{document}")

    def text(self, query, document):
        """The text of a pair; braces in the two texts mean nothing."""
        return f"{self._head}{query}{self._middle}{document}{self._tail}"

    def shortened(self, encoding, pair, limit, *, start):
        """``encoding`` of :meth:`text`, cut to ``limit`` tokens; None where that is too few.

        Args:
            encoding: Of the tokenizer, with the places of its tokens.
            pair: The query and the document.
            limit: Tokens to keep.
            start: Whether the document loses its beginning rather than its end.
        """
        begins = len(self._head) + len(pair[0]) + len(self._middle)
        ends = begins + len(pair[1])
        inside = [
            at
            for at, ((first, last), special) in enumerate(
                zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
            )
            if not special and first >= begins and last <= ends and last > first
        ]
        surplus = len(encoding.ids) - limit
        if surplus > len(inside):
            return None
        dropped = set(inside[:surplus] if start else inside[len(inside) - surplus :])
        kept = [at for at in range(len(encoding.ids)) if at not in dropped]
        fields = (encoding.ids, encoding.type_ids, encoding.special_tokens_mask)
        return Tokens(*([values[at] for at in kept] for values in fields))
