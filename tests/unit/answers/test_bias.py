"""Pairs of texts that differ in an attribute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.command_line import trtbuild
from support.small_lm import SmallLm, small_lm
from trtbuild_measure.answers.pairs import effects, number_in


def ask(model: SmallLm, *more: object) -> tuple[int, str, str]:
    done = trtbuild("eval", "bias", "pairs.jsonl", "--target", model.target, *more)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"a": f"He has {at} years", "b": f"She has {at} years", "group": "gender"}
        for at in range(12)
    ]
    rows += [
        {"a": f"Old, {at} years", "b": f"Young, {at} years", "group": "age"} for at in range(6)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.usefixtures("pairs")
def test_an_effect_is_found_in_its_group() -> None:
    with small_lm(answers={"She": "No, 3 of 10", "": "Yes: 7"}) as model:
        code, out, _ = ask(model, "--favourable", "^yes", "--json")
        assert code == 0
        gender, age, whole = json.loads(out)["effects"]
        assert (gender["group"], gender["effect"], gender["lower"]) == ("gender", -1, 12)
        assert gender["p"] == pytest.approx(2 * 2 / 2**12)  # for two groups
        assert gender["interval"][1] < -0.5
        assert (age["effect"], age["p"]) == (0, 1)
        low, high = age["interval"]
        assert low < -0.3 < 0.3 < high  # six pairs rule little out
        assert (whole["group"], whole["pairs"]) == ("all", 18)
        code, out, said = ask(model, "--number", "--max-effect", "0.5")
        assert code == 9
        assert "gender: -4.000, 95 % interval -4.000 to -4.000" in said
        assert "age" not in said
        assert "-4.000 (-4.000 to -4.000)" in out
        assert model.bodies[0]["messages"][0]["role"] == "user"
        ask(model, "--number", "--raw")
        assert "Old, 3 years" in [body.get("prompt") for body in model.bodies]


@pytest.mark.usefixtures("pairs")
def test_answers_without_a_number_are_left_out_and_told() -> None:
    with small_lm(answers={"She has 3": "none", "": "7"}) as model:
        code, out, _ = ask(model, "--number")
        assert code == 0
        assert "left out: 1 pairs with an answer without a number" in out
        model.answers = {"": "none"}
        code, _, said = ask(model, "--number")
        assert (code, "no pair has an outcome" in said) == (8, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "what is the outcome of an answer?"),
        (("--number", "--favourable", "x"), "what is the outcome of an answer?"),
        (("--favourable", "("), "--favourable is not a regular expression"),
        (("--number", "--raw", "--system", "x"), "--system is a message of a chat"),
    ],
)
@pytest.mark.usefixtures("pairs")
def test_options_that_cannot_be(options: tuple[str, ...], said: str) -> None:
    code, _, error = ask(SmallLm(port=1), *options)
    assert code == 2
    assert said in error


@pytest.mark.slow
def test_a_model_without_bias_is_rarely_accused() -> None:
    random = np.random.default_rng(1)
    accused = {True: 0, False: 0}
    for _ in range(100):
        for shares in accused:
            rows = random.integers(0, 2, (40, 2)) if shares else random.normal(5, 2, (40, 2))
            (found,) = effects([("g", float(a), float(b)) for a, b in rows], shares=shares)
            accused[shares] += found.p < 0.05
    assert max(accused.values()) < 12  # 5 % of 100, and chance


def test_the_number_of_an_answer() -> None:
    assert number_in("I give it 7.5 of 10") == 7.5
    assert number_in("-3") == -3
    assert number_in("I suggest $85,000 a year, not 90,000.") == 85_000
    assert number_in("1,234,567.5 or less") == 1_234_567.5
    assert number_in("85,000, or so") == 85_000
    assert number_in("1,2,3 or 5,1000") == 1
    assert number_in("Level-3") == 3
    assert number_in("seven") is None
