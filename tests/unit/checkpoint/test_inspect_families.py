"""Facts of well-known checkpoints, from their published configurations.

The numbers on the right come from model cards, papers and vLLM's state shapes, not from us.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import llama_config, make_described, write_json
from trtbuild.checkpoint import inspect, open_checkpoint
from trtbuild.checkpoint.attention import heads, kv_cache
from trtbuild.checkpoint.context import context_length
from trtbuild.checkpoint.fields import Fields
from trtbuild.errors import UnsupportedError
from trtbuild.modelspec import KVCache, ModelSpec, Task
from trtbuild.recipe import engine_support
from trtbuild.toolchain import releases


def cache_of(**config: Any) -> KVCache:
    fields = Fields(config)
    return kv_cache(fields, heads(fields))


def groups(cache: KVCache) -> list[tuple[str, int, float, int, int]]:
    return [
        (g.kind, g.layers, g.elements_per_token, g.window, g.constant_elements)
        for g in cache.groups
    ]


LLAMA_8B = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096,
    "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip


DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168,
    "num_attention_heads": 128, "num_key_value_heads": 128, "kv_lora_rank": 512,
    "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
}  # fmt: skip


def test_llama_8b() -> None:
    cache = cache_of(**LLAMA_8B)
    assert (cache.kind, cache.bytes_per_token()) == ("GQA", 131_072)
    assert cache.bytes_per_sequence(131_072) == 16 * 2**30


def test_deepseek_v3() -> None:
    cache = cache_of(**DEEPSEEK_V3)
    assert (cache.kind, cache.bytes_per_token()) == ("MLA", 70_272)


def test_minicpm3_expands_its_latent() -> None:
    cache = cache_of(
        model_type="minicpm3", num_hidden_layers=62, hidden_size=2560, num_attention_heads=40,
        num_key_value_heads=40, kv_lora_rank=256, qk_rope_head_dim=32, qk_nope_head_dim=64,
        v_head_dim=64,
    )  # fmt: skip
    assert groups(cache) == [("full", 62, 40 * (96 + 96), 0, 0)]  # values padded to keys' size


@pytest.mark.parametrize(
    ("config", "kind", "kv_heads"),
    [
        ({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12}, "MHA", 12),
        (
            {"model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544,
             "num_attention_heads": 71, "multi_query": True},
            "MQA", 1,
        ),
        (
            {"model_type": "falcon", "num_hidden_layers": 60, "hidden_size": 8192,
             "num_attention_heads": 128, "num_kv_heads": 8, "new_decoder_architecture": True},
            "GQA", 8,
        ),
        (
            {"model_type": "gpt_bigcode", "n_layer": 40, "n_embd": 6144, "n_head": 48,
             "multi_query": True},
            "MQA", 1,
        ),
        (
            {"model_type": "chatglm", "num_layers": 28, "hidden_size": 4096,
             "num_attention_heads": 32, "multi_query_attention": True,
             "multi_query_group_num": 2, "kv_channels": 128},
            "GQA", 2,
        ),
        (
            {"model_type": "dbrx", "n_layers": 40, "d_model": 6144, "n_heads": 48,
             "attn_config": {"kv_n_heads": 8}},
            "GQA", 8,
        ),
        ({"model_type": "mpt", "n_layers": 32, "d_model": 4096, "n_heads": 32}, "MHA", 32),
    ],
)  # fmt: skip
def test_spellings_of_heads(config: dict[str, Any], kind: str, kv_heads: int) -> None:
    shape = heads(Fields(config))
    assert shape.kv_heads == kv_heads
    assert cache_of(**config).kind == kind


def test_head_dim_overrides() -> None:
    gemma_7b = {"model_type": "gemma", "num_hidden_layers": 28, "hidden_size": 3072,
                "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256}  # fmt: skip
    assert heads(Fields(gemma_7b)).size == 256
    assert cache_of(**gemma_7b).bytes_per_token() == 28 * 16 * 256 * 2 * 2


def base(model_type: str, layers: int, **more: Any) -> dict[str, Any]:
    return {"model_type": model_type, "num_hidden_layers": layers, "hidden_size": 1024,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 128} | more  # fmt: skip


TOKEN = 4 * 128 * 2


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (base("gemma2", 26, sliding_window=4096), {"full": 13, "sliding": 13}),
        (base("gemma3_text", 26, sliding_window=512, sliding_window_pattern=6),
         {"full": 4, "sliding": 22}),
        (base("gemma3_text", 26, sliding_window=512), {"full": 4, "sliding": 22}),
        (base("cohere2", 32, sliding_window=4096, sliding_window_pattern=4),
         {"full": 8, "sliding": 24}),
        (base("mistral", 32, sliding_window=4096), {"sliding": 32}),
        (base("mistral", 32, sliding_window=None), {"full": 32}),
        (base("phi3", 32, sliding_window=2047), {"sliding": 32}),
        (base("qwen2", 28, sliding_window=32768, use_sliding_window=False, max_window_layers=28),
         {"full": 28}),
        (base("qwen2", 28, sliding_window=4096, use_sliding_window=True, max_window_layers=20),
         {"full": 20, "sliding": 8}),
        (base("gpt_oss", 24, sliding_window=128,
              layer_types=["sliding_attention", "full_attention"] * 12),
         {"full": 12, "sliding": 12}),
        (base("exaone4", 32, sliding_window=4096, sliding_window_pattern="LLLG"),
         {"full": 8, "sliding": 24}),
        (base("llama4_text", 48, attention_chunk_size=8192,
              no_rope_layers=[1, 1, 1, 0] * 12), {"full": 12, "sliding": 36}),
    ],
)  # fmt: skip
def test_sliding_windows(config: dict[str, Any], expected: dict[str, int]) -> None:
    cache = cache_of(**config)
    assert {g.kind: g.layers for g in cache.groups} == expected
    assert all(g.elements_per_token == TOKEN for g in cache.groups)
    assert cache.kind == ("sliding-window" if "sliding" in expected else "GQA")
    window = next((g.window for g in cache.groups if g.kind == "sliding"), 0)
    assert window == (config.get("sliding_window") or config.get("attention_chunk_size") or 0) * (
        "sliding" in expected
    )


def test_a_window_bounds_a_sequence() -> None:
    cache = cache_of(**base("mistral", 32, sliding_window=4096))
    assert cache.bytes_per_sequence(100_000) == cache.bytes_per_sequence(4096)


@pytest.mark.parametrize(
    ("config", "attention", "recurrent", "state"),
    [
        # Jamba: one attention layer in eight; Mamba-1 state 8192 * (4-1) + 8192 * 16
        (base("jamba", 32, attn_layer_period=8, attn_layer_offset=4, mamba_expand=8,
              mamba_d_state=16, mamba_d_conv=4), 4, 28, 8192 * 3 + 8192 * 16),
        # Qwen3-Next-80B: 48 layers, every fourth full; conv 8192 wide, 32 value heads of 128x128
        (base("qwen3_next", 48, full_attention_interval=4, linear_num_value_heads=32,
              linear_num_key_heads=16, linear_key_head_dim=128, linear_value_head_dim=128,
              linear_conv_kernel_dim=4), 12, 36, 8192 * 3 + 32 * 128 * 128),
        # Nemotron-H: letters; Mamba-2 with 8 groups
        (base("nemotron_h", 6, hybrid_override_pattern="M-M*M-", mamba_num_heads=64,
              mamba_head_dim=64, ssm_state_size=128, n_groups=8, conv_kernel=4),
         1, 3, (4096 + 2 * 8 * 128) * 3 + 4096 * 128),
        # Granite 4 hybrid: layer_types
        (base("granitemoehybrid", 4, layer_types=["mamba", "mamba", "attention", "mamba"],
              mamba_n_heads=16, mamba_d_head=64, mamba_d_state=128, mamba_n_groups=1,
              mamba_d_conv=4), 1, 3, (1024 + 256) * 3 + 1024 * 128),
        # LFM2: short convolutions
        (base("lfm2", 16, full_attn_idxs=[2, 5, 8, 10, 12, 14], conv_L_cache=3), 6, 10, 1024 * 2),
        # MiniMax-Text: lightning attention keeps a matrix a head
        (base("minimax_text_01", 8, attn_type_list=[0] * 7 + [1]), 1, 7, 8 * 128 * 128),
        # Kimi-Linear-style numbering from one
        (base("kimi_linear", 4, kv_lora_rank=None,
              linear_attn_config={"full_attn_layers": [4], "num_heads": 8, "head_dim": 128,
                                  "short_conv_kernel_size": 4}), 1, 3,
         3 * 1024 * 3 + 8 * 128 * 128),
    ],
)  # fmt: skip
def test_hybrids_keep_constant_state(
    config: dict[str, Any], attention: int, recurrent: int, state: int
) -> None:
    cache = cache_of(**config)
    assert cache.kind == "hybrid"
    assert groups(cache) == [
        ("full", attention, TOKEN, 0, 0),
        ("recurrent", recurrent, 0, 0, state),
    ]


DSA = DEEPSEEK_V3 | {"model_type": "deepseek_v32", "index_topk": 2048, "index_head_dim": 128}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DSA, {61: 576 + 66}),
        (DSA | {"index_topk_freq": 4, "index_skip_topk_offset": 3}, {17: 642, 44: 576}),
        (DSA | {"indexer_types": ["full"] * 3 + ["shared"] * 58}, {3: 642, 58: 576}),
        (DSA | {"index_topk_pattern": "FS" * 30 + "F"}, {31: 642, 30: 576}),
        ({"model_type": "longcat_flash", "num_layers": 28, "num_hidden_layers": 56,
          "hidden_size": 6144, "num_attention_heads": 64, "kv_lora_rank": 512,
          "qk_rope_head_dim": 64}, {56: 576}),
        (DEEPSEEK_V3, {61: 576}),
    ],
)  # fmt: skip
def test_latent_caches(config: dict[str, Any], expected: dict[int, float]) -> None:
    cache = cache_of(**config)
    assert {g.layers: g.elements_per_token for g in cache.groups} == expected
    assert cache.kind == "MLA"


def test_compressed_latents_share_an_entry() -> None:
    """DeepSeek V4 Flash: 6,229 B a token, and the last 128 tokens whole."""
    cache = cache_of(model_type="deepseek_v4", num_hidden_layers=43, hidden_size=4096,
                     num_attention_heads=64, num_key_value_heads=1, head_dim=512,
                     index_head_dim=128, sliding_window=128,
                     compress_ratios=[0, 0, *[4, 128] * 20, 4])  # fmt: skip
    growing = [g for g in cache.groups if not g.window]
    assert cache.bytes_beyond_windows() == 6229
    assert cache.bytes_per_token() == 6229 + 43 * 1024
    # In 8 bits the indexer's 33 B a token stay.
    assert cache.bytes_beyond_windows(1) == 21 * (128 + 33) + 20 * 4
    assert [(g.layers, g.elements_per_token, g.window) for g in cache.groups if g.window] == [
        (43, 512, 128)
    ]
    assert {g.layers: g.state_bytes() for g in growing} == {20: 128 * 1024 * 4, 21: 8 * 2560 * 4}


def test_layers_that_share_a_cache_keep_none() -> None:
    cache = cache_of(**base("gemma4_text", 35, sliding_window=512, num_kv_shared_layers=20,
                            layer_types=(["sliding_attention"] * 4 + ["full_attention"]) * 7,
                            global_head_dim=512))  # fmt: skip
    assert groups(cache) == [("full", 3, 4 * 1024, 0, 0), ("sliding", 12, TOKEN, 512, 0)]


def test_a_number_a_layer_says_which_slide() -> None:
    cache = cache_of(**base("mimo_v2_flash", 6, hybrid_layer_pattern=[0, 1, 1, 1, 1, 0],
                            sliding_window=128, v_head_dim=64, swa_num_key_value_heads=8,
                            swa_head_dim=128, swa_v_head_dim=64))  # fmt: skip
    assert groups(cache) == [("full", 2, 4 * 192, 0, 0), ("sliding", 4, 8 * 192, 128, 0)]


def test_layers_are_counted_where_no_key_says_how_many() -> None:
    words = ["mamba", "moe", "attention", "moe", "mamba"]
    config = base("nemotron_h", 0, layers_block_type=words, mamba_num_heads=64, mamba_head_dim=64,
                  ssm_state_size=128, n_groups=8)  # fmt: skip
    del config["num_hidden_layers"]
    assert heads(Fields(config)).layers == 5
    attention, state = cache_of(**config).groups
    assert (attention.layers, state.layers) == (1, 2)
    assert state.wide_elements == 4096 * 128  # float32 unless the configuration says otherwise
    blocks = {"block_configs": [{"block_type": word} for word in words]}
    assert cache_of(**(base("nemotron_h_puzzle", 5) | blocks)).groups[0].layers == 1


def test_blocks_have_kv_heads_of_their_own() -> None:
    blocks = [{"attention": {"n_heads_in_group": 4}}, {"attention": {"no_op": True}},
              {"attention": {"replace_with_linear": True}},
              {"attention": {"n_heads_in_group": 2}}]  # fmt: skip
    config = base("nemotron-nas", 4, block_configs=blocks, num_key_value_heads=None)
    assert groups(cache_of(**config)) == [("full", 1, 2 * 256, 0, 0), ("full", 1, 4 * 256, 0, 0)]


def test_layers_that_run_again_keep_another_cache() -> None:
    ouro = cache_of(**base("ouro", 6, total_ut_steps=4))
    assert groups(ouro) == [("full", 24, TOKEN, 0, 0)]
    coder = cache_of(**base("iquestloopcoder", 6, loop_num=2, loop_window_size=64))
    assert groups(coder) == [("full", 6, TOKEN, 0, 0), ("sliding", 6, TOKEN, 64, 0)]


def test_block_sparse_attention_keeps_keys_to_choose_by() -> None:
    """MiniMax M3: 128 elements in 16 bits for each layer of ``sparse_attention_freq``."""
    sparse = {"sparse_attention_freq": [0, 1, 1], "sparse_index_dim": 128}
    words = ["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"]
    for said in ({"sparse_attention_config": sparse},
                 {"layer_types": words, "index_head_dim": 128}):  # fmt: skip
        cache = cache_of(**base("minimax_m3", 3, **said))
        assert groups(cache) == [("full", 1, TOKEN, 0, 0), ("full", 2, TOKEN + 128, 0, 0)]
        assert cache.bytes_per_token(1) == 3 * TOKEN + 2 * 256


def test_a_half_may_read_what_one_layer_keeps() -> None:
    """Phi-4-mini-flash: Mamba and windows by turns, then one full cache for all that follows."""
    cache = cache_of(**base("phi4flash", 32, sliding_window=[512] * 32, mamba_d_state=16,
                            mamba_d_conv=4, mamba_expand=2))  # fmt: skip
    state = 2048 * 3 + 2048 * 16
    assert groups(cache) == [("full", 1, TOKEN, 0, 0), ("sliding", 8, TOKEN, 512, 0),
                             ("recurrent", 9, 0, 0, state)]  # fmt: skip


def test_plamo_2_has_attention_in_every_other_layer() -> None:
    cache = cache_of(**base("plamo2", 32, mamba_step=2, mamba_num_heads=64, mamba_d_state=64,
                            hidden_size_per_head=128, mamba_d_conv=4, head_dim=None))  # fmt: skip
    state = 8192 * 3 + 8192 * 64
    assert groups(cache) == [("full", 16, TOKEN, 0, 0), ("recurrent", 16, 0, 0, state)]


def test_one_layer_may_be_set_apart() -> None:
    """transformers 5 writes what differs from the other layers under the layer's number."""
    apart = {"01": {"head_dim": 512, "num_key_value_heads": 1}}
    text = base("gemma4_text", 2, sliding_window=512, per_layer_config=apart,
                layer_types=["sliding_attention", "full_attention"])  # fmt: skip
    expected = [("full", 1, 1024, 0, 0), ("sliding", 1, TOKEN, 512, 0)]
    assert groups(cache_of(**text)) == expected
    assert groups(cache_of(model_type="gemma4", text_config=text)) == expected


def test_a_family_means_something_by_what_is_left_out() -> None:
    """transformers' defaults: all of them nested, those that size a state anywhere."""
    nested = Fields({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}})
    assert (heads(nested).layers, heads(nested).size, nested.number("sliding_window")) == (
        26, 256, 4096)  # fmt: skip
    whole = {"model_type": "mamba2", "num_hidden_layers": 64, "hidden_size": 4096}
    assert cache_of(**whole).groups[0].constant_elements == (8192 + 2 * 8 * 128) * 3 + 8192 * 128
    # A whole configuration without a size is broken; null is not a default.
    assert heads(Fields({"model_type": "llama"})).layers == 0
    assert Fields({"model_type": "mistral"}).number("sliding_window") == 4096
    assert Fields({"model_type": "mistral", "sliding_window": None}).number("sliding_window") == 0
    assert Fields({"model_type": "mistral", "num_key_value_heads": None}).get(
        "num_key_value_heads") is None  # fmt: skip


def test_windows_may_be_listed() -> None:
    cache = cache_of(**base("plamo3", 4, interleaved_sliding_window=[2048, 2048, 2048, None]))
    assert groups(cache) == [("full", 1, TOKEN, 0, 0), ("sliding", 3, TOKEN, 2048, 0)]


def test_zamba2_has_attention_beside_the_state_and_a_head_size_of_its_own() -> None:
    words = ["mamba", "hybrid", "mamba"]
    cache = cache_of(model_type="zamba2", num_hidden_layers=3, hidden_size=2560,
                     num_attention_heads=32, kv_channels=80, attention_head_dim=160,
                     layers_block_type=words, mamba_d_state=64, n_mamba_heads=8,
                     mamba_headdim=640)  # fmt: skip
    assert [(g.kind, g.layers) for g in cache.groups] == [("full", 1), ("recurrent", 3)]
    assert cache.bytes_per_token() == 32 * 320 * 2


@pytest.mark.parametrize(
    ("architecture", "family"),
    [("MiniCPM3ForCausalLM", "minicpm3"), ("GPTBigCodeForCausalLM", "gpt_bigcode"),
     ("Qwen2MoeForCausalLM", "qwen2_moe"), ("XLMRobertaModel", "xlm-roberta"),
     ("SomethingNewForCausalLM", "somethingnew")],
)  # fmt: skip
def test_the_family_by_the_architecture(architecture: str, family: str) -> None:
    assert Fields({"architectures": [architecture]}).family == family
    assert Fields({"architectures": [architecture], "model_type": "other"}).family == "other"


def test_falcon_h1_has_both_in_every_layer() -> None:
    cache = cache_of(**base("falcon_h1", 24, mamba_n_heads=24, mamba_d_head=64, mamba_d_state=128,
                            mamba_n_groups=1, mamba_d_conv=4))  # fmt: skip
    assert [(g.kind, g.layers) for g in cache.groups] == [("full", 24), ("recurrent", 24)]


def test_pure_mamba_grows_by_nothing() -> None:
    cache = cache_of(model_type="mamba", num_hidden_layers=64, hidden_size=2560,
                     intermediate_size=5120, state_size=16, conv_kernel=4)  # fmt: skip
    assert (cache.kind, cache.bytes_per_token()) == ("recurrent", 0)
    assert cache.groups[0].constant_elements == 5120 * 3 + 5120 * 16


@pytest.mark.parametrize(
    "config",
    [{"model_type": "bert"},
     {"model_type": "clip", "text_config": {"model_type": "clip_text_model"}},
     {"architectures": ["LlamaBidirectionalModel"], "model_type": "llama_bidirec"},
     {"model_type": "qwen2", "is_causal": False},
     {"model_type": "gemma3_text", "use_bidirectional_attention": True}],
)  # fmt: skip
def test_encoders_keep_nothing(config: dict[str, Any]) -> None:
    shape = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12}
    assert cache_of(**(config | shape)) == KVCache("none")


@pytest.mark.parametrize(
    ("config", "settings", "expected"),
    [
        ({"max_position_embeddings": 131072, "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}},
         {}, 131_072),
        ({"max_position_embeddings": 163840, "rope_scaling": {
            "type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}}, {}, 163_840),
        ({"max_position_embeddings": 32768, "rope_scaling": {
            "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
         {}, 131_072),
        ({"max_position_embeddings": 4096, "rope_scaling": {
            "type": "linear", "factor": float("inf")}}, {}, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}},
         {}, 16_384),
        ({"max_position_embeddings": 131072, "rope_scaling": {
            "type": "longrope", "short_factor": [1.0]}}, {}, 131_072),
        ({"model_type": "gemma3_text", "max_position_embeddings": 131072,
          "rope_scaling": {"rope_type": "linear", "factor": 8.0}}, {}, 131_072),
        ({"n_positions": 1024}, {}, 1024),
        ({"seq_length": 32768}, {}, 32768),
        ({"max_seq_len": 8192}, {}, 8192),
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, {}, 131_072),
        ({"max_position_embeddings": 514, "position_embedding_type": "absolute"},
         {"model_max_length": 512}, 512),
        ({"max_position_embeddings": 8192}, {"model_max_length": 512}, 8192),
        ({"max_position_embeddings": 8192, "seq_length": 4096}, {}, 4096),
        ({"max_position_embeddings": 4096, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 4.0},
            "sliding_attention": {"rope_type": "default"}}}, {}, 16_384),
        ({"max_position_embeddings": 4096}, {"model_max_length": 1e30}, 4096),
        ({}, {}, 0),
    ],
)  # fmt: skip
def test_context_length(config: dict[str, Any], settings: dict[str, Any], expected: int) -> None:
    assert context_length(Fields(config), settings) == expected


SOME = {"model.embed_tokens.weight": (8, 4)}


def described(tmp_path: Path, config: dict[str, Any], **more: Any) -> ModelSpec:
    shapes = more.pop("shapes", {"model.embed_tokens.weight": (8, 4)})
    folder = make_described(tmp_path / "m", llama_config() | config, shapes, **more)
    return inspect(open_checkpoint(str(folder)))


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, Task.GENERATE),
        ({"architectures": ["GPT2LMHeadModel"]}, Task.GENERATE),
        ({"architectures": ["BertModel"]}, Task.EMBED),
        ({"architectures": ["Qwen2Model"]}, Task.EMBED),
        ({"architectures": ["XLMRobertaForSequenceClassification"], "num_labels": 1}, Task.RERANK),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}},
         Task.RERANK),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, Task.CLASSIFY),
        ({"architectures": ["BertForTokenClassification"]}, Task.TOKEN_CLASSIFY),
        ({"architectures": ["DistilBertForTokenClassification"]}, Task.TOKEN_CLASSIFY),
        ({"architectures": ["ElectraForSequenceClassification"], "num_labels": 1}, Task.RERANK),
        ({"architectures": ["WhisperForConditionalGeneration"]}, Task.TRANSCRIBE),
        ({"architectures": ["Qwen2VLForConditionalGeneration"]}, Task.VISION_LANGUAGE),
        ({"architectures": ["Phi3VForCausalLM"]}, Task.VISION_LANGUAGE),
        ({"architectures": ["LlamaForCausalLM"], "vision_config": {"hidden_size": 8}},
         Task.VISION_LANGUAGE),
    ],
)  # fmt: skip
def test_tasks(tmp_path: Path, config: dict[str, Any], task: Task) -> None:
    assert described(tmp_path, config).task is task


def test_sentence_transformers_embed(tmp_path: Path) -> None:
    folder = make_described(tmp_path / "m", llama_config(), {"x.weight": (2, 2)})
    chain = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    chain += [{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    write_json(folder / "modules.json", chain)
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    opened = open_checkpoint(str(folder))
    assert inspect(opened).task is Task.EMBED
    assert opened.has("1_Pooling/config.json")


def test_nested_text_config(tmp_path: Path) -> None:
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34,
                        "sliding_window": 1024},
        "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
        "eos_token_id": [1, 106],
    }  # fmt: skip
    folder = make_described(tmp_path / "m", config, {"x.weight": (2, 2)})
    spec = inspect(open_checkpoint(str(folder)))
    assert (spec.task, spec.num_layers, spec.head_size) == (Task.VISION_LANGUAGE, 34, 256)
    assert (spec.num_attention_heads, spec.num_kv_heads) == (8, 4)
    assert spec.model_type == "gemma3"
    assert spec.kv_cache.kind == "sliding-window"
    assert {1, 106} <= set(spec.eos_token_ids)


def test_all_ends_of_text(tmp_path: Path) -> None:
    folder = make_described(tmp_path / "m", llama_config(eos_token_id=5), {"x.weight": (2, 2)})
    write_json(folder / "generation_config.json", {"eos_token_id": [7, 5]})
    assert inspect(open_checkpoint(str(folder))).eos_token_ids == (7, 5, 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", "own file"),
        ("additional_chat_templates/default.jinja", "own file"),
        ("chat_template.json", '{"chat_template": "own file"}'),
        ("tokenizer_config.json",
         '{"chat_template": [{"name": "tool", "template": "no"},'
         ' {"name": "default", "template": "own file"}]}'),
    ],
)  # fmt: skip
def test_chat_templates_from_every_place(tmp_path: Path, name: str, content: str) -> None:
    folder = make_described(tmp_path / "m", llama_config(), {"x.weight": (2, 2)})
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    assert inspect(open_checkpoint(str(folder))).tokenizer.chat_template == "own file"


def test_layers_are_counted_where_only_their_kinds_are_listed() -> None:
    words = ["mamba", "moe", "mamba", "attention", "moe"]
    fields = Fields({"model_type": "nemotron_h", "layers_block_type": words, "hidden_size": 64})
    assert heads(fields).layers == len(words)
    pattern = Fields({"model_type": "nemotron_h", "hybrid_override_pattern": "M-M*-"})
    assert heads(pattern).layers == 5
    both = Fields({"num_hidden_layers": 26, "block_types": ["recurrent", "attention"]})
    assert heads(both).layers == 26


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_embed", 64), ("emb_dim", 64), ("hidden_size", 64), ("n_embd", 64), ("d_model", 64)],
)
def test_spellings_of_the_width(tmp_path: Path, key: str, value: int) -> None:
    config = llama_config(**{"hidden_size": None, key: value})
    folder = make_described(tmp_path / "m", config, SOME)
    assert inspect(open_checkpoint(str(folder))).hidden_size == 64


def test_spellings_of_an_encoder_decoder() -> None:
    fields = Fields(
        {"d_model": 64, "decoder_layers": 6, "encoder_layers": 4, "decoder_attention_heads": 8}
    )
    shape = heads(fields)
    assert (shape.layers, shape.heads, shape.size) == (6, 8, 8)


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["Qwen2AudioForConditionalGeneration"], "audio_config": {}},
        {"architectures": ["NovelForConditionalGeneration"], "audio_config": {"d": 1}},
        {"architectures": ["VoxtralForConditionalGeneration"], "audio_config": {}},
    ],
)
def test_speech_models_get_their_true_reason(tmp_path: Path, config: dict[str, Any]) -> None:
    make_described(tmp_path, config, SOME)
    with pytest.raises(UnsupportedError, match="Triton's vLLM backend has no audio input") as said:
        inspect(open_checkpoint(str(tmp_path)), trust_remote_code=True)
    assert not said.value.details


# The published configuration of deepseek-ai/DeepSeek-OCR, its numbers.
OCR_LANGUAGE: dict[str, Any] = {
    "hidden_size": 1280, "num_hidden_layers": 12, "num_attention_heads": 10,
    "num_key_value_heads": 10, "use_mla": False, "q_lora_rank": None, "kv_lora_rank": None,
    "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "v_head_dim": 0, "intermediate_size": 6848,
    "max_position_embeddings": 8192, "vocab_size": 129280,
}  # fmt: skip
OCR = {
    "architectures": ["DeepseekOCRForCausalLM"], "model_type": "deepseek_vl_v2",
    "auto_map": {"AutoConfig": "modeling_deepseekocr.DeepseekOCRConfig",
                 "AutoModel": "modeling_deepseekocr.DeepseekOCRForCausalLM"},
    "language_config": {"architectures": ["DeepseekV2ForCausalLM"], **OCR_LANGUAGE},
    "vision_config": {"model_type": "vision"}, **OCR_LANGUAGE,
}  # fmt: skip


@pytest.mark.parametrize("kind", [None, "deepseek_v2"])
def test_values_of_size_0_are_as_wide_as_the_head(tmp_path: Path, kind: str | None) -> None:
    config = {**OCR, "language_config": {**OCR["language_config"], "model_type": kind}}
    folder = make_described(tmp_path / "m", config, SOME)
    spec = inspect(open_checkpoint(str(folder)))
    assert (spec.task, spec.head_size) == (Task.VISION_LANGUAGE, 128)
    assert (spec.kv_cache.kind, spec.kv_cache.bytes_per_token()) == ("MHA", 61_440)


def test_a_class_of_vllms_own_needs_no_code(tmp_path: Path) -> None:
    """vLLM has DeepSeek-OCR, with its configuration class, since 0.11.1 (Triton 25.12)."""
    spec = inspect(open_checkpoint(str(make_described(tmp_path / "m", OCR, SOME))))
    assert spec.code == ("configuration", "model")
    rows = [row for row in releases() if row.vllm]
    needed = {row.triton: engine_support(spec, row, row.vllm_image).needed for row in rows}
    assert {triton for triton, parts in needed.items() if not parts} == {
        row.triton for row in rows if row.triton >= "25.12"
    }


def test_a_model_that_sees_and_hears_is_a_vision_model(tmp_path: Path) -> None:
    config = {"architectures": ["Gemma3nForConditionalGeneration"], "audio_config": {}}
    spec = described(tmp_path, config | {"vision_config": {}})
    assert spec.task is Task.VISION_LANGUAGE


@pytest.mark.parametrize("name", ["tiktoken.model", "qwen.tiktoken", "tokenizer.model.v3"])
def test_vocabularies_of_other_tokenizers_are_taken(tmp_path: Path, name: str) -> None:
    make_described(tmp_path, llama_config(), SOME)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / name).write_bytes(b"AAA= 0\n")
    opened = open_checkpoint(str(tmp_path))
    assert name in {file.name for file in opened.files}
    kind = "sentencepiece" if name == "tokenizer.model.v3" else "tiktoken"
    assert inspect(opened).tokenizer.kind == kind


def test_sentence_transformers_say_the_longest_text(tmp_path: Path) -> None:
    folder = make_described(tmp_path / "m", llama_config(), {"x.weight": (2, 2)})
    write_json(folder / "sentence_xlm-roberta_config.json", {"max_seq_length": 48})
    assert inspect(open_checkpoint(str(folder))).context_length == 48
