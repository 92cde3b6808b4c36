"""Tokens of a stream: none lost, none double, whatever the seams cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from trtbuild.errors import UsageError
from trtbuild_measure.bench.counting import Counter, load_tokenizer
from trtbuild_measure.bench.model import Prompt, Stream

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "naïve café — 東京タワー 🗼 и ещё немного",
    "👩‍👩‍👧‍👦 family, e\u0301 combining, \u200bzero width",
    "\n\n  code:\n\tif x:\n",
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Byte-level BPE that knows next to nothing of what it will meet: characters of many tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([TEXTS[0]] * 3, trainer)
    return made


def stream(pieces: list[str], prompt: str = "?", **said: int | None) -> Stream:
    found = Stream(Prompt(prompt, 1, len(pieces)), intended=0.0)
    for number, piece in enumerate(pieces):
        found.piece(float(number + 1), piece)
    found.ended = float(len(pieces) + 1)
    found.output_tokens = said.get("output_tokens")
    return found


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_no_token_is_miscounted(tokenizer: Tokenizer, text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    line = Counter(tokenizer).timeline(stream(pieces))
    assert line.output_tokens == len(tokenizer.encode(text).ids)
    assert len(line.tokens) == len(line.arrivals) == len(pieces)


def test_the_tokens_of_a_character_belong_to_the_piece_that_brings_it(tokenizer: Tokenizer) -> None:
    line = Counter(tokenizer).timeline(stream(["a", "東", "b"]))
    assert line.tokens == (1, 3, 1)


def test_pieces_without_text_are_nothing(tokenizer: Tokenizer) -> None:
    line = Counter(tokenizer).timeline(stream(["", "a", "", "b"]))
    assert line.arrivals == (2.0, 4.0)
    assert line.tokens == (1, 1)


def test_an_echo_is_never_counted(tokenizer: Tokenizer) -> None:
    counter = Counter(tokenizer)
    line = counter.timeline(stream(["Say something", " nice: ", "a", "b"], "Say something nice: "))
    assert line.arrivals == (3.0, 4.0)
    assert line.output_tokens == 2
    assert counter.echoes == 1


def test_an_echo_may_end_within_a_piece(tokenizer: Tokenizer) -> None:
    line = Counter(tokenizer).timeline(stream(["Say someth", "ingab", "c"], "Say something"))
    assert line.arrivals == (2.0, 3.0)
    assert line.tokens == (2, 1)


def test_a_model_may_repeat_its_prompt(tokenizer: Tokenizer) -> None:
    counter = Counter(tokenizer)
    text = "Say something"
    total = counter.length(text + "!")
    line = counter.timeline(stream([text, "!"], text, output_tokens=total))
    assert counter.echoes == 0
    assert line.output_tokens == total


def test_without_a_tokenizer_the_server_is_believed() -> None:
    found = stream(["a", "b"], output_tokens=7)
    assert Counter().timeline(found).output_tokens == 7
    assert Counter().timeline(found).tokens == ()
    found.counts = [3, 4]
    assert Counter().timeline(found).tokens == (3, 4)


def test_no_tokenizer_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tokenizer at"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_tokens_without_text_belong_to_the_text_that_they_become() -> None:
    """Two of the three tokens of a character come with no text; only the server counts them."""
    found = Stream(Prompt("?", 1, 6), intended=0.0)
    for moment, text, count in ((1, "a", 1), (2, "", 1), (3, "", 1), (4, "東", 1), (5, "", 1)):
        found.piece(float(moment), text, count)
    line = Counter().timeline(found)
    assert line.arrivals == (1.0, 4.0)
    assert line.tokens == (1, 3)
