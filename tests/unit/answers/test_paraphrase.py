"""Forms of a question, and whether the answers to them agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from support.small_lm import SmallLm, small_lm
from trtbuild_measure.answers.agreement import Said, agreements, chosen, part_of
from trtbuild_measure.answers.rewriting import Question, forms

ASKED = {"role": "user", "content": "Which city is the capital of France?"}
CAPITAL: dict[str, Any] = {"id": "capital", "messages": [ASKED], "max_tokens": 4}
CHOICE: dict[str, Any] = {
    "id": "choice", "prompt": "Which is a city, please?\n{options}\nAnswer:",
    "options": ["Paris", "Rhine", "Alps"],
}  # fmt: skip


def test_each_rule_changes_one_thing_and_the_same_each_time() -> None:
    question = Question(**CAPITAL)
    made = {form.rule: form for form in forms(question, ["What is France's capital?"])}
    assert list(made) == ["unchanged", "case", "punctuation", "typos", "own"]
    text = ASKED["content"]
    assert made["case"].text == text.lower()
    assert made["punctuation"].text == text[:-1]
    assert sorted(made["typos"].text) == sorted(text)
    assert sum(a != b for a, b in zip(made["typos"].text, text, strict=True)) == 2
    assert {form.rule: form for form in forms(question, ["What is France's capital?"])} == made
    prompt = question.asked(made["case"].text, ())
    assert prompt.messages == ({**ASKED, "content": text.lower()},)
    assert list(forms(Question(id="\ud800", prompt="a\udfff")))  # sending it is refused


def test_options_are_listed_in_another_order_and_not_rewritten() -> None:
    question = Question(**CHOICE)
    made = {form.rule: form for form in forms(question)}
    assert sorted(made["options"].options) == sorted(CHOICE["options"])
    assert made["options"].options != question.options
    assert made["case"].options == question.options
    prompt = question.asked(made["case"].text, made["case"].options).prompt
    assert prompt == "which is a city, please?\nA. Paris\nB. Rhine\nC. Alps\nanswer:"


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        ("B", "Rhine"), (" (B) Rhine", "Rhine"), ("B. Rhine", "Rhine"), ("the rhine", "Rhine"),
        ("The answer is C", "Alps"), ("A city in France: Paris", "Paris"), ("Paris or Rhine", None),
        ("I do not know", None), ("", None), ("A and B", None),
    ],
)  # fmt: skip
def test_the_option_that_an_answer_names(answer: str, option: str | None) -> None:
    assert chosen(answer, CHOICE["options"]) == option


@pytest.mark.parametrize(
    ("answer", "options", "option"),
    [
        ("I don't know.", ("yes", "no"), None), ("Yes, now.", ("yes", "no"), "yes"),
        ("She is female.", ("male", "female"), "female"),
        ("In new york.", ("York", "New York"), "New York"),
        ("答案是巴黎。", ("巴黎", "柏林"), "巴黎"), ("It is C++, not C.", ("C++", "Rust"), "C++"),
    ],
)  # fmt: skip
def test_an_option_is_named_by_whole_words(
    answer: str, options: tuple[str, ...], option: str | None
) -> None:
    assert chosen(answer, options) == option


def test_the_part_of_an_answer_that_counts() -> None:
    assert part_of(" Paris.\n", None) == part_of("paris", None)
    number = re.compile(r"= (\d+)")
    assert part_of("1 + 1 = 2, I think", number) == "2"
    assert part_of("two", number) is None


def test_agreement_by_rule_and_of_whole_questions() -> None:
    said = [
        Said(name, rule, "", "", answer)
        for name, rule, answer in (
            ("a", "unchanged", "x"), ("a", "unchanged", "x"), ("a", "case", "y"),
            ("b", "unchanged", "x"), ("b", "unchanged", "x"), ("b", "case", "x"),
            ("c", "unchanged", None), ("c", "unchanged", None), ("c", "case", None),
        )
    ]  # fmt: skip
    found = {one.rule: (one.agreed, one.of) for one in agreements(said)}
    # An answer without a part that counts agrees with nothing, not even with another such.
    assert found == {"unchanged": (2, 3), "case": (1, 3), "all": (1, 3)}


def ask(model: SmallLm, *more: object) -> tuple[int, str, str]:
    arguments = ("questions.jsonl", "--target", model.target, *more)
    done = trtbuild("eval", "paraphrase", *arguments)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_answers_of_a_model(tmp_path: Path) -> None:
    lines = [CAPITAL, CHOICE]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    own = {"id": "capital", "text": "France's capital?"}
    (tmp_path / "own.jsonl").write_text(json.dumps(own))
    # The first that fits: another order of the options, lower case, and everything else.
    answers = {"A. Paris": "A", "B. Paris": "B", "C. Paris": "C", "which city": "Lyon", "": "Paris"}
    with small_lm(answers=answers) as model:
        code, out, _ = ask(model, "--variants", "own.jsonl", "--json")
        assert code == 0
        found = {one["rule"]: one for one in json.loads(out)["agreements"]}
        assert found["options"]["share"] == found["own"]["share"] == 1
        assert (found["case"]["agreed"], found["case"]["of"]) == (1, 2)
        assert found["all"]["agreed"] == 1
        assert "logprobs" not in model.bodies[0]
        code, out, said = ask(model, "--min-agreement", "0.9")
        assert code == 9
        assert "case: 1 of 2, 0.500" in said
        assert "Lyon" in out
        (tmp_path / "own.jsonl").write_text('{"id": "other", "text": "x"}')
        code, _, said = ask(model, "--variants", "own.jsonl")
        assert (code, "no question has the id 'other'" in said) == (2, True)
        code, _, said = ask(model, "--answer", "(")
        assert (code, "--answer is not a regular expression" in said) == (2, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"prompt": "Which?", "options": ["a", "b"]}, "belong together"),
        ({"prompt": "Which? {options}", "options": ["a", "A"]}, "at least two, all different"),
        ({"messages": [{"role": "system", "content": "a"}]}, "no message of the user"),
    ],
)
def test_a_question_that_is_none(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    (tmp_path / "questions.jsonl").write_text(json.dumps(line))
    code, _, error = ask(SmallLm())
    assert code == 2
    assert said in error
