"""The script that runs in ModelOpt's environment, its parts with stand-ins for the libraries."""

from __future__ import annotations

import importlib.util
import json
from types import SimpleNamespace
from typing import Any

import pytest

from trtbuild_checkpoints.resources import template_dir


@pytest.fixture(scope="module")
def worker() -> Any:
    path = template_dir("worker.py")
    spec = importlib.util.spec_from_file_location("quantize_worker", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Batch(dict[str, Any]):
    """What a tokenizer gives: ids with a shape that can be moved to a device."""

    def __init__(self, tokens: int) -> None:
        ids = SimpleNamespace(shape=(1, tokens))
        ids.to = lambda device: (tokens, device)
        super().__init__(input_ids=ids)


def test_every_text_is_shown_and_counted(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[dict[str, Any]] = []
    shown: list[Any] = []

    def tokenizer(text: str, **options: Any) -> Batch:
        asked.append(options)
        return Batch(len(text))

    run = worker.calibration(tokenizer, ["one", "", "three"], 77, "cpu")

    def model(*, input_ids: Any) -> None:
        shown.append(input_ids)

    run(model)
    assert shown == [(3, "cpu"), (5, "cpu")], "an empty text is not a batch"
    assert {options["max_length"] for options in asked} == {77}
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["done"], line["total"]) for line in said] == [(1, 3), (2, 3), (3, 3)]


def test_settings_are_copied_before_the_cache_is_added(worker: Any) -> None:
    modelopt = SimpleNamespace(
        FP8_DEFAULT_CFG={"quant_cfg": ["w"]}, FP8_KV_CFG={"quant_cfg": ["kv"]}
    )

    def update(chosen: dict[str, Any], cache: list[str]) -> dict[str, Any]:
        chosen["quant_cfg"] += cache
        return chosen

    modelopt.update_quant_cfg_with_kv_cache_quant = update
    job = {"config": "FP8_DEFAULT_CFG", "kv_cache": ""}
    assert worker.settings(modelopt, job) == {"quant_cfg": ["w"]}
    assert worker.settings(modelopt, job | {"kv_cache": "FP8_KV_CFG"}) == {"quant_cfg": ["w", "kv"]}
    assert modelopt.FP8_DEFAULT_CFG == {"quant_cfg": ["w"]}, "ModelOpt's own stays as it was"


def test_conversations_go_through_the_models_template(worker: Any) -> None:
    tokenizer = SimpleNamespace(apply_chat_template=lambda item, tokenize: f"<{len(item)}>")
    assert worker.render(tokenizer, "text") == "text"
    assert worker.render(tokenizer, [{"role": "user", "content": "hi"}]) == "<1>"
