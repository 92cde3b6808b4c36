"""Plans: which builder, all the reasons, verdicts, alternatives, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.specs import deepseek_v3, llama_8b, llama_70b
from trtbuild import toolchain
from trtbuild.builder import Builder, Case, Discovered, discover
from trtbuild.errors import RecipeError, UnsupportedError, UsageError
from trtbuild.modelspec import ModelSpec, Quantization, SourceRef
from trtbuild.plan import BuildPlan, ModelEntry, Step
from trtbuild.planner import choose_builder, make_plan, survey
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import Toolchain
from trtbuild_builders.vllm.adapters import with_adapter_rank

NOW = toolchain.load("26.07")


class Other(Builder):
    """A second builder, as a plug-in would bring it."""

    summary = "for tests"

    def __init__(self, name: str, priority: int, *reasons: str) -> None:
        self.name, self.priority, self.reasons = name, priority, reasons

    def reasons_unsupported(self, case: Case) -> Sequence[str]:
        return self.reasons

    def image(self, toolchain: Toolchain) -> str:
        return "image"

    def steps(self, case: Case) -> Sequence[Step]:
        return (Step("only", "do it"),)

    def models(self, case: Case) -> Sequence[ModelEntry]:
        return ()


def others(*builders: Other) -> tuple[Discovered, ...]:
    return tuple(Discovered(b.name, "a-plug-in 1.0", b) for b in builders)


def recipe(backend: str = "auto", **engine: Any) -> ModelRecipe:
    return ModelRecipe(source="x", name="m", backend=backend, engine=engine)


def case(backend: str = "auto") -> Case:
    return Case(llama_8b(), recipe(backend), NOW)


def plan(spec: ModelSpec | None = None, *, triton: str = "26.07", **options: Any) -> BuildPlan:
    engine = options.pop("engine", {})
    model = recipe(options.pop("backend", "auto"), **engine)
    return make_plan(spec or llama_8b(), model, toolchain.load(triton), **options)


def test_the_highest_priority_without_reasons_is_taken_and_all_reasons_are_told() -> None:
    known = others(
        Other("low", 1), Other("high", 9), Other("best", 99, "no GPU", "no licence")
    )  # fmt: skip
    broken = Discovered("broken", "bad 0.1", None, "ImportError: no module")
    chosen, reason, rejected = choose_builder(case(), (*known, broken))
    assert chosen.name == "high"
    assert "priority 9" in reason
    told = {r.builder: r.reasons for r in rejected}
    assert told["best"] == ("no GPU", "no licence")
    assert told["broken"] == ("it could not be loaded: ImportError: no module",)
    assert "priority 1 against 9" in told["low"][0]


def test_a_builder_that_is_asked_for_is_taken() -> None:
    known = others(Other("low", 1), Other("high", 9))
    chosen, reason, rejected = choose_builder(case("low"), known)
    assert chosen.name == "low"
    assert "chosen with --backend" in reason
    assert "--backend high" in rejected[0].reasons[0]


def test_no_builder_can_every_reason_of_every_one_is_told() -> None:
    known = others(Other("a", 1, "r1", "r2"), Other("b", 2, "r3"))
    with pytest.raises(UnsupportedError) as caught:
        choose_builder(case(), known)
    assert caught.value.exit_code == 4
    assert caught.value.details == ("a: r1", "a: r2", "b: r3")
    with pytest.raises(UnsupportedError, match="a cannot deploy") as caught:
        choose_builder(case("a"), known)
    assert caught.value.details == ("a: r1", "a: r2")


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        choose_builder(case("vlm"))
    assert caught.value.exit_code == 2
    assert "did you mean 'vllm'?" in caught.value.fix


def test_the_survey_has_every_installed_builder() -> None:
    found = survey(case())
    assert [c.found.name for c in found] == [d.name for d in discover()]
    assert {c.found.name: c.reasons for c in found}["vllm"] == ()


def test_a_plan_is_pure_and_whole() -> None:
    first, second = plan(gpu="h100"), plan(gpu="h100")
    assert first == second
    assert (first.builder, first.status, first.triton) == ("vllm", "ready", "26.07")
    assert first.image == "nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3"
    assert [step.name for step in first.steps] == ["weights", "engine", "config"]
    memory = first.memory
    assert memory is not None
    assert [row.item for row in memory.rows] == [
        "weights", "KV cache", "activations", "CUDA context and graphs",
    ]  # fmt: skip
    assert memory.needed_bytes == sum(row.bytes for row in memory.rows)
    assert memory.fits
    assert memory.nearest == ""
    assert memory.alternatives == ()
    assert 60 < memory.max_concurrency < 150


def test_70b_on_one_h100_says_how_many_it_takes() -> None:
    memory = plan(llama_70b(), gpu="h100").memory
    assert memory is not None
    assert memory.fits is False
    assert memory.max_concurrency == 0
    texts = [a.text for a in memory.alternatives]
    assert any("4 x H100" in text for text in texts)
    assert any("B300" in text for text in texts)


def test_70b_on_eight_h100_is_spread_over_as_few_as_do() -> None:
    memory = plan(llama_70b(), gpu="h100", gpus=8).memory
    assert memory is not None
    assert dict(memory.settings) == {"tensor_parallel_size": 4}
    assert memory.nearest == memory.alternatives[0].text == "split the model over 4 of the GPUs"
    spread = plan(llama_70b(), gpu="h100", gpus=8, engine={"tensor_parallel_size": 4}).memory
    assert spread is not None
    assert spread.fits
    assert spread.world == 4


def test_a_context_that_cannot_be_held_is_what_the_engine_refuses_to_start_for() -> None:
    memory = plan(gpu="l4", concurrency=1, length=1024).memory
    assert memory is not None
    assert memory.fits is False
    assert memory.max_concurrency == 0
    assert set(memory.settings) == {"max_model_len"}
    shorter = plan(gpu="l4", concurrency=1, length=1024, engine=dict(memory.settings)).memory
    assert shorter is not None
    assert shorter.fits


def test_more_gpus_asked_for_than_there_are_does_not_fit() -> None:
    found = plan(gpu="h100", gpus=2, engine={"tensor_parallel_size": 4})
    assert found.memory is not None
    assert found.memory.fits is False
    assert found.memory.max_concurrency == 0
    assert any("ask for 4 GPUs and there are 2" in w for w in found.warnings)


def test_without_a_gpu_the_need_is_shown_for_every_known_one() -> None:
    memory = plan().memory
    assert memory is not None
    assert memory.fits is None
    assert memory.gpu == ""
    assert "A100 40 GB" in memory.nearest
    needs = {need.gpu: need.count for need in memory.needs}
    assert needs["h100"] == 1
    assert needs["l4"] == 2
    assert needs["t4"] == 4


def test_what_no_single_gpu_holds_says_so() -> None:
    memory = plan(deepseek_v3()).memory
    assert memory is not None
    assert "no single GPU holds it" in memory.nearest
    assert {need.gpu: need.count for need in memory.needs}["h200"] == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpu": "h1000"}, "unknown GPU"),
        ({"gpu": "h100", "gpus": 0}, "--gpus must be at least 1, got 0"),
        ({"concurrency": 0}, "--concurrency must be at least 1, got 0"),
        ({"length": -5}, "--length must be at least 1, got -5"),
    ],
)
def test_wrong_targets(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan(**options)


def test_a_wrong_engine_argument_is_refused_by_the_plan_already() -> None:
    with pytest.raises(RecipeError, match="no engine argument 'foo'"):
        plan(engine={"foo": 1})


@pytest.mark.parametrize(
    ("quantization", "options", "said"),
    [
        (Quantization("fp8"), {"gpu": "v100-16"}, "fp8 needs compute capability 7.5 in vLLM"),
        (
            Quantization("modelopt", {"quant_algo": "NVFP4"}),
            {"gpu": "h100", "backend": "trtllm"},
            "TensorRT-LLM runs NVFP4 on compute capabilities 10.0, 10.3, 12.0, 12.1",
        ),
        (
            Quantization("fp8", {"weight_block_size": "128x128"}),
            {"gpu": "l4", "backend": "trtllm"},
            "TensorRT-LLM runs FP8_BLOCK_SCALES on compute capabilities 9.0",
        ),
        # vLLM has nothing for integers of ModelOpt, so that only TensorRT-LLM is left
        (
            Quantization("modelopt", {"quant_algo": "W4A8_AWQ"}),
            {"gpu": "a100"},
            "TensorRT-LLM runs W4A8_AWQ on compute capabilities 8.9",
        ),
        (None, {"gpu": "t4", "backend": "trtllm"}, "needs compute capability 8.0, T4"),
    ],
)
def test_a_gpu_that_cannot_run_it(
    quantization: Quantization | None, options: dict[str, Any], said: str
) -> None:
    spec = llama_8b(quantization=quantization)
    with pytest.raises(UnsupportedError, match="cannot run") as caught:
        plan(spec, **options)
    assert [reason for reason in caught.value.details if said in reason], caught.value.details
    assert caught.value.exit_code == 4
    assert "choose another GPU" in (caught.value.fix or "")


def test_gpt_oss_runs_on_hopper() -> None:
    spec = llama_8b(quantization=Quantization("mxfp4"))
    assert plan(spec, gpu="h100", backend="trtllm").builder == "trtllm"


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        (llama_8b(), {"gpu": "t4"}, "has no bfloat16"),
        (llama_8b(), {"gpu": "v100", "triton": "26.07"}, "CUDA 13.0 dropped V100"),
        (llama_8b(), {"gpu": "b200", "triton": "24.12"}, "needs CUDA 12.8"),
        (llama_8b(), {"gpu": "b300", "triton": "25.03"}, "needs CUDA 12.9"),
        (llama_8b(), {"triton": "25.06"}, "CVE-2026-47627"),
        (llama_8b(quantization=Quantization("fp8")), {"gpu": "a100"}, "does not compute in fp8"),
        (
            llama_8b(quantization=Quantization("modelopt", {"quant_algo": "NVFP4"})),
            {"gpu": "h100"},
            "does not compute in nvfp4",
        ),
        (
            llama_8b(quantization=Quantization("mxfp4")),
            {"gpu": "h100", "backend": "vllm"},
            "native from 10.0",
        ),
        (llama_8b(dtype="float32"), {}, "dtype=float32 keeps it"),
        (llama_8b(), {"gpu": "l4", "gpus": 2, "engine": {"tensor_parallel_size": 2}}, "no NVLink"),
        (llama_8b(), {"gpu": "a40", "gpus": 2, "engine": {"tensor_parallel_size": 2}}, "a bridge"),
        (llama_8b(), {"engine": {"disable_log_stats": True}}, "metrics"),
        (llama_8b(), {"triton": "26.10"}, "carries vLLM 0.31.0 is not confirmed"),
    ],
)  # fmt: skip
def test_warnings(spec: ModelSpec, options: dict[str, Any], said: str) -> None:
    found = plan(spec, **options).warnings
    assert [w for w in found if said in w], found


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (llama_8b(), {"gpu": "h100"}),
        (llama_8b(), {"gpu": "h100", "gpus": 2, "engine": {"tensor_parallel_size": 2}}),
        (llama_8b(), {"gpu": "t4", "engine": {"dtype": "half"}}),
        (llama_8b(quantization=Quantization("fp8")), {"gpu": "l4"}),
        (llama_8b(quantization=Quantization("awq")), {"gpu": "t4", "engine": {"dtype": "half"}}),
        (llama_8b(quantization=Quantization("modelopt", {"quant_algo": "NVFP4"})), {"gpu": "b200"}),
        (llama_8b(dtype="float32", source=SourceRef("sample", "sample:x")), {"gpu": "l4"}),
        (llama_8b(dtype="float32"), {"engine": {"dtype": "float32"}}),
    ],
)  # fmt: skip
def test_nothing_to_warn_of(spec: ModelSpec, options: dict[str, Any]) -> None:
    assert plan(spec, **options).warnings == ()


def test_a_plan_says_only_what_the_builder_reports() -> None:
    """A builder with defaults alone: nothing of memory, types or engines is claimed for it."""
    spec = llama_8b(dtype="float32", quantization=None)
    engine = {"tensor_parallel_size": 2, "disable_log_stats": True, "bls": True}
    options: dict[str, Any] = {"builders": others(Other("own", 1)), "gpu": "v100-16"}
    found = plan(spec, triton="26.10", engine=engine, **options)
    assert (found.memory, found.warnings) == (None, ())


def adapter(folder: Path, text: str) -> str:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("config", "rank"),
    [('{"r": 8}', None), ('{"r": 17}', 32), ('{"r": 8, "rank_pattern": {"q_proj": 300}}', 320)],
)
def test_the_engine_is_told_the_highest_rank(tmp_path: Path, config: str, rank: int | None) -> None:
    adapters = {"a": adapter(tmp_path / "a", config), "b": "org/on-the-hub"}
    model = ModelRecipe(source="x", name="m", adapters=adapters)
    release = toolchain.load("26.08")
    assert with_adapter_rank(model, release).engine.get("max_lora_rank") == rank


def test_a_rank_that_is_set_stays(tmp_path: Path) -> None:
    adapters = {"a": adapter(tmp_path / "a", '{"r": 64}')}
    model = ModelRecipe(source="x", adapters=adapters, engine={"max_lora_rank": 128})
    assert with_adapter_rank(model, NOW) is model


@pytest.mark.parametrize("config", ["{", "{}", "[]", '{"r": "x"}'])
def test_an_adapter_without_a_rank(tmp_path: Path, config: str) -> None:
    model = ModelRecipe(source="x", adapters={"a": adapter(tmp_path / "a", config)})
    with pytest.raises(UnsupportedError, match=r"of the adapter 'a' (has no rank|is not JSON)"):
        with_adapter_rank(model, NOW)


def test_a_rank_above_all(tmp_path: Path) -> None:
    model = ModelRecipe(source="x", adapters={"a": adapter(tmp_path / "a", '{"r": 1024}')})
    with pytest.raises(UnsupportedError, match="rank 1024"):
        with_adapter_rank(model, NOW)
