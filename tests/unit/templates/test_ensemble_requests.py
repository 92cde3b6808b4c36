"""What preprocessing makes of a request: ids, words, chats, limits, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken

from support import ensemble
from support.checkpoints import write_tokenizer
from support.tokenizers_made import byte_level, sentencepiece, unigram

requests = ensemble.module("llm_request")
LlmTokenizer = ensemble.module("llm_tokenizer").LlmTokenizer


def folder(path: Path, made: Any = None, **files: Any) -> Path:
    """A tokenizer's directory; ``files`` are JSON documents by name."""
    path.mkdir(exist_ok=True)
    if made is None:
        write_tokenizer(path)
    else:
        (path / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
    for name, document in files.items():
        (path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    return LlmTokenizer(folder(tmp_path / "t", generation_config={"eos_token_id": [2, 1]}))


def reader(tokenizer: Any, **limits: Any) -> Any:
    given = {"max_input_len": None, "max_seq_len": None, "max_beam_width": None, **limits}
    return requests.Reader(tokenizer, add_special=True, **given)


def inputs(**given: Any) -> dict[str, np.ndarray]:
    found = {}
    for name, value in given.items():
        items = value if isinstance(value, list) else [value]
        text = isinstance(items[0], str | bytes)
        items = [item.encode() if isinstance(item, str) else item for item in items]
        found[name] = np.array([items], dtype=np.object_ if text else None)
    return found


def read(reader: Any, **given: Any) -> Any:
    found = reader.read(inputs(**given))
    for error in reader.encode([found]).values():
        raise error
    return found


def test_a_prompt_becomes_the_engines_tensors(tokenizer: Any) -> None:
    found = read(reader(tokenizer), text_input="The capital of France is", max_tokens=12)
    tensors = found.engine_inputs(tokenizer)
    ids = tokenizer.raw.encode("The capital of France is").ids
    assert tensors["input_ids"].tolist() == [ids]
    assert tensors["input_lengths"].tolist() == [[len(ids)]]
    assert tensors["request_output_len"].tolist() == [[12]]
    assert tensors["end_id"].tolist() == [[2]]
    assert "pad_id" not in tensors
    # The checkpoint's second end id is a stop word to the engine, and an end id to us.
    assert tensors["stop_words_list"].tolist() == [[[1], [1]]]
    assert json.loads(found.options(5)) == {
        "key": 5,
        "stream": False,
        "answers": 1,
        "end": [2, 1],
        "input": [len(ids)],
        "max": [12],
        "stop": [[]],
        "stop_ids": [],
    }


@pytest.mark.parametrize("given", [{"pad_id": 3}, {"beam_width": 2}])
def test_the_engine_gets_a_pad_id_when_it_has_a_use_for_it(tokenizer: Any, given: Any) -> None:
    tensors = read(reader(tokenizer), text_input="a", **given).engine_inputs(tokenizer)
    assert tensors["pad_id"].tolist() == [[given.get("pad_id", tokenizer.pad_id)]]


def test_rows_are_padded_at_their_end(tokenizer: Any) -> None:
    given = inputs(text_input="one")
    given["text_input"] = np.array([[b"one"], [b"one two three four"]], dtype=np.object_)
    found = reader(tokenizer)
    request = found.read(given)
    assert found.encode([request]) == {}
    table = request.input_ids()
    lengths = request.engine_inputs(tokenizer)["input_lengths"].reshape(-1).tolist()
    assert table.shape == (2, max(lengths))
    assert table[0, lengths[0] :].tolist() == [tokenizer.pad_id] * (lengths[1] - lengths[0])


def test_many_requests_are_encoded_as_each_alone(tokenizer: Any) -> None:
    texts = [f"request {number} 🙂" for number in range(9)]
    found = reader(tokenizer)
    batch = [found.read(inputs(text_input=text)) for text in texts]
    assert found.encode(batch) == {}
    assert [request.rows[0].ids for request in batch] == [
        tokenizer.raw.encode(t).ids for t in texts
    ]


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_a_prompt_cut_inside_a_character_keeps_its_bytes(make: Any, tmp_path: Path) -> None:
    tokenizer = LlmTokenizer(folder(tmp_path / "t", make()))
    cut = "今天 🙂".encode()[:-2]
    found = read(reader(tokenizer), text_input=cut)
    whole = tokenizer.raw.encode("今天 ").ids
    assert found.rows[0].ids[: len(whole)] == whole
    tail = [tokenizer.raw.id_to_token(token) for token in found.rows[0].ids[len(whole) :]]
    assert tail in (["<0xF0>", "<0x9F>"], ["ð", "Ł"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either 'text_input' or 'messages'"),
        ({"text_input": "a", "messages": "[]"}, "either 'text_input' or 'messages'"),
        ({"text_input": ""}, "the prompt has no tokens"),
        ({"text_input": b"a\xffb"}, "not valid UTF-8: invalid start byte at byte 1"),
        ({"text_input": "a", "max_tokens": 0}, "'max_tokens' must be above 0, got 0"),
        ({"text_input": "a", "max_tokens": -3}, "'max_tokens' must be above 0, got -3"),
        ({"text_input": "a", "beam_width": 0}, "'beam_width' must be above 0"),
        ({"text_input": "a", "beam_width": 5}, "'beam_width' is 5 and the engine was built for 4"),
        ({"text_input": "a", "beam_width": 2, "stream": True}, "beams cannot be streamed"),
        ({"text_input": "a", "num_return_sequences": 0}, "must be above 0, got 0"),
        ({"text_input": ["a", "b"], "end_id": [1, 2]}, "'end_id' must be the same for all rows"),
        ({"text_input": ["a", "b"], "beam_width": [1, 2]}, "'beam_width' must be the same"),
        ({"text_input": ["a", "b"], "stream": [True, False]}, "'stream' must be the same"),
        ({"text_input": "a", "stop_words": b"\xff"}, "'stop_words' is not valid UTF-8"),
        ({"text_input": "word " * 40}, "tokens and the engine takes 32 at most"),
        ({"messages": "{"}, "'messages' is not valid JSON"),
        ({"messages": "[]"}, "must be a list of messages"),
        ({"messages": '[{"content": "x"}]'}, "an object with a 'role'"),
        ({"messages": b"\xff"}, "'messages' is not valid UTF-8"),
    ],
)
def test_what_cannot_be_served_is_refused(tokenizer: Any, given: Any, message: str) -> None:
    limited = reader(tokenizer, max_input_len=32, max_seq_len=64, max_beam_width=4)
    with pytest.raises(requests.RequestError) as error:
        read(limited, **given)
    assert message in str(error.value)


def test_a_tokenizer_without_bytes_says_that_it_cannot_cut(tmp_path: Path) -> None:
    tokenizer = LlmTokenizer(folder(tmp_path / "t", unigram()))
    with pytest.raises(requests.RequestError, match="ends inside a character"):
        read(reader(tokenizer), text_input="é".encode()[:1])


def test_one_bad_request_does_not_fail_those_beside_it(tokenizer: Any) -> None:
    found = reader(tokenizer, max_input_len=8)
    batch = [found.read(inputs(text_input=text)) for text in ("one", "many " * 30, "two")]
    assert list(found.encode(batch)) == [batch[1]]


@pytest.mark.parametrize("make", [byte_level, sentencepiece, unigram])
def test_a_book_is_refused_by_its_beginning(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = LlmTokenizer(folder(tmp_path / "t", make()))
    limited = reader(tokenizer, max_input_len=100, max_seq_len=80)
    encoded: list[int] = []
    exact = tokenizer.encode
    monkeypatch.setattr(
        tokenizer, "encode", lambda texts, special: encoded.extend(texts) or exact(texts, special)
    )
    book, note = (inputs(text_input=text) for text in ("all work and no play " * 10_000, "work"))
    batch = [limited.read(book), limited.read(note)]
    failures = limited.encode(batch)
    assert encoded == ["work"]
    assert list(failures) == batch[:1]
    assert "more than 80 tokens" in str(failures[batch[0]])


@pytest.mark.parametrize("make", [byte_level, sentencepiece, unigram])
def test_a_long_text_of_few_tokens_is_counted_to_the_end(make: Any, tmp_path: Path) -> None:
    made = make()
    made.add_tokens([AddedToken("=" * 100, normalized=False)])
    tokenizer = LlmTokenizer(folder(tmp_path / "t", made))
    text = "=" * 100 * 80
    count = len(tokenizer.raw.encode(text))
    assert 80 <= count < 90
    assert not tokenizer.exceeds(text, 80), "as far as can be told without the rest"
    found = reader(tokenizer, max_input_len=count)
    assert len(read(found, text_input=text).rows[0].ids) == count
    with pytest.raises(requests.RequestError, match=f"has {count} tokens and the engine takes"):
        read(reader(tokenizer, max_input_len=count - 1), text_input=text)


def test_what_joins_the_pieces_knows_where_the_engine_stops(tokenizer: Any) -> None:
    found = read(
        reader(tokenizer), text_input="a longer prompt", stop_words=["<|im_end|>", "quartz"]
    )
    tensors = found.engine_inputs(tokenizer)
    options = json.loads(found.options(1))
    (told,) = options["stop_ids"]
    assert options["before"] == [found.rows[0].ids[1 - max(map(len, told)) :]]
    assert [tokenizer.raw.token_to_id("<|im_end|>")] in told
    ids, ends = tensors["stop_words_list"][0].tolist()
    sent = [ids[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if end >= 0]
    assert sent == [*told, [1]], "the engine's, and the checkpoint's other end id"


def test_an_answer_is_as_long_as_the_engine_can_make_it(tokenizer: Any) -> None:
    limited = reader(tokenizer, max_seq_len=16)
    length = len(tokenizer.raw.encode("one two").ids)
    assert read(limited, text_input="one two", max_tokens=99).rows[0].max_tokens == 16 - length
    assert read(limited, text_input="one two").rows[0].max_tokens == 16 - length
    with pytest.raises(requests.RequestError, match="prompt and answer together, 16 at most"):
        read(limited, text_input="twenty different words " * 4)


def test_keys_are_unique_and_fit_a_parameter(tokenizer: Any) -> None:
    found, other = reader(tokenizer), reader(tokenizer)
    keys = {found.next_key() for _ in range(1000)} | {other.next_key() for _ in range(1000)}
    assert len(keys) == 2000
    assert all(0 <= key < 2**63 for key in keys)


def test_a_chat_goes_through_the_template_and_gets_no_second_bos(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    found = read(reader(tokenizer), messages=json.dumps(messages))
    text = tokenizer.raw.decode(list(found.rows[0].ids), skip_special_tokens=False)
    assert "Hi" in text
    ids = found.rows[0].ids
    assert ids == tokenizer.raw.encode(text, add_special_tokens=False).ids
    more = json.dumps({"messages": messages, "add_generation_prompt": False})
    assert len(read(reader(tokenizer), messages=more).rows[0].ids) < len(ids)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no system, please') }}", "no system, please"),
        ("{% for", "the chat template is wrong"),
        ("{{ messages.__class__.__mro__ }}", "the chat template failed"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "end"),
        ("{{ 'x' * 9000000 }}", "more than 4194304 characters"),
        ("{{ 9000000 * ['x'] }}", "more than 4194304 characters"),
        ("{{ 10 ** 1000000000 }}", "numbers of more than 4096 bits"),
        ("{% set n = 10 ** 1000 %}{{ n * n * n * n * n }}", "numbers of more than 4096 bits"),
        ("x" * 300000, "300000 characters"),
    ],
)
def test_a_template_runs_in_a_sandbox_with_limits(
    tmp_path: Path, template: str, message: str
) -> None:
    path = folder(tmp_path / "t")
    (path / "chat_template.jinja").write_text(template)
    chat = ensemble.module("llm_chat")
    with pytest.raises(chat.ChatError) as error:
        chat.ChatTemplate(LlmTokenizer(path), seconds=0.3).render('[{"role": "user"}]')
    assert message in str(error.value)


def test_without_a_template_messages_are_refused(tmp_path: Path) -> None:
    tokenizer = LlmTokenizer(folder(tmp_path / "t", byte_level()))
    with pytest.raises(requests.RequestError, match="has no chat template"):
        read(reader(tokenizer), messages='[{"role": "user", "content": "Hi"}]')


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        ({"generation_config": {"eos_token_id": 7}, "config": {"eos_token_id": 8}}, (7,)),
        ({"generation_config": {}, "config": {"eos_token_id": [8, 9, 8]}}, (8, 9)),
        ({"config": {"text_config": {"eos_token_id": 8}}}, (8,)),
        ({"generation_config": {"eos_token_id": "7"}, "config": {"eos_token_id": True}}, (2,)),
        ({}, (2,)),
    ],
)
def test_end_ids_come_from_where_transformers_has_them(
    tmp_path: Path, files: dict[str, Any], ids: tuple[int, ...]
) -> None:
    found = LlmTokenizer(folder(tmp_path / "t", **files))
    assert found.end_ids == ids
    assert read(reader(found), text_input="a", end_id=9).end_ids == (9,)


def test_special_tokens_may_have_a_file_of_their_own(tmp_path: Path) -> None:
    path = folder(
        tmp_path / "t",
        tokenizer_config={"bos_token": None},
        special_tokens_map={"bos_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>"},
    )
    found = LlmTokenizer(path)
    assert found.token_text("bos_token") == "<|im_start|>"
    assert found.end_ids == (found.raw.token_to_id("<|im_end|>"),)


PLAIN, TOOLS = "{{ messages[0].content }}", "{{ tools | length }} tools: {{ messages[0].content }}"


@pytest.mark.parametrize(
    ("declared", "plain", "tools"),
    [
        (PLAIN, "Hi", "Hi"),
        ([{"name": "default", "template": PLAIN}], "Hi", "Hi"),
        (
            [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": TOOLS}],
            "Hi",
            "1 tools: Hi",
        ),
        ({"default": PLAIN, "tool_use": TOOLS}, "Hi", "1 tools: Hi"),
        ([{"name": "chat", "template": PLAIN}, "odd", {"name": "default"}], "Hi", "Hi"),
    ],
)
def test_named_templates_are_chosen_as_transformers_does(
    tmp_path: Path, declared: Any, plain: str, tools: str
) -> None:
    path = folder(tmp_path / "t", tokenizer_config={"chat_template": declared})
    chat = ensemble.module("llm_chat").ChatTemplate(LlmTokenizer(path))
    messages = [{"role": "user", "content": "Hi"}]
    assert chat.render(json.dumps(messages)) == plain
    assert chat.render(json.dumps({"messages": messages, "tools": [{}]})) == tools
    assert chat.render(json.dumps({"messages": messages, "tools": []})) == plain


def test_a_template_for_tools_has_a_file_of_its_own(tmp_path: Path) -> None:
    listed = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": "no"}]
    path = folder(tmp_path / "t", tokenizer_config={"chat_template": listed})
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates/tool_use.jinja").write_text(TOOLS)
    chat = ensemble.module("llm_chat").ChatTemplate(LlmTokenizer(path))
    messages = [{"role": "user", "content": "Hi"}]
    assert chat.render(json.dumps(messages)) == "Hi"
    assert chat.render(json.dumps({"messages": messages, "tools": [{}]})) == "1 tools: Hi"


def test_a_template_that_is_none_is_none(tmp_path: Path) -> None:
    path = folder(tmp_path / "t", tokenizer_config={"chat_template": ["odd", {"name": 3}]})
    with pytest.raises(requests.RequestError, match="has no chat template"):
        read(reader(LlmTokenizer(path)), messages='[{"role": "user", "content": "Hi"}]')


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ tools is defined and tools is none and documents is none }}", "True"),
        ("{{ {'b': 1, 'a': 'é'} | tojson(separators=(',', ':')) }}", '{"b":1,"a":"é"}'),
        ("{{ {'b': 1, 'a': 'é'} | tojson(sort_keys=true) }}", '{"a": "é", "b": 1}'),
        ("{{ 'é' | tojson(ensure_ascii=true) }}", '"\\u00e9"'),
        ("{{ 2 ** 10 * 3 }}{{ '-' * 3 }}{{ 0.5 * 4 }}", "3072---2.0"),
    ],
)
def test_templates_get_what_transformers_gives_them(
    tmp_path: Path, template: str, text: str
) -> None:
    path = folder(tmp_path / "t")
    (path / "chat_template.jinja").write_text(template)
    chat = ensemble.module("llm_chat").ChatTemplate(LlmTokenizer(path))
    assert chat.render('[{"role": "user"}]') == text
