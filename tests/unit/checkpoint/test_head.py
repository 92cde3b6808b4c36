"""Heads of embedding models, read from checkpoints as sentence-transformers saves them.

What sentence-transformers 6.2.0 does with the same files is what is right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.sentence_files import make_checkpoint, switches
from trtbuild.checkpoint import inspect, open_checkpoint
from trtbuild.errors import ExitCode, UnsupportedError
from trtbuild.modelspec import DenseLayer, Head, HeadKind, ModelSpec

DENSE = ("Transformer", "Pooling", "Dense", "Dense", "Normalize")


def spec_of(folder: Path, *arguments: Any, **more: Any) -> ModelSpec:
    made = make_checkpoint(folder / "m", *arguments, **more)
    return inspect(open_checkpoint(str(made)))


def head_of(folder: Path, *arguments: Any, **more: Any) -> Head:
    head = spec_of(folder, *arguments, **more).head
    assert head is not None
    return head


def refused(folder: Path, *arguments: Any, **more: Any) -> UnsupportedError:
    with pytest.raises(UnsupportedError) as raised:
        spec_of(folder, *arguments, **more)
    assert raised.value.exit_code is ExitCode.UNSUPPORTED
    assert raised.value.fix
    return raised.value


# The small files of sentence-transformers/all-MiniLM-L6-v2, as published.
MINILM: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling",
         "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize",
         "type": "sentence_transformers.models.Normalize"},
    ],
    "1_Pooling/config.json": {
        "word_embedding_dimension": 384, "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    },
    "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
    "config_sentence_transformers.json": {
        "__version__": {"sentence_transformers": "2.0.0", "transformers": "4.6.1"}
    },
    "tokenizer_config.json": {"do_lower_case": True, "tokenizer_class": "BertTokenizer",
                              "model_max_length": 512},
}  # fmt: skip


def test_minilm(tmp_path: Path) -> None:
    config = {"hidden_size": 384, "num_attention_heads": 12, "num_hidden_layers": 6}
    head = head_of(tmp_path, config, (), files=MINILM)
    assert head == Head(
        HeadKind.DENSE, pooling=("mean",), normalized=True, dimension=384, max_tokens=256
    )


@pytest.mark.parametrize("new", [False, True])
def test_both_generations_of_class_names(tmp_path: Path, new: bool) -> None:
    head = head_of(tmp_path, new=new)
    assert (head.pooling, head.normalized, head.dimension) == (("mean",), True, 32)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        (switches("cls_token"), ("cls",)),
        (switches("lasttoken"), ("lasttoken",)),
        (switches("max_tokens", "cls_token"), ("cls", "max")),  # the order is fixed
        ({"embedding_dimension": 32, "pooling_mode": "weightedmean"}, ("weightedmean",)),
        ({"embedding_dimension": 32, "pooling_mode": ["mean", "cls"]}, ("mean", "cls")),
        ({"word_embedding_dimension": 32}, ("mean",)),
    ],
)  # fmt: skip
def test_pooling(tmp_path: Path, config: dict[str, Any], pooling: tuple[str, ...]) -> None:
    head = head_of(tmp_path, files={"1_Pooling/config.json": config})
    assert (head.pooling, head.dimension) == (pooling, 32 * len(pooling))
    assert head.include_prompt


def test_a_prompt_may_be_left_out_of_the_pooling(tmp_path: Path) -> None:
    config = {**switches("mean_tokens"), "include_prompt": False}
    assert not head_of(tmp_path, files={"1_Pooling/config.json": config}).include_prompt


def dense(inputs: int, outputs: int, **more: Any) -> dict[str, Any]:
    identity = "torch.nn.modules.linear.Identity"
    return {"in_features": inputs, "out_features": outputs, "bias": False,
            "activation_function": identity, **more}  # fmt: skip


TWO = {"2_Dense/config.json": dense(32, 128), "3_Dense/config.json": dense(128, 16)}
WEIGHTS = {"2_Dense/linear.weight": (128, 32), "3_Dense/linear.weight": (16, 128)}


def test_dense_layers(tmp_path: Path) -> None:
    head = head_of(tmp_path, {}, DENSE, files=TWO, tensors=WEIGHTS)
    assert head.layers == (
        DenseLayer("2_Dense", 32, 128, bias=False, activation="identity"),
        DenseLayer("3_Dense", 128, 16, bias=False, activation="identity"),
    )
    assert (head.dimension, head.normalized) == (16, True)


def test_a_dense_layer_has_tanh_and_a_bias(tmp_path: Path) -> None:
    files = {"2_Dense/config.json": {"in_features": 32, "out_features": 8}}
    tensors = {"2_Dense/linear.weight": (8, 32), "2_Dense/linear.bias": (8,)}
    head = head_of(tmp_path, {}, DENSE[:3], files=files, tensors=tensors)
    assert head.layers == (DenseLayer("2_Dense", 32, 8, bias=True, activation="tanh"),)
    assert not head.normalized


def test_prompts_and_dimensions(tmp_path: Path) -> None:
    settings = {
        "prompts": {"query": "query: ", "document": "passage: ", "none": ""},
        "default_prompt_name": "query",
        "similarity_fn_name": "dot",
        "truncate_dim": 16,
    }
    head = head_of(
        tmp_path,
        {"matryoshka_dimensions": [32, 8, 16]},
        files={"config_sentence_transformers.json": settings},
    )
    assert (head.prompt("query"), head.prompt("passage"), head.prompt("none")) == (
        "query: ",
        "passage: ",
        "",
    )
    assert head.prompt("") == "query: "
    assert (head.similarity, head.truncate_dimension, head.matryoshka) == ("dot", 16, (8, 16, 32))


@pytest.mark.parametrize(
    ("config", "cuts"),
    [
        ({}, []),
        ({"is_matryoshka": True}, list(range(1, 33))),
        ({"is_matryoshka": True, "matryoshka_dimensions": [32, 16]}, [16, 32]),
        ({"matryoshka_dimensions": [16, 32]}, [16, 32]),
        ({"is_matryoshka": False}, []),
    ],
)
def test_sizes_that_vectors_may_be_cut_to(
    tmp_path: Path, config: dict[str, Any], cuts: list[int]
) -> None:
    assert list(head_of(tmp_path, config).cuts) == cuts


def test_what_is_only_for_training_changes_nothing(tmp_path: Path) -> None:
    chain = ("Transformer", "Pooling", "Dropout", "Normalize")
    head = head_of(tmp_path, {}, chain)
    assert (head.pooling, head.normalized) == (("mean",), True)


def test_lower_case_and_padding(tmp_path: Path) -> None:
    files = {
        "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": True},
        "tokenizer_config.json": {"padding_side": "left", "truncation_side": "left"},
    }
    head = head_of(tmp_path, files=files)
    assert (head.lower_case, head.padding_side, head.truncation_side) == (True, "left", "left")
    assert head.max_tokens == 128


def test_an_assumed_pooling_is_reported(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, {}, ())
    assert any("no modules.json" in note and "mean is taken" in note for note in spec.notes)
    assert not spec_of(tmp_path / "other").notes


@pytest.mark.parametrize(
    ("config", "pooling"),
    [({}, "mean"), ({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}, "lasttoken")],
)
def test_the_pooling_that_nothing_says(
    tmp_path: Path, config: dict[str, Any], pooling: str
) -> None:
    """A causal model is one for embeddings by its modules.json alone."""
    chain = () if not config else ("Transformer", "Pooling")
    files = {"1_Pooling/config.json": switches("lasttoken")} if config else {}
    head = head_of(tmp_path, config, chain, files=files)
    assert (head.pooling, head.normalized) == ((pooling,), False)


BOTH = {**switches("cls_token"), "pooling_mode": "mean"}


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"1_Pooling/config.json": None}, "1_Pooling/config.json is missing"),
        ({"1_Pooling/config.json": BOTH}, "pooling_mode says mean, and the older keys say cls"),
        ({"1_Pooling/config.json": switches()}, "turns every pooling mode off"),
        ({"1_Pooling/config.json": switches("cls_token", width=64)}, "a width of 32"),
        ({"1_Pooling/config.json": {"pooling_mode": "median"}}, "unknown pooling_mode 'median'"),
        ({"1_Pooling/config.json": {"pooling_mode": [{"mean": 1}]}}, "unknown pooling_mode"),
        ({"1_Pooling/config.json": {"pooling_mode": True}}, "unknown pooling_mode 'True'"),
        ({"modules.json": ["Pooling"]}, "modules.json: entry 0 has no type and path"),
        ({"modules.json": [{"path": "", "type": "Transformer"},
                           {"path": "../../../etc", "type": "Pooling"}]},
         "../../../etc/config.json is missing"),
        ({"modules.json": {"any": 1}}, "modules.json holds a JSON object, not an array"),
        ({"modules.json": [{"path": ""}]}, "modules.json: entry 0 has no type and path"),
        ({"config_sentence_transformers.json": {"default_prompt_name": "query"}},
         "the default prompt 'query', and no prompt of that name"),
        ({"config_sentence_transformers.json": {"prompts": {"query": 1}}},
         "the prompt 'query' is not text"),
    ],
)  # fmt: skip
def test_refused_files(tmp_path: Path, files: dict[str, Any], what: str) -> None:
    assert what in refused(tmp_path, files=files).what


def test_values_of_a_wrong_kind_count_as_absent(tmp_path: Path) -> None:
    settings = {"prompts": None, "default_prompt_name": 7, "similarity_fn_name": [],
                "truncate_dim": "8", "model_type": {}}  # fmt: skip
    files = {
        "config_sentence_transformers.json": settings,
        "sentence_bert_config.json": {"max_seq_length": "256", "do_lower_case": "yes",
                                      "processing_kwargs": {"text": []}},
        "tokenizer_config.json": {"model_max_length": True, "padding_side": 1},
    }  # fmt: skip
    config = {"matryoshka_dimensions": [True, "8", -1, None]}
    assert head_of(tmp_path, config, files=files) == head_of(tmp_path / "plain")


@pytest.mark.parametrize(
    ("chain", "what"),
    [
        (("Transformer",), "modules.json names no Pooling"),
        (("Transformer", "Pooling", "Pooling"), "an order that is not served"),
        (("Transformer", "Normalize", "Pooling"), "an order that is not served"),
        (("Transformer", "Pooling", "LayerNorm"), "modules.json has a LayerNorm"),
        (("Router", "Pooling"), "modules.json has a Router, which is not served"),
    ],
)
def test_refused_chains(tmp_path: Path, chain: tuple[str, ...], what: str) -> None:
    files = {f"{at}_Pooling/config.json": switches("cls_token") for at in (1, 2)}
    assert what in refused(tmp_path, {}, chain, files=files).what


@pytest.mark.parametrize(
    ("config", "tensors", "what"),
    [
        (dense(32, 8), {}, "2_Dense/model.safetensors is missing"),
        (dense(32, 8, bias=True), {"2_Dense/linear.weight": (8, 32)}, "lacks linear.bias"),
        (dense(32, 8), {"2_Dense/linear.weight": (8, 16)}, "the shape [8, 16], not [8, 32]"),
        (dense(64, 8), {"2_Dense/linear.weight": (8, 64)}, "takes vectors of 64 numbers"),
        ({"in_features": 32}, {}, "does not say the Dense layer's in_features"),
        (dense(32, 8, activation_function="torch.nn.modules.activation.GLU"),
         {"2_Dense/linear.weight": (8, 32)}, "an activation that is not served"),
    ],
)  # fmt: skip
def test_refused_dense_layers(
    tmp_path: Path, config: dict[str, Any], tensors: dict[str, tuple[int, ...]], what: str
) -> None:
    error = refused(tmp_path, {}, DENSE[:3], files={"2_Dense/config.json": config}, tensors=tensors)
    assert what in error.what
