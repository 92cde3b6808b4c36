"""``--contract openai-frontend``: a second model with the tensors that Triton's frontend sends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support.checkpoints import make_llama
from support.command_line import trtbuild
from support.fake_pb_utils import NAME, Request, Tensor, loaded
from support.specs import llama_8b
from trtbuild import pbtxt, toolchain
from trtbuild.builder import Builder, Case, discover
from trtbuild.modelspec import Head, HeadKind, Task
from trtbuild.recipe import ModelRecipe
from trtbuild.resources import template_dir
from trtbuild.signature import ServedModel, ServedTask, recognize
from trtbuild.signature import Tensor as Declared
from trtbuild.signature.dialects import named
from trtbuild.signature.requests import EmbedRequest

BUILDERS = {one.builder.name: one.builder for one in discover() if one.builder is not None}


def case_of(contract: str, head: Head | None = None) -> Case:
    spec = replace(llama_8b(task=Task.EMBED), architecture="BertModel", head=head or Head())
    recipe = ModelRecipe(source="x", name="m", contract=contract)  # type: ignore[arg-type]
    return Case(spec, recipe, toolchain.load("26.07"))


@pytest.mark.parametrize("name", ["onnx", "torch", "vllm-pooling"])
def test_the_second_model_is_written_on_request(name: str) -> None:
    builder: Builder = BUILDERS[name]
    plain = [entry.name for entry in builder.models(case_of(""))]
    found = {entry.name: entry for entry in builder.models(case_of("openai-frontend"))}
    assert list(found) == [*plain, "m_openai"] and "contract" in builder.takes
    config = pbtxt.parse(found["m_openai"].files[0].content.decode())
    assert config.max_batch_size == 0 and config.backend == "python"
    assert config.parameters["embedding_model"].string_value == "m"
    tensors = [[one.name for one in rows] for rows in (config.input, config.output)]
    assert recognize(*tensors) == ("embed", "vllm")
    assert [one.optional for one in config.input] == [False, True, True]


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_only_dense_vectors_have_the_contract(name: str) -> None:
    sparse = case_of("openai-frontend", Head(HeadKind.SPARSE, pooling=("max",)))
    reasons = " ".join(BUILDERS[name].reasons_unsupported(sparse))
    assert "asks for dense vectors only" in reasons and "leave out --contract" in reasons


@pytest.mark.parametrize("name", ["onnx", "torch", "vllm", "vllm-pooling"])
def test_a_model_that_generates_text_has_no_such_contract(name: str) -> None:
    recipe = ModelRecipe(source="x", name="m", contract="openai-frontend")
    case = Case(llama_8b(), recipe, toolchain.load("26.07"))
    assert "this model is for generate" in " ".join(BUILDERS[name].reasons_unsupported(case))


def test_convert_refuses_it_for_a_language_model(tmp_path: Path) -> None:
    flags = ("--contract", "openai-frontend", "--dry-run", "--repo", tmp_path / "repo")
    source = make_llama(tmp_path / "llama")
    done = trtbuild("convert", source, *flags)
    assert done.returncode == 2 and "it is for embedding models" in done.stderr
    done = trtbuild("convert", source, "--contract", "other")
    assert done.returncode == 2 and "unknown --contract 'other'" in done.stderr


def test_trtbuild_itself_can_ask_it() -> None:
    names = ("embedding_request", "return_num_input_tokens")
    inputs = tuple(Declared(name, "STRING", (1,)) for name in names)
    served = ServedModel("m_openai", ServedTask.EMBED, "vllm", inputs)
    dialect = named("vllm")
    assert dialect is not None
    (one,) = dialect.requests(served, EmbedRequest(("a",), dimensions=2))
    sent = {tensor.name: (tensor.shape, tensor.data) for tensor in one.inputs}
    assert sent["return_num_input_tokens"] == ((1,), [True])
    shape, (text,) = sent["embedding_request"]
    asked = {"input": "a", "pooling_params": {"dimensions": [2]}}
    assert shape == (1,) and json.loads(text) == asked


@pytest.fixture
def model() -> Iterator[Any]:
    """The model, beside one that answers with the length of a text and refuses ``no``."""
    with loaded(template_dir("text", "frontend", "model.py"), labels=True) as module:
        fake: Any = sys.modules[NAME]

        class InferenceRequest:
            def __init__(self, **given: Any) -> None:
                assert given["model_name"] == "m" and given["requested_output_names"]
                (self._tensor,), self._asked = given["inputs"], given["parameters"]

            async def async_exec(self) -> Any:
                await asyncio.sleep(0)
                ((text,),) = self._tensor.as_numpy()
                size = self._asked.get("dimensions", 2)
                return SimpleNamespace(
                    has_error=lambda: text == b"no",
                    error=lambda: SimpleNamespace(message=lambda: "refused"),
                    outputs={
                        "embeddings": np.full((1, size), len(text) / 3, np.float32),
                        "token_count": np.array([[len(text)]], np.int32),
                    },
                )

        fake.InferenceRequest = InferenceRequest
        fake.PreferredMemory = lambda *place: place
        fake.TRITONSERVER_MEMORY_CPU = 0
        fake.get_input_tensor_by_name = lambda request, name: next(
            (one for one in request.inputs() if one.name() == name), None
        )
        fake.get_output_tensor_by_name = lambda answer, name: Tensor(name, answer.outputs[name])
        made = module.TritonPythonModel()
        config = {"parameters": {"embedding_model": {"string_value": "m"}}}
        made.initialize({"model_config": json.dumps(config)})
        yield made


def ask(model: Any, *bodies: Any) -> list[Any]:
    texts = (one if isinstance(one, str) else json.dumps(one) for one in bodies)
    requests = [Request(embedding_request=text) for text in texts]
    answers: list[Any] = asyncio.run(model.execute(requests))
    return answers


def test_it_answers_as_the_frontend_expects(model: Any) -> None:
    plain, cut, whole = ask(
        model,
        {"input": "ab"},
        {"input": "abcd", "pooling_params": {"dimensions": [3]}},
        {"input": "a", "pooling_params": {"dimensions": 1}},
    )
    text = plain.outputs["text_output"][0]
    assert text == b"[0.666666687, 0.666666687]"
    assert np.float32(json.loads(text)[0]) == np.float32(2 / 3)
    assert plain.outputs["num_input_tokens"].tolist() == [2]
    assert plain.outputs["num_input_tokens"].dtype == np.uint32
    assert plain.outputs["num_output_tokens"].tolist() == [0]
    assert [len(json.loads(one.outputs["text_output"][0])) for one in (cut, whole)] == [3, 1]


def test_a_wrong_request_leaves_the_others_alone(model: Any) -> None:
    bodies = ["{", "[]", "7", {"text": "a"}, {"input": [1, 2]}, {"input": "no"}, {"input": "a"}]
    *failed, good = ask(model, *bodies)
    messages = [one.error.message for one in failed]
    assert all("is not a JSON object" in message for message in messages[:4])
    assert messages[4:] == ["input must be one text: lists and token ids are not taken", "refused"]
    assert {one.error.code for one in failed} == {"INVALID_ARG"} and good.error is None
