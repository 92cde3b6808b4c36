"""From a client's tensors to what the engine takes; used by preprocessing and by the BLS model.

``read`` checks one request, ``encode`` turns the texts of many requests into ids at once, and
the properties of a request are then the engine's tensors. Rows of a batch stay together.
"""

import itertools
import json
import math
import secrets
from dataclasses import dataclass

import numpy as np
from llm_chat import ChatError, ChatTemplate
from llm_words import bad_sequences, engine_list, stop_sequences

_DEFAULT_TOKENS = 128


class RequestError(Exception):
    """A request that cannot be served as it is; the client is told this text."""


class Row:
    """One prompt of a request. ``tail`` are ids of bytes after the last whole character."""

    __slots__ = ("bad", "ids", "max_tokens", "special", "stop", "stop_ids", "tail", "text")

    def __init__(self, text, special, tail):
        self.text = text
        self.special = special
        self.tail = tail
        self.ids = ()
        self.max_tokens = 0
        self.stop = self.bad = self.stop_ids = ()

    def before(self):
        """The last tokens of the prompt, in which a stop sequence may begin."""
        longest = max(map(len, self.stop_ids), default=1)
        return list(self.ids[max(len(self.ids) - longest + 1, 0) :])


@dataclass(eq=False)
class Request:
    """A request that was understood; ``pads``: the engine has a use for ``pad_id``."""

    rows: list
    sequences: int
    stream: bool
    end_ids: tuple
    pad_id: int
    pads: bool

    def input_ids(self):
        """INT32 [rows, longest], shorter rows padded at their end."""
        longest = max(len(row.ids) for row in self.rows)
        table = np.full((len(self.rows), longest), self.pad_id, dtype=np.int32)
        for index, row in enumerate(self.rows):
            table[index, : len(row.ids)] = row.ids
        return table

    def column(self, values, kind=np.int32):
        """``[rows, 1]`` of one value for each row."""
        return np.array(list(values), dtype=kind).reshape(-1, 1)

    def options(self, key):
        """What whoever joins the answer's pieces has to know, as JSON; after engine_inputs."""
        found = {
            "key": key,
            "stream": self.stream,
            "answers": len(self.rows) * self.sequences,
            "end": self.end_ids,
            "input": [len(row.ids) for row in self.rows],
            "max": [row.max_tokens for row in self.rows],
            "stop": [row.stop for row in self.rows],
            "stop_ids": [],
        }
        if self._stops():  # what is short passes faster
            found["stop_ids"] = [row.stop_ids for row in self.rows]
            found["before"] = [row.before() for row in self.rows]
        return json.dumps(found, ensure_ascii=False)

    def _stops(self):
        return any(row.stop_ids for row in self.rows)

    def engine_inputs(self, tokenizer):
        """The engine's tensors by name, as few as will do: each costs a copy between processes.

        The engine takes one ``end_id``: a checkpoint's other end ids are stop words to it.
        """
        rows = self.rows
        tensors = {
            "input_ids": self.input_ids(),
            "input_lengths": self.column(len(row.ids) for row in rows),
            "request_output_len": self.column(row.max_tokens for row in rows),
        }
        if self.pads:
            tensors["pad_id"] = self.column([self.pad_id] * len(rows))
        if self.end_ids:
            tensors["end_id"] = self.column([self.end_ids[0]] * len(rows))
        ends = [(token,) for token in self.end_ids[1:]]
        for row in rows:
            row.stop_ids = stop_sequences(tokenizer, row.stop)
        if ends or self._stops():
            tensors["stop_words_list"] = engine_list([row.stop_ids + ends for row in rows])
        bads = [bad_sequences(tokenizer, row.bad) for row in rows]
        if any(bads):
            tensors["bad_words_list"] = engine_list(bads)
        return tensors


class Reader:
    """Understands requests for one tokenizer and one engine; the limits may be unknown (None)."""

    def __init__(self, tokenizer, add_special, max_input_len, max_seq_len, max_beam_width):
        self._tokenizer = tokenizer
        self._chat = ChatTemplate(tokenizer)
        self._add_special = add_special
        self._max_input = max_input_len
        self._max_seq = max_seq_len
        self._max_beams = max_beam_width
        # Unique among all processes of a server: a random start, and then counting.
        self._keys = itertools.count(secrets.randbits(62) + 1)

    def next_key(self):
        """A key that no other request of this server has, below 2**63."""
        return next(self._keys) % 2**63

    def read(self, inputs):
        """A Request from the client's tensors by name (arrays whose first dimension is the row).

        Raises:
            RequestError: what the client must change.
        """
        texts, messages = inputs.get("text_input"), inputs.get("messages")
        if (texts is None) == (messages is None):
            raise RequestError("send either 'text_input' or 'messages'")
        if messages is None:
            rows = [self._plain(bytes(item)) for item in texts.reshape(-1)]
        else:
            rows = [self._chatted(bytes(item)) for item in messages.reshape(-1)]
        self._words(rows, inputs)
        stream = bool(_only(inputs, "stream", False))
        beams = int(_only(inputs, "beam_width", 1))
        self._check_beams(beams, stream)
        end_ids = self._tokenizer.end_ids
        if "end_id" in inputs:
            end_ids = (int(_only(inputs, "end_id", -1)),)
        pad_id = int(_only(inputs, "pad_id", self._tokenizer.pad_id))
        sequences = int(_only(inputs, "num_return_sequences", 1))
        if sequences < 1:
            raise RequestError(f"'num_return_sequences' must be above 0, got {sequences}")
        # The engine pads beams of different lengths, and nothing else.
        pads = beams > 1 or "pad_id" in inputs
        return Request(rows, sequences, stream, end_ids, pad_id, pads)

    def encode(self, requests):
        """Give the rows of ``requests`` their ids. RequestErrors, by request, are returned."""
        failures = self._far_too_long(requests)
        requests = [found for found in requests if found not in failures]
        for special in (True, False):
            rows = [row for found in requests for row in found.rows if row.special is special]
            if rows:
                texts = [row.text for row in rows]
                for row, ids in zip(rows, self._tokenizer.encode(texts, special), strict=True):
                    row.ids = [*ids, *row.tail] if row.tail else ids
        for found in requests:
            try:
                for row in found.rows:
                    self._fit(row)
            except RequestError as error:
                failures[found] = error
        return failures

    def _far_too_long(self, requests):
        """RequestErrors for prompts that would keep all others waiting while they are encoded."""
        most = min(self._max_input or math.inf, self._max_seq or math.inf)
        return {
            found: RequestError(f"the prompt has more than {most} tokens, the engine's limit")
            for found in requests
            if any(self._tokenizer.exceeds(row.text, most) for row in found.rows)
        }

    def _plain(self, data):
        try:
            return Row(data.decode("utf-8"), self._add_special, ())
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                raise RequestError(
                    f"'text_input' is not valid UTF-8: {error.reason} at byte {error.start}"
                ) from None
            # Cut inside a character: the bytes that are there go to the model as they are.
            tail = self._tokenizer.byte_ids(data[error.start :])
            if tail is None:
                raise RequestError(
                    "'text_input' ends inside a character, which this tokenizer cannot write"
                ) from None
            return Row(data[: error.start].decode("utf-8"), self._add_special, tail)

    def _chatted(self, data):
        try:
            # The template has written all special tokens that belong there.
            return Row(self._chat.render(data.decode("utf-8")), False, ())
        except UnicodeDecodeError:
            raise RequestError("'messages' is not valid UTF-8") from None
        except ChatError as error:
            raise RequestError(str(error)) from None

    def _words(self, rows, inputs):
        limits = inputs.get("max_tokens")
        for index, row in enumerate(rows):
            row.stop = _texts(inputs, "stop_words", index)
            row.bad = _texts(inputs, "bad_words", index)
            if limits is not None:
                row.max_tokens = int(limits.reshape(-1)[min(index, limits.size - 1)])
                if row.max_tokens < 1:
                    raise RequestError(f"'max_tokens' must be above 0, got {row.max_tokens}")

    def _check_beams(self, beams, stream):
        if beams < 1:
            raise RequestError(f"'beam_width' must be above 0, got {beams}")
        if self._max_beams is not None and beams > self._max_beams:
            raise RequestError(
                f"'beam_width' is {beams} and the engine was built for {self._max_beams}"
            )
        if beams > 1 and stream:
            raise RequestError(
                "beams cannot be streamed, because a later token may change earlier ones: "
                "leave out 'stream' or 'beam_width'"
            )

    def _fit(self, row):
        length = len(row.ids)
        if not length:
            raise RequestError("the prompt has no tokens")
        if self._max_input is not None and length > self._max_input:
            raise RequestError(
                f"the prompt has {length} tokens and the engine takes {self._max_input} at most"
            )
        wanted = row.max_tokens or _DEFAULT_TOKENS
        if self._max_seq is not None:
            if length >= self._max_seq:
                raise RequestError(
                    f"the prompt has {length} tokens and the engine's sequences, prompt and "
                    f"answer together, {self._max_seq} at most"
                )
            # The engine would shorten it too, without telling.
            wanted = min(wanted, self._max_seq - length)
        row.max_tokens = wanted


def _only(inputs, name, default):
    """The value that all rows of a request share."""
    found = inputs.get(name)
    if found is None:
        return default
    values = found.reshape(-1)
    if (values != values[0]).any():
        raise RequestError(
            f"{name!r} must be the same for all rows of a request: send the others on their own"
        )
    return values[0]


def _texts(inputs, name, index):
    found = inputs.get(name)
    if found is None:
        return ()
    row = found if found.ndim == 1 else found[min(index, len(found) - 1)]
    try:
        return tuple(text for text in (bytes(item).decode("utf-8") for item in row) if text)
    except UnicodeDecodeError:
        raise RequestError(f"{name!r} is not valid UTF-8") from None
