"""The parts of our LLM API model that need neither Triton nor TensorRT-LLM."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import gc
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from queue import Queue
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fake_pb_utils import no_guard
from trtbuild.resources import template_dir

MODEL = template_dir("trtllm", "model")
STAND_IN = template_dir("rehearsal", "llmapi")


class FakeTensor:
    def __init__(self, name: str, array: Any) -> None:
        self.name, self.array = name, array


class FakeResponse:
    def __init__(self, tensors: Any = (), error: Any = None) -> None:
        self.values = {tensor.name: tensor.array for tensor in tensors}
        self.error = error


class FakeError(str):
    UNAVAILABLE = "unavailable"

    def __new__(cls, message: str, code: str) -> FakeError:
        return super().__new__(cls, f"{code}: {message}")


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    """The modules, imported the way the stub does: from the version directory."""
    fake = ModuleType("triton_python_backend_utils")
    fake.Tensor, fake.InferenceResponse = FakeTensor, FakeResponse  # type: ignore[attr-defined]
    fake.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1  # type: ignore[attr-defined]
    fake.TritonError = FakeError  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(MODEL))
        patch.setitem(sys.modules, "triton_python_backend_utils", fake)
        patch.setitem(sys.modules, "llmapi_guard", no_guard())
        import llmapi_arguments
        import llmapi_engine
        import llmapi_request
        import llmapi_response
        import llmapi_settings
        import llmapi_text

        yield SimpleNamespace(
            arguments=llmapi_arguments,
            engine=llmapi_engine,
            request=llmapi_request,
            response=llmapi_response,
            settings=llmapi_settings,
            text=llmapi_text,
        )


@pytest.mark.parametrize("folder", [MODEL, STAND_IN], ids=["model", "stand-in"])
def test_what_runs_inside_triton_imports_nothing_of_ours(folder: Path) -> None:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [
                    alias.name for alias in node.names
                ]  # fmt: skip
                roots = {name.split(".")[0] for name in names}
                assert "trtbuild" not in roots, path
                late = roots & (
                    {"vllm", "torch"} | ({"tensorrt_llm"} if folder is MODEL else set())
                )
                assert not late or node.col_offset > 0, f"{path}:{node.lineno} imports it early"


# --- text -------------------------------------------------------------------------------------


def streamed(model: Any, steps: list[str], stops: tuple[str, ...] = (), **last: Any) -> list[str]:
    stream = model.text.TextStream(stops)
    pieces = [stream.push(step) for step in steps[:-1]]
    return [*pieces, stream.push(steps[-1], True, **last)]


def test_text_is_sent_as_it_grows(model: Any) -> None:
    assert streamed(model, ["a", "a b", "a b c"]) == ["a", " b", " c"]


def test_a_broken_character_waits(model: Any) -> None:
    assert streamed(model, ["caf\ufffd", "café", "café!"]) == ["caf", "é", "!"]
    assert streamed(model, ["caf\ufffd"]) == ["caf\ufffd"], "one that is never completed is sent"


def test_a_stop_string_across_tokens_is_held_back_and_cut(model: Any) -> None:
    stream = model.text.TextStream(["END"])
    assert [stream.push(t) for t in ("a E", "a EN", "a END", "a END more")] == ["a ", "", "", ""]
    assert stream.stopped == "END"


def test_what_only_looked_like_a_stop_string_is_sent(model: Any) -> None:
    assert streamed(model, ["a E", "a EN", "a ENOUGH"], ("END",)) == ["a ", "", "ENOUGH"]
    assert streamed(model, ["a EN"], ("END",)) == ["a EN"]


def test_the_beginning_of_the_stop_string_that_ended_it_is_dropped(model: Any) -> None:
    assert streamed(model, ["a E", "a EN"], ("END",), stop_reason="END") == ["a ", ""]


def test_a_stop_string_may_be_kept(model: Any) -> None:
    stream = model.text.TextStream(["END"], include_stop=True)
    assert stream.push("a EN") + stream.push("a END of it") == "a END"


@given(
    st.lists(st.text("abc é🙂", max_size=4), min_size=1, max_size=12),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_pieces_join_to_the_text_before_the_first_stop(
    model: Any, tokens: list[str], stops: list[str]
) -> None:
    stream, sent, text = model.text.TextStream(stops), "", ""
    for number, token in enumerate(tokens):
        text += token
        sent += stream.push(text, number == len(tokens) - 1)
        if stream.stopped is not None:
            break
    places = [text.index(stop) for stop in stops if stop in text]
    assert sent == (text[: min(places)] if places else text)


# --- requests ---------------------------------------------------------------------------------


def tensors(**values: Any) -> dict[str, Any]:
    kinds = {bool: np.bool_, int: np.int32, float: np.float32}
    return {
        name: np.array(value if isinstance(value, list) else [value], dtype=object)
        if isinstance(value, bytes | list)
        else np.array([value], dtype=kinds[type(value)])
        for name, value in values.items()
    }


def test_a_request_has_python_values(model: Any) -> None:
    request = model.request.parse(
        tensors(
            text_input=b"Hello",
            streaming=True,
            sampling_param_max_tokens=7,
            sampling_param_stop=[b"a", b"b"],
            return_logprobs=True,
        )
    )
    assert (request.prompt, request.streaming, request.stops) == ("Hello", True, ["a", "b"])
    assert request.sampling == {"max_tokens": 7, "stop": ["a", "b"]}
    assert type(request.sampling["max_tokens"]) is int
    assert request.wanted.logprobs and not request.wanted.finish_reason


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_zero_is_greedy_in_words_that_every_release_knows(model: Any, name: str) -> None:
    sent = tensors(text_input=b"x", **{f"sampling_param_{name}": 0.0})
    assert model.request.parse(sent).sampling == {"top_k": 1}


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({}, "either 'text_input' or 'messages'"),
        ({"text_input": b"a", "messages": b'[{"role": "user"}]'}, "either"),
        ({"text_input": b"caf\xe9"}, "not valid UTF-8: unexpected end of data at byte 3"),
        ({"text_input": [b"a", b"b"]}, "one prompt a request"),
        ({"messages": b"{"}, "'messages' is not valid JSON"),
        ({"messages": b"[" * 100_000}, "'messages' is not valid JSON"),
        ({"messages": b"[]"}, "'messages' must be a JSON list"),
        ({"sampling_param_top_p": 1.5, "sampling_param_n": 0}, "at most 1; 'sampling_param_n'"),
        ({"sampling_param_temperature": float("nan")}, "is nan, must be at least 0"),
        ({"sampling_param_n": 3, "sampling_param_best_of": 2}, "is 2, below 'sampling_param_n' 3"),
        ({"streaming": True, "sampling_param_exclude_input_from_output": False}, "cannot be false"),
        ({"streaming": True, "sampling_param_best_of": 2}, "cannot be streamed"),
        ({"guided_decoding_guide_type": b"regex"}, "needs 'guided_decoding_guide'"),
        ({"stop": True}, "send a request id"),
        ({"sampling_param_repetition_penalty": 0.0}, "is 0.0, must be above 0"),
        ({"sampling_param_repetition_penalty": float("nan")}, "is nan, must be above 0"),
        ({"sampling_param_beam_search_diversity_rate": -1.0}, "must be at least 0"),
        ({"sampling_param_end_id": -1}, "must be at least 0"),
        ({"sampling_param_min_tokens": 9, "sampling_param_max_tokens": 8}, "is 9, above"),
    ],
)
def test_wrong_requests(model: Any, values: dict[str, Any], part: str) -> None:
    prompt = {} if not values or {"text_input", "messages"} & set(values) else {"text_input": b"x"}
    with pytest.raises(model.request.RequestError) as error:
        model.request.parse(tensors(**prompt, **values))
    assert part in str(error.value)


@pytest.mark.parametrize(("asked", "sent"), [({}, 1), ({"logprobs": 0}, 1), ({"logprobs": 3}, 3)])
def test_a_sum_needs_log_probabilities(
    model: Any, monkeypatch: pytest.MonkeyPatch, asked: dict[str, int], sent: int
) -> None:
    """TensorRT-LLM computes none for 0, and the sum would be 0 as if that were true."""
    fake = ModuleType("tensorrt_llm")

    @dataclasses.dataclass
    class SamplingParams:
        logprobs: int | None = None

    fake.SamplingParams = SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt_llm", fake)
    wanted = model.request.Wanted(cumulative_logprob=True)
    request = model.request.Request(prompt="x", sampling=asked, wanted=wanted)
    _, params, _ = model.arguments.Arguments(None, {}).of(request)
    assert params.logprobs == sent


def test_streaming_needs_the_decoupled_policy(model: Any) -> None:
    sent = tensors(text_input=b"x", streaming=True)
    with pytest.raises(model.request.RequestError, match="decoupled: true"):
        model.request.parse(sent, decoupled=False)


def test_a_request_may_end_others_of_its_id(model: Any) -> None:
    request = model.request.parse(tensors(stop=True), request_id="7")
    assert request.cancels and request.id == "7"


# --- responses --------------------------------------------------------------------------------


def output(text: str, ids: list[int], finished: bool = False, **more: Any) -> Any:
    fields = {
        "index": 0, "text": text, "token_ids": ids, "cumulative_logprob": -1.5, "logprobs": [],
        "finish_reason": "length" if finished else None, "stop_reason": None,
        "request_perf_metrics": None,
    }  # fmt: skip
    item = SimpleNamespace(**{**fields, **more})
    return SimpleNamespace(outputs=[item], finished=finished, prompt_token_ids=[1, 2])


def test_cumulative_outputs_become_deltas_of_declared_types(model: Any) -> None:
    wanted = model.request.Wanted(
        finish_reason=True, cumulative_logprob=True, num_output_tokens=True, num_input_tokens=True
    )
    assembler = model.response.Assembler(model.request.Request(prompt="x", wanted=wanted))
    first = assembler.response(output("a", [5]), False).values
    last = assembler.response(output("a bc", [5, 6, 7], finished=True), True).values
    assert [first["text_output"].tolist(), last["text_output"].tolist()] == [[b"a"], [b" bc"]]
    assert [first["num_output_tokens"].tolist(), last["num_output_tokens"].tolist()] == [[1], [2]]
    assert last["cumulative_logprob"].dtype == np.float32
    assert last["num_input_tokens"].dtype == np.uint32
    assert last["finish_reason"].tolist() == [b"length"]


def test_every_log_probability_names_its_token_the_generated_one_first(model: Any) -> None:
    wanted = model.request.Wanted(logprobs=True)
    assembler = model.response.Assembler(model.request.Request(prompt="x", wanted=wanted))

    def entry(logprob: float, rank: int) -> Any:
        return SimpleNamespace(logprob=logprob, rank=rank)

    ranked = {9: entry(-0.1, 1), 6: entry(-2.5, 2)}
    sent: list[Any] = []
    stopped = [-0.5, ranked, -7.0]  # the last one of a stop string
    for ids, logprobs in (([5], [-0.5]), ([5, 6], stopped)):
        found = assembler.response(output("ab"[: len(ids)], ids, logprobs=logprobs), False)
        sent += json.loads(found.values["logprobs"][0])
    assert sent[0] == {"5": {"logprob": -0.5, "rank": None}}
    assert list(sent[1].items()) == [
        ("6", {"logprob": -2.5, "rank": 2}), ("9", {"logprob": -0.1, "rank": 1}),
    ]  # fmt: skip


def test_nothing_new_is_no_response(model: Any) -> None:
    assembler = model.response.Assembler(model.request.Request(prompt="x"))
    assert assembler.response(output("\ufffd", [5]), False) is None


def test_metrics_are_numbers_and_nanoseconds(model: Any) -> None:
    timing = SimpleNamespace(arrival_time=timedelta(days=1, seconds=2, microseconds=3))
    cache = SimpleNamespace(num_reused_blocks=4, kv_cache_hit_rate=0.5)
    metrics = SimpleNamespace(timing_metrics=timing, kv_cache_metrics=cache)
    wanted = model.request.Wanted(perf_metrics=True)
    assembler = model.response.Assembler(model.request.Request(prompt="x", wanted=wanted))
    found = output("a", [5], finished=True, request_perf_metrics=metrics)
    values = assembler.response(found, True).values
    assert values["arrival_time_ns"].tolist() == [86_402_000_003_000]
    assert values["arrival_time_ns"].dtype == np.int64
    assert values["kv_cache_reused_block"].tolist() == [4]
    assert "acceptance_rate" not in values, "what a release does not tell is not invented"


# --- settings ---------------------------------------------------------------------------------


def write(tmp_path: Path, text: str) -> Path:
    version = tmp_path / "repo" / "llama" / "1"
    (version / "weights").mkdir(parents=True)
    (version / "model.yaml").write_text(text)
    return version


def test_paths_of_the_mount_point_are_found_in_the_repository(model: Any, tmp_path: Path) -> None:
    version = write(
        tmp_path,
        "model: /models/llama/1/weights\n"
        "lora_config: {lora_dir: [/models/llama/1/weights]}\n"
        "triton_config: {cancellation_check_period_ms: 50}\n",
    )
    settings = model.settings.read(version)
    assert settings.arguments["model"] == str(version / "weights")
    assert settings.arguments["lora_config"]["lora_dir"] == [str(version / "weights")]
    assert settings.cancellation_seconds == 0.05
    renamed = version.parent.rename(tmp_path / "repo" / "other") / "1"
    assert model.settings.read(renamed).arguments["model"] == str(renamed / "weights")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[1]", "must map"),
        ("model: [", "not valid YAML"),
        ("dtype: auto", "'model' must name the weights"),
        ("model: /nowhere/else", "no weights at /nowhere/else"),
        ("model: a\ntriton_config: {decopled: true}", "has no decopled"),
        ("model: a\ntriton_config: {cancellation_check_period_ms: 0}", "positive number"),
    ],
)
def test_wrong_settings(model: Any, tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(model.settings.SettingsError, match=part):
        model.settings.read(write(tmp_path, text))


def config(count: int, ids: str = "") -> dict[str, Any]:
    parameters = {"gpu_device_ids": {"string_value": ids}} if ids else {}
    return {"instance_group": [{"count": count}], "parameters": parameters}


def test_every_instance_gets_its_gpus(model: Any) -> None:
    two = {"tensor_parallel_size": 2}
    devices = model.settings.visible_devices
    assert devices("llama_0_1", config(2, "0,1;2,3"), two) == "2,3"
    assert devices("llama_0_0", config(2, "0,1;2,3"), two) == "0,1"
    assert devices("llama_0_0", config(1), two) is None


@pytest.mark.parametrize(
    ("count", "ids", "part"),
    [
        (2, "", "2 instances need"),
        (1, "0,0", "different GPU indexes"),
        (1, "0;1", "2 groups for 1 instances"),
        (1, "0,1", "2 GPUs, and model.yaml wants 1"),
    ],
)
def test_wrong_gpus(model: Any, count: int, ids: str, part: str) -> None:
    with pytest.raises(model.settings.SettingsError, match=part):
        model.settings.visible_devices("m_0_0", config(count, ids), {})


def test_an_outer_mpi_job_is_forgotten_but_not_tensorrt_llms_own(model: Any) -> None:
    job = {"OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0", "PMIX_MCA_gds": "hash", "HOME": "/"}
    environment = dict(job)
    model.settings.forget_mpi_job(environment)
    assert environment == {"PMIX_MCA_gds": "hash", "HOME": "/"}
    launched = {**job, "TLLM_SPAWN_PROXY_PROCESS": "1"}
    model.settings.forget_mpi_job(launched)
    assert "PMIX_RANK" in launched


# --- the engine -------------------------------------------------------------------------------


class Stalled:
    """LLM() whose worker was killed: what is in flight gets no answer, and nobody says so."""

    def __init__(self) -> None:
        self._executor = SimpleNamespace(
            doing_shutdown=False, _error_queue=Queue(), mpi_futures=[Future()]
        )
        self.asked = threading.Event()

    def generate_async(self, *_: object, **__: object) -> AsyncIterator[Any]:
        async def never() -> AsyncIterator[Any]:
            self.asked.set()
            await asyncio.Event().wait()
            yield

        return never()

    def shutdown(self) -> None:
        pass


class Answers:
    """A response sender."""

    def __init__(self) -> None:
        self.got: Queue[Any] = Queue()

    def send(self, response: Any, flags: int) -> None:
        self.got.put((str(response.error), flags))

    def is_cancelled(self) -> bool:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["process", "error", "shutdown"])
def test_an_engine_that_died_answers_at_once(
    model: Any, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = Stalled()
    arguments = SimpleNamespace(of=lambda request: (request.prompt, None, None))
    monkeypatch.setattr(model.arguments, "open_llm", lambda given: llm)
    monkeypatch.setattr(model.arguments, "Arguments", lambda *given: arguments)
    settings = SimpleNamespace(arguments={}, adapters={}, cancellation_seconds=0.01)
    engine = model.engine.Engine(log=None, settings=settings)
    gc.freeze()  # start and stop collect garbage: not that of all tests before this one
    engine.start()
    try:
        waiting, late = Answers(), Answers()
        engine.submit(model.request.Request(prompt="x"), waiting)
        assert llm.asked.wait(60)
        assert engine.alive() is True
        if sign == "process":
            llm._executor.mpi_futures[0].set_result(None)
        elif sign == "error":
            llm._executor._error_queue.put(RuntimeError("CUDA error"))
        else:
            llm._executor.doing_shutdown = True
        assert engine.alive() is False
        told = ("unavailable: the engine is dead; the server's log tells why", 1)
        assert waiting.got.get(timeout=60) == told
        llm.asked.clear()
        engine.submit(model.request.Request(prompt="x"), late)
        assert late.got.get(timeout=60) == told
        assert not llm.asked.is_set()
    finally:
        engine.stop()
