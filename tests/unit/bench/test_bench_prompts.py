"""Prompts and when they are due."""

from __future__ import annotations

import json
import random
import statistics
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from trtbuild.errors import UsageError
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.loads import Load, offsets
from trtbuild_measure.bench.options import BenchOptions
from trtbuild_measure.bench.prompts import SyntheticPrompts, parse_lengths, read_prompts, read_trace
from trtbuild_measure.jobs.bench.prompts import asked_again, make_prompts


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = "the river ran under the old stone bridge while people walked and talked all day long"
    made.train_from_iterator([text] * 20, trainer)
    return made


def lengths(text: str, count: int = 4000) -> list[int]:
    draw, source = parse_lengths(text, "--x"), random.Random(1)
    return [draw(source) for _ in range(count)]


def test_lengths_are_drawn_as_written() -> None:
    assert set(lengths("128")) == {128}
    assert set(lengths("128, 512")) == {128, 512}
    assert (min(lengths("uniform:64:66")), max(lengths("uniform(64,66)"))) == (64, 66)
    for kind in ("normal", "lognormal"):
        found = lengths(f"{kind}:200:40")
        assert statistics.mean(found) == pytest.approx(200, rel=0.02)
        assert statistics.stdev(found) == pytest.approx(40, rel=0.1)
    assert min(lengths("normal:2:10")) == 1
    assert max(lengths("lognormal:900000:900000")) == 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        "0", "-5", "a", "normal:5", "uniform:9:3", "1,,2", "2000000", "9" * 5000,
        "uniform:1.2.3:5", "uniform:1:99999999999",
    ],
)  # fmt: skip
def test_lengths_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_lengths(text, "--prompt-tokens")
    assert caught.value.where == "--prompt-tokens" and "uniform" in caught.value.fix


@pytest.mark.parametrize("tokens", [1, 2, 17, 400])
def test_synthetic_prompts_have_the_length_exactly(tokenizer: Tokenizer, tokens: int) -> None:
    make = SyntheticPrompts(tokenizer, lambda _: tokens, lambda _: 8)
    for number in range(20):
        prompt = make(number)
        assert len(tokenizer.encode(prompt.text).ids) == prompt.tokens == tokens


def test_a_number_is_always_the_same_prompt(tokenizer: Tokenizer) -> None:
    draw = parse_lengths("uniform:8:32", "")
    one, same = (SyntheticPrompts(tokenizer, draw, draw, seed=3) for _ in range(2))
    other = SyntheticPrompts(tokenizer, draw, draw, seed=4)
    assert [one(n) for n in range(9)] == [same(n) for n in range(9)]
    assert one(5) == one(5)
    assert one(5) != other(5)
    assert len({one(n).text for n in range(50)}) == 50


def test_a_shared_prefix_is_shared(tokenizer: Tokenizer) -> None:
    make = SyntheticPrompts(tokenizer, lambda _: 40, lambda _: 8, shared_prefix=24)
    ids = [tokenizer.encode(make(number).text).ids for number in range(8)]
    assert all(len(found) == 40 for found in ids)
    assert len({tuple(found[:24]) for found in ids}) == 1
    assert len({tuple(found[24:]) for found in ids}) == 8


def test_prompts_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    rows = [
        {"prompt": "one", "output_tokens": 5},
        {"messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "two"}]},
        {"conversations": turns},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    made = read_prompts(file, Counter(), lambda: 64)
    assert [(made(n).text, made(n).max_tokens) for n in range(4)] == [
        ("one", 5), ("two", 64), ("Hi", 64), ("one", 5),
    ]  # fmt: skip
    assert [message["role"] for message in made(1).messages] == ["system", "user"]
    assert made(2).messages == ({"role": "user", "content": "Hi"},)
    listed = tmp_path / "sharegpt.json"
    listed.write_text(json.dumps([{"conversations": turns}]))
    assert read_prompts(listed, Counter(), lambda: 64)(0).text == "Hi"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{nope", "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "no prompt"),
        ('{"prompt": ""}', "no prompt"),
        ('{"prompt": "a", "output_tokens": 0}', "output_tokens is 0"),
        ('{"prompt": "a\\ud83d"}', "half a character at 1"),
        ('{"messages": [{"role": "user", "content": "\\udc00"}], "prompt": "a"}', "half a char"),
        ('{"messages": 5}', "a message is not text: 5"),
        ('{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "is not text"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "fine"}\n' + line + "\n")
    with pytest.raises(UsageError) as caught:
        read_prompts(file, Counter(), lambda: 1)
    assert said in caught.value.what
    assert caught.value.where == f"{file}:2"


def test_lines_end_where_json_says(tmp_path: Path) -> None:
    """Texts of the web hold line separators that are not line feeds; Windows marks its files."""
    file = tmp_path / "p.jsonl"
    texts = ["one\u2028two", "next\u0085line"]
    rows = "\n".join(json.dumps({"prompt": text}, ensure_ascii=False) for text in texts)
    file.write_text("\ufeff" + rows, encoding="utf-8")
    made = read_prompts(file, Counter(), lambda: 1)
    assert [made(n).text for n in range(3)] == [*texts, texts[0]]


def test_a_conversation_without_a_user_is_left_out(tmp_path: Path) -> None:
    """The published ShareGPT file has empty ones, and ones that the model begins and ends."""
    file = tmp_path / "sharegpt.json"
    rows = [[], [("gpt", "Hello")], [("human", "Hi"), ("gpt", "Hello")]]
    listed = [[{"from": who, "value": said} for who, said in row] for row in rows]
    file.write_text(json.dumps([{"id": "x", "conversations": row} for row in listed]))
    made = read_prompts(file, Counter(), lambda: 1)
    assert {made(n).text for n in range(3)} == {"Hi"}
    file.write_text(json.dumps([{"conversations": []}]))
    with pytest.raises(UsageError, match="no prompt in the file"):
        read_prompts(file, Counter(), lambda: 1)


def test_a_prefix_longer_than_the_prompts_is_refused() -> None:
    def lengths(text: str) -> BenchOptions:
        return BenchOptions(prompt_tokens=text, output_tokens="8", shared_prefix=64)

    with pytest.raises(UsageError, match="cannot begin with 64 that all share"):
        make_prompts(lengths("uniform:32:64"), None, None)
    made = make_prompts(lengths("uniform:32:80"), None, None)
    assert len(made(0).text.split()) > 64


def test_a_file_without_prompts(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("\n")
    with pytest.raises(UsageError, match="no prompt in the file"):
        read_prompts(tmp_path / "p", Counter(), lambda: 1)
    with pytest.raises(UsageError, match="cannot read"):
        read_prompts(tmp_path, Counter(), lambda: 1)


def test_a_trace(tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = tmp_path / "t.jsonl"
    rows = [(5000, 10, 3), (5250, 20, 4), (7000, 1, 1)]
    file.write_text(
        "\n".join(
            json.dumps({"timestamp": t, "input_length": i, "output_length": o}) for t, i, o in rows
        )
    )
    trace = read_trace(file, tokenizer, speed=2)
    assert trace.offsets == (0.0, 0.125, 1.0)
    assert [(p.tokens, p.max_tokens) for p in trace.prompts] == [(10, 3), (20, 4), (1, 1)]
    file.write_text('{"timestamp": 0, "prompt": "the river", "output_length": 2}')
    (given,) = read_trace(file, tokenizer).prompts
    assert given.tokens == len(tokenizer.encode("the river").ids) > 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"timestamp": 0, "input_length": 1, "output_length": 1}', "goes back"),
        ('{"timestamp": 9, "input_length": "x", "output_length": 1}', "input_length is 'x'"),
        ('{"timestamp": 9, "input_length": 1}', "output_length is None"),
        ('{"timestamp": true, "input_length": 1, "output_length": 1}', "timestamp is True"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 1}', "timestamp is nan"),
        ('{"timestamp": 1e400, "input_length": 1, "output_length": 1}', "timestamp is inf"),
        ('{"timestamp": 9, "input_length": 1e12, "output_length": 1}', "input_length is 1"),
        ('{"timestamp": 9, "input_length": 1, "output_length": NaN}', "output_length is nan"),
        ('{"timestamp": 9, "prompt": "\\ud83d", "output_length": 1}', "half a character"),
    ],
)
def test_a_bad_line_of_a_trace(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"timestamp": 5, "input_length": 1, "output_length": 1}\n' + line)
    with pytest.raises(UsageError) as caught:
        read_trace(file, None)
    assert said in caught.value.what
    assert caught.value.where == f"{file}:2"


def test_arrivals() -> None:
    constant = list(islice(offsets(Load("open", rate=50, arrivals="constant"), 1), 100))
    assert constant == pytest.approx([number / 50 for number in range(100)])
    poisson = list(islice(offsets(Load("open", rate=50), 1), 20_000))
    gaps = [later - sooner for sooner, later in pairwise(poisson)]
    assert statistics.mean(gaps) == pytest.approx(0.02, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(0.02, rel=0.03), "exponential: as wide as long"
    assert poisson[:9] == list(islice(offsets(Load("open", rate=50), 1), 9))
    assert poisson[:9] != list(islice(offsets(Load("open", rate=50), 2), 9))


def test_answers_to_prompts_of_a_file_have_the_lengths_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_text("\n".join(json.dumps({"prompt": f"{n}"}) for n in range(200)))
    options = BenchOptions(prompts=file, output_tokens="uniform:10:100", seed=3)
    lengths = [make_prompts(options, None, None)(n).max_tokens for n in range(200)]
    assert min(lengths) < 15 and max(lengths) > 95
    assert statistics.fmean(lengths) == pytest.approx(55, abs=6)
    again = make_prompts(options, None, None)
    assert [again(n).max_tokens for n in range(200)] == lengths, "a seed is a seed"


def test_a_file_that_begins_again_is_told(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_text("\n".join(json.dumps({"prompt": f"{n}"}) for n in range(9)))
    made = make_prompts(BenchOptions(prompts=file), None, None)

    def loads(*counts: int) -> Any:
        target = SimpleNamespace(name="a")
        found = []
        for count in counts:
            ledger = SimpleNamespace(measured=count, warmups=1)
            subject = SimpleNamespace(target=target)
            found.append(SimpleNamespace(subject=subject, ledger=ledger))
        return SimpleNamespace(loads=found)

    assert asked_again(made, loads(3, 4)) == []
    (told,) = asked_again(made, loads(4, 4))
    assert told.startswith("10 requests shared the 9 prompts of the file")
    assert asked_again(make_prompts(BenchOptions(), None, None), loads(99)) == []
