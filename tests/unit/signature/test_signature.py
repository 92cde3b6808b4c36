"""A served model is described once, from whatever made it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from support.paths import TESTS
from trtbuild import pbtxt
from trtbuild.modelspec import DenseLayer, Head
from trtbuild.signature import ServedModel, ServedTask, Tensor, describe, inside, recognize

GOLDEN = TESTS / "golden"
TEXT = (("text_input",), ("text_output",))


def described(root: Path, name: str, card: ServedModel | None = None) -> ServedModel:
    model = describe(root, name, pbtxt.configs(root), card)
    assert model is not None
    return model


@pytest.fixture
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A golden repository, with a tokenizer where its conversion would put one."""
    builder, _, place = request.param.partition(":")
    root = tmp_path / "repository"
    shutil.copytree(GOLDEN / builder, root)
    (root / place).mkdir(parents=True)
    (root / place / "tokenizer.json").write_text("{}", encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("repository", "task", "schema", "engine_file", "tokenizer", "context"),
    [
        ("vllm/plain:llama/1/weights", "generate", "vllm", "llama/1/model.json",
         "llama/1/weights", 8192),
        ("vllm/embed:llama/1/weights", "embed", "vllm", "llama/1/model.json",
         "llama/1/weights", 0),
        ("trtllm/plain:llama/1/weights", "generate", "llmapi", "llama/1/model.yaml",
         "llama/1/weights", 8192),
        ("trtllm-engine/balanced:llama_preprocessing/1/tokenizer", "generate", "ensemble", "",
         "llama_preprocessing/1/tokenizer", 0),
    ],
    indirect=["repository"],
)  # fmt: skip
def test_what_each_builder_writes(
    repository: Path, task: str, schema: str, engine_file: str, tokenizer: str, context: int
) -> None:
    name = tokenizer.partition("/")[0].removesuffix("_preprocessing")
    model = described(repository, name)
    assert (model.task, model.request_schema) == (task, schema)
    assert (model.engine_file, model.tokenizer) == (engine_file, tokenizer)
    assert model.context_length == context
    assert model.input("text_input") is not None and model.has_output("text_output")
    assert model.weights == ("" if schema == "ensemble" else tokenizer)
    assert model.decoupled


@pytest.mark.parametrize(
    ("inputs", "outputs", "more", "expected"),
    [
        (("text_input", "sampling_parameters"), TEXT[1], {}, ("generate", "vllm")),
        (("text_input", "embedding_request", "sampling_parameters"), TEXT[1], {"pooling": True},
         ("embed", "vllm")),
        ((), (), {"backend": "vllm"}, ("generate", "vllm")),
        ((), (), {"backend": "vllm", "pooling": True}, ("embed", "vllm")),
        (("text_input", "sampling_param_max_tokens"), TEXT[1], {}, ("generate", "llmapi")),
        (("text_input", "max_tokens"), TEXT[1], {}, ("generate", "ensemble")),
        (*TEXT, {}, ("tensor", "")),
        (("input_ids",), ("logits",), {}, ("tensor", "")),
        (("max_tokens",), TEXT[1], {}, ("tensor", "")),
    ],
)  # fmt: skip
def test_tensors_decide(
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    more: dict[str, object],
    expected: tuple[str, str],
) -> None:
    assert recognize(inputs, outputs, **more) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "relative"),
    [("/models/m/1/weights", "m/1/weights"), ("/models/../etc", ""), ("/models", ""),
     ("org/model", ""), ("/data/weights", ""), ("", "")],
)  # fmt: skip
def test_paths_of_the_container_become_relative(path: str, relative: str) -> None:
    assert inside(path) == relative


FULL = ServedModel(
    name="m",
    task=ServedTask.EMBED,
    request_schema="embed",
    inputs=(Tensor("text", "STRING", (-1,)),),
    outputs=(Tensor("embedding", "FP32", (384,), optional=True),),
    decoupled=False,
    max_batch_size=8,
    context_length=512,
    tokenizer="m/1/tokenizer",
    head=Head(
        pooling=("mean", "max"),
        layers=(DenseLayer("2_Dense", 768, 384),),
        normalized=True,
        dimension=384,
        prompts={"query": "q: "},
        labels=("a",),
    ),
)


def test_a_description_survives_json() -> None:
    assert ServedModel.from_dict(json.loads(json.dumps(asdict(FULL)))) == FULL


def test_what_a_newer_version_wrote_is_passed_over() -> None:
    assert ServedModel.from_dict({**asdict(FULL), "colour": "green"}) == FULL


@pytest.mark.parametrize("change", [{"task": "cook"}, {"inputs": [{"dims": [1]}]}])
def test_what_is_no_description_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        ServedModel.from_dict({**asdict(FULL), **change})


@pytest.mark.parametrize("repository", ["vllm/plain:llama/1/weights"], indirect=True)
def test_the_card_says_what_a_configuration_cannot(repository: Path) -> None:
    card = ServedModel("llama", ServedTask.VISION_LANGUAGE, context_length=4096)
    model = described(repository, "llama", card)
    assert model.task is ServedTask.VISION_LANGUAGE
    assert model.context_length == 8192  # what the engine is told
    # A configuration that was changed to another task since keeps its own.
    assert described(repository, "llama", replace(FULL, name="llama")).task == "generate"


def test_without_a_configuration_there_is_no_description(tmp_path: Path) -> None:
    assert describe(tmp_path, "m", pbtxt.configs(tmp_path)) is None


def test_a_data_type_may_be_a_number_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    config = 'backend: "python" output { name: "OUT" data_type: 32 dims: [ 1 ] }'
    (tmp_path / "m/config.pbtxt").write_text(config, encoding="utf-8")
    model = describe(tmp_path, "m", pbtxt.configs(tmp_path))
    assert model and [one.datatype for one in model.outputs] == ["32"]


@pytest.mark.parametrize("content", ["[1]", "{", "\0"])
def test_a_damaged_engine_file_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text('backend: "vllm"', encoding="utf-8")
    (tmp_path / "m" / "1" / "model.json").write_text(content, encoding="utf-8")
    model = described(tmp_path, "m")
    assert (model.task, model.engine_file, model.weights) == ("generate", "", "")
