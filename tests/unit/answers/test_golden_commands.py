"""``trtbuild eval golden`` with a small model behind OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from support.command_line import trtbuild
from support.small_lm import SmallLm, small_lm
from trtbuild_measure.answers import recording
from trtbuild_measure.answers.model import Answer, Step
from trtbuild_measure.answers.prompts import Prompt
from trtbuild_measure.answers.recording import Recorded, Recording

PROMPTS: list[dict[str, Any]] = [
    {"id": "capital", "prompt": "The capital of France is"},
    {"id": "greeting", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12},
    *({"prompt": f"Number {at} is"} for at in range(6)),
]


@pytest.fixture
def model() -> Iterator[SmallLm]:
    with small_lm() as found:
        yield found


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(one) + "\n\n" for one in PROMPTS))
    return path


def record(model: SmallLm, *more: object) -> dict[str, Any]:
    arguments = ("prompts.jsonl", "--target", model.target, "-o", "golden.jsonl", "--json")
    done = trtbuild("eval", "golden", "record", *arguments, "--max-tokens", 16, *more)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(model: SmallLm, *more: object) -> tuple[int, dict[str, Any], str]:
    arguments = ("golden.jsonl", "--target", model.target, "--json", *more)
    done = trtbuild("eval", "golden", "check", *arguments)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.mark.usefixtures("prompts")
def test_the_same_model_passes_with_the_noise_of_its_batches(model: SmallLm) -> None:
    model.jitter = 0.02
    made = record(model)
    assert (made["answers"], made["tokens"]) == (8, 7 * 16 + 12)
    assert 0.02 < made["noise"] < 0.2
    code, found, _ = check(model)
    assert code == 0
    assert found["counts"]["regression"] == found["counts"]["prompt"] == 0
    assert 0 < found["shift"] < found["wide"] == pytest.approx(3 * made["noise"])


@pytest.mark.usefixtures("prompts")
@pytest.mark.parametrize(
    ("change", "outcome"),
    [({"seed": 1}, "regression"), ({"grid": 2.0}, "regression"), ({"template": "x"}, "prompt")],
    ids=["another model", "another precision", "another chat template"],
)
def test_a_change_is_found(
    model: SmallLm, tmp_path: Path, change: dict[str, Any], outcome: str
) -> None:
    record(model)
    for name, value in change.items():
        setattr(model, name, value)
    code, found, said = check(model, "--junit", "golden.xml")
    assert code == 8
    failed = [one for one in found["verdicts"] if one["outcome"] == outcome]
    assert failed
    assert f"{len(failed)} of 8 answers are not those that were recorded" in said
    root = ET.fromstring((tmp_path / "golden.xml").read_text())
    assert root.get("failures") == str(len(failed))
    assert len(root.findall(".//testcase")) == 8
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("type") == outcome


@pytest.mark.usefixtures("prompts")
def test_a_table_names_the_first_token_that_differs_and_its_margin(model: SmallLm) -> None:
    record(model)
    model.seed = 1
    done = trtbuild("eval", "golden", "check", "golden.jsonl", "--target", model.target)
    assert done.returncode == 8
    row = next(line for line in done.stdout.splitlines() if "greeting" in line)
    assert "regression" in row
    assert "' w" in row
    assert "8 answers: 0 the same, 0 with noise, 8 regressions" in done.stdout


@pytest.mark.usefixtures("prompts")
def test_a_server_without_extensions_is_recorded_by_texts(model: SmallLm, tmp_path: Path) -> None:
    model.extended = False
    record(model)
    first = json.loads((tmp_path / "golden.jsonl").read_text().splitlines()[1])
    assert first["prompt_tokens"] is None
    assert first["prompt_count"] == len("The capital of France is")
    assert first["steps"][0]["token"].startswith(" w")
    model.template = "longer than before:"
    code, found, _ = check(model)
    assert (code, found["counts"]["prompt"]) == (8, 1)
    model.extended = True
    code, _, said = check(model)
    assert code == 2
    assert "the recording has the texts of tokens, and this target sends their ids" in said


@pytest.mark.usefixtures("prompts")
def test_a_margin_of_ones_own_decides(model: SmallLm) -> None:
    record(model)
    model.grid = 2.0
    code, found, _ = check(model, "--margin", "100")
    assert code == 0
    assert found["counts"]["noise"] > 0


def test_what_is_asked(model: SmallLm, prompts: Path) -> None:
    record(model, "--max-tokens", 3)
    asked = [body for body in model.bodies if "temperature" in body]
    assert len(asked) == 16  # alone, and all together
    assert asked[0] == {
        "model": "m", "temperature": 0, "max_tokens": 3, "prompt": PROMPTS[0]["prompt"],
        "logprobs": 5, "return_tokens_as_token_ids": True, "repetition_penalty": 1.0,
    }  # fmt: skip
    assert asked[1]["max_tokens"] == 12
    assert (asked[1]["logprobs"], asked[1]["top_logprobs"]) == (True, 5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"prompt": "a"', "line 1 is not a prompt"),
        ('{"prompt": "a", "colour": 1}', "line 1 is not a prompt: colour"),
        ('{"id": "x"}', "give either 'prompt' or 'messages'"),
        ('{"messages": [{"content": "a"}]}', "a message has no 'role'"),
        ('{"id": "x", "prompt": "a"}\n{"id": "x", "prompt": "b"}', "two prompts have the id 'x'"),
        ("\n", "has no prompt"),
    ],
)
def test_a_wrong_prompt_is_told_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "prompts.jsonl").write_text(content)
    done = trtbuild(
        "eval", "golden", "record", "prompts.jsonl", "--target", "openai:http://h:1/v1#m",
        "-o", "golden.jsonl",
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "golden.jsonl").exists()


@pytest.mark.usefixtures("prompts")
def test_targets_that_cannot_be_recorded(
    model: SmallLm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(target: str, code: int, said: str, *more: object) -> None:
        done = trtbuild(
            "eval", "golden", "record", "prompts.jsonl", "--target", target, "-o", "golden.jsonl",
            *more,
        )  # fmt: skip
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert not (tmp_path / "golden.jsonl").exists()

    base = model.target.partition("#")[0]
    fails(f"{base}#other", 7, "has no model 'other'")
    fails(base.removeprefix("openai:"), 2, "which model of this endpoint is asked?")
    fails("nowhere", 2, "no running server has the model 'nowhere'")
    fails("baseline:fastapi", 2, "a baseline is not a target")
    fails("openai:http://127.0.0.1:1/v1#m", 7, "does not answer")
    fails(model.target, 2, "the variable NONE is not set", "--api-key-env", "NONE")
    model.key = "secret"
    fails(model.target, 7, "refuses the request: a key is needed")
    monkeypatch.setenv("KEY", "secret")
    model.logprobs = False
    fails(model.target, 7, "'m' sent no log probabilities", "--api-key-env", "KEY")
    model.logprobs, model.alternatives = True, False
    fails(model.target, 7, "nothing tells how sure it was", "--api-key-env", "KEY")
    model.alternatives, model.jitter = True, 5.0
    fails(model.target, 8, "too differently to be recorded", "--api-key-env", "KEY")


HEAD = '{"format": "trtbuild-golden/1", "target": "t", "noise": 0}'
ROW = '{"prompt": "a", "text": "", "prompt_tokens": null, "prompt_count": 1, "steps": %s}'
STEP = '[{"token": [1], "text": "", "logprob": 0, "others": []}]'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "does not begin with the format"),
        ('{"format": "trtbuild-golden/1", "target": "t", "noise": 0}\n', "it has no answers"),
        ('{"format": "trtbuild-golden/1", "target": "t", "noise": 0}\n{"id": "x"}\n', "KeyError"),
        (f"{HEAD}\n{ROW % '[]'}", "an answer has no tokens"),
        (f"{HEAD}\n{ROW % STEP}", "[1] is not a token"),
        (f"{HEAD}\n{ROW % STEP}".replace("[1]", "1").replace("null", "[Infinity]"), "infinity"),
        (f"{HEAD}\n{ROW % STEP}".replace("[1]", "1").replace(": 0}", ": NaN}"), "noise is nan"),
    ],
)
def test_a_file_that_is_no_recording(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "golden.jsonl").write_text(content)
    done = trtbuild("eval", "golden", "check", "golden.jsonl", "--target", "openai:http://h:1/v1#m")
    assert done.returncode == 2
    assert said in done.stderr


def test_half_a_pair_of_surrogates_survives(tmp_path: Path) -> None:
    answer = Answer("\ud800", (Step(1, "\ud800", 0.0, ()),), None, 1)
    made = Recording("t", 0.0, (Recorded(Prompt(id="1", prompt="\ud800", max_tokens=1), answer),))
    recording.write(tmp_path / "golden.jsonl", made)
    assert recording.read(tmp_path / "golden.jsonl") == made
