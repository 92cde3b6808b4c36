"""Models that generate no text: sequences a second by batch and load, and no first token."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from trtbuild.client import failures
from trtbuild.client.llm import AsyncLLMClient
from trtbuild.client.transport import Transport
from trtbuild.errors import ServerError, TrtbuildError
from trtbuild.signature import ServedModel, ServedTask, Tensor, dialect_of
from trtbuild.signature.requests import (
    EmbedRequest,
    ImageClassifyRequest,
    RerankRequest,
    ScoreRequest,
    TranscribeRequest,
)
from trtbuild.wire.tensors import InferRequest, Outputs, TensorValue
from trtbuild_measure.bench.model import Generation, Prompt, Stream
from trtbuild_measure.bench.prompts import batched
from trtbuild_measure.bench.targets.pooling import PoolingModel
from trtbuild_measure.bench.targets.triton import TritonTarget
from trtbuild_measure.bench.targets.triton_grpc import GrpcExchange


def model(task: str, inputs: str) -> ServedModel:
    tensors = tuple(Tensor(name, "STRING", (1,)) for name in inputs.split())
    return ServedModel("m", ServedTask(task), task, tensors, max_batch_size=4)


MODELS = {"embed": model("embed", "text"), "llm": ServedModel("llm", ServedTask.GENERATE, "vllm")}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each request; every text has five tokens."""
    found: list[int] = []

    async def infer(
        _self: object, _model: str, request: InferRequest, *_: Any, **__: Any
    ) -> Outputs:
        count = request.inputs[0].shape[0]
        found.append(count)
        await asyncio.sleep(0.001)
        if request.inputs[0].data[0] == "short":
            count -= 1
        return {
            "embeddings": TensorValue("embeddings", "FP32", (count, 2), [0.6, 0.8] * count),
            "token_count": TensorValue("token_count", "INT32", (count, 1), [5] * count),
        }

    async def served(_self: object, name: str, _timeout: float = 0) -> ServedModel:
        return MODELS[name]

    monkeypatch.setattr(Transport, "infer", infer)
    monkeypatch.setattr(AsyncLLMClient, "served", served)
    return found


def bench(name: str, *arguments: object) -> Any:
    return trtbuild("bench", f"triton:grpc://127.0.0.1:1/{name}", *arguments)


def test_each_load_is_measured_with_each_batch(sent: list[int], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = bench(
        "embed", "--texts", "1,6", "--concurrency", "1,2", "--requests", 8, "--warmup", 1,
        "--prompt-tokens", 5, "--json", "--html", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (target,) = result["targets"]
    loads = {one["load"]["label"]: one for one in target["loads"]}
    assert list(loads) == ["1 client", "1 client × 6 texts", "2 clients", "2 clients × 6 texts"]
    for label, load in loads.items():
        metrics = load["metrics"]
        texts = 6 if "texts" in label else 1
        assert metrics["sequences_per_s"] == pytest.approx(
            metrics["requests_per_s"] * texts, rel=1e-4
        )
        assert metrics["total_tokens_per_s"] == pytest.approx(
            metrics["sequences_per_s"] * 5, rel=1e-4
        )
        assert metrics["ttft_ms"] is None and metrics["itl_ms"] is None
        assert metrics["e2e_ms"]["p50"] >= 1 and load["requests"]["ok"] == 8
        assert load["tokens"]["input"] == 8 * texts * 5
    assert set(sent) == {1, 4, 2}  # six texts are two requests to a model that takes four
    # A machine that is busy with other tests may keep the client from its work.
    assert [one for one in result["warnings"] if "saturated" not in one] == []
    assert result["partial"] == ""
    assert "sequences/s at" in page.read_text()


def test_the_table_has_no_first_token(sent: list[int]) -> None:
    said = bench("embed", "--texts", "2", "--requests", 4).stdout
    assert "seq/s" in said and "E2E" in said and "TTFT" not in said and "ITL" not in said


def test_two_embedders_are_compared_by_sequences(sent: list[int]) -> None:
    targets = [f"{one}=triton:grpc://127.0.0.1:1/embed" for one in ("a", "b")]
    done = trtbuild("bench", *targets, "--requests", 6)
    assert done.returncode == 0, done.stderr
    assert "times a, p50 / p99" in done.stdout and "tok/s, TTFT" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("llm", "--texts", "2"), "generates text: it takes one prompt a request"),
        (("llm", "B=triton:grpc://127.0.0.1:1/embed"), "some targets generate text"),
        (("embed", "--texts", "0"), "'0' is not a number above 0"),
        (("embed", "--texts", "1.5"), "'1.5' texts"),
        (("embed", "--texts", "2", "--trace", "t.jsonl"), "a trace has one text a request"),
    ],
)
def test_what_cannot_be_measured(sent: list[int], arguments: tuple[str, ...], what: str) -> None:
    done = bench(*arguments)
    said = " ".join(done.stderr.split())
    assert (done.returncode, done.stdout) == (2, "") and what in said and "fix:" in said


def test_an_answer_without_all_rows_and_an_error_fail(
    sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(text: str) -> Stream:
        url = "127.0.0.1:1"
        exchange = GrpcExchange(url, "embed", 60)
        target = TritonTarget("t", url, "embed", Generation(), exchange, timeout=60)
        await target.open()
        stream = Stream(Prompt(text, 1, 1, texts=(text, "b")), intended=0)
        await target.ask(stream)
        await target.close()
        return stream

    good, short = asyncio.run(ask("a")), asyncio.run(ask("short"))
    assert (good.error, good.sequences, good.input_tokens) == ("", 2, 10)
    assert (short.error, short.message) == (
        "malformed",
        "an answer has fewer rows than the request",
    )
    kinds: dict[str, TrtbuildError] = {
        "timeout": failures.timed_out("u", 1), "refused": failures.unreachable("u"),
        "server error": ServerError("no"),
    }  # fmt: skip
    for kind, error in kinds.items():

        async def fails(*_: Any, error: TrtbuildError = error, **__: Any) -> Outputs:
            raise error

        monkeypatch.setattr(Transport, "infer", fails)
        assert asyncio.run(ask("a")).error == kind


@pytest.mark.parametrize(
    ("task", "inputs", "kind"),
    [
        ("embed", "text", EmbedRequest), ("rerank", "query passage", RerankRequest),
        ("score", "text text_pair", ScoreRequest), ("score", "text", ScoreRequest),
        ("image-classify", "image", ImageClassifyRequest),
        ("transcribe", "audio", TranscribeRequest),
    ],
)  # fmt: skip
def test_each_task_gets_as_many_items_as_texts(task: str, inputs: str, kind: type) -> None:
    served = model(task, inputs)
    dialect = dialect_of(served)
    assert dialect is not None
    asked = PoolingModel(served, dialect, "127.0.0.1:1", "http", 1).request(
        Prompt("a", 1, 1, texts=("a", "b", "c"))
    )
    assert isinstance(asked, kind)
    assert sum(one.inputs[0].shape[0] for one in dialect.requests(served, asked)) == 3


def test_batches_take_turns_through_texts_made_before() -> None:
    made: list[int] = []

    def prompts(number: int) -> Prompt:
        made.append(number)
        return Prompt(f"t{number}", number, 1)

    ask = batched(prompts, 300)
    first, second = ask(0), ask(1)
    assert len(made) == 600 and len(set(first.texts) | set(second.texts)) == 600
    assert first.tokens == sum(range(300)) and ask(2).texts == first.texts
