"""One text in the making: pieces, stop words, why it ended, how many tokens it has."""


class Answer:
    """Takes token ids as they come and gives the text that is certain.

    ``finish_reason`` is None until the text has ended, then "stop" or "length"; what comes
    after that is dropped. ``tokens`` counts the tokens that were generated, end tokens not.
    ``stops`` are looked for in the text, ``stop_ids`` in the tokens, where the engine looks: its
    last piece says by nothing else that a stop word came which is not text (a special token), or
    whose last bytes are still held back. It looks into the prompt, too, whose last tokens are
    ``before``: a stop sequence may have begun there.
    ``drained`` is whether the engine has ended too: it may go on where a stop word was found in
    the text alone.
    """

    __slots__ = (
        "_begins",
        "_end_ids",
        "_flush",
        "_held",
        "_max",
        "_seen",
        "_step",
        "_stop_ids",
        "_stops",
        "_tail",
        "drained",
        "finish_reason",
        "tokens",
    )

    def __init__(
        self, detokenizer, end_ids=(), max_tokens=None, stops=(), *, stop_ids=(), before=()
    ):
        self._step = detokenizer.step
        self._flush = detokenizer.flush
        self._end_ids = frozenset(end_ids)
        self._max = float("inf") if max_tokens is None else max_tokens
        self._stops = stops
        self._begins = frozenset(stop[0] for stop in stops)
        self._stop_ids = {}  # by their last token
        for found in stop_ids:
            self._stop_ids.setdefault(found[-1], []).append(list(found))
        self._tail = list(before)
        self._held = ""
        self._seen = 0
        self.drained = False
        self.finish_reason = None
        self.tokens = 0

    def add(self, ids, last=False):
        """The new text. No ids at all are how the engine says that an end token came."""
        self._seen += len(ids)
        full = self._seen >= self._max
        if last or full or not ids:
            self.drained = True
        if self.finish_reason:
            return ""
        ended = not self._end_ids.isdisjoint(ids)
        if ended:
            # The engine was told all of them, so it has ended too.
            self.drained = True
            ids = ids[: next(at for at, token in enumerate(ids) if token in self._end_ids)]
        elif self._stop_ids:
            ids, ended = self._up_to_stop(ids)
        self.tokens += len(ids)
        text = "".join(map(self._step, ids))
        if self.drained or ended:
            self.finish_reason = "length" if full and not ended else "stop"
            text += self._flush()
        # Most pieces have nothing in them that a stop word begins with.
        if self._begins and (self._held or not self._begins.isdisjoint(text)):
            return self._cut(text)
        return text

    def _up_to_stop(self, ids):
        """``ids`` to the end of the engine's first stop sequence, and whether there is one."""
        self._tail += ids
        before = len(self._tail) - len(ids)
        for at in range(before, len(self._tail)):
            for stop in self._stop_ids.get(self._tail[at], ()):
                begin = at + 1 - len(stop)
                if begin >= 0 and self._tail[begin : at + 1] == stop:
                    return ids[: at + 1 - before], True
        return ids, False

    def _cut(self, text):
        """``text`` up to a stop word, less what may be the start of one."""
        text = self._held + text
        self._held = ""
        found = [place for place in map(text.find, self._stops) if place >= 0]
        if found:
            self.finish_reason = "stop"
            return text[: min(found)]
        if self.finish_reason:
            return text
        keep = max(_overlap(text, stop) for stop in self._stops)
        if keep:
            self._held = text[-keep:]
            text = text[:-keep]
        return text


def _overlap(text, stop):
    """How many last characters of ``text`` are the first of ``stop``."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
