"""Log probabilities: exact or refused; and the tokenizer's endpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.fake_triton import INPUTS, OUTPUTS, FakeTriton, said
from support.gateways import Served, in_front, tokenizer, write_tokenizer
from support.scripted_http import END, STREAM
from trtbuild_gateway.encoding.logprobs import chat_logprobs, completion_logprobs
from trtbuild_gateway.failures import ApiError

TEXT = "ab c"


def position(token: int, value: float, *others: tuple[int, float]) -> dict[str, Any]:
    rows = [(token, value), *others]
    return {str(one): {"logprob": lp, "rank": at + 1} for at, (one, lp) in enumerate(rows)}


def sent(prompt: list[Any] | None) -> list[Any]:
    """An answer of one token, with log probabilities of the prompt's."""
    lists = [[position(5, -0.5, (6, -1.5))], *([] if prompt is None else [prompt])]
    return [STREAM, said("!", "length", logprobs=[json.dumps(one) for one in lists]), END]


def ids_of(text: str) -> list[int]:
    from tokenizers import Tokenizer

    found: list[int] = Tokenizer.from_file(str(tokenizer() / "tokenizer.json")).encode(text).ids
    return found


def asked(served: Served, **more: Any) -> Any:
    body = {"model": "m", "prompt": TEXT, "max_tokens": 1, "echo": True, "logprobs": 1, **more}
    return served.post("/v1/completions", **body)


def test_echo_is_exact_or_refused() -> None:
    ids = ids_of(TEXT)
    whole = [None, *(position(one, -0.25, (9, -2.0)) for one in ids[1:])]

    async def test(triton: FakeTriton, served: Served) -> None:
        answer = (await asked(served)).json()
        found = answer["choices"][0]["logprobs"]
        assert found["token_logprobs"] == [None, *[-0.25] * (len(ids) - 1), -0.5]
        assert "".join(found["tokens"][:-1]) == TEXT
        assert found["text_offset"][-1] == len(TEXT)
        named = (await asked(served, return_tokens_as_token_ids=True)).json()
        rows = named["choices"][0]["logprobs"]
        assert rows["tokens"] == [*(f"token_id:{one}" for one in ids), "token_id:5"]
        assert rows["top_logprobs"][-1] == {"token_id:5": -0.5}
        assert rows["text_offset"] == found["text_offset"]
        for prompt, says in (
            (None, "no log probabilities of the prompt"),
            (whole[:-1], f"of {len(ids) - 1} tokens, and the prompt has {len(ids)}"),
        ):
            triton.scripts["m"] = sent(prompt)
            refused = await asked(served)
            assert refused.status_code == 502
            assert says in refused.json()["error"]["message"]

    in_front(test, script=sent(whole))


def test_a_chat_names_tokens_by_id() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        message = {"role": "user", "content": "a"}
        answer = await served.post(
            "/v1/chat/completions", model="m", messages=[message], logprobs=True, top_logprobs=2,
            return_tokens_as_token_ids=True,
        )  # fmt: skip
        (row,) = answer.json()["choices"][0]["logprobs"]["content"]
        assert row["token"] == "token_id:5"
        assert [one["token"] for one in row["top_logprobs"]] == ["token_id:5", "token_id:6"]
        assert bytes(row["bytes"]).decode()

    in_front(test, script=sent(None))


def test_numbers_without_tokens_are_named_not_guessed() -> None:
    script = [STREAM, said("!", "length", logprobs=["[-0.5]"]), END]
    message = {"role": "user", "content": "a"}

    async def test(_: FakeTriton, served: Served) -> None:
        chat = {"model": "m", "messages": [message], "logprobs": True}
        for answer in (
            await asked(served, echo=False),
            await served.post("/v1/chat/completions", **chat),
        ):
            assert answer.status_code == 502
            assert "without their tokens" in answer.json()["error"]["message"]
        streamed = await served.post("/v1/chat/completions", **chat, stream=True)
        assert "without their tokens" in streamed.text

    in_front(test, script=script)


@pytest.mark.parametrize("odd", [-0.5, {}, {"x": {}}, {"5": -0.5}, {"5": {"logprob": "a"}}])
def test_a_position_that_names_no_token(odd: Any) -> None:
    encoders: tuple[Any, ...] = (chat_logprobs, completion_logprobs)
    for encode in encoders:
        with pytest.raises(ApiError, match="without their tokens") as raised:
            encode([position(5, -0.5), odd], 1, lambda _: b"a")
        assert raised.value.status == 502


def test_a_model_without_log_probabilities_refuses_them() -> None:
    outputs = tuple(row for row in OUTPUTS if row[0] != "logprobs")

    async def test(_: FakeTriton, served: Served) -> None:
        for more in ({}, {"echo": False}):
            answer = await asked(served, **more)
            assert answer.status_code == 400
            error = answer.json()["error"]
            assert (error["param"], error["code"]) == ("logprobs", "unsupported_parameter")

    in_front(test, spec=(INPUTS, outputs))


def test_the_tokenizer_as_the_harness_reads_it(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"bos_token": {"content": "<|begin|>", "lstrip": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    async def test(_: FakeTriton, served: Served) -> None:
        found = (await served.client.get("/tokenizer_info")).json()
        assert (found["eos_token"], found["bos_token"]) == ("<|end|>", "<|begin|>")
        assert found["chat_template"]
        body = {"prompt": TEXT, "add_special_tokens": False}
        tokens = (await served.post("/tokenize", **body)).json()["tokens"]
        assert tokens == ids_of(TEXT)
        assert (await served.post("/detokenize", tokens=tokens)).json()["prompt"] == TEXT

    in_front(test, models={"m": {"tokenizer": str(folder), "context_length": 64}})
