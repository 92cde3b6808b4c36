"""Masking: what is found, streams at every split, and every way of a text through the gateway."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.access import add_key, bearer
from support.command_line import trtbuild
from support.fake_triton import FakeTriton, said, words
from support.gateways import Served, in_front, write_tokenizer
from support.paths import ROOT
from support.scripted_http import END, STREAM
from trtbuild.errors import RecipeError
from trtbuild.signature.requests import Segment, Transcription
from trtbuild_gateway.access import ring
from trtbuild_gateway.access.masking import (
    CheckedTexts,
    Rule,
    RuleSet,
    Stream,
    mask_whole,
    rules_for,
)
from trtbuild_gateway.access.own_patterns import check_pattern
from trtbuild_gateway.access.patterns import NAMES, Pattern, built_in, own
from trtbuild_gateway.access_settings import MaskingRule
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.parsing import FamilyParser, families
from trtbuild_gateway.routes import audio
from trtbuild_gateway.seams import PLAIN, Call
from trtbuild_gateway.telemetry import logs

TICKET = MaskingRule(name="ticket", pattern=r"TICK-[0-9]{2,6}\b")
RULES = rules_for([MaskingRule(find=NAMES), TICKET], "prompts")
BUILT_IN = rules_for([MaskingRule(find=NAMES)], "prompts")

FRAGMENTS = (
    "john@x.com", "john@x.co.uk", " ", ".", "john", "@", "4111 1111 1111 1111", "123", "-", "/",
    "4111111111111111", "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", " is mine", "0",
    "10.0.0.1", "fe80::1", "::1", "1:2", "+49 30 1234567", "(415) 555-0132", "030 1234567", "7",
    "123-45-6789", "TICK-12", "TICK-", "345", "_", "x", "\n", "é", "DE89", "3704", "0044", "0532",
    "0130", "00", "192.168.", "1.", "2.5", "415-555-0132 ", "AB", "cd12", "٣", "(", ")", "+", "'",
    "tel ", "call me at ", "4155550136", "01701234567",
    "version ", "ff", ":", "\U0010ffff", "\0", "＠", "\\", "\\n", "\\t", "\\u00e9", "u", "n",
)  # fmt: skip
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)


def masked(text: str, rules: tuple[Rule, ...] = RULES) -> str:
    return mask_whole(rules, text, Counter(), "prompt")


@pytest.mark.slow
@pytest.mark.parametrize("rules", [RULES, BUILT_IN], ids=["own", "built-in"])
@given(text=texts, sizes=st.lists(st.integers(1, 9), min_size=1))
@settings(max_examples=300)
def test_a_stream_is_masked_as_the_whole_text_wherever_it_is_cut(
    rules: tuple[Rule, ...], text: str, sizes: list[int]
) -> None:
    counts: Counter[str] = Counter()
    stream, made, at = Stream(rules, counts, "answer"), "", 0
    for turn in range(len(text)):
        size = sizes[turn % len(sizes)]
        made += stream.feed(text[at : at + size])
        at += size
    assert made + stream.end() == masked(text, rules)
    whole: Counter[str] = Counter()
    mask_whole(rules, text, whole, "answer")
    assert counts == whole


def searched(pattern: Pattern, text: str, at: int) -> tuple[int, int] | None:
    """The first match, without knowing where one can begin."""
    while (match := pattern.whole.search(text, at)) is not None:
        start, end = match.span()
        end = pattern.measure(text, start, end) if pattern.measure else end
        if end > start:
            return start, end
        at = start + 1
    return None


@given(text=texts, at=st.integers(0, 20))
@settings(max_examples=300)
def test_knowing_where_to_look_loses_nothing(text: str, at: int) -> None:
    at = min(at, len(text))
    for name in NAMES:
        assert built_in(name).find(text, at) == searched(built_in(name), text, at), name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail john@x.com, _j.d+a@b.example_.", "Mail [EMAIL], [EMAIL]_."),
        ("...bob@x.com o'neil@x.ie jörg@müller.de", "...[EMAIL] [EMAIL] [EMAIL]"),
        ("a @ b, @name, x@y, user@localhost", None),
        ("4111 1111 1111 1111 123", "[CARD] 123"),
        ("no. 12 5500-0000-0000-0004, 378282246310005.", "no. 12 [CARD], [CARD]."),
        ("4111 1111 1111 1112 and 1234567890123456", None),
        ("DE89 3704 0044 0532 0130 00 is mine", "[IBAN] is mine"),
        ("nl91abna0417164300, FR1420041010050500013M02606", "[IBAN], [IBAN]"),
        ("DE88370400440532013000 GB82WEST1234569876543", None),
        ("10.0.0.1:80 [2001:db8::1]:443 ::1 ::ffff:10.0.0.1", "[IP]:80 [[IP]]:443 [IP] [IP]"),
        ("v1.2.3.4, version 1.2.3.4, 1.2.3.4.5, 256.1.1.1, std::a1, 12:30:45", None),
        ("123-45-6789 and 123 45 6789", "[SSN] and [SSN]"),
        ("000-12-3456 666-12-3456 123-00-6789 1123-45-6789", None),
        ("+49 30 1234567 or (415) 555-0132", "[PHONE] or [PHONE]"),
        ("030 12345678, 01 23 45 67 89, 0151-23456789", "[PHONE], [PHONE], [PHONE]"),
        ("01.02.2026, 2026-11-30 12:34:56, 1,234,567.89, 0.5 12", None),
        ("07700900123 and 01701234567", "[PHONE] and [PHONE]"),
        ("Tel.4155550136, call me at 4155550136.", "Tel.[PHONE], call me at [PHONE]."),
        ("order 4155550136, at 1732000000, 012345678901234, 0170123456a, tel 41555501361", None),
    ],
)
def test_what_is_found(text: str, expected: str | None) -> None:
    assert masked(text) == (text if expected is None else expected)


@pytest.mark.parametrize(
    "value",
    [
        "DE89 3704 0044 0532 0130 00", "123-45-6789", "10.0.0.1", "fe80::1", "+49 30 1234567",
        "(415) 555-0132", "030 12345678", "alice@example.com", "4111 1111 1111 1111",
    ],
)  # fmt: skip
def test_a_line_break_of_json_does_not_hide_what_follows(value: str) -> None:
    for before in ("It is:\n", "\t", "a\r\n", "\\", "C:\\", "\\n", "\\\n", "\u2014", "\u00e4"):
        text = json.dumps({"t": before + value})
        label = json.loads(masked(text))["t"].removeprefix(before)
        assert (label[0], label[-1], label[1:-1].isupper()) == ("[", "]", True), text
        counts: Counter[str] = Counter()
        stream = Stream(RULES, counts, "answer")
        assert "".join(map(stream.feed, text)) + stream.end() == masked(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\u003cal@x.com\u003e"', r'"\u003c[EMAIL]\u003e"'),
        (r"CORP\alice@x.com", r"CORP\[EMAIL]"),
        (r"CORP\nora@x.com", r"CORP\n[EMAIL]"),
    ],
)
def test_an_address_after_a_backslash(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_a_word_of_an_own_pattern_begins_after_an_escape_of_json() -> None:
    settings_ = [MaskingRule(name="case", pattern=r"\b[Z\b]X-\d{1,4}\b")]
    rules = rules_for(settings_, "answers")
    for text, expected in (
        (r'"\nZX-1234"', r'"\n[CASE]"'),
        (r'"\u2014ZX-1 aZX-1 ZX-12345"', r'"\u2014[CASE] aZX-1 ZX-12345"'),
    ):
        assert mask_whole(rules, text, Counter(), "answer") == expected
        stream = Stream(rules, Counter(), "answer")
        assert "".join(map(stream.feed, text)) + stream.end() == expected


def test_only_what_may_become_a_match_is_held() -> None:
    stream = Stream(RULES, Counter(), "answer")
    given_at_once = [stream.feed(part) for part in ("Hello", " world", ", it", " is 5", ".\n", "x")]
    assert given_at_once == ["", "Hello ", "world, ", "it is ", "5.\n", ""]
    assert stream.end() == "x"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "empty"),
        ("a*", "no greatest number"),
        ("(?:ab)+", "no greatest number"),
        ("a{2,}", "no greatest number"),
        ("(a{1,9}){1,9}", "repeats a group that has a repeat"),
        ("(?:(?:a?)b){2}", "repeats a group that has a repeat"),
        ("a{0,99}a{0,99}a{0,99}b", "too many ways"),
        ("(?:" + "a" * 30 + "){100}", "the most is 1000"),
        ("a{1,999}", "above 256"),
        ("^a", "not possible"),
        ("a$", "not possible"),
        (r"(a)\1", "not possible"),
        ("(?=a)b", "not possible"),
        ("(?<x>a)", "not possible"),
        ("(?R)", "not possible"),
        (r"a\B", "not possible"),
        ("a{", "not possible"),
        ("[a", "not possible"),
        ("a)", "unbalanced"),
        ("(a", "missing )"),
        ("a?", "matches the empty text"),
    ],
)
def test_a_pattern_without_bounds_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(RecipeError, match="'own' has an unusable pattern") as caught:
        own("own", pattern)
    assert says in caught.value.what


@pytest.mark.parametrize(
    ("pattern", "width"),
    [
        (r"TICKET-[0-9]{4,8}\b", 16),
        (r"(?i)project (?:alpha|beta)", 17),
        (r"\bAB[\w-]{3}(?:-\d{2}){0,3}", 15),
        (r"[]a\]]\{x\}", 4),
        (r"\p{Lu}{2}\s?\d", 4),
        ("é{3}", 3),
    ],
)
def test_a_pattern_with_bounds_has_a_width(pattern: str, width: int) -> None:
    found, problem = check_pattern(pattern)
    assert problem == ""
    assert found >= width
    own("own", pattern)


def test_the_last_of_several_rules_for_one_kind_counts() -> None:
    first = MaskingRule(find=("email", "card"))
    then = MaskingRule(find=("card",), do="refuse", where=("prompts",))
    found = {rule.pattern.name: rule.action for rule in rules_for([first, then], "prompts")}
    assert found == {"email": "mask", "card": "refuse"}
    assert [rule.action for rule in rules_for([first, then], "answers")] == ["mask", "mask"]


def rule_set(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"masking": {"default": list(rules)}}


EMAIL = {"find": ["email"]}
CUT = ("Write to jo", "hn.doe", "@exam", "ple.", "org", " soon", ".")
MASKED = "Write to [EMAIL] soon."
USER = {"role": "user", "content": "I am a@example.org"}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [USER]},
    "/v1/completions": {"prompt": USER["content"], "max_tokens": 20},
    "/v1/messages": {"messages": [USER], "max_tokens": 20},
    "/v1/responses": {"input": USER["content"]},
}


def test_prompts_and_answers_of_every_generating_route() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        for path, body in ASKED.items():
            whole = await served.post(path, model="m", **body)
            assert whole.status_code == 200, whole.text
            assert MASKED in whole.text, path
            stream = await served.post(path, model="m", stream=True, **body)
            assert "john" not in stream.text and "example" not in stream.text, path
            assert spoken(stream.text) == MASKED, path
        two = await served.post(
            "/v1/chat/completions", model="m", n=2, stream=True, messages=[USER]
        )
        assert two.text.count("[EMAIL]") == 2
        assert len(triton.bodies) == 10
        assert all("I am [EMAIL]" in body["text_input"] for body in triton.bodies)

    in_front(test, script=words(*CUT), access=rule_set(EMAIL))


def spoken(events: str) -> str:
    """The text of a stream of any route."""
    made = ""
    for line in events.splitlines():
        event = json.loads(line[6:]) if line.startswith("data: {") else {}
        for choice in event.get("choices", ()):
            made += choice.get("text") or choice.get("delta", {}).get("content") or ""
        delta = event.get("delta", "")
        if event.get("type") == "response.output_text.delta":
            made += delta
        elif isinstance(delta, dict):
            made += delta.get("text", "")
    return made


def test_what_a_model_sees_of_a_chat() -> None:
    messages = [
        {"role": "system", "content": "Ask s@example.org"},
        {"role": "user", "content": [{"type": "text", "text": "u@example.org"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"to": "t@example.org"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "r@example.org"},
        {"role": "user", "content": "go"},
    ]
    parameters = {"type": "object", "properties": {"to": {"type": "string", "enum": ["e@x.org"]}}}
    tool = {"name": "f", "description": "Mails d@example.org", "parameters": parameters}

    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await served.post(
            "/v1/chat/completions",
            model="m",
            messages=messages,
            tools=[{"type": "function", "function": tool}],
            tool_choice="required",
        )
        assert answer.status_code == 200, answer.text
        (body,) = triton.bodies
        assert "example.org" not in body["text_input"]
        assert body["text_input"].count("[EMAIL]") == 5
        assert "e@x.org" in body["text_input"]  # schemas say what a call may be, and stay

    template = "{{ messages | tojson }}{{ tools | tojson }}"
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = write_tokenizer(Path(folder), template)
        call = '[{"name": "f", "parameters": {"to": "e@x.org"}}]'
        models = {"m": {"tokenizer": str(tokenizer), "context_length": 4096}}
        in_front(test, script=words(call), models=models, access=rule_set(EMAIL))


def test_a_transcription_and_its_segments() -> None:
    parts = (Segment(0.0, 1.0, " Mail a@example.org"), Segment(1.0, 2.0, " or not"))
    found = Transcription(" Mail a@example.org or not", segments=parts)
    checked = audio.checked(found, CheckedTexts(RuleSet(answers=BUILT_IN)))
    assert checked.text == " Mail [EMAIL] or not"
    assert "".join(part.text for part in checked.segments) == checked.text
    assert [part.start for part in checked.segments] == [0.0, 1.0]
    assert audio.checked(found, PLAIN) == found


def test_what_two_segments_of_a_transcription_share() -> None:
    parts = (Segment(0.0, 1.0, " my card is 4111 1111"), Segment(1.0, 2.0, " 1111 1111 ok"))
    found = Transcription("".join(part.text for part in parts), segments=parts)
    checked = audio.checked(found, CheckedTexts(RuleSet(answers=BUILT_IN)))
    assert checked.text == " my card is [CARD] ok"
    assert "".join(part.text for part in checked.segments) == checked.text


def test_a_request_that_is_nested_too_deeply_is_told() -> None:
    deep = "[" * 900 + "]" * 900
    message = f'{{"role": "user", "content": "hi", "more": {deep}}}'

    async def test(triton: FakeTriton, served: Served) -> None:
        content = f'{{"model": "m", "messages": [{message}]}}'
        answer = await served.client.post("/v1/chat/completions", content=content)
        assert answer.status_code == 400 and "nested too deeply" in answer.text
        assert not triton.bodies

    in_front(test, access=rule_set(EMAIL))


def test_what_is_refused() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        prompt = await served.post("/v1/completions", model="m", prompt="card 4111111111111111")
        error = prompt.json()["error"]
        assert (prompt.status_code, error["code"]) == (400, "content_refused")
        assert "has a card number" in error["message"]
        assert "4111" not in prompt.text
        assert not triton.bodies
        whole = await served.post("/v1/completions", model="m", prompt="hi")
        assert (whole.status_code, whole.json()["error"]["code"]) == (403, "content_refused")
        assert "4111" not in whole.text
        stream = await served.post("/v1/completions", model="m", prompt="hi", stream=True)
        assert stream.status_code == 200
        assert "4111" not in stream.text
        assert '"code":"content_refused"' in stream.text
        page = (await served.client.get("/metrics")).text
        assert 'error="content_refused"' in page
        assert 'trtbuild_gateway_masking_found_total{kind="card"} 3.0' in page
        for more in ({"logprobs": 1}, {"logprobs": 0, "echo": True}):
            shown = await served.post("/v1/completions", model="m", prompt="hi", **more)
            assert (shown.status_code, shown.json()["error"]["param"]) == (400, "logprobs")

    rule = {"find": ["card"], "do": "refuse"}
    script = [STREAM, said("It is 4111 11"), 0.3, said("11 1111 1111"), said(" .", "stop"), END]
    in_front(test, script=script, access=rule_set(rule))


def test_each_key_has_its_rules_and_the_audit_log_their_counts(tmp_path: Path) -> None:
    file, path = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    usual, plain = add_key(file), add_key(file, "plain", masking="none")
    counted = add_key(file, "counted", masking="counted")

    async def test(triton: FakeTriton, served: Served) -> None:
        for key, expected in ((usual, 1), (plain, 0), (counted, 0)):
            answer = await served.client.post(
                "/v1/chat/completions",
                json={"model": "m", "messages": [USER]},
                headers=bearer(key),
            )
            assert answer.text.count("[EMAIL]") == expected
            assert triton.bodies[-1]["text_input"].count("[EMAIL]") == expected
        lost = add_key(file, "lost", masking="forgotten")
        answer = await served.client.get("/v1/models", headers=bearer(lost))
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "unknown_masking")

    access = {
        "keys": str(file),
        "audit": {"path": str(path), "prompts": True},
        "masking": {"default": [EMAIL], "counted": [{**EMAIL, "do": "log"}]},
    }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring, "_LOOK_SECONDS", 0)
        in_front(test, script=words(*CUT), access=access)
    first, second, third = [json.loads(line) for line in path.read_text().splitlines()][:3]
    assert (first["found"], first["prompts"]) == ({"email": 2}, ["I am [EMAIL]"])
    assert ("found" in second, second["prompts"]) == (False, ["I am a@example.org"])
    assert (third["found"], third["prompts"]) == ({"email": 2}, ["I am [EMAIL]"])
    assert trtbuild("audit", "verify", path).returncode == 0


def test_a_gateway_without_a_keys_rules_does_not_start(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", masking="strict")
    text = json.dumps({"port": 0, "access": {"keys": "keys.json", **rule_set(EMAIL)}})
    (tmp_path / "gateway.yaml").write_text(text)
    done = trtbuild("gateway", "-f", "gateway.yaml")
    assert (done.returncode, "'strict', which do not exist" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({}, "needs `find`, or `name` and `pattern`"),
        ({"pattern": "a"}, "needs `find`, or `name` and `pattern`"),
        ({"find": ["name"]}, "name"),
        ({"name": "X Y", "pattern": "a"}, "name"),
        ({"name": "x", "pattern": "a+"}, "no greatest number"),
        ({"name": "email", "pattern": "a"}, "its name is that of a kind"),
    ],
)
def test_a_rule_that_cannot_be(rule: dict[str, Any], says: str, tmp_path: Path) -> None:
    text = json.dumps({"port": 0, "access": rule_set(rule)})
    (tmp_path / "gateway.yaml").write_text(text)
    done = trtbuild("gateway", "-f", "gateway.yaml")
    assert (done.returncode, says in done.stderr) == (3, True), done.stderr


def test_the_gateways_log_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        log = logging.getLogger("trtbuild.gateway")
        log.warning("request %s failed", "of a@example.org")
        log.warning("x", extra={"fields": {"key_id": "d@example.org", "status": 200}})
        for id in ("078-05-1120", "0" * 32):  # not of the gateway's own form, and of it
            with logs.about(Call(id, "/x")):
                log.warning("y")
        try:
            raise ValueError("b@example.org")
        except ValueError:
            log.exception("failed")
        with pytest.MonkeyPatch.context() as patch:
            broken = FamilyParser(families()["hermes"])
            patch.setattr(broken, "_step", lambda text: {}[text])
            broken.feed("c@example.org")  # quoted by the error
            assert broken.failed

    in_front(test, access=rule_set({"find": ["email", "ssn"]}))
    lines = [json.loads(logs.JsonFormatter().format(one)) for one in caplog.records]
    assert [one["request_id"] for one in lines if "request_id" in one] == ["[SSN]", "0" * 32]
    assert "request of [EMAIL] failed" in caplog.text
    assert "ValueError: [EMAIL]" in caplog.text
    assert "KeyError: '[EMAIL]'" in caplog.text
    assert "example.org" not in caplog.text
    (fields,) = (f for record in caplog.records if (f := getattr(record, "fields", None)))
    assert fields == {"key_id": "[EMAIL]", "status": 200}
    logging.getLogger("trtbuild.gateway").warning("a@example.org")
    assert "a@example.org" in caplog.text  # the gateway is gone, and so is its filter


def test_a_text_that_takes_too_long_is_refused() -> None:
    class Late:
        def search(self, *_: Any, **__: Any) -> Any:
            raise TimeoutError

    late = Pattern("slow", "x", Late(), Late())  # type: ignore[arg-type]
    for subject in ("prompt", "answer"):
        with pytest.raises(ApiError, match=f"the {subject} cannot be searched in time") as caught:
            mask_whole([Rule(late, "mask")], "x", Counter(), subject)
        assert caught.value.status == 403


def test_precision_and_recall_of_the_set() -> None:
    path = ROOT / "scripts" / "measure_masking.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = script  # its dataclass looks for it
    spec.loader.exec_module(script)
    scores = script.measure()
    assert scores["all"].right + scores["all"].missed > 120
    assert scores["all"].precision > 0.96, scores["all"].notes
    assert scores["all"].recall > 0.9, scores["all"].notes
