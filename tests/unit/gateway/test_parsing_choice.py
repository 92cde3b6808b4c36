"""Which family a model belongs to."""

from __future__ import annotations

import json

import pytest

from trtbuild_gateway.parsing import FamilyParser, UnknownFamilyError, choose, families, named
from trtbuild_gateway.parsing.choose import special_marks

# What a chat template of each family has, in the words that only it uses.
TEMPLATES = {
    "command": "{{ '<|START_ACTION|>' + calls + '<|END_ACTION|>' }}",
    "deepseek": "{{ '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' }}{{ '<think>' }}",
    "deepseek-dsml": "<｜DSML｜tool_calls> <think>",
    "function-gemma": "<start_function_declaration>",
    "gemma4": "<|turn>model\n{{ '<|tool_call>call:' }}",
    "glm": "<tool_call>{{ name }}\n<arg_key>{{ k }}</arg_key>\n<arg_value>{{ arguments }}",
    "granite": "<|start_of_role|>assistant<|end_of_role|><|tool_call|>",
    "harmony": "<|start|>assistant<|channel|>analysis<|message|>",
    "hermes": r'{{- "<tool_call>\n{\"name\": <name>, \"arguments\": <object>}" }}',
    "internlm": "<|action_start|><|plugin|>",
    "kimi-k2": "<|tool_calls_section_begin|><|tool_call_begin|>",
    "kimi-k3": '<|open|>message role="{{ role }}"<|sep|>',
    "lfm2": "List of tools: <|tool_list_start|>",
    "llama3": "<|start_header_id|>ipython<|end_header_id|>",
    "minimax-m1": "<tool_calls>{{ arguments }}</tool_calls>",
    "minimax-m2": '{%- set begin = "<minimax:tool_call>" -%}',
    "mistral": "[AVAILABLE_TOOLS] [TOOL_CALLS]",
    "nemotron": "<TOOLCALL>[{{ arguments }}]</TOOLCALL> <think>",
    "olmo3": "<function_calls>{{ arguments }}</function_calls>",
    "phi4": "<|tool|>{{ tools }}<|/tool|> <|tool_call|>",
    "pythonic": "<|header_start|>assistant<|header_end|>",
    "qwen3-xml": "<tool_call>\n<function={{ name }}>\n<parameter={{ arguments }}>",
    "seed-oss": "<seed:tool_call>\n<function={{ name }}>\n<parameter={{ k }}> <seed:think>",
    "think": "{{ '<|im_start|>assistant\\n<think>\\n' }}",
}


@pytest.mark.parametrize("name", families())
def test_a_family_is_known_by_its_chat_template(name: str) -> None:
    assert choose(TEMPLATES[name]) is families()[name]


def test_nothing_is_guessed() -> None:
    assert choose("{{ messages }}", architectures=["llama"]) is None
    assert choose("", architectures=["unknown"]) is None


def test_the_architecture_decides_without_a_template() -> None:
    found = choose("", architectures=["gpt_oss", "GptOssForCausalLM"])
    assert found is families()["harmony"]


def test_every_family_goes_by_its_own_names_only() -> None:
    names = [name for one in families().values() for name in (one.name, *one.aliases)]
    assert len(names) == len(set(names))
    assert named("Qwen3-Coder") is families()["qwen3-xml"]
    assert named("none") is None
    with pytest.raises(UnknownFamilyError, match="there is no parser 'mistrall'; there is mistral"):
        named("mistrall")


OWN = {
    "start_anchor": ["<bot>"],
    "fields": {
        "thinking": {"open": "<hm>", "close": "</hm>"},
        "tool_calls": {
            "open": "<use>",
            "close": "</use>",
            "content": "json",
            "repeats": True,
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {},
    },
}


def test_a_checkpoints_own_template_is_read() -> None:
    family = choose("{{ messages }}", response_template=OWN)
    assert family is not None
    parser = FamilyParser(family, prompt="<user>Hi<bot><hm>")
    parser.feed('Let me.</hm>See.<use>{"name": "f", "arguments": {"a": "</use>"}}</use>')
    message = parser.finish().message
    assert (message.reasoning, message.content) == ("Let me.", "See.")
    assert json.loads(message.tool_calls[0].arguments) == {"a": "</use>"}


def test_a_known_family_comes_before_the_checkpoints_own_template() -> None:
    assert choose(TEMPLATES["gemma4"], response_template=OWN) is families()["gemma4"]


@pytest.mark.parametrize(
    "change",
    [
        {"thinking": {"open_pattern": "(a+)+b", "close": "</hm>"}},
        {"tool_calls": {"open": "<use>", "close": "</use>", "content": "xml-inline"}},
        {"tool_calls": {"open": "<hm>x", "close": "</use>", "content": "json"}},
        {"thinking": 7},
    ],
)
def test_a_template_that_cannot_be_read_is_left_alone(change: dict[str, object]) -> None:
    fields = {**OWN["fields"], **change}  # type: ignore[dict-item]
    assert choose("{{ messages }}", response_template={**OWN, "fields": fields}) is None
    assert choose("{{ messages }}", response_template={"fields": []}) is None


def test_special_tokens_are_needed_if_a_marker_is_one() -> None:
    harmony, hermes = families()["harmony"], families()["hermes"]
    assert special_marks(harmony, ["<|message|>", "<|return|>"])
    assert not special_marks(hermes, ["<|im_end|>", "<|endoftext|>"])
    assert special_marks(hermes, ["<tool_call>"])
