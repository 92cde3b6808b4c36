"""The LLM API on a real Triton, rehearsed: the repository as converted, text equal to the truth."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from support.adapters import make_lora
from support.checkpoints import make_tiny
from support.engine_repos import engine_config, write_engine_repo
from support.engine_work import until_rest
from support.rehearsal import rehearsing
from support.smollm2 import CONTEXT, MAX_TOKENS, PROMPTS
from support.waiting import least
from trtbuild import check
from trtbuild.client import LLMClient, Sampling
from trtbuild.errors import ServerError
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe
from trtbuild.repository import show
from trtbuild.server import ServerHandle
from trtbuild_engine_flow.jobs.migrate import migrate

GREEDY = Sampling(max_tokens=MAX_TOKENS, temperature=0)
ADAPTERS = ("poet", "clerk")
EXTRA = (
    "中国的首都是北京。请用一句话介绍",
    "Weather: ☀️🌧️ and a family: 👩‍👩‍👧",
    "naïve café, and it ends in é",
)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as migrated from a repository of engines, and as converted a tiny model that is
    unary, has adapters and two instances."""
    work = tmp_path_factory.mktemp("llmapi")
    repo = work / "repository"
    old = write_engine_repo(
        work / "old",
        engine=engine_config(max_input_len=CONTEXT, max_seq_len=CONTEXT, max_batch_size=16),
        kv_cache_free_gpu_mem_fraction="0.6",
        enable_kv_cache_reuse="true",
    )
    before = digests(old)
    (smol,) = migrate(old, repo, sources=["sample:smollm2"], name="smol")
    assert digests(old) == before, "the old repository is only read"
    assert smol.recipe.engine.items() >= {"max_seq_len": CONTEXT, "max_batch_size": 16}.items()
    weights = make_tiny(work / "weights")
    adapters = {name: str(make_lora(work / name, seed)) for seed, name in enumerate(ADAPTERS)}
    triton = {"decoupled": False, "instances": 2, "gpu_device_ids": "0;1"}
    engine: dict[str, Any] = {"dtype": "float32", "max_seq_len": 128, "triton_config": triton}
    tiny = ModelRecipe(
        source=str(weights), name="tiny", backend="trtllm", engine=engine, adapters=adapters
    )
    convert(tiny, repository=repo)
    return repo


@pytest.fixture(scope="module")
def served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    before = digests(repository)
    with rehearsing(repository, tmp_path_factory.mktemp("served")) as found:
        yield found
    assert digests(repository) == before, "a rehearsal changes no byte of the repository"


@pytest.fixture
def client(served: ServerHandle) -> Iterator[LLMClient]:
    with LLMClient(served.grpc_url) as found:
        yield found


def generate(
    served: ServerHandle, path: str = "generate", model: str = "smol", **body: Any
) -> httpx.Response:
    url = f"http://{served.http_url}/v2/models/{model}/{path}"
    if "messages" not in body and "stop" not in body:
        body = {"text_input": "The capital of France is", **body}
    return httpx.post(url, json=body, timeout=300)


def work(served: ServerHandle, ask: Callable[[], object]) -> float:
    """Processor seconds of the engines for what is asked."""
    before = until_rest(served.pid)
    ask()
    return until_rest(served.pid) - before


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]


def test_what_is_converted_is_valid(repository: Path) -> None:
    found = check.validate(repository).findings
    assert [finding for finding in found if finding.severity == "error"] == []


@pytest.mark.parametrize("number", range(len(PROMPTS)), ids=[p["name"] for p in PROMPTS])
def test_greedy_text_equals_transformers(
    client: LLMClient, reference: list[dict[str, Any]], number: int
) -> None:
    truth = reference[number]
    streamed = client.answer("smol", truth["prompt"], GREEDY)
    assert streamed.text == truth["text"]
    assert streamed.chunks > 1
    assert (streamed.input_tokens, streamed.output_tokens) == (
        truth["input_tokens"],
        truth["tokens"],
    )
    whole = client.answer("smol", truth["prompt"], GREEDY, stream=False)
    assert (whole.text, whole.chunks) == (truth["text"], 1)


def test_sixteen_at_once_have_each_its_own_text(
    served: ServerHandle, client: LLMClient, reference: list[dict[str, Any]]
) -> None:
    prompts = [truth["prompt"] for truth in reference] + list(EXTRA)
    expected = {truth["prompt"]: truth["text"] for truth in reference}
    expected |= {prompt: client.answer("smol", prompt, GREEDY).text for prompt in EXTRA}

    def alone() -> object:
        return client.answer("smol", prompts[0], GREEDY)

    def ask(number: int) -> tuple[str, str]:
        prompt = prompts[number % len(prompts)]
        with LLMClient(served.grpc_url) as own:
            return prompt, own.answer("smol", prompt, GREEDY, stream=number % 2 == 0).text

    answers: list[tuple[str, str]] = []

    def at_once() -> None:
        with ThreadPoolExecutor(16) as pool:
            answers.extend(pool.map(ask, range(16)))

    together = work(served, at_once)
    for prompt, text in answers:
        assert text == expected[prompt]
    assert together < 8 * work(served, alone), "sixteen run in one batch"


def test_messages_are_a_chat(served: ServerHandle, reference: list[dict[str, Any]]) -> None:
    number = next(i for i, prompt in enumerate(PROMPTS) if "messages" in prompt)
    messages = json.dumps(PROMPTS[number]["messages"])
    answer = generate(
        served,
        messages=messages,
        sampling_param_temperature=0,
        sampling_param_max_tokens=MAX_TOKENS,
    )
    assert answer.json()["text_output"] == reference[number]["text"]


def test_outputs_have_their_declared_types(served: ServerHandle) -> None:
    wanted = ("finish_reason", "stop_reason", "cumulative_logprob", "logprobs")
    wanted += ("num_input_tokens", "num_output_tokens")
    inputs = {f"return_{name}": True for name in wanted}
    pieces = events(
        generate(
            served,
            "generate_stream",
            streaming=True,
            sampling_param_temperature=0,
            sampling_param_max_tokens=6,
            sampling_param_return_perf_metrics=True,
            **inputs,
        )
    )
    assert [piece["finish_reason"] for piece in pieces] == ["None"] * 5 + ["length"]
    assert sum(piece["num_output_tokens"] for piece in pieces) == 6
    total = pieces[-1]["cumulative_logprob"]
    assert isinstance(total, float)
    steps = [json.loads(piece["logprobs"]) for piece in pieces]
    best = [max(entry["logprob"] for entry in step[0].values()) for step in steps]
    assert total == pytest.approx(sum(best), rel=1e-4)
    last = pieces[-1]
    assert 0 < last["arrival_time_ns"] < last["first_token_time_ns"] < last["last_token_time_ns"]
    assert "arrival_time_ns" not in pieces[0]


def test_the_shown_clients_work(served: ServerHandle, repository: Path) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        return done.stdout

    urls = {"grpc_url": served.grpc_url, "http_url": f"http://{served.http_url}"}
    for model in ("smol", "tiny"):
        shown = show(repository, model, **urls).clients
        for protocol in ("grpc", "http"):
            text = run(sys.executable, "-c", shown[protocol], "The capital of France is")
            assert model == "tiny" or text.startswith(" Paris")
        assert '"text_output":"' in run("bash", "-ec", shown["curl"])


def test_a_stop_string_is_never_seen(served: ServerHandle) -> None:
    body = {"text_input": "Count: 1, 2, 3", "sampling_param_temperature": 0}
    body |= {"sampling_param_max_tokens": 40, "sampling_param_stop": [", 7"]}
    body |= {"return_finish_reason": True, "return_stop_reason": True}
    whole = generate(served, **body).json()
    assert whole["text_output"] == ", 4, 5, 6"
    assert (whole["finish_reason"], whole["stop_reason"]) == ("stop", ", 7")
    pieces = events(generate(served, "generate_stream", streaming=True, **body))
    assert "".join(piece["text_output"] for piece in pieces) == ", 4, 5, 6"
    assert pieces[-1]["stop_reason"] == ", 7"


def test_a_guide_binds_the_text(served: ServerHandle) -> None:
    answer = generate(
        served,
        sampling_param_max_tokens=8,
        guided_decoding_guide_type="regex",
        guided_decoding_guide="(Paris|Rome)!",
    )
    assert answer.json()["text_output"] in ("Paris!", "Rome!")


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"sampling_param_top_p": 3.0}, "'sampling_param_top_p' is 3.0, must be at most 1"),
        ({"sampling_param_max_tokens": 0}, "must be at least 1"),
        ({"sampling_param_use_beam_search": True}, "not rehearsed on the CPU: use_beam_search"),
        ({"lora_name": "french"}, "unknown LoRA 'french'; this model has: none"),
        ({"messages": "{}"}, "must be a JSON list"),
        ({"text_input": ["a", "b"]}, "holds 2 values; send one prompt a request"),
        ({"stop": True}, "send a request id"),
        ({"text_input": "word " * 600}, "512"),
        ({"guided_decoding_guide_type": "rhyme"}, "must be one of json, json_schema"),
    ],
)
def test_wrong_requests_say_what_is_wrong(
    served: ServerHandle, body: dict[str, Any], part: str
) -> None:
    answer = generate(served, **body)
    assert answer.status_code == 400
    assert part in answer.json()["error"]


def test_a_prompt_that_ends_inside_a_character_is_refused(served: ServerHandle) -> None:
    with grpcclient.InferenceServerClient(served.grpc_url) as raw:
        error = first_error(raw, "naïve caf\xe9".encode("latin-1"))
    assert "'text_input' is not valid UTF-8" in error


def first_error(raw: Any, prompt: bytes) -> str:
    arrived: list[Any] = []
    done = threading.Event()

    def take(result: Any, error: Any) -> None:
        arrived.append(error)
        done.set()

    tensor = grpcclient.InferInput("text_input", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([prompt], dtype=np.object_))
    raw.start_stream(take)
    raw.async_stream_infer("smol", [tensor])
    assert done.wait(180)
    raw.stop_stream()
    return str(arrived[0].message())


def test_who_leaves_stops_the_work(served: ServerHandle, client: LLMClient) -> None:
    def over_grpc() -> None:
        pieces = client.generate("smol", "Once", endless)
        assert next(pieces).text
        pieces.close()

    def over_http() -> None:
        body = {"text_input": "Once", "streaming": True, "sampling_param_ignore_eos": True}
        body |= {"sampling_param_max_tokens": endless.max_tokens}
        url = f"http://{served.http_url}/v2/models/smol/generate_stream"
        with httpx.stream("POST", url, json=body, timeout=180) as answer:
            assert next(answer.iter_lines()).startswith("data:")

    endless = Sampling(max_tokens=150, temperature=0, ignore_eos=True)
    whole = work(served, lambda: client.answer("smol", "Once", endless))
    for leave in (over_grpc, over_http):
        assert least(partial(work, served, leave), whole / 3) < whole / 3


def test_places_of_who_left_are_free(served: ServerHandle, client: LLMClient) -> None:
    endless = Sampling(max_tokens=400, temperature=0, ignore_eos=True)

    # Sixteen are admitted at once: the last one needs a place that a gone client gave back, and
    # nobody computed what they asked for.
    def leave() -> None:
        for _ in range(20):
            with LLMClient(served.grpc_url) as other:
                stream = other.generate("smol", "Once upon a time", endless)
                next(stream)
                stream.close()
        last = Sampling(max_tokens=1, temperature=0)
        client.answer("smol", "The capital of France is", last)

    short = Sampling(max_tokens=100, temperature=0, ignore_eos=True)
    whole = 4 * work(served, lambda: client.answer("smol", "Once upon a time", short))
    assert least(partial(work, served, leave), whole) < whole


def test_a_unary_model_answers_once_and_refuses_to_stream(served: ServerHandle) -> None:
    answer = generate(served, model="tiny", sampling_param_max_tokens=4)
    assert answer.status_code == 200, answer.text
    refused = generate(served, model="tiny", streaming=True)
    assert "decoupled: true" in refused.json()["error"]


def test_adapters_change_the_answer_of_their_request_only(served: ServerHandle) -> None:
    def answer(**more: Any) -> str:
        sampling = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
        body = {f"sampling_param_{name}": value for name, value in sampling.items()}
        return str(generate(served, model="tiny", **body, **more).json()["text_output"])

    texts = {name: answer(lora_name=name) for name in ADAPTERS}
    assert len({answer(), *texts.values()}) == 3
    # Either of the two instances may take a request; both know the adapters.
    assert [answer(lora_name=name) for name in [*ADAPTERS] * 3] == [*texts.values()] * 3
    refused = generate(served, model="tiny", lora_name="cook")
    assert refused.json()["error"] == "unknown LoRA 'cook'; this model has: poet, clerk"


def test_a_model_without_tensorrt_llm_says_where_it_is(repository: Path) -> None:
    from trtbuild.pipeline import serve
    from trtbuild.server import LaunchOptions

    serving = serve.prepare(repository, mode="embedded", options=LaunchOptions(), validate=False)
    with pytest.raises(ServerError, match="no TensorRT-LLM, which smol, tiny needs"):
        serve.command_line(serving)
