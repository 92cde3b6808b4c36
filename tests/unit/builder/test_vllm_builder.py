"""The vLLM builder: what it writes, and every reason why it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from support.specs import deepseek_v3, llama_8b, with_code
from trtbuild import pbtxt, toolchain
from trtbuild.builder import Case
from trtbuild.errors import RecipeError
from trtbuild.modelspec import (
    AttentionGroup,
    Head,
    HeadKind,
    KVCache,
    ModelSpec,
    Quantization,
    SourceRef,
    Task,
    TokenizerInfo,
)
from trtbuild.plan import ModelEntry, WeightsDir
from trtbuild.recipe import ModelRecipe
from trtbuild_builders.vllm import builder

COMMIT = llama_8b().source.commit
LOCAL = SourceRef("local", "llama")


def entry(
    spec: ModelSpec | None = None, triton: str = "26.07", **recipe: Any
) -> tuple[ModelEntry, dict[str, bytes]]:
    model = ModelRecipe(**{"source": "x", "name": "llama"} | recipe)
    (found,) = builder.models(Case(spec or llama_8b(source=LOCAL), model, toolchain.load(triton)))
    return found, {file.path: file.content for file in found.files}


def engine_file(spec: ModelSpec | None = None, triton: str = "26.07", **recipe: Any) -> Any:
    return json.loads(entry(spec, triton, **recipe)[1]["1/model.json"])


def config(triton: str = "26.07", **recipe: Any) -> Any:
    return pbtxt.parse(entry(None, triton, **recipe)[1]["config.pbtxt"].decode())


def reasons(spec: ModelSpec, triton: str = "26.07", **recipe: Any) -> tuple[str, ...]:
    model = ModelRecipe(**{"source": "x", "name": "llama"} | recipe)
    return tuple(builder.reasons_unsupported(Case(spec, model, toolchain.load(triton))))


def warnings(spec: ModelSpec, triton: str = "26.07", **recipe: Any) -> tuple[str, ...]:
    model = ModelRecipe(**{"source": "x", "name": "llama"} | recipe)
    return tuple(builder.warnings(Case(spec, model, toolchain.load(triton))))


def refuse(spec: ModelSpec | None = None, **engine: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        entry(spec, engine=engine)
    assert caught.value.exit_code == 3
    assert "vLLM 0.24.0 (Triton 26.07)" in caught.value.where
    return list(caught.value.details) or [caught.value.what]


def test_the_layout() -> None:
    found, files = entry()
    assert found.name == "llama"
    assert sorted(files) == ["1/model.json", "config.pbtxt"]
    assert found.weights == (WeightsDir("1/weights"),)


def test_config_says_everything_that_auto_complete_would_add() -> None:
    text = entry()[1]["config.pbtxt"].decode()
    assert "\nmax_batch_size: 0\n" in text
    found = config()
    assert (found.name, found.backend, found.max_batch_size) == ("llama", "vllm", 0)
    assert found.model_transaction_policy.decoupled
    (group,) = found.instance_group
    assert (group.count, group.Kind.Name(group.kind)) == (1, "KIND_MODEL")
    shown = {
        t.name: (pbtxt.data_type_name(t.data_type), list(t.dims), t.optional) for t in found.input
    }
    flag = ("TYPE_BOOL", [1], True)
    assert shown == {
        "text_input": ("TYPE_STRING", [1], False),
        "image": ("TYPE_STRING", [-1], True),
        "stream": flag,
        "sampling_parameters": ("TYPE_STRING", [1], True),
        "exclude_input_in_output": flag,
        "return_finish_reason": flag,
        "return_cumulative_logprob": flag,
        "return_logprobs": flag,
        "return_num_input_tokens": flag,
        "return_num_output_tokens": flag,
        "embedding_request": ("TYPE_STRING", [1], True),
    }
    assert {t.name: (pbtxt.data_type_name(t.data_type), list(t.dims)) for t in found.output} == {
        "text_output": ("TYPE_STRING", [-1]),
        "finish_reason": ("TYPE_STRING", [-1]),
        "cumulative_logprob": ("TYPE_FP32", [-1]),
        "logprobs": ("TYPE_STRING", [-1]),
        "num_input_tokens": ("TYPE_UINT32", [1]),
        "num_output_tokens": ("TYPE_UINT32", [-1]),
    }


def test_older_backends_have_fewer_tensors() -> None:
    old = config("24.11")
    assert [t.name for t in old.output] == ["text_output"]
    assert len(old.input) == 4
    assert len(config("24.12").output) == 6
    assert "embedding_request" not in [t.name for t in config("25.08").input]


@pytest.mark.parametrize("metrics", [True, False])
@pytest.mark.parametrize("health", [True, False])
def test_parameters(metrics: bool, health: bool) -> None:
    found = config(metrics=metrics, health_check=health).parameters
    assert found["REPORT_CUSTOM_METRICS"].string_value == str(metrics).lower()
    assert found["ENABLE_VLLM_HEALTH_CHECK"].string_value == str(health).lower()


def test_weights_are_named_by_the_containers_mount_point() -> None:
    assert engine_file() == {"model": "/models/llama/1/weights"}


def test_weights_on_the_hub_are_pinned_to_the_commit() -> None:
    found, files = entry(llama_8b(), weights="hub")
    assert found.weights == ()
    assert json.loads(files["1/model.json"]) == {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "revision": COMMIT,
        "tokenizer_revision": COMMIT,
    }


def test_settings_of_the_user_are_written_as_given() -> None:
    given = {"max_model_len": 4096, "dtype": "half", "compilation_config": {"mode": 3}}
    assert engine_file(engine=given) == {"model": "/models/llama/1/weights", **given}


def test_a_converted_source_runs_in_the_type_it_was_converted_to() -> None:
    sample = llama_8b(source=SourceRef("sample", "sample:smollm2"), dtype="float32")
    assert engine_file(sample)["dtype"] == "float32"
    assert engine_file(sample, engine={"dtype": "bfloat16"})["dtype"] == "bfloat16"
    assert "dtype" not in engine_file(llama_8b(source=LOCAL, dtype="float32"))


def test_releases_that_log_prompts_by_default_are_told_not_to() -> None:
    assert engine_file(triton="25.08")["disable_log_requests"] is True
    assert engine_file(triton="25.08", engine={"disable_log_requests": False}) == {
        "model": "/models/llama/1/weights",
        "disable_log_requests": False,
    }
    assert "disable_log_requests" not in engine_file(triton="25.09")


def test_code_of_the_checkpoint_is_pinned_as_well() -> None:
    spec = with_code()
    assert engine_file(spec, trust_remote_code=True)["trust_remote_code"] is True
    pinned = engine_file(spec, trust_remote_code=True, weights="hub")
    assert pinned["code_revision"] == COMMIT


def test_adapters() -> None:
    found, files = entry(adapters={"fr": "./a", "de": "org/b"})
    settings = json.loads(files["1/model.json"])
    assert (settings["enable_lora"], settings["max_loras"]) == (True, 2)
    assert json.loads(files["1/multi_lora.json"]) == {
        "fr": "/models/llama/1/adapters/fr",
        "de": "/models/llama/1/adapters/de",
    }
    assert found.weights[1:] == (
        WeightsDir("1/adapters/fr", "fr"),
        WeightsDir("1/adapters/de", "de"),
    )
    assert "max_loras" not in engine_file(adapters={"fr": "./a"})


def test_embedding_models_are_run_as_such() -> None:
    spec = llama_8b(source=LOCAL, task=Task.EMBED)
    assert engine_file(spec)["runner"] == "pooling"
    assert engine_file(spec, "25.07")["task"] == "embed"


def test_steps_tell_what_will_be_done() -> None:
    model = ModelRecipe(source="x", name="m", adapters={"fr": "a"}, weights="hub")
    steps = builder.steps(Case(llama_8b(), model, toolchain.load("26.07")))
    assert [step.name for step in steps] == ["weights", "adapter", "engine", "config"]
    assert COMMIT in steps[0].title
    assert "vLLM 0.24.0" in steps[2].title


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"max_model_length": 1}, "did you mean 'max_model_len'"),
        ({"max_model_len": "1"}, "must be a whole number"),
        ({"max_model_len": 200_000}, "more than the checkpoint's context of 131072"),
        ({"max_model_len": 0}, "not a length"),
        ({"tensor_parallel_size": 3}, "does not divide the 32 attention heads: use one of 1, 2, 4"),
        ({"tensor_parallel_size": 0}, "a whole number of at least 1, not 0"),
        ({"pipeline_parallel_size": 33}, "not between 1 and the 32 layers"),
        ({"gpu_memory_utilization": 1.5}, "a number above 0 and of at most 1, not 1.5"),
        ({"compilation_config": {"level": 3}}, "no engine argument 'compilation_config.level'"),
        ({"attention_backend": "banana"}, "must be one of"),
        ({"mamba_backend": "banana"}, "must be one of"),
        ({"quantization": "awqq"}, "must be one of"),
        ({"optimization_level": 9}, "must be one of 0, 1, 2, 3"),
        ({"max_num_seqs": 0}, "of at least 1"),
        ({"model": "/home/me/llama"}, "'model' comes from the source"),
        ({"revision": "main"}, "write SOURCE@revision"),
        ({"enable_lora": True}, "'enable_lora' needs adapters"),
    ],
)
def test_settings_this_checkpoint_cannot_take(engine: dict[str, Any], said: str) -> None:
    (problem,) = refuse(**engine)
    assert said in problem


def test_all_wrong_settings_at_once() -> None:
    said = refuse(foo=1, dtype="bf16", max_model_len=10**9, tensor_parallel_size=5, model="x")
    assert len(said) == 5


def test_a_stretched_context_is_let_through() -> None:
    stretched = {"max_model_len": 200_000, "hf_overrides": {"rope_scaling": {"factor": 2}}}
    assert engine_file(engine=stretched)["max_model_len"] == 200_000
    assert engine_file(engine={"max_model_len": -1})["max_model_len"] == -1


def test_adapters_that_are_switched_off_are_refused() -> None:
    with pytest.raises(RecipeError, match="'enable_lora' is false"):
        entry(adapters={"fr": "a"}, engine={"enable_lora": False})


def test_a_plain_llama_has_nothing_against_it_in_any_release() -> None:
    for row in toolchain.releases():
        assert reasons(llama_8b(), row.triton) == ()


@pytest.mark.parametrize(
    ("spec", "triton", "recipe", "said"),
    [
        (with_code(), "26.07", {}, "--trust-remote-code"),
        (llama_8b(source=LOCAL), "26.07", {"weights": "hub"}, "the source is local"),
        (
            llama_8b(source=SourceRef("hub", "a/b")),
            "26.07",
            {"weights": "hub"},
            "needs the commit",
        ),
        (llama_8b(task=Task.RERANK), "26.07", {}, "not rerank"),
        (llama_8b(task=Task.CLASSIFY), "26.07", {}, "not classify"),
        (llama_8b(task=Task.VISION_LANGUAGE), "24.11", {}, "use --triton 24.12"),
        (llama_8b(task=Task.EMBED), "25.10", {}, "use --triton 25.11"),
        (
            llama_8b(task=Task.EMBED, head=Head(HeadKind.SPARSE)),
            "26.08",
            {},
            "one dense vector a text, and this checkpoint makes a sparse one: use another builder",
        ),
        (llama_8b(task=Task.TRANSCRIBE), "26.08", {}, "not transcribe"),
        (llama_8b(architecture="NoSuchForCausalLM"), "26.07", {}, "nor does that of any"),
        (
            llama_8b(architecture="Qwen3NextForCausalLM"),
            "25.08",
            {},
            "vLLM 0.10.2 does, use --triton 25.10",
        ),
        (llama_8b(architecture="BertModel"), "26.07", {}, "serves BertModel for embed only"),
        (deepseek_v3(), "24.06", {}, "DeepseekV3ForCausalLM"),
        (llama_8b(quantization=Quantization("exl2")), "26.07", {}, "does not load exl2"),
        (
            llama_8b(quantization=Quantization("gguf")),
            "26.07",
            {},
            "does, use --triton",
        ),
        (
            llama_8b(quantization=Quantization("modelopt", {"quant_algo": "FP8"})),
            "25.08",
            {},
            "vLLM 0.10.1.1 does, use --triton 25.09",
        ),
        (
            llama_8b(quantization=Quantization("modelopt", {"quant_algo": "NVFP4"})),
            "25.01",
            {},
            "does not load modelopt NVFP4",
        ),
        (
            llama_8b(quantization=Quantization("modelopt", {"quant_algo": "W4A16_AWQ"})),
            "26.07",
            {},
            "does not load modelopt W4A16_AWQ weights: nor does that of any",
        ),
        (
            llama_8b(
                quantization=Quantization("compressed-tensors", {"kv_cache_quant_algo": "INT4"})
            ),
            "26.07",
            {},
            "no KV cache in INT4, which the checkpoint's kv_cache_scheme asks for",
        ),
        (
            llama_8b(
                num_kv_heads=5,
                kv_cache=KVCache("GQA", (AttentionGroup("full", 32, 1280, kv_heads=5),)),
            ),
            "26.07",
            {},
            "32 attention heads and 5 KV heads, which must divide them: correct",
        ),
    ],
)
def test_each_reason_has_its_mend(
    spec: ModelSpec, triton: str, recipe: dict[str, Any], said: str
) -> None:
    found = reasons(spec, triton, **recipe)
    assert any(said in reason for reason in found), found


def test_all_reasons_are_told_at_once() -> None:
    spec = with_code(
        source=LOCAL,
        task=Task.RERANK,
        quantization=Quantization("exl2"),
    )
    assert len(reasons(spec, weights="hub")) == 4


@pytest.mark.parametrize(
    "method", ["awq", "gptq", "fp8", "compressed-tensors", "mxfp4", "modelopt", "auto-round"]
)
def test_methods_that_load(method: str) -> None:
    assert reasons(llama_8b(quantization=Quantization(method))) == ()


HELIUM = llama_8b(architecture="HeliumForCausalLM", model_type="helium")


@pytest.mark.parametrize(
    ("name", "kind", "triton"),
    [
        ("HeliumForCausalLM", "helium", "26.07"),
        ("HeliumForCausalLM", "helium", "25.05"),
        ("SolarOpenForCausalLM", "solar_open", "26.07"),
        ("MinistralForCausalLM", "ministral", "26.07"),
        ("BitNetForCausalLM", "bitnet", "26.07"),
        ("Dots1ForCausalLM", "dots1", "26.08"),  # its own until 0.23.0
        ("VaultGemmaForCausalLM", "vaultgemma", "26.07"),
    ],
)
def test_what_runs_through_transformers_is_offered_as_that(
    name: str, kind: str, triton: str
) -> None:
    spec = llama_8b(architecture=name, model_type=kind)
    assert reasons(spec, triton) == ()
    [told] = [line for line in warnings(spec, triton) if "transformers' code" in line]
    assert f"has no {name} of its own" in told
    assert "TransformersForCausalLM" in told


def test_an_embedder_runs_through_transformers_too() -> None:
    spec = llama_8b(architecture="AlbertModel", model_type="albert", task=Task.EMBED)
    assert reasons(spec, "26.07") == ()
    assert "TransformersEmbeddingModel" in warnings(spec, "26.07")[0]


@pytest.mark.parametrize(
    ("name", "triton", "said"),
    [
        ("BambaForCausalLM", "26.07", "keep a state, which that code path does not support"),
        ("BambaForCausalLM", "26.07", "use --triton 26.06"),
        ("ZambaForCausalLM", "26.07", "keep a state"),
        ("SolarOpenForCausalLM", "26.05", "use --triton 26.07"),  # not in transformers 4
        ("HeliumForCausalLM", "25.01", "use --triton 25.05"),  # nothing to wrap it in
        ("JetMoeForCausalLM", "26.07", "computes other tokens"),
        ("BrandNewForCausalLM", "26.07", "nor does that of any"),
    ],
)
def test_what_cannot_run_through_transformers(name: str, triton: str, said: str) -> None:
    assert said in " ".join(reasons(llama_8b(architecture=name, model_type="x"), triton))


def test_model_impl_does_not_make_an_architecture_known() -> None:
    asked = {"model_impl": "transformers"}
    assert reasons(HELIUM, engine=asked) == ()
    assert reasons(llama_8b(), engine=asked) == ()
    [reason] = reasons(llama_8b(architecture="BrandNewForCausalLM"), engine=asked)
    assert "with model_impl=transformers" in reason


QWEN_1 = with_code(
    architecture="QWenLMHeadModel",
    model_type="qwen",
    tokenizer=TokenizerInfo("tiktoken", "QWenTokenizer"),
)


def test_code_does_not_make_an_architecture_known() -> None:
    [reason] = reasons(QWEN_1, "26.07", trust_remote_code=True)
    assert "does not know the architecture 'QWenLMHeadModel'" in reason
    assert "no _supports_attention_backend" in reason
    assert "use --triton 26.06" in reason
    assert reasons(QWEN_1, "26.06", trust_remote_code=True) == ()
    wraps = replace(QWEN_1, architecture="BrandNewForCausalLM", code_wraps=True)
    assert reasons(wraps, "26.07", trust_remote_code=True) == ()
    assert engine_file(wraps, trust_remote_code=True)["trust_remote_code"] is True


DEEPSEEK = with_code(
    deepseek_v3(),
    code=("configuration", "model"),
    tokenizer=TokenizerInfo("fast", "LlamaTokenizerFast"),
)


@pytest.mark.parametrize(
    ("spec", "triton"),
    [
        (DEEPSEEK, "26.07"),
        (DEEPSEEK, "26.08"),
        (
            replace(DEEPSEEK, architecture="MiniMaxM2ForCausalLM", model_type="minimax_m2"),
            "26.07",
        ),
        (replace(DEEPSEEK, architecture="NemotronHForCausalLM", model_type="nemotron_h"), "26.07"),
        (replace(DEEPSEEK, architecture="Phi3ForCausalLM", model_type="phi3"), "24.09"),
        (replace(DEEPSEEK, model_type="kimi_k2"), "26.07"),  # a class that vLLM brings
        (replace(DEEPSEEK, architecture="ChatGLMModel", model_type="chatglm"), "26.07"),
    ],
)
def test_code_that_the_engine_does_not_need(spec: ModelSpec, triton: str) -> None:
    assert reasons(spec, triton) == ()
    assert "trust_remote_code" not in engine_file(spec, triton=triton)
    assert "trust_remote_code" not in engine_file(spec, triton=triton, trust_remote_code=True)
    assert any("it is left out" in line for line in warnings(spec, triton))


@pytest.mark.parametrize(
    ("spec", "triton", "part"),
    [
        (replace(DEEPSEEK, model_type="minimax_m2"), "26.05", "configuration"),  # transformers 4
        (
            replace(DEEPSEEK, architecture="DeciLMForCausalLM", model_type="nemotron-nas"),
            "26.07",
            "configuration",
        ),
        (
            with_code(DEEPSEEK, tokenizer=TokenizerInfo("tiktoken", "TikTokenTokenizer")),
            "26.07",
            "tokenizer",
        ),
    ],
)
def test_code_that_the_engine_needs(spec: ModelSpec, triton: str, part: str) -> None:
    [reason] = reasons(spec, triton)
    assert f"code for its {part} " in reason
    assert "--trust-remote-code" in reason
    assert reasons(spec, triton, trust_remote_code=True) == ()
    assert engine_file(spec, triton=triton, trust_remote_code=True)["trust_remote_code"] is True


def test_what_transformers_4_misreads_needs_a_copy() -> None:
    spec = llama_8b(spelling=("rope_parameters",))
    assert reasons(spec, "25.10") == ()
    assert any("rope_parameters" in line for line in warnings(spec, "25.10"))
    assert "use --weights copy" in reasons(spec, "25.10", weights="hub")[0]
    assert reasons(spec, "26.07", weights="hub") == ()
    assert warnings(spec, "26.07") == ()
    hopeless = replace(spec, spelling_problem="it turns in two ways; use a newer --triton")
    assert "it turns in two ways" in reasons(hopeless, "25.10")[0]
    assert reasons(hopeless, "26.07") == ()


def test_code_on_the_hub_that_a_release_runs_unasked() -> None:
    spec = replace(DEEPSEEK, source=llama_8b().source)
    [reason] = reasons(spec, "25.12", weights="hub")
    assert "CVE-2026-22807" in reason
    assert "use --weights copy" in reason
    assert reasons(spec, "25.12") == ()
    assert reasons(spec, "26.07", weights="hub") == ()


@pytest.mark.parametrize(("kind", "said"), [("lama", "model_type is 'lama'"), ("", "there is no")])
def test_a_model_type_that_nobody_has(kind: str, said: str) -> None:
    [reason] = reasons(llama_8b(model_type=kind))
    assert said in reason
    assert reasons(with_code(model_type=kind), trust_remote_code=True) == ()
    assert reasons(llama_8b(model_type=kind, layout="mistral")) == ()
