"""Facts about model families, as tables. Behaviour is in the modules that read them.

A new family is a row here or a name in ``data/architectures.toml``, rarely code.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Literal

from trtbuild.modelspec import Task
from trtbuild.resources import data_file

LayerKind = Literal["full", "sliding", "recurrent", "both", "none"]

# --- the keys of config.json for a number; the first one wins ---------------------------

LAYERS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers",
    "decoder_layers",
)  # fmt: skip
HIDDEN = (
    "hidden_size", "n_embd", "n_embed", "d_model", "dim", "model_dim", "word_embed_proj_dim",
    "emb_dim", "embed_dim",
)  # fmt: skip
HEADS = (
    "num_attention_heads", "n_head", "n_heads", "num_heads", "num_query_heads", "attention_heads",
    "decoder_attention_heads", "encoder_attention_heads",
)  # fmt: skip
KV_HEADS = (
    "kv_n_heads", "num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num",
    "num_attention_groups", "num_key_value_groups_heads",
)  # fmt: skip
"""DBRX's first: transformers 5 writes an additional num_key_value_heads of 1."""

HEAD_SIZE = ("head_dim", "attention_head_dim", "kv_channels", "hidden_size_per_head", "d_kv")
CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length",
    "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len", "n_ctx",
    "max_context_length", "context_length",
)  # fmt: skip
SENTENCE_SETTINGS = (
    "sentence_bert_config.json", "sentence_roberta_config.json",
    "sentence_distilbert_config.json", "sentence_camembert_config.json",
    "sentence_albert_config.json", "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)  # fmt: skip
"""Files in which sentence-transformers keeps the longest text, first one wins."""

VOCAB = ("vocab_size", "padded_vocab_size", "n_vocab")
EXPERTS = (
    "num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts",
    "num_routed_experts",
)  # fmt: skip
IDLE_EXPERTS = "zero_expert_num"
"""Experts among those chosen that compute nothing (LongCat)."""

EXPERTS_PER_TOKEN = (
    "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_topk",
    "moe_top_k", "moe_k", "top_k_experts", "num_selected_experts", "num_experts_per_topk",
)  # fmt: skip
PREDICTION_LAYERS = (
    "num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "num_mtp_modules",
    "mtp_num_layers",
)  # fmt: skip
"""Keys that count layers for multi-token prediction."""

STATE_SIZES = (
    "linear_num_value_heads", "linear_num_key_heads", "linear_key_head_dim",
    "linear_value_head_dim", "linear_conv_kernel_dim", "linear_num_heads", "linear_head_dim",
    "conv_L_cache", "conv_dim",
    "mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads", "mamba_head_dim",
    "mamba_d_head", "mamba_headdim", "ssm_state_size", "mamba_d_state", "state_size", "n_groups",
    "mamba_n_groups", "mamba_ngroups", "conv_kernel", "mamba_d_conv", "mamba_d_ssm",
    "mamba_expand", "expand", "intermediate_size", "mamba_ssm_cache_dtype", "mamba_ssm_dtype",
)  # fmt: skip
"""Keys that size the state of a recurrent layer."""

LATENT_SIZES = (
    "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "index_topk",
    "index_head_dim", "index_kpool", "index_topk_freq", "index_skip_topk_offset",
)  # fmt: skip
"""Keys that size latent attention and its indexers."""

LAYER_RULES = (
    "sliding_window", "attention_chunk_size", "sliding_window_pattern", "max_window_layers",
    "use_sliding_window", "attn_layer_period", "attn_layer_offset", "full_attention_interval",
    "layer_group_size", "num_kv_shared_layers", "global_head_dim", "num_global_key_value_heads",
    "swa_head_dim", "swa_v_head_dim", "swa_num_key_value_heads", "multi_query",
    "new_decoder_architecture", "is_causal", "use_bidirectional_attention",
)  # fmt: skip
"""Keys that say which layers keep what."""

ONLY_NESTED = frozenset({*LAYERS, *HIDDEN, *HEADS, *VOCAB}) - {"num_heads"}
"""Keys that only a nested configuration leaves to its family: a whole one without is broken."""

SIZES = (
    *LAYERS, *HIDDEN, *HEADS, *KV_HEADS, *HEAD_SIZE, *CONTEXT, *VOCAB, *EXPERTS,
    *EXPERTS_PER_TOKEN, *PREDICTION_LAYERS, *STATE_SIZES, *LATENT_SIZES, *LAYER_RULES,
    "tie_word_embeddings",
)  # fmt: skip
"""Keys whose defaults are in ``data/config_defaults.json``."""

NESTED_TEXT = (
    "text_config", "llm_config", "language_config", "thinker_config", "text_model_config",
)  # fmt: skip
"""Keys under which a multimodal configuration keeps its language model."""

NESTED_ATTENTION = ("attn_config", "ffn_config")
"""Keys under which MPT and DBRX keep what others have at the top."""

AUDIO_KEYS = ("audio_config", "audio_encoder_config", "audio_tower")
VISION_KEYS = ("vision_config", "visual", "vision_tower", "mm_vision_tower", "vit_config")

# --- rope ----------------------------------------------------------------------------------

ROPE_KEEPS_CONTEXT = frozenset({"default", "llama3", "longrope", "su", "mrope", "proportional"})
"""Kinds of rope scaling whose factor is in max_position_embeddings already."""

ROPE_FROM_ORIGINAL = frozenset({"yarn", "deepseek_yarn"})
"""Kinds whose factor multiplies original_max_position_embeddings."""

ROPE_IGNORED_FAMILIES = ("gemma3",)
"""Families whose max_position_embeddings includes the factor whatever the kind says."""

CONTEXT_LIMITS = {"embedding_gemma2": 8192, "embedding_gemma2_text": 8192}
"""Families that vLLM serves with less than their configuration says."""

# --- attention -----------------------------------------------------------------------------

MULTI_QUERY_FLAGS = ("multi_query", "multi_query_attention")
"""True means one KV head, unless a number of groups is given."""

MLA_EXPANDED = frozenset({"minicpm3"})
"""Families with kv_lora_rank whose latent is expanded before it is cached."""

ENCODERS = frozenset(
    {
        "albert", "align", "align_text_model", "altclip", "altclip_text_model", "bert", "big_bird",
        "camembert", "chinese_clip", "chinese_clip_text_model", "clip", "clip_text_model",
        "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert", "electra",
        "embedding_gemma2", "embedding_gemma2_text", "ernie", "esm", "eurobert", "flaubert", "fnet",
        "funnel", "gte", "ibert", "jina_embeddings_v3", "layoutlm", "longformer", "luke",
        "megatron-bert", "metaclip_2", "metaclip_2_text_model", "mobilebert", "modernbert",
        "modernvbert", "mpnet", "mra", "new", "nomic_bert", "nystromformer", "rembert", "roberta",
        "roberta-prelayernorm", "roc_bert", "roformer", "siglip", "siglip2", "siglip2_text_model",
        "siglip_text_model", "snowflake_gte", "squeezebert", "tipsv2", "tipsv2_text_model", "xlm",
        "xlm-roberta", "xlm-roberta-xl", "xmod", "yoso",
    }
)  # fmt: skip
"""Families that attend both ways and keep no cache."""

POSITIONS_AFTER_PADDING = frozenset(
    {
        "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta",
        "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip
"""Families that count positions from the padding token's id + 1: of 514 they have 512."""

MAY_ATTEND_BOTH_WAYS = frozenset({"gemma3_text"})
"""Families that ``use_bidirectional_attention`` makes encoders; elsewhere it is for images."""

WINDOW_FOR_ALL = frozenset({"nemotron_h", "nemotron_h_puzzle"})
"""Families whose listed attention layers all slide once there is a window."""

WINDOWS = ("sliding_window", "sliding_window_size", "attention_chunk_size")
WINDOW_LISTS = ("interleaved_sliding_window", "sliding_windows", "sliding_window")
"""Keys that may list a window for each layer, null for a full one."""

TWO_BLOCKS_A_LAYER = frozenset({"longcat_flash", "longcat_flash_ngram"})
"""Families whose layers have two blocks of latent attention."""

CONVOLVED = frozenset({"inkling", "inkling_text", "inkling_mm_model"})
"""Families whose every layer keeps a few tokens of four streams, for short convolutions."""

WINDOW_IN_ALL = frozenset({"qwen3_moe"})
"""Families in which ``use_sliding_window`` is for all layers, whatever else is said."""

WINDOW_IN_ALL_OR_NONE = frozenset({"qwen2_moe"})
"""Families in which vLLM takes a window only if all layers are listed as sliding."""

INDEXED_LAYERS = ("deepseek_sparse_attention", "indexed_attention", "sparse", "sparse_attention")
"""Words for layers of Hunyuan 4 that have an indexer."""

INDEXED_RATIO = 4
"""The compress ratio of the layers that have an indexer (DeepSeek V4)."""

LAYER_KINDS: Mapping[str, LayerKind] = {
    "full_attention": "full", "attention": "full", "full": "full", "global": "full",
    "compressed_sparse_attention": "full",
    "sliding_attention": "sliding", "hybrid_sliding": "sliding", "local_attention": "sliding",
    "sliding": "sliding", "local": "sliding", "chunked_attention": "sliding",
    "linear_attention": "recurrent", "mamba": "recurrent", "mamba2": "recurrent",
    "recurrent": "recurrent", "conv": "recurrent", "lightning_attention": "recurrent",
    "mlp": "none", "moe": "none",
    "hybrid": "both",
}  # fmt: skip
"""What the words in layer_types (and its older spellings) mean for the cache."""

LAYER_LISTS = ("layer_types", "layers_block_type", "block_types", "layer_block_types")
PATTERN_LETTERS: Mapping[str, LayerKind] = {"M": "recurrent", "*": "full", "-": "none", "E": "none"}
"""Nemotron-H's hybrid_override_pattern, a letter a layer."""

PATTERN_CODES: Mapping[str, Mapping[int, LayerKind]] = {
    "attn_type_list": {0: "recurrent", 1: "full"},  # MiniMax-Text
    "hybrid_layer_pattern": {0: "full", 1: "sliding"},  # MiMo-V2
}
"""Keys that list a number for each layer."""

PARALLEL_HYBRID = frozenset({"falcon_h1"})
"""Families whose every layer has attention and a recurrent state."""

ALL_RECURRENT = frozenset({"mamba", "mamba2", "falcon_mamba", "rwkv", "rwkv6"})
RECURRENT_UNLESS_LISTED = ALL_RECURRENT | {"granitemoehybrid"}

LAST_IS_FULL = frozenset({"gemma4_text", "gemma4_unified_text", "muse_glimmer_text"})
"""Families whose last layer is a full one, whatever the period says."""

FLOAT32_STATE = frozenset({"nemotron_h", "nemotron_h_puzzle"})
"""Families whose state vLLM keeps in float32 where the configuration does not say its type."""

# --- tensors -------------------------------------------------------------------------------

LLAMA_LAYOUT = frozenset(
    {
        "llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text",
        "smollm3", "qwen3_moe", "granite", "seed_oss",
    }
)  # fmt: skip
"""Families whose tensors are named and shaped like Llama's, experts apart."""

PACKED_NAMES = ("qweight", "weight_packed", "weight_q", "qzeros")
"""What stands in the place of ``weight`` where a layer is packed."""

NOT_PARAMETERS = (
    "rotary_emb.inv_freq", "rotary_pos_emb.inv_freq", ".attn.bias", ".attn.masked_bias",
    ".attention.bias", ".attention.masked_bias", "position_ids", ".running_mean",
    ".running_var", ".num_batches_tracked", "rope_freqs.weight", "rope_factors_long.weight",
    "rope_factors_short.weight",
)  # fmt: skip
"""Endings of stored buffers that are not parameters."""

MASK_DIMENSIONS = 4
"""``attn.bias`` is a causal mask when it has this many dimensions, else a real bias."""

ROUTED_EXPERT_MARKS = (".experts.", ".block_sparse_moe.experts", ".moe.experts", "_exps.")
"""What the name of a routed expert's tensor contains (a shared expert's does not)."""


def family_of(model_type: str, architecture: str) -> str:
    """Return the family by which the tables of this module know it.

    Without a ``model_type`` the architecture decides: ``MiniCPM3ForCausalLM`` is
    of the family ``minicpm3``.
    """
    if model_type:
        return model_type
    stem = _plain(re.sub(r"(LMHeadModel|Model|For[A-Z]\w*)$", "", architecture))
    return _by_plain_name().get(stem, stem)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@functools.cache
def _by_plain_name() -> Mapping[str, str]:
    tables = (MLA_EXPANDED, ENCODERS, TWO_BLOCKS_A_LAYER, ALL_RECURRENT, FLOAT32_STATE, defaults())
    return {_plain(name): name for names in tables for name in names}


@functools.cache
def defaults() -> Mapping[str, Mapping[str, int | float | str]]:
    """Return each family's defaults for keys that a configuration leaves out."""
    table = json.loads(data_file("config_defaults.json").read_text(encoding="utf-8"))
    found: Mapping[str, Mapping[str, int | float | str]] = table["families"]
    return found


@functools.cache
def architectures() -> Mapping[str, Task]:
    """Return known architecture names with their task."""
    table = tomllib.loads(data_file("architectures.toml").read_text(encoding="utf-8"))
    extra: dict[str, str] = table.pop("extra", {})
    known = {name: Task(task) for task, names in table.items() for name in names}
    return known | {name: Task(task) for name, task in extra.items()}
