"""vLLM's pooling: what is written for each head, what is refused, and which builder is taken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.sentence_files import make_checkpoint
from support.specs import llama_8b
from support.tiny_encoders import make_embedder
from trtbuild import checkpoint as checkpoints
from trtbuild import toolchain
from trtbuild.builder import Case, MadeArtifact
from trtbuild.errors import RecipeError
from trtbuild.modelspec import Head, HeadKind, KVCache, ModelSpec, SourceRef, Task
from trtbuild.plan import Demand
from trtbuild.planner.choice import choose_builder
from trtbuild.recipe import ModelRecipe
from trtbuild_builders.vllm import builder as vllm
from trtbuild_builders.vllm_pooling import builder

LOCAL = SourceRef("local", "m")
DENSE = Head(HeadKind.DENSE, pooling=("mean",), normalized=True, dimension=4096, max_tokens=512)
SCORE = Head(HeadKind.SCORE, activation="sigmoid", max_tokens=512)
WORDS = replace(SCORE, pair_template="Q {query} D {document}", score_words=("yes", "no"))


def embedder(head: Head = DENSE, **changes: Any) -> ModelSpec:
    return llama_8b(source=LOCAL, task=Task.EMBED, head=head, **changes)


def reranker(head: Head = SCORE, name: str = "LlamaForSequenceClassification") -> ModelSpec:
    return llama_8b(source=LOCAL, task=Task.RERANK, head=head, architecture=name)


def case(spec: ModelSpec, triton: str = "26.08", **engine: Any) -> Case:
    return Case(spec, ModelRecipe(source="x", name="m", engine=engine), toolchain.load(triton))


def files(which: Any, found: Case) -> dict[str, Any]:
    (entry,) = which.models(found)
    return {f.path: json.loads(f.content) for f in entry.files if f.path.endswith(".json")}


def engine(which: Any, spec: ModelSpec, triton: str = "26.08", **given: Any) -> Any:
    return files(which, case(spec, triton, **given))["1/model.json"]


# ------------------------------------------------------------------------------ pooler settings


@pytest.mark.parametrize("which", [vllm, builder], ids=["vllm", "vllm-pooling"])
@pytest.mark.parametrize(
    ("pooling", "triton", "written"),
    [
        ("mean", "26.08", {"pooling_type": "MEAN", "use_activation": True}),
        ("lasttoken", "26.02", {"pooling_type": "LAST", "use_activation": True}),
        ("cls", "26.01", {"pooling_type": "CLS", "normalize": True}),
        ("mean", "25.11", {"pooling_type": "MEAN", "normalize": True}),
    ],
)
def test_the_heads_pooling_is_written_in_the_releases_words(
    which: Any, pooling: str, triton: str, written: dict[str, Any]
) -> None:
    made = engine(which, embedder(replace(DENSE, pooling=(pooling,))), triton)
    assert (made["runner"], made["pooler_config"]) == ("pooling", written)


def test_a_users_pooler_setting_is_one_field() -> None:
    made = engine(vllm, embedder(), pooler_config={"use_activation": False})
    assert made["pooler_config"] == {"pooling_type": "MEAN", "use_activation": False}


@pytest.mark.parametrize("which", [vllm, builder], ids=["vllm", "vllm-pooling"])
def test_a_float32_checkpoint_stays_float32(which: Any) -> None:
    assert engine(which, embedder(dtype="float32"))["dtype"] == "float32"
    assert engine(which, embedder(dtype="float32"), dtype="half")["dtype"] == "half"
    assert "dtype" not in engine(which, embedder())


@pytest.mark.parametrize(
    ("name", "words", "overrides"),
    [
        (
            "Qwen3ForCausalLM",
            ("yes", "no"),
            {
                "architectures": ["Qwen3ForSequenceClassification"],
                "classifier_from_token": ["no", "yes"],
                "method": "from_2_way_softmax",
                "is_original_qwen3_reranker": True,
            },
        ),
        (
            "Qwen2ForCausalLM",
            ("1", "0"),
            {
                "architectures": ["Qwen2ForSequenceClassification"],
                "classifier_from_token": ["0", "1"],
                "method": "from_2_way_softmax",
            },
        ),
        (
            "GemmaForCausalLM",
            ("Yes",),
            {
                "architectures": ["GemmaForSequenceClassification"],
                "classifier_from_token": ["Yes"],
                "method": "no_post_processing",
            },
        ),
    ],
)
def test_a_language_model_becomes_a_classifier_of_its_words(
    name: str, words: tuple[str, ...], overrides: dict[str, Any]
) -> None:
    found = case(reranker(replace(WORDS, score_words=words), name))
    assert builder.reasons_unsupported(found) == ()
    made = files(builder, found)
    assert made["1/model.json"]["hf_overrides"] == overrides
    assert made["1/settings.json"]["pair_template"] == WORDS.pair_template
    assert made["1/settings.json"]["pooling_task"] == "classify"


def test_poolings_of_several_tokens_are_left_to_the_model() -> None:
    spec = embedder(replace(DENSE, pooling=("cls", "max")))
    made = files(builder, case(spec))
    assert made["1/model.json"]["pooler_config"] == {"task": "token_embed"}
    assert made["1/settings.json"]["pooling"] == ["cls", "max"]
    assert made["1/settings.json"]["pooling_task"] == "token_embed"
    # A release that takes the task with a request has no such field.
    assert "pooler_config" not in files(builder, case(spec, "26.03"))["1/model.json"]


def test_no_text_is_longer_than_either_limit() -> None:
    made = files(builder, case(embedder()))
    assert made["1/model.json"]["max_model_len"] == 512
    made = files(builder, case(embedder(), max_model_len=100))
    assert made["1/settings.json"]["max_tokens"] == 100


def test_wrong_settings_are_refused_with_both_kinds_named() -> None:
    with pytest.raises(RecipeError) as caught:
        builder.models(case(embedder(), truncate="MIDDLE", max_batch_size=0))
    assert len(caught.value.details) == 2
    with pytest.raises(RecipeError, match="max_modl_len"):
        builder.models(case(embedder(), max_modl_len=1))
    names = [row["name"] for row in builder.arguments(toolchain.load("26.08"))]
    assert {"truncate", "max_batch_size", "tensor_parallel_size"} <= set(names)


@pytest.mark.parametrize("which", [vllm, builder], ids=["vllm", "vllm-pooling"])
def test_an_encoder_has_no_kv_cache_and_is_counted_as_it_is_served(which: Any) -> None:
    spec = embedder(dtype="float32", kv_cache=KVCache("none"))
    rows = {row.item: row for row in which.memory(case(spec), Demand()).rows}
    assert "KV cache" not in rows
    assert "at 32 bits" in rows["weights"].note
    rows = {row.item: row for row in which.memory(case(embedder()), Demand()).rows}
    assert "KV cache" in rows


def test_weights_on_the_hub_leave_only_the_tokenizer_here(tmp_path: Path) -> None:
    opened = checkpoints.open_checkpoint(str(make_embedder(tmp_path / "tiny")))
    spec = replace(checkpoints.inspect(opened), source=llama_8b().source)
    recipe = ModelRecipe(source="x", name="m", weights="hub")
    found = Case(spec, recipe, toolchain.load("26.08"), checkpoint=opened)
    (entry,) = builder.models(found)
    assert entry.weights == ()
    content = {file.path: file.content for file in entry.files}
    assert content["1/tokenizer.json"] == (tmp_path / "tiny/tokenizer.json").read_bytes()
    assert json.loads(content["1/model.json"])["model"] == llama_8b().source.text


# ---------------------------------------------------------------------------- reference's answers

SMALL = {"dtype": "float32", "parameters": 22_000_000}


@pytest.mark.parametrize(
    ("spec", "given", "made"),
    [
        (embedder(**SMALL), {}, ["optional"]),
        (reranker(WORDS), {"check": True}, ["wanted"]),
        (embedder(**SMALL), {"check": False}, []),
        (embedder(**SMALL), {"dtype": "half"}, []),  # readiness would call rounding a fault
        (embedder(dtype="float32"), {}, []),  # 8 billion parameters, on a CPU
        (embedder(Head(HeadKind.MULTI_VECTOR), **SMALL), {}, ["optional"]),
    ],
)
def test_when_answers_of_the_reference_are_kept(
    spec: ModelSpec, given: dict[str, Any], made: list[str]
) -> None:
    found = builder.artifacts(case(spec, **given))
    assert ["optional" if one.optional else "wanted" for one in found] == made


def test_answers_are_placed_beside_the_model(tmp_path: Path) -> None:
    found = case(embedder(**SMALL))
    there = MadeArtifact(tmp_path, ("reference.json",))
    (entry,) = builder.models(replace(found, artifacts={"reference": there}))
    assert entry.weights[-1].files == {"reference.json": "reference.json"}
    (entry,) = builder.models(found)
    assert not any(place.artifact for place in entry.weights)


# -------------------------------------------------------------------------------------- reasons


def holds(name: str) -> Any:
    """A checkpoint of which only a tensor's name is read."""
    return SimpleNamespace(tensors={name: None})


@pytest.mark.parametrize(
    ("name", "refused"),
    [("encoder.layers.0.attn.Wqkv.weight", False), ("layers.0.self_attn.q_proj.weight", True)],
)
@pytest.mark.parametrize("which", [vllm, builder], ids=["vllm", "vllm-pooling"])
def test_a_nomic_bert_saved_by_transformers_5(which: Any, name: str, refused: bool) -> None:
    spec = embedder(architecture="NomicBertModel", model_type="nomic_bert")
    said = which.reasons_unsupported(replace(case(spec, "26.10"), checkpoint=holds(name)))
    assert any("(no attn.Wqkv): use --backend onnx" in one for one in said) is refused


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("vision_tower.vision_model.embeddings.patch_embedding.weight", False),
        ("model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias", False),
        ("model.vision_tower.embeddings.patch_embedding.weight", True),
        ("vision_tower.encoder.layers.0.mlp.fc1.bias", True),
    ],
)
def test_an_image_encoder_saved_by_transformers_5(name: str, refused: bool) -> None:
    spec = llama_8b(
        source=LOCAL, task=Task.VISION_LANGUAGE, architecture="Gemma3ForConditionalGeneration"
    )
    said = vllm.reasons_unsupported(replace(case(spec, "26.10"), checkpoint=holds(name)))
    assert any("saved its image encoder under names" in one for one in said) is refused


@pytest.mark.parametrize(
    ("which", "spec", "triton", "said"),
    [
        (vllm, embedder(replace(DENSE, pooling=("max",))), "26.08", "has no pooling max: use --"),
        (vllm, embedder(replace(DENSE, pooling=("cls", "mean"))), "26.08", "no pooling cls + mean"),
        (
            vllm,
            embedder(replace(DENSE, prompts={"query": "q: "}, include_prompt=False)),
            "26.08",
            "cannot leave a prompt's tokens out of the pooling: use --backend vllm-pooling",
        ),
        (vllm, embedder(replace(DENSE, truncate_dimension=64)), "26.08", "keeps 64 numbers of a"),
        (vllm, embedder(replace(DENSE, append_eos=True)), "26.08", "no end-of-text token"),
        (vllm, reranker(), "26.08", "not rerank: use --backend vllm-pooling or onnx"),
        (builder, llama_8b(source=LOCAL), "26.08", "this model's task is generate: use another"),
        (builder, embedder(), "25.10", "use --triton 25.11 or newer"),
        (
            builder,
            embedder(architecture="MPNetModel", model_type="mpnet"),
            "26.08",
            "has no MPNetModel: use --backend onnx",
        ),
        (
            builder,
            reranker(SCORE, "LlamaForCausalLM"),
            "26.08",
            "no file says how that becomes a score: use a checkpoint that was saved as a class",
        ),
        (builder, reranker(SCORE, "JinaVLForRanking"), "26.08", "in a prompt of its own"),
        (builder, embedder(Head(HeadKind.SPARSE)), "26.08", "no sparse vectors as the reference"),
        (
            builder,
            embedder(Head(HeadKind.MULTI_VECTOR, query_expansion="masked")),
            "26.08",
            "attends to the tokens that fill a query",
        ),
        (
            builder,
            reranker(replace(SCORE, score_tokens=(1, 2))),
            "26.08",
            "(LogitScore), and its files have no chat template",
        ),
    ],
)
def test_each_reason_has_its_fix(which: Any, spec: ModelSpec, triton: str, said: str) -> None:
    found = which.reasons_unsupported(case(spec, triton))
    assert any(said in reason for reason in found), found


@pytest.mark.parametrize(
    ("dense", "new", "triton", "said"),
    [
        ({"activation_function": "torch.nn.modules.activation.Tanh"}, False, "26.08", ""),
        ({"activation_function": "torch.nn.modules.activation.Tanh"}, True, "26.10", ""),
        (
            {"activation_function": "torch.nn.modules.activation.Tanh"},
            True,
            "26.08",
            "leaves out Dense layers that modules.json names sentence_transformers.base",
        ),
        ({}, False, "26.08", "has no activation_function, which vLLM takes for none"),
        (
            {"activation_function": "torch.nn.Tanh", "use_residual": True},
            False,
            "26.08",
            "leaves out the residual of a Dense layer",
        ),
    ],
)
def test_dense_layers_that_vllm_computes_otherwise(
    tmp_path: Path, dense: dict[str, Any], new: bool, triton: str, said: str
) -> None:
    source = make_checkpoint(
        tmp_path / "m",
        chain=("Transformer", "Pooling", "Dense"),
        new=new,
        files={
            "2_Dense/config.json": {"in_features": 32, "out_features": 32, "bias": False, **dense}
        },
        tensors={"2_Dense/linear.weight": (32, 32)},
    )
    opened = checkpoints.open_checkpoint(str(source))
    found = replace(case(checkpoints.inspect(opened), triton), checkpoint=opened)
    for which in (vllm, builder):
        reasons = which.reasons_unsupported(found)
        assert any(said in reason for reason in reasons) if said else not reasons, reasons


# -------------------------------------------------------------------------------------- routing


@pytest.mark.parametrize(
    ("spec", "chosen"),
    [
        (embedder(architecture="BertModel", model_type="bert", parameters=22_000_000), "onnx"),
        (embedder(architecture="BertModel", model_type="bert"), "vllm"),
        (embedder(architecture="Qwen3ForCausalLM", model_type="qwen3"), "vllm"),
        (embedder(replace(DENSE, pooling=("weightedmean",))), "vllm-pooling"),
        (reranker(WORDS, "Qwen3ForCausalLM"), "vllm-pooling"),
        (reranker(), "vllm-pooling"),
        (llama_8b(source=LOCAL), "vllm"),
    ],
)
def test_which_builder_is_taken(spec: ModelSpec, chosen: str) -> None:
    found = case(spec)
    builder_taken, _ = choose_builder(found)[:2]
    assert builder_taken.name == chosen
