"""The pieces of a text are its one-shot decode, whatever the tokens and the tokenizer."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from support import ensemble
from support.tokenizers_made import CORPUS, FAMILIES

SEQUENCES = 10_000
detokenizer = ensemble.module("llm_detokenizer")


@pytest.fixture(scope="module", params=list(FAMILIES))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return FAMILIES[request.param]()


def sequences(tokenizer: Tokenizer, count: int, seed: int) -> list[list[int]]:
    """Random ids, ids that belong to no token, runs of bytes, texts cut anywhere and mixed."""
    rng = random.Random(seed)
    size = tokenizer.get_vocab_size()
    texts = [tokenizer.encode(text, add_special_tokens=False).ids for text in CORPUS[:5]]
    awkward = [
        tokenizer.token_to_id(name) for name in ("▁", "<0x20>", "<0xE6>", "<0x9D>", "æ", "ĥ")
    ]
    awkward = [token for token in awkward if token is not None] or [0]
    made = []
    for _ in range(count):
        ids: list[int] = []
        for _ in range(rng.randrange(5)):
            text = rng.choice(texts)
            start = rng.randrange(len(text))
            ids += rng.choice(
                (
                    text[start : start + rng.randrange(12)],
                    [rng.randrange(size + 3) for _ in range(rng.randrange(8))],
                    rng.choices(awkward, k=rng.randrange(6)),
                )
            )
        made.append(ids)
    return made


def streamed(stream: Any, ids: list[int]) -> str:
    return "".join(map(stream.step, ids)) + stream.flush()


@pytest.mark.slow
@pytest.mark.parametrize("skip", [True, False])
def test_the_pieces_are_the_whole(tokenizer: Tokenizer, skip: bool) -> None:
    make = detokenizer.detokenizers(tokenizer, skip)
    for ids in sequences(tokenizer, SEQUENCES // 2, seed=skip):
        assert streamed(make(), ids) == tokenizer.decode(ids, skip_special_tokens=skip), ids


def test_what_is_certain_is_not_held_back(tokenizer: Tokenizer) -> None:
    """Text comes while it is made: at most a character, a run of bytes or a word is missing."""
    text = CORPUS[0]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    whole = tokenizer.decode(ids)
    stream = detokenizer.detokenizers(tokenizer)()
    seen = ""
    for count, token in enumerate(ids, 1):
        seen += stream.step(token)
        assert whole.startswith(seen)
        assert len(seen) >= len(tokenizer.decode(ids[: count - 1])) - 1
    assert seen + stream.flush() == whole


def test_a_character_of_several_tokens_comes_whole() -> None:
    for family in ("byte_level", "sentencepiece"):
        tokenizer = FAMILIES[family]()
        ids = tokenizer.encode("a🙂b", add_special_tokens=False).ids
        assert len(ids) > 3
        stream = detokenizer.detokenizers(tokenizer)()
        pieces = [stream.step(token) for token in ids] + [stream.flush()]
        assert "🙂" in "".join(pieces)
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces), family


def test_each_family_has_the_reader_that_suits_it() -> None:
    kinds = {
        name: type(detokenizer.detokenizers(make())()).__name__ for name, make in FAMILIES.items()
    }
    assert kinds == {
        "byte_level": "ByteStream",
        "sentencepiece": "PieceStream",
        "unigram": "PieceStream",
        "word_piece": "PieceStream",
        "suffix_bpe": "LibraryStream",
    }


def test_why_decode_stream_alone_is_not_used() -> None:
    """It loses what it holds at the end, and more: the reason for our own, kept honest."""
    tokenizer = FAMILIES["sentencepiece"]()
    wrong = 0
    for ids in sequences(tokenizer, 300, seed=3):
        stream = DecodeStream(skip_special_tokens=True)
        try:
            text = "".join(stream.step(tokenizer, token) or "" for token in ids)
        except Exception:
            text = ""
        wrong += text != tokenizer.decode(ids)
    assert wrong > 10


def test_a_decoder_without_a_decode_stream_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tokenizers.decoders

    monkeypatch.delattr(tokenizers.decoders, "DecodeStream")
    make = detokenizer.detokenizers(FAMILIES["suffix_bpe"]())
    with pytest.raises(ensemble.module("llm_settings").SettingsError, match=r"0\.21 or newer"):
        make()


def test_a_decoder_that_takes_text_back_loses_no_more_than_that() -> None:
    """A byte that makes the run before it invalid changes text that DecodeStream gave out."""
    document = json.loads(FAMILIES["sentencepiece"]().to_str())
    replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    chain = [{"type": "ByteFallback"}, {"type": "Fuse"}, replace]
    document["decoder"] = {"type": "Sequence", "decoders": chain}
    tokenizer = Tokenizer.from_str(json.dumps(document))
    stream = detokenizer.detokenizers(tokenizer)()
    ids = [tokenizer.token_to_id(name) for name in ("<0x56>", "<0xF8>")]
    ids += tokenizer.encode("capital of France", add_special_tokens=False).ids
    text = streamed(stream, ids)
    assert type(stream).__name__ == "LibraryStream"
    assert text.endswith("capital of France")
    assert len(text) == len(tokenizer.decode(ids))
