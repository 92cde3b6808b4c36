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
from support.checkpoints import make_headers_only, make_llama, write_json, write_safetensors
from support.rank_files import read_rank
from trtbuild.cli.app import app
from trtbuild.errors import BuildError, ExitCode, TrtbuildError, UnsupportedError, UsageError
from trtbuild.pipeline.checkpoint import make_checkpoint, release_of
from trtbuild.trtllm_checkpoint import transfer


def refused(
    tmp_path: Path, source: str | Path, kind: type[TrtbuildError], **options: Any
) -> TrtbuildError:
    """The error, after making sure that nothing was written."""
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in out.rglob("*")} if out.exists() else None
    with pytest.raises(kind) as caught:
        make_checkpoint(str(source), out, **options)
    after = {path: path.read_bytes() for path in out.rglob("*")} if out.exists() else None
    assert after == before
    assert not list(tmp_path.glob(".out*")), "no scratch folder stays"
    assert caught.value.fix
    return caught.value


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tp": 3}, "4 attention heads cannot be shared evenly by 3 ranks: use --tp 2"),
        ({"pp": 3}, "2 layers cannot be shared evenly by 3 stages: use --pp 2"),
        ({"tp": 8}, "4 attention heads cannot be shared evenly by 8 ranks: use --tp 4"),
    ],
)
def test_heads_and_layers_that_do_not_divide(
    tmp_path: Path, options: dict[str, int], said: str
) -> None:
    error = refused(tmp_path, make_llama(tmp_path / "tiny"), UnsupportedError, **options)
    assert said in error.details
    assert error.exit_code == ExitCode.UNSUPPORTED


def test_key_value_heads_that_neither_share_nor_repeat(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny", hidden=96, heads=12, kv_heads=4)
    error = refused(tmp_path, source, UnsupportedError, tp=6)
    assert any("4 key-value heads" in reason for reason in error.details)


def test_all_reasons_at_once(tmp_path: Path) -> None:
    source = make_llama(
        tmp_path / "tiny",
        rope_scaling={"rope_type": "yarn", "factor": 4.0},
        quantization_config={"quant_method": "awq", "bits": 4},
    )
    error = refused(tmp_path, source, UnsupportedError, tp=3, pp=3)
    text = "\n".join(error.details)
    assert "quantized (awq)" in text and "--backend vllm" in text
    assert "'yarn'" in text
    assert "heads" in text and "layers" in text


def test_an_unknown_family_says_what_to_do(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "tiny", architectures=["OlmoForCausalLM"], model_type="olmo")
    error = refused(tmp_path, source, UnsupportedError)
    assert "OlmoForCausalLM" in error.details[0]
    assert "convert_checkpoint.py" in error.details[0]


@pytest.mark.parametrize(
    ("source", "split", "said"),
    [
        (tiny.phi3(), {"tp": 2}, "--tp 1"),
        (tiny.phi3(), {"pp": 2}, "--pp 1"),
        (tiny.gemma2(), {"pp": 2}, "--pp 1"),
        (tiny.gpt_neox(), {"pp": 2}, "--pp 1"),
    ],
)
def test_what_the_original_converter_cannot_split(
    tmp_path: Path, source: Any, split: dict[str, int], said: str
) -> None:
    tiny.write_source(tmp_path / "tiny", source)
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError, **split)
    assert said in error.details[0]


def test_falcons_without_golden_rules_are_refused(tmp_path: Path) -> None:
    config, shapes = tiny.falcon(new=False)
    tiny.write_source(tmp_path / "tiny", (config | {"alibi": True, "parallel_attn": False}, shapes))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    assert len(error.details) == 2


def test_a_long_rope_that_makes_no_sense(tmp_path: Path) -> None:
    config, shapes = tiny.phi3()
    scaling = {"type": "su", "short_factor": [1.0], "long_factor": "many"}
    tiny.write_source(tmp_path / "tiny", (config | {"rope_scaling": scaling}, shapes))
    error = refused(tmp_path, tmp_path / "tiny", UnsupportedError)
    text = "\n".join(error.details)
    assert "short_factor is not a list of 4 numbers" in text
    assert "long_factor is not a list" in text
    assert "original_max_position_embeddings is not given" in text
    assert "fewer than 128,000 positions" in text


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("mlp_bias", True, "MLP has biases"),
        ("mlp_only_layers", [0], "only some of its layers"),
        ("decoder_sparse_step", 2, "only some of its layers"),
    ],
)
def test_what_the_rows_do_not_say(tmp_path: Path, key: str, value: Any, said: str) -> None:
    error = refused(tmp_path, make_llama(tmp_path / "tiny", **{key: value}), UnsupportedError)
    assert said in error.details[0]


@pytest.mark.parametrize("dtype", ["int8", "fp16", "float64"])
def test_an_unknown_dtype(tmp_path: Path, dtype: str) -> None:
    error = refused(tmp_path, make_llama(tmp_path / "tiny"), UsageError, dtype=dtype)
    assert dtype in error.what
    assert "float16" in error.fix


@pytest.mark.parametrize("option", ["tp", "pp"])
def test_no_ranks(tmp_path: Path, option: str) -> None:
    error = refused(tmp_path, make_llama(tmp_path / "tiny"), UsageError, **{option: 0})
    assert f"--{option} 0" in error.what


def test_a_triton_without_engines() -> None:
    with pytest.raises(UnsupportedError, match="compiles engines") as caught:
        release_of("26.08")
    assert "26.07" in caught.value.fix
    assert release_of("26.07") == "1.2.1"
    assert release_of("24.11") == "0.15.0"


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
