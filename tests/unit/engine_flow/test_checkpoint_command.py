"""``trtbuild checkpoint``: what it says, and that every bad input leaves nothing half-written."""

from __future__ import annotations

import errno
import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from support import trtllm_sources as tiny
from support.checkpointing import refused
from support.checkpoints import make_headers_only, make_llama, write_json, write_safetensors
from support.rank_files import read_rank
from trtbuild.cli.app import app
from trtbuild.errors import BuildError, ExitCode, TrtbuildError, UnsupportedError, UsageError
from trtbuild_engine_flow.converter import transfer
from trtbuild_engine_flow.engines.checkpoint import make_checkpoint


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["checkpoint", *arguments])
    if isinstance(result.exception, TrtbuildError):
        return int(result.exception.exit_code), result.output
    return result.exit_code, result.stdout


def test_written_and_said(tmp_path: Path) -> None:
    source, out = make_llama(tmp_path / "tiny", sharded=True), tmp_path / "out"
    code, output = run(str(source), "--out", str(out), "--dtype", "float16", "--tp", "2")
    assert code == 0, output
    assert "2 rank files" in output
    assert "bit for bit" in output
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json", "rank0.safetensors", "rank1.safetensors",
    ]  # fmt: skip


def test_weights_alone_need_no_tokenizer(tmp_path: Path) -> None:
    whole = make_llama(tmp_path / "whole")
    bare = make_llama(tmp_path / "bare", tokenizer=False)
    for source in (whole, bare):
        code, output = run(str(source), "--out", str(tmp_path / f"{source.name}-out"))
        assert code == 0, output
    made = [tmp_path / f"{name}-out" / "rank0.safetensors" for name in ("whole", "bare")]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_json_and_a_dry_run_say_the_same_sizes(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny")
    options = (str(source), "--out", str(tmp_path / "out"), "--pp", "2", "--json")
    planned = json.loads(run(*options, "--dry-run")[1])
    assert not (tmp_path / "out").exists()
    written = json.loads(run(*options)[1])
    assert (planned["status"], written["status"]) == ("planned", "written")
    written["files"].pop("config.json")
    assert planned["files"] == written["files"]
    assert planned["config"] == written["config"]
    assert written["tensorrt_llm"] == "1.2.1"
    assert written["dtype"] == "float32"


def test_an_older_checkpoint_is_replaced(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny")
    make_checkpoint(str(source), tmp_path / "out", tp=2)
    make_checkpoint(str(source), tmp_path / "out", tp=1)
    assert not (tmp_path / "out" / "rank1.safetensors").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    error = refused(tmp_path, make_llama(tmp_path / "tiny"), UsageError)
    assert "thesis.tex" in error.what
    assert error.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("name", ["7.safetensors", "rank0", "rank0.safetensors.bak"])
def test_a_file_that_only_looks_like_a_rank_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"somebody's")
    error = refused(tmp_path, make_llama(tmp_path / "tiny"), UsageError)
    assert f"holds {name!r}" in error.what


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("here first")
    with pytest.raises(UsageError, match="is a file"):
        make_checkpoint(str(make_llama(tmp_path / "tiny")), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "here first"


def _overwrite(source: Path, name: str, value: float) -> None:
    """Put ``value`` into the tensor ``name`` of a float32 checkpoint."""
    path = source / "model.safetensors"
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    begin = json.loads(data[8 : 8 + length])[name]["data_offsets"][0]
    struct.pack_into("<f", data, 8 + length + begin + 40, value)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "1 NaN"),
        (float("-inf"), "1 infinite values"),
        (1e6, "1 values beyond float16 (65504 at most), such as 1e+06"),
    ],
)
def test_a_value_that_float16_has_not(tmp_path: Path, value: float, said: str) -> None:
    source, name = make_llama(tmp_path / "tiny"), "model.layers.1.mlp.up_proj.weight"
    _overwrite(source, name, value)
    make_checkpoint(str(make_llama(tmp_path / "other")), tmp_path / "out")
    error = refused(tmp_path, source, UnsupportedError, dtype="float16", tp=2)
    assert error.what == f"tensor {name!r} has {said}"
    assert error.exit_code == ExitCode.UNSUPPORTED
    assert "bfloat16" in error.fix


def test_a_large_value_fits_bfloat16(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny")
    _overwrite(source, "model.layers.1.mlp.up_proj.weight", 1e6)
    assert make_checkpoint(str(source), tmp_path / "out", dtype="bfloat16").result


def test_a_truncated_file(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny")
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    error = refused(tmp_path, source, UnsupportedError)
    assert "truncated" in error.what


def test_a_file_truncated_while_it_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    source = make_llama(tmp_path / "tiny")
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    error = refused(tmp_path, source, UnsupportedError)
    assert "ends within tensor" in error.what


def test_tensors_that_are_missing_or_misshapen(tmp_path: Path) -> None:
    config, shapes = tiny.gpt_neox()
    del shapes["gpt_neox.layers.1.attention.dense.weight"]
    shapes["gpt_neox.layers.0.attention.query_key_value.weight"] = (90, 32)
    tiny.write_source(tmp_path / "tiny", (config, shapes))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    assert "tensor 'gpt_neox.layers.1.attention.dense.weight' is missing" in error.details
    assert any("has 90 rows where heads need 96" in detail for detail in error.details)


def test_integers_are_no_weights(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny")
    path = source / "model.safetensors"
    data = path.read_bytes().replace(b'"dtype":"F32"', b'"dtype":"I32"')
    path.write_bytes(data)
    error = refused(tmp_path, source, UnsupportedError)
    assert "is I32, no float" in "\n".join(error.details)


@pytest.mark.parametrize(
    ("key", "value"),
    [("intermediate_size", "x"), ("intermediate_size", -1), ("intermediate_size", math.inf),
     ("partial_rotary_factor", {"a": 1}), ("max_position_embeddings", [1, 2]),
     ("intermediate_size", True)],
)  # fmt: skip
def test_a_size_that_is_none_is_named(tmp_path: Path, key: str, value: Any) -> None:
    source = make_llama(tmp_path / "tiny")
    path = source / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    error = refused(tmp_path, source, UnsupportedError)
    assert f"config.json says {key} {value!r}" in error.what


def test_a_disk_that_fills_up_half_way(tmp_path: Path, monkeypatch: Any) -> None:
    source = make_llama(tmp_path / "tiny")
    make_checkpoint(str(source), tmp_path / "out", tp=2)
    real, left = os.pwrite, [20]

    def limited(file: int, content: Any, at: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, content, at)

    monkeypatch.setattr(os, "pwrite", limited)
    error = refused(tmp_path, source, BuildError, dtype="float16")
    assert "full" in error.what
    assert error.exit_code == ExitCode.BUILD


def test_no_space_is_known_before(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    error = refused(tmp_path, make_llama(tmp_path / "tiny"), BuildError)
    assert "not enough space" in error.what
    assert "--repo" not in error.fix, "an option that this command does not have"


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    source = make_llama(tmp_path / "tiny")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "_place", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_checkpoint(str(source), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_a_140_gb_layout_is_planned_from_headers(tmp_path: Path) -> None:
    source = make_headers_only(tmp_path / "70b", "70b")
    made = make_checkpoint(str(source), tmp_path / "out", pp=4, dry_run=True)
    assert made.result is None
    assert made.spec.weight_bytes > 140e9
    tables = (2 * 131072 * 128 + 64) * 4  # sines, cosines and frequencies, in every file
    assert made.layout.size == made.spec.weight_bytes + 4 * tables
    assert not (tmp_path / "out").exists()


@settings(max_examples=25, deadline=None)
@given(
    tp=st.sampled_from([1, 2, 4]),
    pp=st.sampled_from([1, 2]),
    vocab=st.integers(5, 67),
    kv=st.sampled_from([1, 2, 4]),
    chunk=st.sampled_from([1, 100, 1 << 20]),
)
def test_ranks_put_together_are_the_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tp: int, pp: int, vocab: int, kv: int, chunk: int
) -> None:
    """Whatever the split and the chunks: no row is lost, doubled or moved."""
    folder = tmp_path_factory.mktemp("split")
    config, shapes = tiny.llama(num_key_value_heads=kv, vocab_size=vocab)
    shapes |= dict.fromkeys(("lm_head.weight", "model.embed_tokens.weight"), (vocab, 32))
    arrays = tiny.write_source(folder / "source", (config, shapes), seed=vocab)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "_CHUNK_ELEMENTS", chunk)
        make_checkpoint(str(folder / "source"), folder / "out", tp=tp, pp=pp)
    ranks = [read_rank(folder / "out" / f"rank{n}.safetensors") for n in range(tp * pp)]
    last = [_array(rank["lm_head.weight"]) for rank in ranks[-tp:]]
    head = np.concatenate(last)
    assert (head[:vocab] == arrays["lm_head.weight"]).all()
    assert not head[vocab:].any()
    for layer in range(2):
        stage, local = divmod(layer, 2 // pp)
        mine = ranks[stage * tp : (stage + 1) * tp]
        prefix = f"transformer.layers.{local}."
        down = np.concatenate([_array(r[f"{prefix}mlp.proj.weight"]) for r in mine], axis=1)
        assert (down == arrays[f"model.layers.{layer}.mlp.down_proj.weight"]).all()
        queries = np.concatenate(
            [_array(r[f"{prefix}attention.qkv.weight"])[: 32 // tp] for r in mine]
        )
        assert (queries == arrays[f"model.layers.{layer}.self_attn.q_proj.weight"]).all()


def _array(tensor: tuple[str, tuple[int, ...], bytes]) -> np.ndarray:
    return np.frombuffer(tensor[2], "<f4").reshape(tensor[1])


def test_empty_tensors_do_not_matter(tmp_path: Path) -> None:
    """A stored tensor that no rule names is left alone."""
    config, shapes = tiny.llama()
    arrays = tiny.write_source(tmp_path / "tiny", (config, shapes))
    arrays["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(4, np.float32)
    write_safetensors(tmp_path / "tiny" / "model.safetensors", arrays)
    made = make_checkpoint(str(tmp_path / "tiny"), tmp_path / "out")
    assert "inv_freq" not in "".join(made.layout.sources)


def test_the_new_spelling_of_rope(tmp_path: Path) -> None:
    """transformers 5 keeps theta and scaling in one place."""
    source = make_llama(tmp_path / "tiny")
    config = json.loads((source / "config.json").read_text())
    del config["rope_theta"]
    rope = {"rope_type": "default", "rope_theta": 250000.0}
    write_json(source / "config.json", config | {"rope_parameters": rope})
    made = make_checkpoint(str(source), tmp_path / "out", dry_run=True)
    assert made.layout.config["rotary_base"] == 250000.0
    assert made.layout.config["rotary_scaling"] is None
    rope |= {"rope_type": "linear", "factor": 2.0}
    write_json(source / "config.json", config | {"rope_theta": None, "rope_parameters": rope})
    made = make_checkpoint(str(source), tmp_path / "out", dry_run=True)
    assert made.layout.config["rotary_base"] == 250000.0
    assert made.layout.config["rotary_scaling"] == {"rope_type": "linear", "factor": 2.0}
    config, shapes = tiny.phi3()
    rope = {"rope_type": "default", "rope_theta": 5e4, "partial_rotary_factor": 0.5}
    tiny.write_source(tmp_path / "phi3", (config | {"rope_parameters": rope}, shapes))
    made = make_checkpoint(str(tmp_path / "phi3"), tmp_path / "out", dry_run=True)
    assert made.layout.config["rotary_base"] == 5e4
    assert made.layout.config["rotary_embedding_dim"] == tiny.S // 2


def test_a_language_model_inside_another_configuration(tmp_path: Path) -> None:
    """Sizes and rope of text_config, not the defaults of a file that says nothing at its top."""
    source = make_llama(tmp_path / "tiny", intermediate=96, rms_norm_eps=1e-6, rope_theta=5e5)
    plain = make_checkpoint(str(source), tmp_path / "out", dry_run=True)
    config = json.loads((source / "config.json").read_text())
    outer = {"architectures": config.pop("architectures"), "text_config": config}
    write_json(source / "config.json", outer)
    nested = make_checkpoint(str(source), tmp_path / "out", dry_run=True)
    assert nested.layout.config == plain.layout.config
    assert nested.layout.config["rotary_base"] == 5e5
