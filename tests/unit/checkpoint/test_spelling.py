"""What transformers 5 writes, as transformers 4 reads it.

The values on the right are what transformers 4.57.1's own classes hold after reading the file;
0.19 of tokenizers cannot read merges that are pairs.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from trtbuild.modelspec.spelling import (
    older_config,
    older_merges,
    older_tokenizer,
    only_five,
    problem,
)

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
PLAIN = {"rope_type": "default"}


@pytest.mark.parametrize(
    ("config", "older"),
    [
        ({"rope_parameters": {"rope_theta": 5e5, **PLAIN}}, {"rope_theta": 5e5}),
        (
            {"rope_parameters": {"rope_theta": 5e5, **YARN}},
            {"rope_theta": 5e5, "rope_scaling": YARN},
        ),
        (
            {"model_type": "gpt_neox", "rope_parameters": {"rope_theta": 2e4, **PLAIN,
                                                          "partial_rotary_factor": 0.25}},
            {"rotary_emb_base": 2e4, "rotary_pct": 0.25},
        ),
        (
            {"model_type": "stablelm", "rope_parameters": {"rope_theta": 2e4, **PLAIN,
                                                           "partial_rotary_factor": 0.25}},
            {"rope_theta": 2e4, "partial_rotary_factor": 0.25},
        ),
        (
            {"model_type": "phi3", "rope_parameters": {
                "rope_theta": 1e4, "rope_type": "longrope", "short_factor": [1.0],
                "long_factor": [2.0], "original_max_position_embeddings": 4096}},
            {"rope_theta": 1e4, "original_max_position_embeddings": 4096,
             "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}},
        ),
        (
            {"model_type": "gemma3_text", "rope_parameters": {
                "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
                "sliding_attention": {"rope_theta": 1e4, **PLAIN}}},
            {"rope_theta": 1e6, "rope_local_base_freq": 1e4,
             "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        ),
        (
            {"model_type": "olmo3", "rope_parameters": {
                "full_attention": {"rope_theta": 5e5, **YARN},
                "sliding_attention": {"rope_theta": 5e5, **PLAIN}}},
            {"rope_theta": 5e5, "rope_scaling": YARN},
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 2e6, **PLAIN},
                                 "sliding_attention": {"rope_theta": 2e6, **PLAIN}}},
            {"rope_theta": 2e6},
        ),
        ({"dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}),
        (
            {"model_type": "nemotron_h",
             "layers_block_type": ["linear_attention", "moe", "attention", "mlp", "mamba"]},
            {"hybrid_override_pattern": "ME*-M", "num_hidden_layers": 5},
        ),
        (
            {"model_type": "granitemoehybrid", "layer_types": ["linear_attention",
                                                               "full_attention"]},
            {"layer_types": ["mamba", "attention"]},
        ),
        (
            {"text_config": {"rope_parameters": {"rope_theta": 7e6, **PLAIN}}},
            {"text_config": {"rope_parameters": {"rope_theta": 7e6, **PLAIN}, "rope_theta": 7e6}},
        ),
    ],
)  # fmt: skip
def test_both_spellings(config: dict[str, Any], older: dict[str, Any]) -> None:
    made, wrong = older_config(config)
    assert wrong == ""
    assert made == config | older
    assert only_five(config, {})
    assert only_five(made, {}) == ()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"rope_theta": 1e6, "rope_scaling": None, "torch_dtype": "float16"},
        {"rope_theta": 1e6, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}},
        {"rope_parameters": None},
        {"rope_parameters": "yarn"},
        {"layer_types": ["full_attention", "sliding_attention"], "model_type": "qwen3"},
    ],
)
def test_what_both_read_is_left_alone(config: dict[str, Any]) -> None:
    assert older_config(config) == (config, "")
    assert only_five(config, {}) == ()


def test_what_the_file_says_already_wins() -> None:
    config = {"rope_theta": 3.0, "rope_parameters": {"rope_theta": 5e5, **YARN}}
    assert older_config(config)[0]["rope_theta"] == 3.0


def test_layers_that_turn_otherwise_have_no_older_words() -> None:
    config = {
        "model_type": "novel",
        "rope_parameters": {
            "full_attention": {"rope_theta": 5e5, **YARN},
            "sliding_attention": {"rope_theta": 1e4, **PLAIN},
        },
    }
    assert "transformers 4 cannot express in a novel model" in problem(config, {})
    olmo = config | {"model_type": "olmo3"}  # one base for both, and these are two
    assert problem(olmo, {})


def test_tokenizer_classes() -> None:
    five = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>"]}
    assert older_tokenizer(five) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "extra_special_tokens": None,
        "additional_special_tokens": ["<a>"],
    }
    assert only_five({}, five) == ("extra_special_tokens", "tokenizer_class")
    assert older_tokenizer({"tokenizer_class": "LlamaTokenizerFast"}) == {}
    assert older_tokenizer({"extra_special_tokens": {"image_token": "<i>"}}) == {}
    assert "SentencePieceBackend" in problem({}, {"tokenizer_class": "SentencePieceBackend"})


def test_merges_that_are_pairs() -> None:
    document = {"model": {"type": "BPE", "vocab": {"e": 0}, "merges": [["e", "n"], ["Ġ", "t"]]}}
    made = older_merges(json.dumps(document, ensure_ascii=False).encode())
    assert made is not None
    assert json.loads(made)["model"]["merges"] == ["e n", "Ġ t"]
    assert older_merges(made) is None
    document["model"]["merges"] = [["a b", "c"]]  # a text could not tell the halves apart
    assert older_merges(json.dumps(document).encode()) is None
    assert older_merges(b'{"model": {"merges": [[') is None
