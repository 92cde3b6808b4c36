"""GGUF files become exactly the checkpoint they were made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from support.gguf_files import make_gguf
from trtbuild.checkpoint import inspect, materialize, open_checkpoint, verify_shards
from trtbuild.errors import BuildError, ExitCode, UnsupportedError, UsageError
from trtbuild_checkpoints.ggml.weights import to_bfloat16


@pytest.mark.parametrize(
    ("architecture", "bias", "kind"),
    [
        ("llama", False, "F32"),
        ("llama", True, "F16"),
        ("llama", False, "Q8_0"),
        ("llama", False, "Q4_1"),
        ("qwen2", True, "Q4_0"),
        ("qwen3", False, "BF16"),
    ],
)
def test_every_tensor_comes_back_exactly(
    tmp_path: Path, architecture: str, bias: bool, kind: str
) -> None:
    truth = make_gguf(tmp_path / "m.gguf", architecture=architecture, bias=bias, kind=kind)
    checkpoint = open_checkpoint(str(tmp_path / "m.gguf"))
    verify_shards(checkpoint)
    files = materialize(checkpoint)
    weights = next(file for file in files if file.name == "model.safetensors")
    made = load_file(weights.path)
    assert made.keys() == truth.keys()
    for name, expected in truth.items():
        np.testing.assert_array_equal(made[name], expected, err_msg=name)


def test_large_tensors_are_written_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtbuild_checkpoints.ggml.weights._CHUNK_ELEMENTS", 100)
    truth = make_gguf(tmp_path / "m.gguf", kind="Q8_0", bias=True)
    files = materialize(open_checkpoint(str(tmp_path / "m.gguf")))
    made = load_file(next(file.path for file in files if file.name == "model.safetensors"))
    for name, expected in truth.items():
        np.testing.assert_array_equal(made[name], expected, err_msg=name)


def test_what_is_described_is_what_is_made(tmp_path: Path, cache_dir: Path) -> None:
    make_gguf(tmp_path / "tiny.Q8_0.gguf", kind="Q8_0")
    described = open_checkpoint(str(tmp_path / "tiny.Q8_0.gguf"), dtype="bfloat16")
    before = inspect(described)
    files = materialize(described)
    assert {(f.name, f.size) for f in files} == {(f.name, f.size) for f in described.files}
    assert all(f.path is not None and f.path.stat().st_size == f.size for f in files)
    assert all(f.path is not None and f.path.is_relative_to(cache_dir) for f in files)
    made = open_checkpoint(str(files[0].path.parent))  # type: ignore[union-attr]
    after = inspect(made)
    assert before.bytes_by_dtype == after.bytes_by_dtype == {"BF16": 2 * before.parameters}
    assert before.config_digest == after.config_digest
    assert (before.source.kind, before.source.text) == ("gguf", "tiny.Q8_0.gguf")
    assert described.default_name == "tiny.Q8_0"


def test_config_is_that_of_the_model(tmp_path: Path) -> None:
    make_gguf(tmp_path / "m.gguf", extra={"tokenizer.ggml.eot_token_id": 1})
    checkpoint = open_checkpoint(str(tmp_path / "m.gguf"))
    config = checkpoint.config
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["rms_norm_eps"] == 1e-05  # not float32's 9.99999974e-06
    assert (config["hidden_size"], config["num_key_value_heads"], config["head_dim"]) == (64, 2, 16)
    assert config["tie_word_embeddings"] is False
    assert inspect(checkpoint).eos_token_ids == (2, 1)


def llama3_factors(factor: float) -> np.ndarray:
    """What llama.cpp's converter stores for Llama 3.1: by wavelength, between 2048 and 8192."""
    wavelengths = 2 * np.pi * 10000.0 ** (np.arange(0, 16, 2) / 16)
    smooth = (8192 / wavelengths - 1) / 3
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.select([wavelengths < 2048, wavelengths > 8192], [1.0, factor], between)


def test_llama3_rope_scaling_is_recovered(tmp_path: Path) -> None:
    factors = llama3_factors(8.0)
    assert len(set(factors.tolist())) > 2
    make_gguf(tmp_path / "m.gguf", rope_factors=factors)
    assert open_checkpoint(str(tmp_path / "m.gguf")).config["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    make_gguf(tmp_path / "odd.gguf", rope_factors=factors * np.linspace(1, 1.2, 8))
    with pytest.raises(UnsupportedError, match="no published scaling"):
        open_checkpoint(str(tmp_path / "odd.gguf"))


def test_second_use_converts_nothing(tmp_path: Path) -> None:
    make_gguf(tmp_path / "m.gguf")
    first = materialize(open_checkpoint(str(tmp_path / "m.gguf")))
    stamps = {file.name: file.path.stat().st_mtime_ns for file in first if file.path}
    second = materialize(open_checkpoint(str(tmp_path / "m.gguf")))
    assert {f.name: f.path.stat().st_mtime_ns for f in second if f.path} == stamps


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    make_gguf(tmp_path / "m.gguf")
    first = materialize(open_checkpoint(str(tmp_path / "m.gguf")))
    damaged = next(file for file in first if file.name == "model.safetensors")
    assert damaged.path is not None
    damaged.path.write_bytes(b"short")
    again = materialize(open_checkpoint(str(tmp_path / "m.gguf")))
    assert next(f for f in again if f.name == "model.safetensors").path.stat().st_size == (  # type: ignore[union-attr]
        damaged.size
    )


def test_an_interrupted_conversion_leaves_nothing(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_gguf(tmp_path / "m.gguf")

    class Interrupting:
        def step(self, text: str) -> None: ...

        def advance(self, done: int, total: int, unit: str = "B") -> None:
            if total and done > total // 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(open_checkpoint(str(tmp_path / "m.gguf")), Interrupting())
    left = list((cache_dir / "checkpoints").rglob("*"))
    assert left == []


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_gguf(tmp_path / "m.gguf")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trtbuild_checkpoints.ggml.opening.weights.write", full)
    with pytest.raises(BuildError, match="the disk is full") as caught:
        materialize(open_checkpoint(str(tmp_path / "m.gguf")))
    assert caught.value.exit_code == ExitCode.BUILD
    assert "TRTBUILD_CACHE_DIR" in caught.value.fix


def test_digits_are_cut_one_by_one(tmp_path: Path) -> None:
    make_gguf(tmp_path / "m.gguf", pre="smollm")
    raw = open_checkpoint(str(tmp_path / "m.gguf")).read_bytes("tokenizer.json")
    assert raw is not None
    tokenizer = Tokenizer.from_buffer(raw)
    text = "  2026 Zwölf 東京 🙂 <|im_end|>\n"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    pieces = tokenizer.encode("a 2026").tokens
    assert pieces == ["a", "Ġ", "2", "0", "2", "6"]
    assert tokenizer.encode("<|im_end|>").ids == [2]


def test_chat_template_and_special_tokens_survive(tmp_path: Path) -> None:
    make_gguf(tmp_path / "m.gguf", extra={"tokenizer.chat_template": "{{ messages }}"})
    checkpoint = open_checkpoint(str(tmp_path / "m.gguf"))
    settings = json.loads(checkpoint.read_bytes("tokenizer_config.json") or b"")
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (settings["bos_token"], settings["eos_token"]) == ("<|endoftext|>", "<|im_end|>")
    assert inspect(checkpoint).tokenizer.chat_template == "{{ messages }}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"architecture": "mamba"}, "architecture 'mamba'"),
        ({"pre": "nobody-knows"}, "'nobody-knows'"),
        ({"extra": {"llama.expert_count": 8}}, "mixture of experts"),
        ({"extra": {"llama.rope.scaling.type": "odd"}}, "rope scaling 'odd'"),
    ],
)
def test_what_cannot_be_converted_exactly_is_refused(
    tmp_path: Path, arguments: dict[str, object], said: str
) -> None:
    make_gguf(tmp_path / "m.gguf", **arguments)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match=said) as caught:
        open_checkpoint(str(tmp_path / "m.gguf"))
    assert caught.value.exit_code == ExitCode.UNSUPPORTED
    assert caught.value.fix


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 100, 3000, -1])
def test_truncation_is_found_wherever_it_is(tmp_path: Path, kept: int) -> None:
    make_gguf(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[:kept])
    with pytest.raises(UnsupportedError, match=r"m\.gguf (is|has)") as caught:
        open_checkpoint(str(tmp_path / "m.gguf"))
    assert caught.value.fix


def test_any_damage_is_refused_without_a_crash(tmp_path: Path) -> None:
    make_gguf(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(150):
        damaged = bytearray(whole)
        for at in rng.integers(4, 12_000, 4):
            damaged[at] = int(rng.integers(0, 256))
        (tmp_path / "d.gguf").write_bytes(damaged)
        try:
            inspect(open_checkpoint(str(tmp_path / "d.gguf")))
        except UnsupportedError as error:
            assert error.what


def test_bfloat16_rounds_to_nearest_even() -> None:
    values = np.array(
        [1.0, 1.00390625, 1.01171875, -2.5, 0.0, -0.0, 3.4e38, np.inf, -np.inf, 1e-40], np.float32
    )
    made = (to_bfloat16(values).astype(np.uint32) << 16).view(np.float32)
    # 1 + 1/256 lies between two bfloat16: the even one is 1; 1 + 3/256 goes up to 1 + 4/256.
    assert made[:3].tolist() == [1.0, 1.0, 1.015625]
    assert made[3:6].tolist() == [-2.5, 0.0, -0.0]
    assert np.isinf(made[6])
    assert np.isinf(made[7]) and made[8] == -np.inf
    assert np.isnan(
        (to_bfloat16(np.array([np.nan], np.float32)).astype(np.uint32) << 16).view("f4")
    )


def test_bfloat16_is_the_nearest_of_all_neighbours() -> None:
    values = np.random.default_rng(1).standard_normal(20_000).astype(np.float32)
    bits = to_bfloat16(values).astype(np.int64)
    exact = values.astype(np.float64)

    def real(pattern: np.ndarray) -> np.ndarray:
        return (pattern.astype(np.uint32) << 16).view(np.float32).astype(np.float64)

    chosen = np.abs(real(bits) - exact)
    assert (chosen <= np.abs(real(bits + 1) - exact)).all()
    assert (chosen <= np.abs(real(bits - 1) - exact)).all()


def _split(tmp_path: Path) -> tuple[dict[str, np.ndarray], list[Path]]:
    truth = make_gguf(tmp_path / "big.gguf", parts=8)
    return truth, sorted(tmp_path.glob("big-*.gguf"))


def test_every_part_of_a_split_model_stands_for_the_whole(tmp_path: Path) -> None:
    truth, parts = _split(tmp_path)
    assert len(parts) == 3
    for part in parts:
        checkpoint = open_checkpoint(str(part))
        assert checkpoint.default_name == "big"
        assert inspect(checkpoint).parameters == sum(t.size for t in truth.values())
    files = materialize(open_checkpoint(str(parts[1])))
    made = load_file(next(file.path for file in files if file.name == "model.safetensors"))
    assert made.keys() == truth.keys()
    for name, expected in truth.items():
        np.testing.assert_array_equal(made[name], expected, err_msg=name)


def test_parts_of_a_split_model_that_are_not_there(tmp_path: Path) -> None:
    _, parts = _split(tmp_path)
    parts[1].unlink()
    with pytest.raises(
        UnsupportedError, match=r"part 1 of 3, and big-00002-of-00003\.gguf"
    ) as said:
        open_checkpoint(str(parts[0]))
    assert "put all parts into one directory" in said.value.fix
    make_gguf(tmp_path / "other" / "big.gguf", parts=12)
    (tmp_path / "other" / "big-00002-of-00002.gguf").rename(parts[1])
    with pytest.raises(UnsupportedError, match="is not part 2 of 3 of this model"):
        open_checkpoint(str(parts[0]))


def test_a_renamed_part_is_not_taken_for_the_model(tmp_path: Path) -> None:
    _, parts = _split(tmp_path)
    parts[0].rename(tmp_path / "whole.gguf")
    with pytest.raises(UnsupportedError, match="is one of 3 parts") as said:
        open_checkpoint(str(tmp_path / "whole.gguf"))
    assert "llama-gguf-split --merge" in said.value.fix


@pytest.mark.parametrize(
    ("extra", "context", "scaling"),
    [
        (
            {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
             "rope.scaling.original_context_length": 512},
            2048,
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512},
        ),
        (
            {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0,
             "rope.scaling.yarn_beta_fast": 16.0},
            1024,
            {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 512,
             "beta_fast": 16.0},
        ),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, 1024,
         {"rope_type": "linear", "factor": 2.0}),
        ({"rope.scale_linear": 2.0}, 1024, {"rope_type": "linear", "factor": 2.0}),
        ({"rope.scaling.type": "none", "rope.scaling.factor": 2.0}, 512, None),
    ],
)  # fmt: skip
def test_rope_scaling_lengthens_the_context(
    tmp_path: Path, extra: dict[str, object], context: int, scaling: dict[str, object] | None
) -> None:
    make_gguf(tmp_path / "m.gguf", extra={f"llama.{key}": value for key, value in extra.items()})
    checkpoint = open_checkpoint(str(tmp_path / "m.gguf"))
    assert checkpoint.config["rope_scaling"] == scaling
    assert inspect(checkpoint).context_length == context
    settings = json.loads(checkpoint.read_bytes("tokenizer_config.json") or b"")
    assert settings["model_max_length"] == context


def test_a_tokenizer_that_does_not_say_how_it_cuts_is_refused(tmp_path: Path) -> None:
    make_gguf(tmp_path / "m.gguf", pre="")
    with pytest.raises(UnsupportedError, match=r"does not say how .* \(tokenizer\.ggml\.pre\)"):
        open_checkpoint(str(tmp_path / "m.gguf"))


def test_vocabularies_that_only_one_cutting_belongs_to() -> None:
    from trtbuild_checkpoints.ggml.file import GgufFile
    from trtbuild_checkpoints.ggml.tokenizer import _pre

    def cut(tokens: list[str], **more: object) -> str:
        said = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": tokens} | more
        return _pre(GgufFile("m.gguf", (), said, {}))

    assert cut(["<|begin_of_text|>"] * 128_256) == "llama-bpe"
    assert cut(["<|im_start|>"] * 151_936) == "qwen2"
    assert cut(["<|im_start|>"] * 49_152) == ""
    assert cut(["<|begin_of_text|>"] * 128_256, **{"tokenizer.ggml.pre": "smollm"}) == "smollm"


def test_without_what_converts_it_the_fix_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.gguf").touch()
    monkeypatch.setattr("trtbuild.checkpoint.opening.points", lambda group: [])
    with pytest.raises(UsageError, match=r"no installed package converts .*\.gguf") as raised:
        open_checkpoint(str(tmp_path / "m.gguf"))
    assert "install trtbuild again" in raised.value.fix
