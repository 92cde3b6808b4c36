"""The stand-in of the tensorrtllm backend, without vLLM: what it refuses and how it answers."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support import ensemble
from support.fake_pb_utils import Request, loaded
from trtbuild_engine_flow.resources import template_dir

FOLDER = template_dir("rehearsal", "tensorrtllm")
PARAMETERS = {
    "gpt_model_type": "inflight_fused_batching",
    "gpt_model_path": "/models/llm_tensorrt_llm/1",
    "tokenizer_dir": "",
    "max_beam_width": "4",
    "exclude_input_in_output": "true",
}
BUILD = {"max_batch_size": 200, "max_input_len": 8, "max_seq_len": 12, "max_beam_width": 2}


@pytest.fixture(scope="module")
def standin() -> Iterator[Any]:
    with loaded(FOLDER / "model.py", FOLDER, labels=False) as model:
        names = ("standin_request", "standin_settings", "standin_engine")
        parts = {name[8:]: importlib.import_module(name) for name in names}
        yield SimpleNamespace(model=model, **parts)
    for name in names:
        del sys.modules[name]


@pytest.fixture
def settings(standin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    version = tmp_path / "llm_tensorrt_llm" / "1"
    version.mkdir(parents=True)
    (version / "config.json").write_text(json.dumps({"build_config": BUILD}))
    plan = {"models": {"llm_tensorrt_llm": {"checkpoint": "/c"}}, "engine": {"dtype": "float32"}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    monkeypatch.setenv("TRTBUILD_REHEARSAL", str(tmp_path / "plan.json"))

    def make(name: str = "llm_tensorrt_llm", decoupled: bool = True, **parameters: Any) -> Any:
        found = {k: v for k, v in {**PARAMETERS, **parameters}.items() if v is not None}
        config = {
            "parameters": {key: {"string_value": value} for key, value in found.items()},
            "model_transaction_policy": {"decoupled": decoupled},
        }
        return standin.settings.Settings(name, version, config)

    return make


def test_vllm_gets_the_engines_limits(settings: Any) -> None:
    found = settings()
    assert found.arguments == {
        "model": "/c",
        "dtype": "float32",
        "max_num_seqs": 64,
        "max_model_len": 12,
        "skip_tokenizer_init": True,
    }
    assert (found.max_input_len, found.max_beam_width, found.exclude_input) == (8, 2, True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gpt_model_type": "inflight"}, "gpt_model_type is 'inflight'"),
        ({"gpt_model_path": None}, "gpt_model_path is missing"),
        ({"gpt_model_path": "/nowhere"}, "/nowhere/config.json"),
        ({"tokenizer_dir": None}, "the real backend would crash"),
        ({"name": "other"}, "names no checkpoint for other"),
    ],
)
def test_what_the_real_backend_does_not_load_is_refused(
    standin: Any, settings: Any, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(standin.settings.SettingsError) as error:
        settings(**wrong)
    assert message in str(error.value)


def test_only_the_words_of_the_backend_exclude_the_prompt(settings: Any) -> None:
    assert settings(exclude_input_in_output="true").exclude_input
    assert not settings(exclude_input_in_output="yes").exclude_input


def inputs(ids: list[int] = [5, 6, 7], **more: Any) -> dict[str, np.ndarray]:  # noqa: B006
    found = {"input_ids": np.array([ids], dtype=np.int32)}
    found["input_lengths"] = np.array([[len(ids)]], dtype=np.int32)
    found["request_output_len"] = np.array([[4]], dtype=np.int32)
    words = {name: more.pop(name)[None] for name in ("stop_words_list",) if name in more}
    return {**found, **words, **{name: np.array([[value]]) for name, value in more.items()}}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ids": [1] * 9}, "Prompt length (9) exceeds maximum input length (8)"),
        ({"request_output_len": 0}, "must be above 0"),
        ({"num_return_sequences": 0}, "num_return_sequences must be above 0, got 0"),
        ({"beam_width": 3}, "beam_width 3 is above 2"),
        ({"beam_width": 2}, "the rehearsal has no beam search"),
        ({"return_context_logits": True}, "not rehearsed: return_context_logits"),
        ({"lora_task_id": 1, "medusa": 1}, "not rehearsed: lora_task_id, medusa"),
    ],
)
def test_what_cannot_be_served_is_named(
    standin: Any, settings: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(standin.request.RequestError) as error:
        standin.request.jobs(inputs(**more), settings())
    assert message in str(error.value)


def test_a_prompt_is_needed(standin: Any, settings: Any) -> None:
    given = inputs()
    del given["input_ids"]
    with pytest.raises(standin.request.RequestError, match="input_ids is missing"):
        standin.request.jobs(given, settings())


def test_a_stop_without_an_id_does_not_stop_everybody(standin: Any, settings: Any) -> None:
    """Requests of clients that give no id have the empty one."""
    served = standin.model.TritonPythonModel()
    served._settings, stopped, sent = settings(), [], []
    served._engine = SimpleNamespace(cancel=stopped.append)
    for name in ("", "17"):
        sender = SimpleNamespace(
            send=lambda response, _: sent.append(response.error), is_cancelled=lambda: False
        )
        request = Request(request_id=name, stop=True)
        request.get_response_sender = lambda sender=sender: sender  # type: ignore[attr-defined]
        served.execute([request])
    assert stopped == ["17"]
    assert sent[0].code == "INVALID_ARG" and "the id of the request" in sent[0].message
    assert sent[1] is None


@pytest.mark.parametrize("more", [{"streaming": True}, {"num_return_sequences": 2}])
def test_several_responses_take_a_decoupled_model(
    standin: Any, settings: Any, more: dict[str, Any]
) -> None:
    with pytest.raises(standin.request.RequestError, match="decoupled"):
        standin.request.jobs(inputs(**more), settings(decoupled=False))


def test_a_jobs_length_is_cut_as_the_engine_cuts_it(standin: Any, settings: Any) -> None:
    (job,) = standin.request.jobs(inputs([1] * 8, request_output_len=99), settings())
    assert job.max_tokens == 4


def test_words_come_as_preprocessing_writes_them(standin: Any, settings: Any) -> None:
    words = ensemble.module("llm_words").engine_list([[(5, 6), (7,)]])
    (job,) = standin.request.jobs({**inputs(), "stop_words_list": words}, settings())
    assert job.stops == [[5, 6], [7]]
    words[0, 1, 1] = 1  # ends must grow
    with pytest.raises(standin.request.RequestError, match="must grow"):
        standin.request.jobs({**inputs(), "stop_words_list": words}, settings())


@pytest.mark.parametrize(
    ("more", "greedy"),
    [
        ({}, True),
        ({"temperature": 0.7}, True),
        ({"runtime_top_k": 1, "runtime_top_p": 0.9}, True),
        ({"runtime_top_k": 40}, False),
        ({"runtime_top_p": 0.9}, False),
    ],
)
def test_sampling_begins_where_the_engines_does(
    standin: Any, settings: Any, more: dict[str, Any], greedy: bool
) -> None:
    (job,) = standin.request.jobs(inputs(**more), settings())
    assert job.greedy is greedy


def answers(standin: Any, settings: Any, outputs: list[Any], **more: Any) -> list[Any]:
    """What is sent for vLLM's outputs: ids, lengths and whether it was the last."""
    sent: list[Any] = []
    names = {"output_ids", "sequence_length"}
    request = standin.engine.Request(
        "", names, None, lambda r, last: sent.append((r, last)), lambda: False
    )
    (job,) = standin.request.jobs(inputs(end_id=9, **more), settings())
    request.left = 1
    taker = standin.engine.Answers(request, job, 0, 1)
    for ids, reason in outputs:
        item = SimpleNamespace(index=0, token_ids=ids, finish_reason=reason, logprobs=None)
        taker.take(SimpleNamespace(outputs=[item]))
    taker.finish()
    assert taker.ended() and not any(response.error for response, _ in sent)
    return [(r.outputs["output_ids"].tolist(), last) for r, last in sent]


def test_an_end_token_is_a_response_without_tokens(standin: Any, settings: Any) -> None:
    outputs = [([4], None), ([5, 9], "stop")]
    found = answers(standin, settings, outputs, streaming=True)
    assert found == [([[[4]]], False), ([[[5]]], False), ([[[]]], True)]
    assert answers(standin, settings, outputs) == [([[[4, 5]]], True)]


def test_what_is_stopped_ends_with_what_there_is(standin: Any, settings: Any) -> None:
    outputs = [([4], None), ([5], None)]
    found = answers(standin, settings, outputs, streaming=True)
    assert found == [([[[4]]], False), ([[[5]]], False), ([[[]]], True)]
    assert answers(standin, settings, outputs) == [([[[4, 5]]], True)]


def test_the_limit_comes_with_its_token(standin: Any, settings: Any) -> None:
    found = answers(standin, settings, [([4], None), ([5], "length")], streaming=True)
    assert found == [([[[4]]], False), ([[[5]]], True)]


def test_a_stop_word_of_several_tokens_is_found_across_outputs(standin: Any, settings: Any) -> None:
    outputs = [([4, 5], None), ([6, 7, 8], None), ([1], "length")]
    words = np.array([[[5, 6, 7], [3, -1, -1]]], dtype=np.int32)
    sent: list[Any] = []
    request = standin.engine.Request(
        "", {"output_ids"}, None, lambda r, last: sent.append((r, last)), lambda: False
    )
    given = {**inputs(streaming=True), "stop_words_list": words}
    (job,) = standin.request.jobs(given, settings())
    request.left = 1
    taker = standin.engine.Answers(request, job, 0, 1)
    ended = []
    for ids, reason in outputs:
        item = SimpleNamespace(index=0, token_ids=ids, finish_reason=reason, logprobs=None)
        ended.append(taker.take(SimpleNamespace(outputs=[item])))
    assert ended == [False, True, True]
    assert [(r.outputs["output_ids"].tolist(), last) for r, last in sent] == [
        ([[[4, 5]]], False),
        ([[[6, 7]]], True),
    ]


def test_a_stop_word_may_begin_in_the_prompt(standin: Any, settings: Any) -> None:
    """stopCriteriaKernels.cu looks at all tokens of a sequence; those of this prompt are 5 6 7."""
    words = np.array([[7, 4], [2, -1]], dtype=np.int32)
    outputs = [([4], None), ([1], "length")]
    found = answers(standin, settings, outputs, streaming=True, stop_words_list=words)
    assert found == [([[[4]]], True)]


def test_the_prompt_is_repeated_where_the_engine_would(standin: Any, settings: Any) -> None:
    found = answers(standin, settings, [([4], "length")], exclude_input_in_output=False)
    assert found == [([[[5, 6, 7, 4]]], True)]
