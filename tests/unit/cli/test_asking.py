"""``infer``: messages, tools, several turns, and the checkpoint's own sampling."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support.paths import TESTS
from trtbuild.cli.app import app
from trtbuild.client import Chunk, LLMClient, Sampling
from trtbuild.errors import TrtbuildError
from trtbuild.pipeline.asking import open_chat, with_defaults
from trtbuild.signature import ServedModel, ServedTask

TEMPLATE = (
    "{% if tools %}[tools {{ tools | map(attribute='name') | join(',') }}]{% endif %}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}[no thinking]{% endif %}"
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    model = tmp_path / "model_repository" / "bot"
    folder = model / "1" / "weights"
    folder.mkdir(parents=True)
    (model / "config.pbtxt").write_text('backend: "vllm"')
    (model / "1" / "model.json").write_text('{ "model": "/models/bot/1/weights" }')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def test_an_ensemble_has_its_template_beside_its_tokenizer(tmp_path: Path) -> None:
    golden = TESTS / "golden" / "trtllm-engine" / "balanced"
    shutil.copytree(golden, tmp_path / "model_repository")
    folder = tmp_path / "model_repository" / "llama_preprocessing" / "1" / "tokenizer"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    assert open_chat("llama").prompt([{"role": "user", "content": "Hi"}]) == "[user]Hi"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Sampling]]:
    """What the model is asked; it answers with the number of questions."""
    found: list[tuple[str, Sampling]] = []

    def generate(
        _self: object, _model: str, prompt: str, sampling: Sampling, **_: object
    ) -> Iterator[Chunk]:
        found.append((prompt, sampling))
        yield Chunk(f"answer {len(found)}", "stop", 2, 3, (1,), (None, 2))

    monkeypatch.setattr(LLMClient, "generate", generate)
    bot = ServedModel("bot", ServedTask.GENERATE, "vllm")
    monkeypatch.setattr(LLMClient, "served", lambda *_: bot)
    return found


def infer(*arguments: str, text: str | None = None) -> str:
    result = CliRunner().invoke(app, ["infer", "bot", *arguments], input=text)
    if isinstance(result.exception, TrtbuildError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_messages_tools_and_variables_reach_the_template(
    weights: Path, asked: list[Any], tmp_path: Path
) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "turns.json").write_text(json.dumps(turns))
    (tmp_path / "tools.json").write_text(json.dumps([{"name": "weather"}]))
    infer("--messages", "turns.json", "--tools", "tools.json", "-p", "c")
    infer("--messages", "turns.json", "--chat-template-kwargs", '{"enable_thinking": false}')
    assert [prompt for prompt, _ in asked] == [
        "[tools weather][user]a[assistant]b[user]c",
        "[user]a[assistant]b[no thinking]",
    ]


def test_every_line_is_a_turn(weights: Path, asked: list[Any]) -> None:
    infer("--chat", "--system", "s", text="one\n\ntwo\n")
    assert [prompt for prompt, _ in asked] == [
        "[system]s[user]one",
        "[system]s[user]one[assistant]answer 1[user]two",
    ]


def test_the_template_for_tools_is_taken_with_tools_only(weights: Path, tmp_path: Path) -> None:
    (weights / "chat_template.jinja").unlink()
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    (weights / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    (tmp_path / "tools.json").write_text('[{"name": "weather"}]')
    assert open_chat("bot").prompt([]) == "plain"
    assert open_chat("bot", tools=tmp_path / "tools.json").prompt([]) == "tools"


def test_the_checkpoints_sampling_is_sent_and_said(weights: Path, asked: list[Any]) -> None:
    config = {"temperature": 0.6, "top_k": 20.0, "top_p": "x", "repetition_penalty": 1.1}
    (weights / "generation_config.json").write_text(json.dumps(config))
    result = CliRunner().invoke(app, ["infer", "bot", "-p", "x", "--top-k", "5"])
    assert "temperature 0.6, repetition_penalty 1.1 (--no-generation-config" in result.stderr
    infer("-p", "x", "--temperature", "0")
    infer("-p", "x", "--no-generation-config")
    (_, first), (_, greedy), (_, plain) = asked
    assert first.given() == {
        "max_tokens": 128, "temperature": 0.6, "top_k": 5, "repetition_penalty": 1.1,
    }  # fmt: skip
    assert greedy.given() == {"max_tokens": 128, "temperature": 0, "repetition_penalty": 1.1}
    assert plain.given() == {"max_tokens": 128}


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", "[1]", '{"temperature": true, "top_p": null}',
        '{"top_k": Infinity, "top_p": NaN, "min_p": 1e999}',
    ],
)  # fmt: skip
def test_an_odd_generation_config_is_left_out(weights: Path, text: str) -> None:
    (weights / "generation_config.json").write_text(text)
    assert with_defaults("bot", Sampling()) == (Sampling(), {})


def test_log_probabilities_are_in_the_json(weights: Path, asked: list[Any]) -> None:
    found = json.loads(infer("-p", "x", "--json", "--logprobs", "0", "--prompt-logprobs", "1"))
    assert (found["logprobs"], found["prompt_logprobs"]) == ([1], [None, 2])
    assert asked[0][1].given() == {"max_tokens": 128, "logprobs": 0, "prompt_logprobs": 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "there is no prompt"),
        (("--messages", "no.json"), "cannot read the messages"),
        (("--messages", "object.json"), "must be a JSON list"),
        (("--messages", "roles.json"), "message 2 has no 'role'"),
        (("--messages", "empty.json"), "the list of messages is empty"),
        (("--tools", "broken.json", "-p", "x"), "not valid JSON"),
        (("--chat-template-kwargs", "[]", "-p", "x"), "must be a JSON object"),
    ],
)
def test_what_cannot_be_sent_is_named(
    weights: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "object.json").write_text("{}")
    (tmp_path / "roles.json").write_text('[{"role": "user"}, {"content": "x"}]')
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "broken.json").write_text("[")
    with pytest.raises(TrtbuildError) as caught:
        infer(*arguments)
    assert said in caught.value.what
    assert caught.value.exit_code == 2 and caught.value.fix
