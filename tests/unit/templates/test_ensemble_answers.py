"""Stop words, endings and counts of an answer; streams found by their keys."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from support import ensemble
from support.tokenizers_made import byte_level, sentencepiece

answers = ensemble.module("llm_answer")
streams = ensemble.module("llm_streams")
detokenizers = ensemble.module("llm_detokenizer").detokenizers

TOKENIZER = byte_level()
MAKE = detokenizers(TOKENIZER)


def ids_of(text: str) -> list[int]:
    return list(TOKENIZER.encode(text, add_special_tokens=False).ids)


def answer(text: str, *, end: bool = True, **given: Any) -> tuple[list[str], Any]:
    """The pieces of ``text`` streamed token by token, and the answer."""
    found = answers.Answer(MAKE(), **given)
    pieces = [found.add([token]) for token in ids_of(text)]
    if end and not found.finish_reason:
        pieces.append(found.add([]))
    return pieces, found


@pytest.mark.parametrize(
    ("stop", "left"),
    [
        ("Paris", "The capital of France is "),
        ("France is P", "The capital of "),  # across tokens
        (" is", "The capital of France"),
        ("T", ""),
        ("Rome", "The capital of France is Paris."),
        ("Paris.!", "The capital of France is Paris."),  # begun, but not there
    ],
)
def test_a_stop_word_ends_the_text_before_it(stop: str, left: str) -> None:
    pieces, found = answer("The capital of France is Paris.", stops=(stop,))
    assert "".join(pieces) == left
    assert found.finish_reason == "stop"


def test_the_first_of_several_stop_words_counts() -> None:
    pieces, _ = answer("The capital of France is Paris.", stops=("Paris", "France", "of F"))
    assert "".join(pieces) == "The capital "


def test_only_what_may_begin_a_stop_word_is_held_back() -> None:
    pieces, _ = answer("The capital of France is Paris.", stops=("is Rome",))
    assert "".join(pieces) == "The capital of France is Paris."
    assert pieces[0] == ids_text(0)
    assert "" in pieces  # " is" waited for what comes after it


def ids_text(index: int) -> str:
    return str(TOKENIZER.decode([ids_of("The capital of France is Paris.")[index]]))


def test_stop_words_at_random_places_cut_where_str_find_does() -> None:
    rng = random.Random(5)
    text = "abab aab 🙂 ababab the ab"
    for _ in range(300):
        start = rng.randrange(len(text))
        stops = tuple({text[start : start + rng.randrange(1, 5)], "zz", "ab "})
        pieces, _ = answer(text, stops=stops)
        places = [place for place in map(text.find, stops) if place >= 0]
        assert "".join(pieces) == text[: min(places)], stops


def test_nothing_comes_after_the_end() -> None:
    found = answers.Answer(MAKE(), stops=("is",))
    assert found.add(ids_of("France is Paris")) == "France "
    assert found.add(ids_of(" and Rome")) == ""
    assert found.finish_reason == "stop"


def test_an_engine_that_goes_on_after_a_stop_word_is_not_heard() -> None:
    found = streams.Streams(MAKE, (), BOX.take)
    ids = ids_of("France is Paris, they say")
    BOX.put(1, options(1, stop=[["is"]], max=[len(ids)]))
    said, endings = "", 0
    for count, token in enumerate(ids, 1):
        stream = found.get(1)
        tensors = stream.piece(engine([token]))
        said += tensors["text_output"][0, 0].decode()
        endings += "finish_reason" in tensors
        assert stream.drained() is (count == len(ids))
    assert (said, endings) == ("France ", 1)


def test_an_end_token_ends_and_is_neither_text_nor_counted() -> None:
    end = TOKENIZER.token_to_id("<tool call>")
    found = answers.Answer(MAKE(), end_ids=(end,))
    assert found.add([*ids_of("Hi"), end, *ids_of("there")]) == "Hi"
    assert (found.finish_reason, found.tokens) == ("stop", len(ids_of("Hi")))


def test_the_limit_is_reached_by_counting() -> None:
    ids = ids_of("The capital of France")
    found = answers.Answer(MAKE(), max_tokens=len(ids))
    for token in ids[:-1]:
        found.add([token])
        assert found.finish_reason is None
    found.add(ids[-1:])
    assert found.finish_reason == "length"


def test_the_last_piece_has_what_an_incomplete_character_left() -> None:
    ids = ids_of("é🙂")
    found = answers.Answer(MAKE(), max_tokens=len(ids) - 1)
    text = "".join(found.add([token]) for token in ids[:-1])
    assert text == TOKENIZER.decode(ids[:-1])
    assert text.endswith("\N{REPLACEMENT CHARACTER}")


def test_a_stop_word_that_is_no_text_ends_the_text_where_the_engine_ends() -> None:
    """A special token is left out of the text; nothing else says that the engine has ended."""
    special = TOKENIZER.token_to_id("<|im_start|>")
    for ids in ([*ids_of("Hi"), special], [*ids_of("Hi 🙂")[:-1], special]):
        found = answers.Answer(MAKE(), stops=("<|im_start|>",), stop_ids=[[special]])
        text = "".join(found.add([token]) for token in ids)
        assert text == TOKENIZER.decode(ids)
        assert (found.finish_reason, found.tokens) == ("stop", len(ids))
        assert not found.drained, "an engine that goes on is heard no more"
        assert found.add(ids_of(" and more")) == ""


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stop_word_of_bytes_that_are_held_back_is_cut_all_the_same(at_once: bool) -> None:
    tokenizer = sentencepiece()
    make = detokenizers(tokenizer)
    ids = tokenizer.encode("Hello 🙂", add_special_tokens=False).ids
    stop = tokenizer.encode("🙂", add_special_tokens=False).ids[-4:]
    assert ids[-4:] == stop, "a byte each"
    found = answers.Answer(make(), stops=("🙂",), stop_ids=[[9, 9], stop])
    pieces = [[*ids, *ids]] if at_once else [[token] for token in ids]
    assert "".join(found.add(piece) for piece in pieces) == "Hello "
    assert (found.finish_reason, found.tokens) == ("stop", len(ids))


def test_a_stop_sequence_that_began_in_the_prompt_ends_the_text() -> None:
    """The engine looks for it in all tokens that it has."""
    found = streams.Streams(MAKE, (), BOX.take)
    one, two = ids_of("X")[0], ids_of("Y")[0]
    told = {"stop": [["XY"]], "stop_ids": [[[one, two]]], "before": [[one]]}
    BOX.put(1, options(1, **told))
    tensors = found.get(1).piece(engine([two]))
    assert tensors["text_output"].tolist() == [[b"Y"]]
    assert tensors["finish_reason"].tolist() == [[b"stop"]]


class Box(dict[object, str]):
    put = dict.__setitem__

    def take(self, key: object) -> str | None:
        return self.pop(key, None)


BOX = Box()


def options(key: object, *, rows: int = 1, sequences: int = 1, **more: Any) -> str:
    found = {
        "key": key,
        "stream": True,
        "answers": rows * sequences,
        "end": [],
        "input": [7] * rows,
        "max": [100] * rows,
        "stop": [[]] * rows,
        "stop_ids": [],
    }
    return json.dumps({**found, **more})


def engine(ids: list[int], **more: int) -> dict[str, np.ndarray]:
    found = {"output_ids": np.array([[ids]], dtype=np.int32).reshape(1, 1, len(ids))}
    return {**found, **{name: np.array([[value]]) for name, value in more.items()}}


def test_streams_that_interleave_do_not_mix() -> None:
    texts = {key: f"{key} 🙂 text {key * 3}" for key in range(1, 9)}
    found = streams.Streams(MAKE, (), BOX.take)
    waiting = {key: [*([token] for token in ids_of(text)), []] for key, text in texts.items()}
    for key in texts:
        BOX.put(key, options(key))
    said = dict.fromkeys(texts, "")
    rng = random.Random(1)
    while waiting:
        key = rng.choice(list(waiting))
        stream = found.get(key)
        tensors = stream.piece(engine(waiting[key].pop(0)))
        said[key] += tensors["text_output"][0, 0].decode()
        if not waiting[key]:
            assert tensors["finish_reason"].tolist() == [[b"stop"]]
            assert tensors["num_output_tokens"].tolist() == [[len(ids_of(texts[key]))]]
            assert tensors["num_input_tokens"].tolist() == [[7]]
            assert stream.drained()
            found.close(key)
            del waiting[key]
        else:
            assert "finish_reason" not in tensors
    assert said == texts
    assert len(found) == 0


def test_rows_and_sequences_of_a_request_have_texts_of_their_own() -> None:
    found = streams.Streams(MAKE, (), BOX.take)
    BOX.put(1, options(1, rows=2, sequences=2))
    stream = found.get(1)
    texts = {(row, seq): f"row {row} sequence {seq}" for row in range(2) for seq in range(2)}
    for (row, seq), text in texts.items():
        for part in (text[:6], text[6:]):
            stream.piece(engine(ids_of(part), batch_index=row, sequence_index=seq))
    for count, (row, seq) in enumerate(texts, 1):
        stream.piece(engine([], batch_index=row, sequence_index=seq))
        assert stream.ended() is stream.drained() is (count == 4)


def test_beams_come_at_once_and_shorter_ones_are_padded() -> None:
    found = streams.Streams(MAKE, (), BOX.take)
    BOX.put(1, options(1, stream=False))
    long, short = ids_of("The capital of France"), ids_of("Hi")
    padded = short + [-1] * (len(long) - len(short))
    ids = np.array([[long, padded]], dtype=np.int32)
    tensors = found.get(1).piece({"output_ids": ids})
    assert tensors["text_output"].tolist() == [[b"The capital of France", b"Hi"]]
    assert tensors["num_output_tokens"].tolist() == [[len(long), len(short)]]


def test_log_probabilities_are_those_of_the_new_tokens() -> None:
    found = streams.Streams(MAKE, (), BOX.take)
    BOX.put(1, options(1))
    stream = found.get(1)
    so_far: list[float] = []
    for token in ids_of("The capital"):
        so_far.append(-float(token))
        pieces = engine([token])
        pieces["output_log_probs"] = np.array([[so_far]], dtype=np.float32)
        tensors = stream.piece(pieces)
        assert tensors["output_log_probs"].tolist() == [[[-float(token)]]]
    pieces = engine([])
    pieces["output_log_probs"] = np.array([[so_far]], dtype=np.float32)
    assert stream.piece(pieces)["output_log_probs"].shape == (1, 1, 0)


def test_what_nobody_opened_is_answered_at_once() -> None:
    found = streams.Streams(MAKE, (), BOX.take)
    tensors = found.get("").piece(engine(ids_of("Hello")))
    assert tensors["text_output"].tolist() == [[b"Hello"]]
    assert "num_input_tokens" not in tensors


def test_abandoned_streams_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(streams.time, "monotonic", lambda: now)
    found = streams.Streams(MAKE, (), options)
    for key in range(1, 1025):
        found.get(key)
    assert len(found) == 1024
    now = 601.0
    found.get(3)  # still in use
    found.get(5000)
    assert len(found) == 2


def test_looking_for_abandoned_streams_costs_what_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = streams.Streams(MAKE, (), options)
    for key in range(1, 3001):
        found.get(key)
    looked = []
    real = streams.Stream.touched
    monkeypatch.setattr(
        streams.Stream,
        "touched",
        property(lambda one: (looked.append(1), real.__get__(one))[1], real.__set__),
    )
    found.get(5000)
    assert len(found) == 3001
    assert len(looked) == 1


def test_an_engine_without_bytes_of_its_own_is_read_too() -> None:
    tokenizer = sentencepiece()
    found = answers.Answer(detokenizers(tokenizer)(), stops=("🎉",))
    pieces = [found.add([token]) for token in tokenizer.encode("Hi 🙂🎉 you").ids]
    assert "".join(pieces) == "Hi 🙂"
