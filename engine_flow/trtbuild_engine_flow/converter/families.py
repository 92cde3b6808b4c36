"""Model families as tables: how stored tensors are renamed and split between ranks.

A family is :class:`Family`, a tensor is :class:`Row`. Facts from TensorRT-LLM's own converters
(``tensorrt_llm/models/*/convert.py`` and ``examples/*/convert_checkpoint.py``, 0.14 … 1.2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Split = Literal[
    "whole",  # every rank has all of it, also a bias added after the reduction
    "columns",  # output features: rows of the stored matrix
    "rows",  # input features: columns of the stored matrix; the bias stays whole
    "vocab",  # output features, padded with zeros to a multiple of the ranks
    "gated",  # two matrices split by output features, one after the other
    "swapped",  # one matrix of two halves, the second first
    "qkv",  # three matrices, by heads
    "qkv_packed",  # one matrix of all queries, all keys, all values
    "qkv_grouped",  # one matrix; for each group its queries, its key, its value
    "experts_gated",  # as gated, stacked over experts
    "experts_rows",  # as rows, stacked over experts
]


@dataclass(frozen=True, slots=True)
class Row:
    """A target of the checkpoint, without ``.weight`` or ``.bias``, and its sources.

    A bias is converted if the source has one; ``biased`` if the network requires it.
    ``{e}`` in a source is an expert's number.
    """

    target: str
    split: Split
    sources: tuple[str, ...]
    dtype: str = ""
    plus: float = 0.0
    biased: bool = False


def _biased(*rows: Row) -> tuple[Row, ...]:
    return tuple(replace(row, biased=True) for row in rows)


@dataclass(frozen=True, slots=True)
class Family:
    """A family's tensors.

    Attributes:
        layer_prefix: The prefix of a layer's sources, with ``{}`` for its number.
        first, last: Rows of the first and the last pipeline stage, their sources in full.
        proof: ``golden`` when files equal TensorRT-LLM's own in our tests, ``described`` when
            only its public source says so.
        tables: Whether TensorRT-LLM stores the tables of rotary embedding with the weights.
        max_tp, max_pp: Limits of TensorRT-LLM's own converter; 0 for none.
        transposed: Whether matrices are stored input by output (GPT-2's Conv1D).
        tied: Whether the embedding is also the head if ``config.json`` does not say.
    """

    name: str
    layer_prefix: str
    layer: tuple[Row, ...]
    first: tuple[Row, ...]
    last: tuple[Row, ...]
    proof: Literal["golden", "described"] = "described"
    tables: bool = True
    max_tp: int = 0
    max_pp: int = 0
    transposed: bool = False
    tied: bool = False


_Q, _K, _V = (f"self_attn.{name}_proj" for name in "qkv")
_ATTENTION = (
    Row("attention.qkv", "qkv", (_Q, _K, _V)),
    Row("attention.dense", "rows", ("self_attn.o_proj",)),
)
_NORMS = (
    Row("input_layernorm", "whole", ("input_layernorm",)),
    Row("post_layernorm", "whole", ("post_attention_layernorm",)),
)
# TensorRT-LLM calls gate_proj "fc" and up_proj "gate".
_GATED_MLP = (
    Row("mlp.fc", "columns", ("mlp.gate_proj",)),
    Row("mlp.gate", "columns", ("mlp.up_proj",)),
    Row("mlp.proj", "rows", ("mlp.down_proj",)),
)
_EMBEDDING = Row("transformer.vocab_embedding", "whole", ("model.embed_tokens",))
_FINAL_NORM = Row("transformer.ln_f", "whole", ("model.norm",))
HEAD = Row("lm_head", "vocab", ("lm_head", "model.embed_tokens"))  # the second one when tied

LLAMA = Family(
    name="llama",
    layer_prefix="model.layers.{}.",
    layer=(*_ATTENTION, *_GATED_MLP, *_NORMS),
    first=(_EMBEDDING,),
    last=(_FINAL_NORM, HEAD),
    proof="golden",
)
_QWEN_ATTENTION = (*_biased(_ATTENTION[0]), _ATTENTION[1])
QWEN2 = Family(
    name="qwen2",
    layer_prefix=LLAMA.layer_prefix,
    layer=(*_QWEN_ATTENTION, *_GATED_MLP, *_NORMS),
    first=LLAMA.first,
    last=LLAMA.last,
    proof="golden",
)
MIXTRAL = Family(
    name="mixtral",
    layer_prefix=LLAMA.layer_prefix,
    layer=(
        *_ATTENTION,
        Row(
            "mlp.fc",
            "experts_gated",
            ("block_sparse_moe.experts.{e}.w3", "block_sparse_moe.experts.{e}.w1"),
        ),
        Row("mlp.proj", "experts_rows", ("block_sparse_moe.experts.{e}.w2",)),
        Row("mlp.router", "whole", ("block_sparse_moe.gate",), dtype="F32"),
        *_NORMS,
    ),
    first=LLAMA.first,
    last=LLAMA.last,
    proof="golden",
)
QWEN2_MOE = Family(
    name="qwen2_moe",
    layer_prefix=LLAMA.layer_prefix,
    layer=(
        *_QWEN_ATTENTION,
        Row(
            "mlp.fc",
            "experts_gated",
            ("mlp.experts.{e}.up_proj", "mlp.experts.{e}.gate_proj"),
        ),
        Row("mlp.proj", "experts_rows", ("mlp.experts.{e}.down_proj",)),
        Row("mlp.router", "whole", ("mlp.gate",), dtype="F32"),
        Row(
            "mlp.shared_expert.fc",
            "gated",
            ("mlp.shared_expert.up_proj", "mlp.shared_expert.gate_proj"),
        ),
        Row("mlp.shared_expert.proj", "rows", ("mlp.shared_expert.down_proj",)),
        Row("mlp.shared_expert_gate", "whole", ("mlp.shared_expert_gate",)),
        *_NORMS,
    ),
    first=LLAMA.first,
    last=LLAMA.last,
)
PHI3 = Family(
    name="phi3",
    layer_prefix=LLAMA.layer_prefix,
    layer=(
        Row("attention.qkv", "qkv_packed", ("self_attn.qkv_proj",)),
        Row("attention.dense", "rows", ("self_attn.o_proj",)),
        Row("mlp.fc", "swapped", ("mlp.gate_up_proj",)),
        Row("mlp.proj", "rows", ("mlp.down_proj",)),
        *_NORMS,
    ),
    first=LLAMA.first,
    last=LLAMA.last,
    max_tp=1,
    max_pp=1,
)
GEMMA2 = Family(
    name="gemma2",
    layer_prefix=LLAMA.layer_prefix,
    layer=(
        *_ATTENTION,
        *_GATED_MLP,
        *(
            Row(target, "whole", (source,), plus=1.0)
            for target, source in (
                ("input_layernorm", "input_layernorm"),
                ("post_layernorm", "post_attention_layernorm"),
                ("pre_feedforward_layernorm", "pre_feedforward_layernorm"),
                ("post_feedforward_layernorm", "post_feedforward_layernorm"),
            )
        ),
    ),
    first=(Row("transformer.vocab_embedding", "vocab", ("model.embed_tokens",)),),
    last=(Row("transformer.ln_f", "whole", ("model.norm",), plus=1.0),),
    max_pp=1,
    tied=True,
)
_FALCON_ENDS = (
    Row("transformer.ln_f", "whole", ("transformer.ln_f",)),
    Row("lm_head", "vocab", ("lm_head", "transformer.word_embeddings")),
)
_FALCON_MATRICES = (
    Row("attention.qkv", "qkv_grouped", ("self_attention.query_key_value",)),
    Row("attention.dense", "rows", ("self_attention.dense",)),
    Row("mlp.fc", "columns", ("mlp.dense_h_to_4h",)),
    Row("mlp.proj", "rows", ("mlp.dense_4h_to_h",)),
)
FALCON = Family(
    name="falcon",
    layer_prefix="transformer.h.{}.",
    layer=(*_FALCON_MATRICES, Row("input_layernorm", "whole", ("input_layernorm",))),
    first=(Row("transformer.vocab_embedding", "whole", ("transformer.word_embeddings",)),),
    last=_FALCON_ENDS,
    tied=True,
)
FALCON_NEW = Family(
    name="falcon-new",
    layer_prefix=FALCON.layer_prefix,
    layer=(
        *_FALCON_MATRICES,
        Row("input_layernorm", "whole", ("ln_attn",)),
        Row("mlp_layernorm", "whole", ("ln_mlp",)),
    ),
    first=FALCON.first,
    last=_FALCON_ENDS,
    tied=True,
)
GPT_NEOX = Family(
    name="gpt_neox",
    layer_prefix="gpt_neox.layers.{}.",
    layer=_biased(
        Row("attention.qkv", "qkv_grouped", ("attention.query_key_value",)),
        Row("attention.dense", "rows", ("attention.dense",)),
        Row("mlp.fc", "columns", ("mlp.dense_h_to_4h",)),
        Row("mlp.proj", "rows", ("mlp.dense_4h_to_h",)),
        Row("input_layernorm", "whole", ("input_layernorm",)),
        Row("post_attention_layernorm", "whole", ("post_attention_layernorm",)),
    ),
    first=(Row("transformer.vocab_embedding", "whole", ("gpt_neox.embed_in",)),),
    last=(
        *_biased(Row("transformer.ln_f", "whole", ("gpt_neox.final_layer_norm",))),
        Row("lm_head", "vocab", ("embed_out", "gpt_neox.embed_in")),
    ),
    tables=False,
    max_pp=1,
)
GPT2 = Family(
    name="gpt2",
    layer_prefix="transformer.h.{}.",
    layer=_biased(
        Row("attention.qkv", "qkv_packed", ("attn.c_attn",)),
        Row("attention.dense", "rows", ("attn.c_proj",)),
        Row("mlp.fc", "columns", ("mlp.c_fc",)),
        Row("mlp.proj", "rows", ("mlp.c_proj",)),
        Row("input_layernorm", "whole", ("ln_1",)),
        Row("post_layernorm", "whole", ("ln_2",)),
    ),
    first=(
        Row("transformer.vocab_embedding", "whole", ("transformer.wte",)),
        Row("transformer.position_embedding", "whole", ("transformer.wpe",)),
    ),
    last=(
        *_biased(Row("transformer.ln_f", "whole", ("transformer.ln_f",))),
        Row("lm_head", "vocab", ("lm_head", "transformer.wte")),
    ),
    tables=False,
    transposed=True,
    tied=True,
)

FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Qwen2ForCausalLM": QWEN2,
    "MixtralForCausalLM": MIXTRAL,
    "Qwen2MoeForCausalLM": QWEN2_MOE,
    "Phi3ForCausalLM": PHI3,
    "Gemma2ForCausalLM": GEMMA2,
    "FalconForCausalLM": FALCON,
    "GPTNeoXForCausalLM": GPT_NEOX,
    "GPT2LMHeadModel": GPT2,
}
"""Families by the name of their architecture in ``config.json``."""
