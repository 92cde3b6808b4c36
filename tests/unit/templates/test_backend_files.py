"""The parts of our vLLM backend that need neither Triton nor vLLM."""

from __future__ import annotations

import ast
import asyncio
import importlib
import json
import runpy
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest

from support.paths import ROOT
from trtbuild.resources import template_dir

FOLDER = template_dir("backends", "vllm")


@pytest.fixture(scope="module")
def backend() -> Iterator[Any]:
    """The helper modules, imported the way the stub does: from the backend's directory."""
    sys.path.insert(0, str(FOLDER))
    try:
        import backend_request
        import backend_settings
        import backend_tensors

        class Modules:
            request = backend_request
            settings = backend_settings
            tensors = backend_tensors

        yield Modules
    finally:
        sys.path.remove(str(FOLDER))


def test_what_runs_inside_triton_imports_nothing_of_ours_and_vllm_late() -> None:
    for path in FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [
                    alias.name for alias in node.names
                ]  # fmt: skip
                assert not any(name.split(".")[0] == "trtbuild" for name in names), path
                if any(name.split(".")[0] in ("vllm", "torch") for name in names):
                    assert node.col_offset > 0, f"{path}:{node.lineno} imports vLLM at its top"


class Hints:
    n: int = 1
    temperature: float = 1.0
    stop: str | list[str] | None = None
    seed: int | None = None
    ignore_eos: bool = False
    logit_bias: dict[int, float] | None = None
    stop_token_ids: list[int] | None = None
    mode: Literal["a", "b"] = "a"
    output_kind: int = 0
    _private: int = 0


def test_sampling_types_leave_out_what_is_not_a_clients(backend: Any) -> None:
    types = backend.request.sampling_types(Hints)
    assert set(types) == {"n", "temperature", "stop", "seed", "ignore_eos", "logit_bias",
                          "stop_token_ids", "mode"}  # fmt: skip
    assert types["seed"] == {int, type(None)}


@pytest.mark.parametrize(
    ("sent", "typed"),
    [
        ({"n": "2", "temperature": "0.5"}, {"n": 2, "temperature": 0.5}),
        ({"n": 2.0, "temperature": 1}, {"n": 2, "temperature": 1.0}),
        ({"ignore_eos": "True", "seed": "None"}, {"ignore_eos": True, "seed": None}),
        ({"ignore_eos": 1}, {"ignore_eos": True}),
        ({"stop": "1"}, {"stop": "1"}),
        ({"stop": ["a"]}, {"stop": ["a"]}),
        ({"logit_bias": {"5": -1}}, {"logit_bias": {5: -1}}),
        ({"stop_token_ids": "[1, 2]"}, {"stop_token_ids": [1, 2]}),
    ],
)
def test_values_get_the_types_vllm_wants(
    backend: Any, sent: dict[str, Any], typed: dict[str, Any]
) -> None:
    found = backend.request.typed(sent, backend.request.sampling_types(Hints))
    assert found == typed
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in typed.items()}


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"nn": 1}, "unknown sampling parameter 'nn', did you mean 'n'"),
        ({"n": "many"}, "sampling parameter 'n' must be int, got 'many'"),
        ({"n": 1.5}, "must be int, got 1.5"),
        ({"n": True}, "must be int, got True"),
        ({"ignore_eos": "maybe"}, "must be bool"),
        ({"stop": 1}, "must be list/str, got 1"),
        ({"_private": 1}, "unknown sampling parameter '_private'"),
        ({"temperature": float("nan")}, "must be float, got nan"),
        ({"temperature": "NaN"}, "must be float"),
        ({"seed": float("inf")}, "must be int, got inf"),
        ({"logit_bias": {"1": float("-inf")}}, "must be dict"),
    ],
)
def test_wrong_values_are_named(backend: Any, sent: dict[str, Any], message: str) -> None:
    with pytest.raises(backend.request.RequestError) as error:
        backend.request.typed(sent, backend.request.sampling_types(Hints))
    assert message in str(error.value)


def test_request_parameters_are_sampling_values_but_for_the_protocols_own(backend: Any) -> None:
    parsed = backend.request.parse(
        {"text_input": ["hé".encode()]},
        json.dumps({"max_tokens": 3, "triton_enable_empty_final_response": True, "timeout": 1}),
    )
    assert parsed.prompt == "hé"
    assert parsed.sampling == {"max_tokens": 3}
    assert (parsed.stream, parsed.prepend_prompt) == (False, True)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_without_an_end_is_refused(backend: Any, text: str) -> None:
    with pytest.raises(backend.request.RequestError, match="not valid JSON"):
        backend.request.json_object(text.encode(), "sampling_parameters")


@pytest.fixture
def arguments(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that makes vLLM's objects, with a few of vLLM's names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = {"vllm": {}, "vllm.lora": {}, "vllm.v1": {}}
    names["vllm.sampling_params"] = {"SamplingParams": Hints}
    coder = lambda *_: None  # noqa: E731
    names["vllm.v1.serial_utils"] = {"MsgpackEncoder": coder, "MsgpackDecoder": coder}
    request = lambda name, number, path: SimpleNamespace(  # noqa: E731
        lora_name=name, lora_int_id=number, lora_path=path
    )
    names["vllm.lora.request"] = {"LoRARequest": request}
    for name, members in names.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    import backend_arguments

    return backend_arguments


def test_adapters_are_loaded_at_once_and_a_bad_one_is_named(arguments: Any) -> None:
    loaded = []

    class Engine:
        async def add_lora(self, adapter: Any) -> None:
            if adapter.lora_name == "bad":
                raise ValueError("vLLM does not yet support DoRA.")
            loaded.append((adapter.lora_name, adapter.lora_int_id, adapter.lora_path))

    async def load(**adapters: str) -> None:
        await arguments.Arguments(adapters, ("generate",)).load_adapters(Engine())

    asyncio.run(load(poet="/p", clerk="/c"))
    assert loaded == [("poet", 1, "/p"), ("clerk", 2, "/c")]
    with pytest.raises(arguments.AdapterError) as caught:
        asyncio.run(load(poet="/p", bad="/b"))
    assert str(caught.value) == (
        "the adapter 'bad' (/b) cannot be used: ValueError: vLLM does not yet support DoRA."
    )


@pytest.mark.parametrize(
    ("given", "count", "kept"),
    [
        ({}, 1, None),
        ({}, 3, 3),
        ({"max_loras": 4}, 3, 4),
        ({"max_cpu_loras": 2}, 3, 2),
    ],
)
def test_there_is_room_for_every_adapter(
    arguments: Any, given: dict[str, int], count: int, kept: int | None
) -> None:
    found = arguments._with_room(given, [str(n) for n in range(count)])
    assert found.get("max_cpu_loras") == kept


@pytest.mark.parametrize("pooling", [{}, {"dimensions": 8}, {"dimensions": [8]}])
def test_dimensions_are_a_number_or_a_list_of_one(arguments: Any, pooling: Any) -> None:
    assert arguments._dimensions(pooling) == (8 if pooling else None)


@pytest.mark.parametrize(
    "pooling", [5, {"dimensions": [1, 2]}, {"dimensions": 0}, {"dimensions": "8"}]
)
def test_other_dimensions_are_refused(arguments: Any, backend: Any, pooling: Any) -> None:
    with pytest.raises(backend.request.RequestError, match="dimensions"):
        arguments._dimensions(pooling)


def model_dir(root: Path, arguments: dict[str, Any], name: str = "m") -> Path:
    version = root / name / "1"
    (version / "weights").mkdir(parents=True)
    (version / "model.json").write_text(json.dumps(arguments))
    return version


def test_a_container_path_is_the_models_own_directory(backend: Any, tmp_path: Path) -> None:
    version = model_dir(tmp_path, {"model": "/models/m/1/weights", "dtype": "float32"})
    assert backend.settings.engine_arguments(version) == {
        "model": str(version / "weights"),
        "dtype": "float32",
    }


def test_a_renamed_or_neighbouring_directory_is_found(backend: Any, tmp_path: Path) -> None:
    renamed = model_dir(tmp_path, {"model": "/models/old/1/weights"}, "new")
    assert backend.settings.engine_arguments(renamed)["model"] == str(renamed / "weights")
    base = model_dir(tmp_path, {"model": "x"}, "old")
    assert backend.settings.engine_arguments(renamed)["model"] == str(base / "weights")


def test_a_hub_id_stays_a_hub_id(backend: Any, tmp_path: Path) -> None:
    version = model_dir(tmp_path, {"model": "org/name", "revision": "abc"})
    assert backend.settings.engine_arguments(version)["model"] == "org/name"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "'model' must name the weights"),
        ('{"model": "/models/m/1/absent"}', "no weights at /models/m/1/absent"),
    ],
)
def test_a_broken_model_json_is_named(
    backend: Any, tmp_path: Path, text: str, message: str
) -> None:
    version = model_dir(tmp_path, {})
    (version / "model.json").write_text(text)
    with pytest.raises(backend.settings.SettingsError) as error:
        backend.settings.engine_arguments(version)
    assert message in str(error.value) and "model.json" in str(error.value)
    (version / "model.json").unlink()
    with pytest.raises(backend.settings.SettingsError, match=r"model\.json is missing"):
        backend.settings.engine_arguments(version)


def test_adapters_only_when_lora_is_on(backend: Any, tmp_path: Path) -> None:
    version = model_dir(tmp_path, {"model": "x"})
    (version / "adapters" / "poet").mkdir(parents=True)
    (version / "multi_lora.json").write_text('{"poet": "/models/m/1/adapters/poet"}')
    assert backend.settings.adapters(version, {}) == {}
    found = backend.settings.adapters(version, {"enable_lora": "true"})
    assert found == {"poet": str(version / "adapters" / "poet")}
    (version / "multi_lora.json").unlink()
    with pytest.raises(backend.settings.SettingsError, match=r"multi_lora\.json is missing"):
        backend.settings.adapters(version, {"enable_lora": True})


def devices(backend: Any, kind: str, ids: str = "", device: str = "0", **arguments: int) -> Any:
    config = {"parameters": {"GPU_DEVICE_IDS": {"string_value": ids}}} if ids else {}
    return backend.settings.visible_devices(kind, device, config, arguments)


def test_devices_follow_the_instance_kind(backend: Any) -> None:
    assert devices(backend, "GPU", device="3") == "3"
    assert devices(backend, "MODEL") is None
    assert devices(backend, "MODEL", "0, 2", tensor_parallel_size=2) == "0,2"
    assert devices(backend, "CPU", "0,2") is None


@pytest.mark.parametrize(
    ("kind", "ids", "size", "message"),
    [
        ("GPU", "", 2, "use KIND_MODEL"),
        ("MODEL", "a", 1, "different non-negative integers"),
        ("MODEL", "-1", 1, "different non-negative integers"),
        ("MODEL", "0,0", 2, "different non-negative integers"),
        ("MODEL", "0,1,2", 2, "names 3 GPUs"),
    ],
)
def test_impossible_devices_are_refused(
    backend: Any, kind: str, ids: str, size: int, message: str
) -> None:
    with pytest.raises(backend.settings.SettingsError, match=message):
        devices(backend, kind, ids, tensor_parallel_size=size)


def test_unknown_engine_arguments_are_all_named(backend: Any) -> None:
    found = backend.settings.unknown_arguments(
        {"max_model_length": 1, "dtype": "x", "zzz": 2}, ["max_model_len", "dtype"]
    )
    assert found == "'max_model_length' (did you mean 'max_model_len'?), 'zzz'"


def test_the_backends_tensors_are_those_that_the_builder_writes() -> None:
    script = ROOT / "scripts" / "write_vllm_tensors.py"
    module = runpy.run_path(str(script))["module"]()
    assert (FOLDER / "backend_tensors.py").read_text(encoding="utf-8") == module, script.name


def _given_up(
    monkeypatch: pytest.MonkeyPatch, answers: list[Any], *, idle: bool = True
) -> tuple[bool, int]:
    """Whether the engine is ended when the server answers this, and how often it was asked."""
    monkeypatch.syspath_prepend(str(FOLDER))
    served = importlib.import_module("backend_served")
    monkeypatch.setattr(served, "_LOOK_SECONDS", 0.005)
    monkeypatch.setattr(served, "_GRACE_SECONDS", 0.05)
    asked, ended, given_up = [0], threading.Event(), threading.Event()

    def is_ready() -> bool:
        asked[0] += 1
        answer = answers[min(asked[0], len(answers)) - 1]
        if asked[0] == 100:
            ended.set()
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    def is_idle() -> bool:
        if not idle:
            ended.set()
        return idle

    watch = served.Served(is_ready, is_idle, given_up.set)
    watch.begin()
    watch.begin()
    while not (ended.wait(0.005) or given_up.is_set()):
        pass
    watch.end()
    watch._thread.join(5)
    assert not watch._thread.is_alive()
    return given_up.is_set(), asked[0]


def test_an_engine_ends_when_the_server_has_given_its_model_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _given_up(monkeypatch, [True, False])[0]
    assert not _given_up(monkeypatch, [False, True])[0]
    assert not _given_up(monkeypatch, [AttributeError("no is_model_ready")])[0]
    assert _given_up(monkeypatch, [False], idle=False) == (False, 0)
