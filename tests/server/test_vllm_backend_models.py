"""What a model directory may say: adapters, embeddings, mistakes; loaded beside the big one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from support.adapters import make_lora
from support.checkpoints import TINY, make_tiny
from support.triton import Triton, runtime_python, write_model
from trtbuild.resources import template_dir

Load = Callable[..., tuple[int, str]]


@pytest.fixture
def load(vllm_server: Triton, tmp_path: Path) -> Iterator[Load]:
    """Put a model called ``tiny`` into the repository, load it, and take it out at the end."""
    import shutil

    weights = make_tiny(tmp_path / "weights")

    def place(adapters: dict[str, Path] | None = None, **arguments: Any) -> tuple[int, str]:
        folder = write_model(vllm_server.repo, "tiny", weights, {**TINY, **arguments})
        if adapters:
            (folder / "1" / "adapters").mkdir()
            for name, path in adapters.items():
                (folder / "1" / "adapters" / name).symlink_to(path)
            named = {name: f"/models/tiny/1/adapters/{name}" for name in adapters}
            (folder / "1" / "multi_lora.json").write_text(json.dumps(named))
        return vllm_server.control("load", "tiny")

    yield place
    if vllm_server.ready("tiny"):
        vllm_server.control("unload", "tiny")
    shutil.rmtree(vllm_server.repo / "tiny", ignore_errors=True)


def ask(server: Triton, **body: Any) -> httpx.Response:
    body = {"text_input": "The capital of France is", "exclude_input_in_output": True, **body}
    return httpx.post(f"http://{server.http}/v2/models/tiny/generate", json=body, timeout=300)


def test_adapters_change_the_answer_of_their_request_only(
    vllm_server: Triton, load: Load, tmp_path: Path
) -> None:
    adapters = {"poet": make_lora(tmp_path / "poet", 1), "clerk": make_lora(tmp_path / "clerk", 2)}
    status, text = load(adapters, enable_lora=True, max_lora_rank=8, max_loras=2)
    assert status == 200, text

    def answer(**more: Any) -> str:
        sampling = {"temperature": 0, "max_tokens": 12, "ignore_eos": True, **more}
        return str(ask(vllm_server, sampling_parameters=json.dumps(sampling)).json()["text_output"])

    base, poet, clerk = answer(), answer(lora_name="poet"), answer(lora_name="clerk")
    assert len({base, poet, clerk}) == 3
    assert answer() == base
    assert answer(lora_name="poet") == poet
    refused = ask(vllm_server, sampling_parameters='{"lora_name": "cook"}')
    assert refused.status_code == 400
    assert refused.json()["error"] == "unknown LoRA 'cook'; this model has: poet, clerk"


def test_an_embedding_model_embeds_and_does_not_write(vllm_server: Triton, load: Load) -> None:
    status, text = load(runner="pooling", convert="embed")
    assert status == 200, text
    vectors = []
    for given in ("one two three", "ten nine", [5, 6, 7]):
        answer = ask(
            vllm_server,
            text_input="",
            embedding_request=json.dumps({"input": given, "pooling_params": {}}),
            return_num_input_tokens=True,
        )
        assert answer.status_code == 200, answer.text
        vectors.append(json.loads(answer.json()["text_output"]))
    assert answer.json()["num_input_tokens"] == 3
    assert [len(vector) for vector in vectors] == [64] * 3
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-4)
    assert vectors[0] != vectors[1]
    refused = ask(vllm_server)
    assert refused.status_code == 400
    assert "this model cannot 'generate'" in refused.json()["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_model_length": 8}, "has no engine argument 'max_model_length' (did you mean"),
        ({"model": "/models/tiny/1/absent"}, "no weights at /models/tiny/1/absent"),
        ({"dtype": "float33"}, "float33"),
        ({"enable_lora": True}, "multi_lora.json is missing"),
    ],
)
def test_a_model_that_cannot_load_says_why(
    vllm_server: Triton, load: Load, arguments: dict[str, Any], message: str
) -> None:
    status, text = load(**arguments)
    assert status == 400
    assert message in text
    assert "Traceback" not in text
    assert vllm_server.ready("smollm2")


def test_a_short_configuration_is_completed_without_vllm() -> None:
    """With the Python backend's own ModelConfig, as the server calls it."""
    site = next(runtime_python().parents[1].glob("lib/python3.*/site-packages"))
    paths = [str(site / "pytriton/tritonserver/backends/python"),
             str(template_dir("backends", "vllm"))]  # fmt: skip
    sys.path[:0] = paths
    try:
        import backend_tensors
        import triton_python_backend_utils as pb_utils

        text_input = {"name": "text_input", "data_type": "TYPE_STRING", "dims": [1]}
        short = {"name": "m", "max_batch_size": 0, "input": [text_input], "output": []}
        config = backend_tensors.complete(pb_utils.ModelConfig(json.dumps(short))).as_dict()
    finally:
        del sys.path[:2]
    assert len(config["input"]) == len(backend_tensors.INPUTS)
    assert len(config["output"]) == len(backend_tensors.OUTPUTS)
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert config["max_batch_size"] == 0
    assert "vllm" not in sys.modules
