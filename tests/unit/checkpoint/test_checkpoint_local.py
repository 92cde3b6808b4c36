"""Folders: what is taken, and every way in which one can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.checkpoints import (
    llama_config,
    make_llama,
    write_json,
    write_safetensors,
)
from support.onnx_checkpoints import make_onnx_bert
from support.sentence_files import make_checkpoint
from trtbuild.checkpoint import (
    inspect,
    materialize,
    open_checkpoint,
    verify_shards,
)
from trtbuild.errors import ExitCode, UnsupportedError, UsageError

INDEX = "model.safetensors.index.json"
SECOND = "model-00002-of-00002.safetensors"


def refused(folder: Path, said: str, **options: bool) -> UnsupportedError:
    """Everything a conversion checks before it writes; the error it must end in."""
    with pytest.raises(UnsupportedError) as caught:
        opened = open_checkpoint(str(folder), **options)
        inspect(opened)
        verify_shards(opened)
    text = "\n".join((caught.value.what, *caught.value.details))
    assert said in text, text
    assert caught.value.exit_code == ExitCode.UNSUPPORTED
    assert caught.value.fix
    assert caught.value.where
    return caught.value


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in (config | changes).items() if value is not None}
    write_json(folder / "config.json", kept)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_sound_folder(tmp_path: Path, sharded: bool, dtype: str) -> None:
    folder = make_llama(tmp_path / "tiny", sharded=sharded, dtype=dtype)
    opened = open_checkpoint(str(folder))
    verify_shards(opened)
    spec = inspect(opened)
    files = materialize(opened)
    assert spec.source.text == opened.default_name == "tiny"
    assert spec.parameters == 512 * 64 * 2 + 64 + 2 * (
        64 * 64 * 2 + 32 * 64 * 2 + 128 * 64 * 3 + 128
    )
    assert spec.dtype == dtype
    assert spec.weight_bytes == spec.parameters * (4 if dtype == "float32" else 2)
    assert spec.eos_token_ids == (2,)
    assert spec.kv_cache.kind == "GQA"
    assert {file.path for file in files} == {folder / file.name for file in files}
    assert str(tmp_path) not in repr(spec)


def test_only_what_a_server_needs_is_taken(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m")
    for name in ("README.md", "modeling_x.py", "pytorch_model.bin", "optimizer.pt", ".env",
                 "consolidated.safetensors", "tf_model.h5", "model.gguf"):  # fmt: skip
        (folder / name).write_bytes(b"x")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"x")
    names = {file.name for file in open_checkpoint(str(folder)).files}
    assert names == {"config.json", "generation_config.json", "model.safetensors",
                     "tokenizer.json", "tokenizer_config.json",
                     "special_tokens_map.json"}  # fmt: skip
    trusted = {f.name for f in open_checkpoint(str(folder), trust_remote_code=True).files}
    assert trusted - names == {"modeling_x.py"}


def test_missing_folder_is_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such source"):
        open_checkpoint(str(tmp_path / "nowhere"))


def test_dtype_is_not_for_folders(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m")
    with pytest.raises(UsageError, match="keeps its own") as caught:
        open_checkpoint(str(folder), dtype="bfloat16")
    assert "--set dtype=bfloat16" in caught.value.fix
    with pytest.raises(UsageError, match="unknown dtype 'int3'"):
        open_checkpoint(str(folder), dtype="int3")


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "not JSON": (
        lambda f: (f / "config.json").write_text('{"a": 1,\n oops}'),
        "config.json is not JSON: Expecting property name enclosed in double quotes at line 2",
    ),
    "not an object": (lambda f: (f / "config.json").write_text("[1]"), "a JSON array, not an"),
    "bad UTF-8": (
        lambda f: (f / "config.json").write_bytes(b'{"a": "\xff"}'),
        "config.json is not UTF-8: byte 0xff at offset 7",
    ),
    "nested too deep": (
        lambda f: (f / "config.json").write_text("[" * 200_000),
        "config.json is not JSON",
    ),
    "too large": (
        lambda f: (f / "config.json").open("ab").truncate(60_000_000),
        "config.json has 60,000,000 bytes",
    ),
    "unknown architecture": (
        lambda f: edit(f, architectures=["LlamaForCausalLMM"]),
        "unknown architecture 'LlamaForCausalLMM'",
    ),
    "no architecture": (lambda f: edit(f, architectures=None), "names no architecture"),
    "layers are text": (
        lambda f: edit(f, num_hidden_layers="two"),
        "num_hidden_layers is 'two', not a natural number",
    ),
    "too many layers": (
        lambda f: edit(f, num_hidden_layers=10**9),
        "1,000,000,000 layers are more than any model has",
    ),
    "no layers": (lambda f: edit(f, num_hidden_layers=None), "has no num_hidden_layers"),
    "shard missing": (lambda f: (f / SECOND).unlink(), f"{SECOND} is missing; {INDEX} names it"),
    "shard truncated": (
        lambda f: (f / SECOND).open("ab").truncate((f / SECOND).stat().st_size - 10),
        f"{SECOND} is truncated",
    ),
    "shard empty": (lambda f: (f / SECOND).write_bytes(b""), f"{SECOND} has 0 bytes"),
    "index is wrong": (
        lambda f: edit_index(f, "model.norm.weight", "model-00001-of-00002.safetensors"),
        "model-00001-of-00002.safetensors lacks tensor 'model.norm.weight'",
    ),
    "index leaves": (
        lambda f: edit_index(f, "model.norm.weight", "../../secret.safetensors"),
        "names '../../secret.safetensors', which cannot be a shard",
    ),
    "index is empty": (lambda f: (f / INDEX).write_text("{}"), f"{INDEX} has no weight_map"),
    "wrong shape": (
        lambda f: edit(f, intermediate_size=256),
        "config.json implies [256, 64]",
    ),
    "layer missing": (
        lambda f: edit(f, num_hidden_layers=3),
        "tensor 'model.layers.2.input_layernorm.weight' is missing",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "there is no tokenizer"),
    "tokenizer broken": (
        lambda f: (f / "tokenizer.json").write_text('{"version": "1.0"}'),
        "tokenizer.json cannot be loaded",
    ),
    "tokenizer_config broken": (
        lambda f: (f / "tokenizer_config.json").write_text("nonsense"),
        "tokenizer_config.json is not JSON",
    ),
}


def edit_index(folder: Path, tensor: str, shard: str) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"][tensor] = shard
    write_json(folder / INDEX, index)


@pytest.mark.parametrize("name", BREAKAGES)
def test_broken_folders_are_refused(tmp_path: Path, name: str) -> None:
    folder = make_llama(tmp_path / "m", sharded=True)
    breakage, said = BREAKAGES[name]
    made = breakage(folder)
    if hasattr(made, "close"):
        made.close()
    refused(folder, said)


def test_everything_is_reported_at_once(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m", sharded=True)
    (folder / "config.json").write_text("nonsense")
    (folder / SECOND).unlink()
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"short")
    error = refused(folder, "config.json is not JSON")
    assert len(error.details) == 3
    assert any("00001" in detail for detail in error.details)
    assert any("00002" in detail for detail in error.details)


def test_pickles_need_a_flag(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = refused(folder, "the weights are pickles only (pytorch_model.bin)")
    assert "--allow-pickle" in error.fix
    opened = open_checkpoint(str(folder), allow_pickle=True)
    spec = inspect(opened)
    assert opened.pickle
    assert spec.parameters == 0  # unknowable without running it
    assert spec.bytes_by_dtype == {"pickle": (folder / "pytorch_model.bin").stat().st_size}


def test_no_weights_at_all(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    refused(folder, "there are no *.safetensors and no *.onnx weights")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("adapter_config.json", "LoRA adapter"), ("x.Q4_0.gguf", "such as x.Q4_0.gguf")],
)
def test_folders_of_another_kind_are_recognised(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / name).write_bytes(b"{}")
    assert hint in refused(tmp_path / "m", "config.json is missing").fix


def test_the_same_tensor_twice(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m")
    (folder / "extra.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    refused(folder, "is in")


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_flagged_and_not_run(tmp_path: Path, where: str) -> None:
    folder = make_llama(tmp_path / "m")
    settings = json.loads((folder / where).read_text())
    write_json(folder / where, settings | {"auto_map": {"AutoModel": "modeling_evil.Evil"}})
    (folder / "modeling_evil.py").write_text("raise SystemExit('executed')")
    spec = inspect(open_checkpoint(str(folder)))
    assert spec.remote_code


def test_an_architecture_of_its_own_needs_trust(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m", architectures=["OwnForCausalLM"],
                        auto_map={"AutoModelForCausalLM": "own.Own"})  # fmt: skip
    error = refused(folder, "unknown architecture 'OwnForCausalLM'")
    assert "--trust-remote-code" in error.fix
    opened = open_checkpoint(str(folder), trust_remote_code=True)
    assert inspect(opened, trust_remote_code=True).architecture == "OwnForCausalLM"


def test_wrong_shapes_are_counted_not_listed_for_ever(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m", layers=20)
    edit(folder, intermediate_size=99)
    error = refused(folder, "and 48 tensors more")
    assert len(error.details) == 13


def test_tied_output_may_be_absent(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m", tie_word_embeddings=True)
    opened = open_checkpoint(str(folder))
    verify_shards(opened)
    tied = inspect(opened).parameters
    config = llama_config(tie_word_embeddings=True)
    assert "lm_head.weight" not in opened.tensors
    assert tied == sum(info.elements for info in opened.tensors.values())
    assert config["tie_word_embeddings"]


def test_a_foreign_file_named_safetensors(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"404 page not found, said the server")
    refused(folder, "is not a safetensors file")


def test_an_empty_safetensors_misses_everything(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "m")
    write_safetensors(folder / "model.safetensors", {})
    refused(folder, "the weights hold no tensors")


@pytest.mark.parametrize("at", ["onnx/model.onnx", "model.onnx"])
def test_an_onnx_export_alone(tmp_path: Path, at: str) -> None:
    """Its size is known, and neither parameters nor a type; variants and training files stay."""
    folder = make_onnx_bert(tmp_path / "bge", at=at)
    (folder / f"{at}_data").write_bytes(b"outside")
    (folder / at).with_name("model_quantized.onnx").write_bytes(b"variant")
    opened = open_checkpoint(str(folder))
    verify_shards(opened)
    spec = inspect(opened)
    names = [file.name for file in opened.files]
    assert [name for name in names if "model" in name and ".onnx" in name] == [at, f"{at}_data"]
    assert (spec.weights_format, spec.parameters, spec.dtype) == ("onnx", 0, "")
    assert spec.bytes_by_dtype == {"onnx": (folder / at).stat().st_size + 7}
    assert (spec.architecture, spec.task.value) == ("BertModel", "embed")


def test_dense_layers_beside_an_onnx_export(tmp_path: Path) -> None:
    """Their weights are safetensors, which does not make the export's safetensors."""
    layer = {"in_features": 32, "out_features": 8, "bias": False}
    folder = make_checkpoint(
        tmp_path / "m",
        {},
        ("Transformer", "Pooling", "Dense"),
        files={"2_Dense/config.json": layer},
        tensors={"2_Dense/linear.weight": (8, 32)},
    )
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnsupportedError, match="there are no"):
        open_checkpoint(str(folder))
    (folder / "model.onnx").write_bytes(b"graph")
    spec = inspect(open_checkpoint(str(folder)))
    assert spec.weights_format == "onnx"
    assert spec.head is not None
    assert [layer.directory for layer in spec.head.layers] == ["2_Dense"]


def test_an_export_of_several_graphs_is_taken_whole(tmp_path: Path) -> None:
    folder = make_onnx_bert(tmp_path / "t5", at="onnx/encoder_model.onnx")
    (folder / "onnx/decoder_model.onnx").write_bytes(b"graph")
    names = [file.name for file in open_checkpoint(str(folder)).files]
    assert {"onnx/encoder_model.onnx", "onnx/decoder_model.onnx"} <= set(names)


def test_safetensors_come_before_an_export_and_pickles_after(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny")
    (folder / "model.onnx").write_bytes(b"graph")
    opened = open_checkpoint(str(folder))
    assert opened.weights_format == "safetensors"
    assert not opened.has("model.onnx")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert open_checkpoint(str(folder)).weights_format == "onnx"
    assert open_checkpoint(str(folder), allow_pickle=True).weights_format == "pickle"


def test_a_pointer_instead_of_a_graph_is_refused(tmp_path: Path) -> None:
    folder = make_onnx_bert(tmp_path / "bge")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 90000000\n"
    (folder / "onnx/model.onnx").write_text(pointer)
    refused(folder, "onnx/model.onnx is a Git LFS pointer")
