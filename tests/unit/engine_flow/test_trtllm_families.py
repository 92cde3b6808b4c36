"""Families without golden files: compared with TensorRT-LLM's rules written as whole-tensor numpy.

The reference here reshapes, concatenates and slices whole arrays; the converter moves rectangles
of files. They share no code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import trtllm_sources as tiny
from support.rank_files import read_rank
from support.trtllm_sources import INNER, Arrays, N, S
from trtbuild.errors import UnsupportedError
from trtbuild_engine_flow.engines.checkpoint import MadeCheckpoint, make_checkpoint

Ranks = list[dict[str, np.ndarray]]


def converted(tmp_path: Path, source: Any, **split: Any) -> tuple[Arrays, Ranks, MadeCheckpoint]:
    arrays = tiny.write_source(tmp_path / "source", source)
    made = make_checkpoint(str(tmp_path / "source"), tmp_path / "out", dtype="float32", **split)
    ranks = []
    for number in range(made.tp * made.pp):
        stored = read_rank(tmp_path / "out" / f"rank{number}.safetensors")
        ranks.append(
            {n: np.frombuffer(b, "<f4").reshape(shape) for n, (_, shape, b) in stored.items()}
        )
    return arrays, ranks, made


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert (found == expected).all()


def share(array: np.ndarray, tp: int, rank: int, axis: int = 0) -> np.ndarray:
    return np.split(array, tp, axis)[rank]


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_gpt_neox_heads_are_unwoven(tmp_path: Path, tp: int) -> None:
    arrays, ranks, made = converted(tmp_path, tiny.gpt_neox(), tp=tp)
    assert made.proof == "described"
    for rank, found in enumerate(ranks):
        for part in ("weight", "bias"):
            woven = arrays[f"gpt_neox.layers.1.attention.query_key_value.{part}"]
            heads = woven.reshape(N, 3, S, *woven.shape[1:])  # q, k, v of each head in turn
            mine = [share(heads[:, i], tp, rank).reshape(-1, *woven.shape[1:]) for i in range(3)]
            same(found[f"transformer.layers.1.attention.qkv.{part}"], np.concatenate(mine))
        dense = arrays["gpt_neox.layers.0.attention.dense.weight"]
        same(found["transformer.layers.0.attention.dense.weight"], share(dense, tp, rank, 1))
        same(
            found["transformer.layers.0.attention.dense.bias"],
            arrays["gpt_neox.layers.0.attention.dense.bias"],
        )
        same(
            found["transformer.layers.0.mlp.fc.bias"],
            share(arrays["gpt_neox.layers.0.mlp.dense_h_to_4h.bias"], tp, rank),
        )
        assert "transformer.layers.0.post_attention_layernorm.bias" in found
        assert "embed_positions" not in found


@pytest.mark.parametrize(("new", "tp"), [(False, 1), (False, 2), (True, 1), (True, 2), (True, 4)])
def test_falcon_groups_are_unwoven_and_repeated(tmp_path: Path, new: bool, tp: int) -> None:
    arrays, ranks, _ = converted(tmp_path, tiny.falcon(new=new), tp=tp)
    kv = 2 if new else 1
    woven = arrays["transformer.h.0.self_attention.query_key_value.weight"]
    groups = woven.reshape(kv, N // kv + 2, S, -1)
    queries = groups[:, :-2].reshape(N, S, -1)
    keys, values = (np.repeat(groups[:, at], max(tp // kv, 1), axis=0) for at in (-2, -1))
    for rank, found in enumerate(ranks):
        mine = [
            share(part, tp, rank).reshape(-1, woven.shape[1]) for part in (queries, keys, values)
        ]
        same(found["transformer.layers.0.attention.qkv.weight"], np.concatenate(mine))
        same(
            found["lm_head.weight"],
            share(arrays["transformer.word_embeddings.weight"], tp, rank),
        )
        norm = "mlp_layernorm" if new else "input_layernorm"
        source = "ln_mlp" if new else "input_layernorm"
        same(
            found[f"transformer.layers.1.{norm}.bias"],
            arrays[f"transformer.h.1.{source}.bias"],
        )


@pytest.mark.parametrize("split", [{}, {"tp": 2}, {"tp": 2, "pp": 2}])
def test_gpt2_is_transposed(tmp_path: Path, split: dict[str, int]) -> None:
    arrays, ranks, made = converted(tmp_path, tiny.gpt2(), **split)
    for number, found in enumerate(ranks):
        stage, rank = divmod(number, made.tp)
        for local in range(2 // made.pp):
            layer = stage * (2 // made.pp) + local
            ours, theirs = f"transformer.layers.{local}.", f"h.{layer}."
            for part in ("weight", "bias"):
                q, k, v = np.split(arrays[f"{theirs}attn.c_attn.{part}"].T, 3)
                mine = np.concatenate([share(x, made.tp, rank) for x in (q, k, v)])
                same(found[f"{ours}attention.qkv.{part}"], mine)
            fc, proj = (arrays[f"{theirs}mlp.{name}.weight"].T for name in ("c_fc", "c_proj"))
            same(found[f"{ours}mlp.fc.weight"], share(fc, made.tp, rank))
            same(found[f"{ours}mlp.proj.weight"], share(proj, made.tp, rank, 1))
        assert ("transformer.position_embedding.weight" in found) == (stage == 0)
        if stage == made.pp - 1:
            same(found["lm_head.weight"], share(arrays["wte.weight"], made.tp, rank))


def test_phi3_halves_are_swapped(tmp_path: Path) -> None:
    arrays, (found,), made = converted(tmp_path, tiny.phi3())
    fused = arrays["model.layers.0.mlp.gate_up_proj.weight"]
    same(
        found["transformer.layers.0.mlp.fc.weight"], np.concatenate((fused[INNER:], fused[:INNER]))
    )
    same(
        found["transformer.layers.0.attention.qkv.weight"],
        arrays["model.layers.0.self_attn.qkv_proj.weight"],
    )
    assert made.layout.config["hidden_act"] == "swiglu"


@pytest.mark.parametrize("tp", [1, 2])
def test_gemma2_norms_are_stored_less_one(tmp_path: Path, tp: int) -> None:
    arrays, ranks, made = converted(tmp_path, tiny.gemma2(), tp=tp)
    for rank, found in enumerate(ranks):
        for ours, theirs in (
            ("input_layernorm", "input_layernorm"),
            ("post_layernorm", "post_attention_layernorm"),
            ("pre_feedforward_layernorm", "pre_feedforward_layernorm"),
            ("post_feedforward_layernorm", "post_feedforward_layernorm"),
        ):
            expected = arrays[f"model.layers.1.{theirs}.weight"] + np.float32(1)
            same(found[f"transformer.layers.1.{ours}.weight"], expected)
        same(found["transformer.ln_f.weight"], arrays["model.norm.weight"] + np.float32(1))
        same(
            found["transformer.vocab_embedding.weight"],
            share(arrays["model.embed_tokens.weight"], tp, rank),
        )
        assert "lm_head.weight" not in found
    assert made.layout.config["use_parallel_embedding"] == (tp > 1)
    assert made.layout.config["attn_logit_softcapping"] == 50.0


@pytest.mark.parametrize("tp", [1, 2])
def test_qwen2_moe_experts_are_stacked(tmp_path: Path, tp: int) -> None:
    arrays, ranks, made = converted(tmp_path, tiny.qwen2_moe(), tp=tp)
    prefix = "model.layers.1.mlp."
    for rank, found in enumerate(ranks):
        up, gate, down = (
            np.stack([arrays[f"{prefix}experts.{e}.{name}_proj.weight"] for e in range(3)])
            for name in ("up", "gate", "down")
        )
        both = np.concatenate((share(up, tp, rank, 1), share(gate, tp, rank, 1)), axis=1)
        same(found["transformer.layers.1.mlp.fc.weight"], both)
        same(found["transformer.layers.1.mlp.proj.weight"], share(down, tp, rank, 2))
        shared = [arrays[f"{prefix}shared_expert.{name}_proj.weight"] for name in ("up", "gate")]
        same(
            found["transformer.layers.1.mlp.shared_expert.fc.weight"],
            np.concatenate([share(x, tp, rank) for x in shared]),
        )
        same(
            found["transformer.layers.1.mlp.shared_expert_gate.weight"],
            arrays[f"{prefix}shared_expert_gate.weight"],
        )
        bias = np.concatenate(
            [share(arrays[f"model.layers.1.self_attn.{x}_proj.bias"], tp, rank) for x in "qkv"]
        )
        same(found["transformer.layers.1.attention.qkv.bias"], bias)
    assert made.layout.config["moe"]["num_experts"] == 3
    assert made.layout.config["moe_shared_expert_intermediate_size"] == INNER


def test_tied_embeddings_serve_as_head(tmp_path: Path) -> None:
    source = tiny.llama(tie_word_embeddings=True)
    arrays, ranks, made = converted(tmp_path, source, tp=2, pp=2)
    embedding = arrays["model.embed_tokens.weight"]
    for rank in (0, 1):
        same(ranks[rank]["transformer.vocab_embedding.weight"], embedding)
        same(ranks[2 + rank]["lm_head.weight"], share(embedding, 2, rank))
        assert "lm_head.weight" not in ranks[rank]
        assert "transformer.vocab_embedding.weight" not in ranks[2 + rank]
    assert made.layout.config["tie_word_embeddings"] is True


@pytest.mark.parametrize(
    ("source", "embedding", "head"),
    [
        (tiny.falcon(new=False), "transformer.word_embeddings.weight", "lm_head.weight"),
        (tiny.falcon(new=True), "transformer.word_embeddings.weight", "lm_head.weight"),
        (tiny.gpt2(), "wte.weight", "lm_head.weight"),
        (tiny.gpt_neox(), "gpt_neox.embed_in.weight", "embed_out.weight"),
    ],
)
def test_a_head_of_its_own_is_kept_and_a_tied_one_is_the_embedding(
    tmp_path: Path, source: Any, embedding: str, head: str
) -> None:
    config, shapes = source
    shapes = {**shapes, head: shapes[embedding]}
    for tied, stored in ((False, head), (True, embedding)):
        made = (config | {"tie_word_embeddings": tied}, shapes)
        arrays, ranks, _ = converted(tmp_path / str(tied), made, tp=2)
        for rank, found in enumerate(ranks):
            same(found["lm_head.weight"], share(arrays[stored], 2, rank))
            same(found["transformer.vocab_embedding.weight"], arrays[embedding])


def test_the_weights_of_chosen_experts_are_normalised_where_the_checkpoint_says_so(
    tmp_path: Path,
) -> None:
    config, shapes = tiny.qwen2_moe()
    for says, mode in ((False, 0), (True, 1)):
        source = (config | {"norm_topk_prob": says}, shapes)
        _, _, made = converted(tmp_path / str(says), source)
        assert made.layout.config["moe"]["normalization_mode"] == mode


def test_key_value_heads_are_repeated_when_ranks_outnumber_them(tmp_path: Path) -> None:
    arrays, ranks, _ = converted(tmp_path, tiny.llama(num_key_value_heads=2), tp=4)
    key = arrays["model.layers.0.self_attn.k_proj.weight"]
    for rank, found in enumerate(ranks):
        qkv = found["transformer.layers.0.attention.qkv.weight"]
        assert qkv.shape[0] == 3 * S
        same(qkv[S : 2 * S], key[(rank // 2) * S : (rank // 2 + 1) * S])


def test_llama3_scaling_changes_only_the_attention_tables(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    source = tiny.llama(rope_theta=500000.0, rope_scaling=scaling)
    _, (found,), made = converted(tmp_path, source)
    plain = 1.0 / 500000.0 ** (np.arange(0, S, 2) / S)
    wave = 2 * np.pi / plain
    smooth = (8192 / wave - 1) / 3
    between = (1 - smooth) * plain / 8 + smooth * plain
    expected = np.where(wave < 2048, plain, np.where(wave > 8192, plain / 8, between))
    assert np.allclose(found["rotary_inv_freq"], expected, rtol=1e-6)
    assert not np.allclose(found["rotary_inv_freq"], plain, rtol=1e-3)
    table = found["embed_positions_for_gpt_attention"].reshape(tiny.P, S // 2, 2)
    assert np.allclose(table[7, :, 0], np.cos(7 * expected), atol=1e-6)
    theta = 1.0 / 10000.0 ** (np.arange(0, S, 2) / S)
    assert np.allclose(found["embed_positions"][0, 7, : S // 2], np.sin(7 * theta), atol=1e-6)
    assert made.layout.config["rotary_scaling"] == scaling


def test_linear_scaling_slows_all_frequencies(tmp_path: Path) -> None:
    source = tiny.llama(rope_scaling={"type": "linear", "factor": 4.0})
    _, (found,), _ = converted(tmp_path, source)
    plain = 1.0 / 10000.0 ** (np.arange(0, S, 2) / S)
    assert np.allclose(found["rotary_inv_freq"], plain / 4, rtol=1e-6)


def test_phi3s_long_rope_has_tables_for_short_and_long_sequences(tmp_path: Path) -> None:
    config, shapes = tiny.phi3()
    factors = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 4.0, 16.0, 64.0]}
    config |= {
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rope_scaling": {"type": "longrope", **factors},
    }
    with pytest.raises(UnsupportedError) as caught:
        converted(tmp_path / "old", (config, shapes), release="0.21.0")
    assert "TensorRT-LLM 0.21.0 names" in caught.value.details[0]
    _, (found,), made = converted(tmp_path, (config, shapes))
    magnitude = np.sqrt(1 + np.log(131072 / 4096) / np.log(4096))
    for prefix, key in (("", "short_factor"), ("long_rope_", "long_factor")):
        angle = 1.0 / (np.array(factors[key]) * 10000.0 ** (np.arange(0, S, 2) / S))
        assert found[f"{prefix}rotary_inv_freq"].shape == (1, S // 2)
        assert np.allclose(found[f"{prefix}rotary_inv_freq"][0], angle, rtol=1e-6)
        pairs = found[f"{prefix}embed_positions_for_gpt_attention"].reshape(131072, S // 2, 2)
        assert np.allclose(pairs[5001, :, 1], magnitude * np.sin(5001 * angle), atol=1e-3)
        table = found[f"{prefix}embed_positions"]
        assert table.shape == (1, 131072, S)
        assert np.allclose(table[0, 5001, S // 2 :], magnitude * np.cos(5001 * angle), atol=1e-3)
    assert made.layout.config["position_embedding_type"] == "long_rope"
    assert made.layout.config["longrope_scaling_long_factors"] == factors["long_factor"]
    assert made.layout.config["original_max_position_embeddings"] == 4096
