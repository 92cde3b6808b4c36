"""The engine flow's ensemble on a real Triton: SmolLM2 and another LLM, rehearsed on the CPU."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc.aio as grpc_client
from tritonclient.utils import InferenceServerException

from support.engine_work import until_rest
from support.ensemble_client import ask, said, tensor
from support.exporting import Run
from support.rehearsal import kill_and_look
from support.rehearsed_llms import (
    LLMS,
    MESSAGES,
    PROMPTS,
    TOKENS,
    Rehearsed,
    digests_of,
    serving,
)
from support.waiting import least

LONG = 150
LONGEST = 300  # as many as the engine makes beside a short prompt


@pytest.fixture(scope="module")
def rehearsed(
    smollm2: Path, exporter: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rehearsed]:
    with serving(smollm2, tmp_path_factory.mktemp("ensemble"), exporter) as found:
        yield found


def run(rehearsed: Rehearsed, *calls: tuple[str, dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Requests, all at once: ``(model, inputs)`` each."""

    async def go() -> list[list[dict[str, Any]]]:
        async with grpc_client.InferenceServerClient(rehearsed.grpc) as client:
            return await asyncio.gather(*(ask(client, model, **given) for model, given in calls))

    return asyncio.run(go())


def prompt(name: str) -> dict[str, Any]:
    if name == "chat":
        return {"messages": json.dumps(MESSAGES)}
    return {"text_input": PROMPTS[name]}


@pytest.mark.parametrize("name", [*PROMPTS, "chat"])
@pytest.mark.parametrize("llm", LLMS)
def test_greedy_text_equals_transformers(rehearsed: Rehearsed, llm: str, name: str) -> None:
    truth = rehearsed.truth[llm][name]
    given = {**prompt(name), "max_tokens": TOKENS}
    answers = run(rehearsed, *((llm, {**given, "stream": stream}) for stream in (False, True)))
    for found, stream in zip(answers, (False, True), strict=True):
        assert said(found) == truth["text"]
        assert (len(found) > 1) is stream
        last = found[-1]
        # transformers counts the end token, the engine does not make it.
        ended = last["finish_reason"] == [b"stop"]
        assert last["num_output_tokens"] == [truth["tokens"] - ended]
        assert last["num_input_tokens"] == [truth["input_tokens"]]
        assert ended or truth["tokens"] == TOKENS
        assert all("finish_reason" not in response for response in found[:-1])


def test_two_llms_answer_sixteen_at_once_each_with_its_own_text(rehearsed: Rehearsed) -> None:
    calls, truths = [], []
    for number in range(16):
        llm = LLMS[number % 2]
        name = list(PROMPTS)[number % len(PROMPTS)]
        given = {**prompt(name), "max_tokens": TOKENS, "stream": number % 3 > 0}
        calls.append((llm, given))
        truths.append(rehearsed.truth[llm][name]["text"])
    assert [said(found) for found in run(rehearsed, *calls)] == truths
    assert rehearsed.truth["smol"]["english"] != rehearsed.truth["tiny"]["english"]


def test_sixteen_streams_of_one_llm_at_once(rehearsed: Rehearsed) -> None:
    names = [list(PROMPTS)[number % len(PROMPTS)] for number in range(16)]
    calls = [("smol", {**prompt(n), "max_tokens": TOKENS, "stream": True}) for n in names]
    found = run(rehearsed, *calls)
    assert [said(pieces) for pieces in found] == [rehearsed.truth["smol"][n]["text"] for n in names]


def test_http_says_the_same(rehearsed: Rehearsed) -> None:
    body = {"text_input": PROMPTS["chinese"], "max_tokens": TOKENS}
    url = f"http://{rehearsed.http}/v2/models/smol"
    truth = rehearsed.truth["smol"]["chinese"]["text"]
    assert httpx.post(f"{url}/generate", json=body, timeout=180).json()["text_output"] == truth
    lines = httpx.post(f"{url}/generate_stream", json={**body, "stream": True}, timeout=180).text
    pieces = [json.loads(line[5:]) for line in lines.splitlines() if line.startswith("data:")]
    assert "".join(piece["text_output"] for piece in pieces) == truth


@pytest.mark.parametrize("stream", [False, True])
def test_stop_words_cut_the_text_where_they_begin(rehearsed: Rehearsed, stream: bool) -> None:
    text = rehearsed.truth["smol"]["english"]["text"]
    for start, end in ((8, 14), (3, 5), (12, 21)):
        stop = text[start:end]
        given = {**prompt("english"), "max_tokens": TOKENS, "stream": stream}
        (found,) = run(rehearsed, ("smol", {**given, "stop_words": ["never said", stop]}))
        assert said(found) == text[: text.index(stop)]
        ends = [piece["finish_reason"] for piece in found if "finish_reason" in piece]
        assert ends == [[b"stop"]]


def test_bad_words_are_not_said(rehearsed: Rehearsed) -> None:
    assert "Paris" in rehearsed.truth["smol"]["english"]["text"]
    given = {**prompt("english"), "max_tokens": TOKENS, "bad_words": ["Paris"]}
    (found,) = run(rehearsed, ("smol", given))
    assert said(found)
    assert "Paris" not in said(found)


def test_log_probabilities_of_a_stream_are_deltas_and_their_sum(rehearsed: Rehearsed) -> None:
    given = {**prompt("english"), "max_tokens": 6, "stream": True, "return_log_probs": True}
    (found,) = run(rehearsed, ("smol", given))
    each = [value for piece in found for value in piece["output_log_probs"][0]]
    assert len(each) == 6
    assert all(value < 0 for value in each)
    assert found[-1]["cum_log_probs"][0] == pytest.approx(sum(each), rel=1e-4)


def test_returned_sequences_are_told_apart(rehearsed: Rehearsed) -> None:
    given = {**prompt("english"), "max_tokens": 8, "num_return_sequences": 2}
    sampled = {"top_k": 50, "temperature": 1.5, "random_seed": 3}
    (found,) = run(rehearsed, ("smol", {**given, **sampled}))
    texts = {response["sequence_index"][0]: response["text_output"][0] for response in found}
    assert set(texts) == {0, 1}
    assert texts[0] != texts[1]
    (again,) = run(rehearsed, ("smol", {**given, **sampled}))
    assert {r["sequence_index"][0]: r["text_output"][0] for r in again} == texts


def test_rows_of_a_batch_are_told_apart(rehearsed: Rehearsed) -> None:
    names = ["english", "chinese"]
    text = np.array([[PROMPTS[name].encode()] for name in names], dtype=np.object_)  # type: ignore[union-attr]
    inputs = []
    for name, array, kind in (
        ("text_input", text, "BYTES"),
        ("max_tokens", np.full((2, 1), TOKENS, dtype=np.int32), "INT32"),
    ):
        made = grpc_client.InferInput(name, [2, 1], kind)
        made.set_data_from_numpy(array)
        inputs.append(made)

    async def go() -> dict[int, str]:
        async def one() -> Any:
            yield {"model_name": "smol", "inputs": inputs}

        found = {}
        async with grpc_client.InferenceServerClient(rehearsed.grpc) as client:
            async for result, error in client.stream_infer(one()):
                assert error is None, error
                row = int(result.as_numpy("batch_index").reshape(-1)[0])
                found[row] = result.as_numpy("text_output").reshape(-1)[0].decode()
        return found

    truths = {row: rehearsed.truth["smol"][name]["text"] for row, name in enumerate(names)}
    assert asyncio.run(go()) == truths


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text_input": "word " * 300}, "the engine takes 256 at most"),
        ({"text_input": "a", "beam_width": 4}, "the engine was built for 1"),
        ({"text_input": "a", "max_tokens": 0}, "'max_tokens' must be above 0"),
        ({"max_tokens": 3}, "either 'text_input' or 'messages'"),
        ({"messages": "[{}]"}, "an object with a 'role'"),
        ({"text_input": b"\xff\xfe."}, "not valid UTF-8"),
        ({"text_input": "a", "return_context_logits": True}, "not rehearsed"),
    ],
)
def test_what_cannot_be_served_is_refused_and_the_next_is_served(
    rehearsed: Rehearsed, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InferenceServerException) as error:
        run(rehearsed, ("smol", given))
    assert message in str(error.value)
    (found,) = run(rehearsed, ("smol", {"text_input": "Hi", "max_tokens": 2}))
    assert found[-1]["finish_reason"] == [b"length"]


@pytest.fixture(scope="module")
def whole(rehearsed: Rehearsed) -> float:
    """Processor seconds of the engines for an answer that nobody interrupts."""
    before = until_rest(rehearsed.pid)
    run(rehearsed, ("smol", {"text_input": "Once", "max_tokens": LONG, "stream": True}))
    return until_rest(rehearsed.pid) - before


def work_of(rehearsed: Rehearsed, leave: Callable[[], None]) -> float:
    """Processor seconds of the engines for a request that ``leave`` makes and leaves."""
    before = until_rest(rehearsed.pid)
    leave()
    return until_rest(rehearsed.pid) - before


def test_a_client_that_leaves_the_engines_model_stops_it(
    rehearsed: Rehearsed, whole: float
) -> None:
    def leave() -> None:
        asyncio.run(_leave(rehearsed, _engine_request(LONG, "left", streaming=True)))

    assert least(partial(work_of, rehearsed, leave), whole / 3) < whole / 3


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_client_that_leaves_the_bls_model_stops_the_engine(
    rehearsed: Rehearsed, whole: float, protocol: str
) -> None:
    given = {"text_input": "Once", "max_tokens": LONG, "stream": True}

    def leave() -> None:
        if protocol == "grpc":
            inputs = [tensor(name, value) for name, value in given.items()]
            asyncio.run(_leave(rehearsed, {"model_name": "smol_bls", "inputs": inputs}))
            return
        url = f"http://{rehearsed.http}/v2/models/smol_bls/generate_stream"
        with httpx.stream("POST", url, json=given, timeout=180) as answer:
            assert next(answer.iter_lines()).startswith("data:")

    assert least(partial(work_of, rehearsed, leave), whole / 3) < whole / 3
    (found,) = run(rehearsed, ("smol_bls", {**prompt("english"), "max_tokens": 2}))
    assert found[-1]["finish_reason"] == [b"length"], "its one instance is free again"


async def _leave(rehearsed: Rehearsed, request: dict[str, Any]) -> None:
    """Take the first piece of an answer, and go."""

    async def one() -> Any:
        yield request
        await asyncio.Event().wait()  # an end of requests would be no cancellation

    async with grpc_client.InferenceServerClient(rehearsed.grpc) as client:
        stream = client.stream_infer(one())
        async for _, error in stream:
            assert error is None, error
            break
        stream.cancel()


def test_an_ensembles_request_is_ended_by_its_id(rehearsed: Rehearsed, whole: float) -> None:
    """A client that leaves does not stop the engine behind an ensemble; ``stop`` does."""
    inputs = [tensor("text_input", "Once"), tensor("max_tokens", LONGEST), tensor("stream", True)]
    long = {"model_name": "smol", "inputs": inputs, "request_id": "to-stop"}

    def stop() -> None:
        assert 1 <= asyncio.run(_stopped(rehearsed, long, "to-stop")) < LONGEST

    assert least(partial(work_of, rehearsed, stop), whole / 3) < whole / 3


def test_the_engine_stops_when_it_is_told(rehearsed: Rehearsed) -> None:
    """The input ``stop`` of the engine ends the request that has the same id."""
    long = _engine_request(LONGEST, "told", streaming=True)
    assert 1 <= asyncio.run(_stopped(rehearsed, long, "told")) < LONGEST


async def _stopped(rehearsed: Rehearsed, request: dict[str, Any], name: str) -> int:
    """How many pieces came of a request that was stopped by its id after the first."""
    async with grpc_client.InferenceServerClient(rehearsed.grpc) as client:
        begun = asyncio.Event()

        async def long() -> Any:
            yield request

        async def stop() -> Any:
            await begun.wait()
            yield _engine_request(1, name, stop=True)

        async def count() -> int:
            pieces = 0
            async for _, error in client.stream_infer(long()):
                begun.set()
                assert error is None, error
                pieces += 1
            return pieces

        async def tell() -> None:
            async for _ in client.stream_infer(stop()):
                break

        pieces, _ = await asyncio.gather(count(), tell())
        return pieces


def _engine_request(tokens: int, name: str, **flags: bool) -> dict[str, Any]:
    ids, inputs = [[1, 2, 3]], []
    for key, array, kind in (
        ("input_ids", np.array(ids, dtype=np.int32), "INT32"),
        ("input_lengths", np.array([[len(ids[0])]], dtype=np.int32), "INT32"),
        ("request_output_len", np.array([[tokens]], dtype=np.int32), "INT32"),
        *((key, np.array([[value]]), "BOOL") for key, value in flags.items()),
    ):
        made = grpc_client.InferInput(key, list(array.shape), kind)
        made.set_data_from_numpy(array)
        inputs.append(made)
    return {"model_name": "smol_tensorrt_llm", "inputs": inputs, "request_id": name}


def test_the_bls_model_answers_as_the_ensemble(rehearsed: Rehearsed) -> None:
    """One stream at a time: more can deadlock the server's Python backend, see the docs."""
    for name in ("emoji", "cut"):
        for stream in (False, True):
            given = {**prompt(name), "max_tokens": TOKENS, "stream": stream}
            (found,) = run(rehearsed, ("smol_bls", given))
            assert said(found) == rehearsed.truth["smol"][name]["text"]
            assert found[-1]["num_input_tokens"] == [rehearsed.truth["smol"][name]["input_tokens"]]


def test_the_repository_is_as_it_was(rehearsed: Rehearsed) -> None:
    for cache in rehearsed.repo.rglob("__pycache__"):
        shutil.rmtree(cache)  # Python's, which it would make beside any module
    assert digests_of(rehearsed.repo) == rehearsed.digests


def test_an_engine_does_not_outlive_a_killed_server(rehearsed: Rehearsed) -> None:
    """The last test: it ends the server."""
    kill_and_look(rehearsed.pid, rehearsed.grpc, "smol")
