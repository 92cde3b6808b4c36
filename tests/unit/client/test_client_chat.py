"""Chat templates: found where checkpoints keep them, rendered without trusting them."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from trtbuild.chat.llm_template import ChatError, CompiledTemplate
from trtbuild.client import ChatTemplate, find_template, own_template, render_chat
from trtbuild.errors import UsageError

HI = [{"role": "user", "content": "hi"}]
TOOLS, RAG, DEFAULT = (
    f"additional_chat_templates/{name}.jinja" for name in ("tool_use", "rag", "default")
)
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def render(text: str, **special: str) -> str:
    return render_chat(ChatTemplate(text, special), HI)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", TEMPLATE),
        ("chat_template.json", json.dumps({"chat_template": TEMPLATE})),
        ("tokenizer_config.json", json.dumps({"chat_template": TEMPLATE})),
        (
            "tokenizer_config.json",
            json.dumps(
                {
                    "chat_template": [
                        {"name": "tool_use", "template": "no"},
                        {"name": "default", "template": TEMPLATE},
                    ]
                }
            ),
        ),
        ("chat_template.json", json.dumps({"chat_template": {"default": TEMPLATE, "rag": "no"}})),
        (
            "tokenizer_config.json",
            json.dumps({"chat_template": ["odd", {"name": "chat", "template": TEMPLATE}]}),
        ),
    ],
)
def test_a_template_is_found_in_each_of_its_places(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert render_chat(find_template(tmp_path), HI) == "[user]hi"


# What AutoTokenizer of transformers 5.24 takes; where it finds no default, ours is the JSON file's.
@pytest.mark.parametrize(
    ("places", "default", "tools"),
    [
        (("chat_template.jinja", TOOLS), "chat_template.jinja", TOOLS),
        (("chat_template.jinja", RAG), "chat_template.jinja", "chat_template.jinja"),
        (("chat_template.jinja", DEFAULT, TOOLS), DEFAULT, TOOLS),
        (("chat_template.jinja", DEFAULT), DEFAULT, DEFAULT),
        ((TOOLS,), "listed", TOOLS),
        ((RAG,), "listed", "listed for tools"),
        ((), "listed", "listed for tools"),
    ],
)
def test_templates_in_files_of_their_own_come_first(
    tmp_path: Path, places: tuple[str, ...], default: str, tools: str
) -> None:
    names = {"default": "listed", "tool_use": "listed for tools"}
    listed = [{"name": name, "template": text} for name, text in names.items()]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": listed}))
    (tmp_path / "additional_chat_templates").mkdir()
    for place in places:
        (tmp_path / place).write_text(place)
    assert find_template(tmp_path).text == default
    assert find_template(tmp_path, tools=True).text == tools
    assert own_template("own", tmp_path).text == "own"


def test_no_template_is_said_with_a_way_on(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no chat template") as error:
        find_template(tmp_path)
    assert "--chat-template" in error.value.fix


def test_what_transformers_offers_to_templates_is_there() -> None:
    text = (
        "{% generation %}{{ messages[0].content }}{% endgeneration %}"
        "{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}"
        "{{ {'ä': '<'} | tojson }}{{ strftime_now('%Y') | length }}{{ eos_token }}"
        "{% if add_generation_prompt %}>{% endif %}"
        "{% if tools is none and documents is none %}{{ '-' * 3 }}{{ 2 ** 10 }}{% endif %}"
        "{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}"
    )
    assert render(text, eos_token="</s>") == 'hi1{"ä": "<"}4</s>>---1024{"a":2,"b":1}'


def test_a_tokenizer_that_adds_bos_gets_a_prompt_without(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    settings = {"bos_token": {"content": "<s>"}, "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert render_chat(find_template(tmp_path), HI) == "hi"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    assert render_chat(find_template(tmp_path), HI) == "<s>hi"
    post = {"post_processor": {"single": [{"SpecialToken": {"id": "<s>"}}]}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(post))
    assert render_chat(find_template(tmp_path), HI) == "hi"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ raise_exception('only users may speak') }}", "only users may speak"),
        ("{% if %}", "Expected an expression"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
        ("{{ 'a' * 3000000 }}{{ 'a' * 3000000 }}", "writes more than"),
        ("{{ ['a'] * 9000000 }}", "writes more than"),
        ("{{ 10 ** 1000000000 }}", "numbers of more than 4096 bits"),
        ("x" * 300_000, "300000 characters"),
    ],
)
def test_a_wrong_or_hostile_template_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match="chat template cannot be used") as error:
        render(text)
    assert reason in error.value.where


DOUBLED = "{% set n = namespace(v=START) %}{% for _ in range(60) %}{% set n.v = NEXT %}{% endfor %}"


def doubled(start: str, after: str, then: str = "") -> str:
    return DOUBLED.replace("START", start).replace("NEXT", after) + then


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        doubled("'x'", "n.v ~ n.v"),
        doubled("'x'", "n.v + n.v"),
        doubled("[1]", "n.v + n.v"),
        doubled("[1]", "[n.v, n.v]", "{{ n.v }}"),
        doubled("[1]", "[n.v, n.v]", "{{ n.v | tojson }}"),
        doubled("[1]", "[n.v, n.v]", "{{ n.v | string | length }}"),
        "{% set n = namespace(v='x') %}{% for _ in range(60) %}{% set more %}{{ n.v }}{{ n.v }}"
        "{% endset %}{% set n.v = more %}{% endfor %}",
        doubled("[]", "[n.v, ('a' * 4000000) ~ 1]").replace("60", "9999"),
        "{% set s = [1] * 200000 %}" + doubled("[]", "[n.v, s[0:]]").replace("60", "9999"),
        "{{ 'a'.center(10 ** 9) | length }}",
        "{{ 'a' | center(1000000000) | length }}",
        "{{ ['a'] | map('center', 10 ** 9) | list | length }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=1000000000) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
        "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
        "{{ ''.join(['a' * 1000000] * 100000) }}",
        "{{ (['a' * 1000000] * 100000) | join | length }}",
        "{{ (['a'] * 4000) | join('b' * 4000000) | length }}",
        "{{ ([[1] * 200000] * 1000) | sum(start=[]) | length }}",
        "{{ ('a\n' * 1000000) | indent(1000000) | length }}",
        "{{ ('a' * 100000) | wordwrap(1, wrapstring='b' * 1000000) | length }}",
        "{{ ('\t' * 1000000).expandtabs(1000000) | length }}",
        "{{ [1] | batch(1000000000, 'x') | list | length }}",
        "{{ [1, [2]] | tojson(indent=100000000) }}",
        "{{ 'x'.translate({120: 'y' * 1000000}) }}",
        "{{ (1).to_bytes(10000000000, 'big') }}",
        "{{ 'a'.encode() * 10000000000 }}",
        "{{ lipsum(n=1000000) }}",
    ],
)
def test_a_template_that_takes_all_memory_is_refused(text: str) -> None:
    with pytest.raises(ChatError) as error:
        CompiledTemplate(text).render({"messages": HI}, seconds=60)
    reasons = ("writes more than", "makes more than", "wider than", "no chat template needs")
    assert any(part in str(error.value) for part in (*reasons, "'lipsum' is undefined"))


def test_the_limits_leave_ordinary_templates_alone() -> None:
    text = (
        "{% macro show(function, context) %}{{ function }}{{ context }}{% endmacro %}"
        "{{ show(function='f', context='c') }}{{ 1700000000 + 1 }}{{ none ~ missing ~ [1, 'a'] }}"
        "{{ x | default(10000000) }}{{ 'a-b' | replace('-', '+') }}{{ 'abc'.find('c', 0) }}"
        "{{ '%s=%05.1f' % ('a', 2) }}{{ '{:>3}{}'.format(1, 2) }}{{ '%s' | format('z') }}"
        "{{ 'a,b'.split(',')[1:] | join('/') }}{{ [1, 2] | sum }}{{ 'ab'[::-1] }}"
        "{{ [{'a': 1}] | map(attribute='a') | join }}{{ {'a': [1]} | tojson(indent=1) }}"
    )
    assert render(text) == (
        "fc1700000001None[1, 'a']10000000a+b2a=002.0  12zb3ba1" + '{\n "a": [\n  1\n ]\n}'
    )


def test_a_long_content_that_is_not_written_costs_nothing() -> None:
    picture = {"type": "image", "image": "A" * 6_000_000}
    text = "{% for m in messages %}{{ m.content | map(attribute='type') | join }}{% endfor %}"
    assert render_chat(ChatTemplate(text, {}), [{"role": "user", "content": [picture]}]) == "image"


# Ten thousand million rounds: it ends within the test only if somebody ends it.
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def test_a_template_that_does_not_end_is_given_up_and_ended() -> None:
    with pytest.raises(UsageError) as error:
        render_chat(ChatTemplate(ENDLESS, {}), HI, seconds=0.2)
    assert "did not end within 0.2 s" in error.value.where


def test_all_renderings_share_one_watchdog_thread() -> None:
    def chat(number: int) -> str:
        if number % 5 == 0:
            with pytest.raises(UsageError, match="chat template cannot be used"):
                render_chat(ChatTemplate(ENDLESS, {}), HI, seconds=0.1)
        return render(TEMPLATE)

    def watchdogs() -> set[threading.Thread]:
        every = threading.enumerate()
        return {thread for thread in every if thread.name == "chat-template-watchdog"}

    assert render(TEMPLATE) == "[user]hi"
    before = watchdogs()  # a test of the shipped copy of the module has left one, too
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(chat, range(40))) == {"[user]hi"}
    assert watchdogs() == before


def test_no_timeout_arrives_after_a_rendering_has_ended() -> None:
    """The watchdog and the end of a rendering race here: each must raise inside or not at all."""
    counted = "{% for n in range(messages[0].content) %}{{ n }}{% endfor %}"
    template = CompiledTemplate(counted)
    start = time.monotonic()
    template.render({"messages": [{"content": 4000}]})
    rounds = min(99_999, int(4000 * 0.02 / (time.monotonic() - start)))
    for _ in range(40):
        with contextlib.suppress(ChatError):
            template.render({"messages": [{"content": rounds}]}, seconds=0.01)
        total = sum(range(100_000))  # where a late exception would be raised
        assert total == 4999950000


SPECIAL = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"


@pytest.mark.parametrize("adds", [False, True])
def test_a_template_of_ones_own_gets_the_special_tokens(tmp_path: Path, adds: bool) -> None:
    settings = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": adds}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "chat_template.jinja").write_text("the checkpoint's own")
    said = render_chat(own_template(SPECIAL, tmp_path), HI)
    assert said == ("hi</s>" if adds else "<s>hi</s>")


def test_a_template_of_ones_own_for_a_model_elsewhere(tmp_path: Path) -> None:
    assert own_template(SPECIAL, None) == ChatTemplate(SPECIAL, {})
    assert own_template(SPECIAL, tmp_path).special_tokens == {}


@pytest.mark.parametrize(("decoder", "bos"), [({}, "<of the map>"), ({"0": {}}, "<own>")])
def test_special_tokens_of_an_older_tokenizer_are_in_a_map(
    tmp_path: Path, decoder: dict[str, Any], bos: str
) -> None:
    """Since transformers 4.34 they stand in tokenizer_config.json, beside added_tokens_decoder."""
    settings = {"bos_token": "<own>"} | ({"added_tokens_decoder": decoder} if decoder else {})
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokens = {"bos_token": {"content": "<of the map>"}, "eos_token": "</s>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(tokens))
    assert own_template("{{ bos_token }}", tmp_path).special_tokens["bos_token"] == bos
