"""The answers in the making, found again for each piece that the engine makes.

In an ensemble the pieces of a stream come to postprocessing as requests of their own, and a key
says whose they are: see docs/concepts/ensemble.md.
"""

import collections
import json
import time

import numpy as np
from llm_answer import Answer

# A stream whose end was not seen (the engine failed, or its client's stop word ended the text and
# perhaps not the engine) is forgotten when there are many and it was silent.
_MANY = 1024
_SILENT_SECONDS = 600.0


class Stream:
    """A client's request: an answer for each row, returned sequence and beam."""

    __slots__ = ("_answers", "_drained", "_ended", "_make", "_options", "touched")

    def __init__(self, options, make):
        self._options = options
        self._make = make
        self._answers = {}
        self._ended = self._drained = 0
        self.touched = time.monotonic()

    def ended(self):
        """Whether the text of every row and sequence has ended."""
        return self._ended >= self._options["answers"]

    def drained(self):
        """Whether the engine has no more pieces, as far as that can be known."""
        return self._drained >= self._options["answers"]

    def piece(self, found):
        """The client's tensors by name for one response of the engine, ``found`` by name.

        Why it ended and how many tokens it has come with an answer's last piece only.
        """
        row, sequence = _index(found, "batch_index"), _index(found, "sequence_index")
        beams = found["output_ids"]
        beams = beams.reshape(beams.shape[-2:]).tolist()
        answers = [self._answer(row, sequence, beam) for beam in range(len(beams))]
        last = not self._options["stream"]
        before = all(answer.finish_reason for answer in answers)
        drained = all(answer.drained for answer in answers)
        texts = np.empty((1, len(beams)), dtype=np.object_)
        new = 0
        for beam, padded in enumerate(beams):
            ids = padded[: padded.index(-1)] if padded and padded[-1] == -1 else padded
            texts[0, beam] = answers[beam].add(ids, last).encode("utf-8")
            new = max(new, len(ids))
        tensors = {"text_output": texts}
        if "output_log_probs" in found:
            tensors["output_log_probs"] = _new_log_probs(found["output_log_probs"], new)
        self._drained += not drained and all(answer.drained for answer in answers)
        if not before and all(answer.finish_reason for answer in answers):
            self._ended += 1
            tensors.update(self._endings(row, answers))
        return tensors

    def _endings(self, row, answers):
        reasons = np.empty((1, len(answers)), dtype=np.object_)
        reasons[0] = [answer.finish_reason.encode() for answer in answers]
        counts = [[answer.tokens for answer in answers]]
        tensors = {"finish_reason": reasons}
        tensors["num_output_tokens"] = np.array(counts, dtype=np.int32)
        prompts = self._options["input"]
        if row < len(prompts):
            tensors["num_input_tokens"] = np.array([[prompts[row]]], dtype=np.int32)
        return tensors

    def _answer(self, row, sequence, beam):
        key = (row, sequence, beam)
        found = self._answers.get(key)
        if found is None:
            given = self._options
            limit = given["max"][row] if row < len(given["max"]) else None
            stops = given["stop"][row] if row < len(given["stop"]) else ()
            told = given["stop_ids"][row] if row < len(given["stop_ids"]) else ()
            before = given["before"][row] if told else ()
            found = Answer(self._make(), given["end"], limit, stops, stop_ids=told, before=before)
            self._answers[key] = found
        return found


class Streams:
    """Streams by key.

    ``make`` makes a detokeniser; ``options`` gives what preprocessing wrote of a key, once;
    ``end_ids`` end the texts of which it wrote nothing.
    """

    def __init__(self, make, end_ids, options):
        self._make = make
        self._options = options
        self._unknown = {"stream": False, "end": end_ids, "answers": 1}
        self._unknown.update(input=[], max=[], stop=[], stop_ids=[])
        self._found = collections.OrderedDict()

    def __len__(self):
        return len(self._found)

    def get(self, key):
        """The stream of ``key``; one that answers at once when nothing is known of it."""
        found = self._found.get(key)
        if found is None:
            return self._open(key)
        found.touched = time.monotonic()
        self._found.move_to_end(key)
        return found

    def _open(self, key):
        document = self._options(key) if key else None
        if document is None:
            return Stream(self._unknown, self._make)
        found = self._found[key] = Stream(json.loads(document), self._make)
        if len(self._found) > _MANY:
            self._sweep()
        return found

    def close(self, key):
        """Forget a stream that is drained."""
        self._found.pop(key, None)

    def _sweep(self):
        # The longest silent is the first, so a call costs what it removes.
        oldest = time.monotonic() - _SILENT_SECONDS
        while next(iter(self._found.values())).touched < oldest:
            self._found.popitem(last=False)


def _index(found, name):
    value = found.get(name)
    return 0 if value is None else int(value.reshape(-1)[0])


def _new_log_probs(found, new):
    """Those of the tokens that are new: the engine repeats the ones before."""
    found = found.reshape(1, -1, found.shape[-1])
    return np.ascontiguousarray(found[:, :, found.shape[-1] - new :])
