"""``trtbuild quantize`` around ModelOpt, which a small program stands in for here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from support.checkpoints import make_llama
from support.specs import llama_8b
from trtbuild import toolchain
from trtbuild.builder import Case
from trtbuild.cli.app import app
from trtbuild.errors import BuildError, ExitCode, TrtbuildError, UnsupportedError, UsageError
from trtbuild.modelspec import Quantization
from trtbuild.planner import survey
from trtbuild.recipe import ModelRecipe
from trtbuild_checkpoints import quantize as module
from trtbuild_checkpoints.calibration import read_texts
from trtbuild_checkpoints.quantize import formats, quantize

# Writes the checkpoint it was given with a quantization_config, or fails as the test wants.
WORKER = """
import json, os, shutil, sys
job = json.load(open(sys.argv[1]))
print(json.dumps({"trtbuild": 1, "step": "loading"}))
print("Inserted 56 quantizers")
print(json.dumps({"trtbuild": 1, "done": 1, "total": len(job["texts"])}))
mode = %r
if mode == "fail":
    print("Traceback (most recent call last):")
    print("  File x")
    sys.exit("RuntimeError: amax must be a CUDA tensor")
if mode == "kill":
    os.kill(os.getpid(), 9)
shutil.copy(os.path.join(job["model"], "model.safetensors"), job["out"])
config = json.load(open(os.path.join(job["model"], "config.json")))
algo = {"FP8_DEFAULT_CFG": "FP8", "MXFP8_DEFAULT_CFG": "MXFP8"}[job["config"]]
if mode != "plain":
    config["quantization_config"] = {"quant_method": "modelopt", "quant_algo": algo}
json.dump(config, open(os.path.join(job["out"], "config.json"), "w"))
json.dump(job, open(os.path.join(job["out"], "hf_quant_config.json"), "w"))
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the stand-in does; it writes its job into hf_quant_config.json."""
    folder = tmp_path / "templates"
    folder.mkdir()
    fake = SimpleNamespace(python=Path(sys.executable))
    monkeypatch.setattr(module.runtime, "install", lambda *_, **__: fake)
    monkeypatch.setattr(module, "template_dir", lambda *_: folder / "worker.py")

    def behave(mode: str) -> None:
        (folder / "worker.py").write_text(WORKER % mode)

    behave("work")
    return behave


def made_job(out: Path) -> dict[str, Any]:
    return json.loads((out / "hf_quant_config.json").read_text())


def refused(tmp_path: Path, kind: type[TrtbuildError], source: Path, **options: Any) -> Any:
    before = sorted(tmp_path.glob("out/*"))
    with pytest.raises(kind) as caught:
        quantize(str(source), tmp_path / "out", **({"format_name": "fp8"} | options))
    assert sorted(tmp_path.glob("out/*")) == before
    assert not list(tmp_path.glob(".out*"))
    assert caught.value.fix
    return caught.value


def test_the_result_is_a_checkpoint_with_its_tokenizer(tmp_path: Path, worker: Any) -> None:
    source = make_llama(tmp_path / "tiny")
    made = quantize(str(source), tmp_path / "out", format_name="fp8", samples=3)
    assert made.format.algo == "FP8"
    assert made.texts == 3
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (
        source / "tokenizer.json"
    ).read_bytes()
    job = made_job(tmp_path / "out")
    assert job["dtype"] == "bfloat16", "float32 weights are quantized from bfloat16"
    assert job["architecture"] == "LlamaForCausalLM"
    assert len(job["texts"]) == 3
    assert not Path(job["model"]).exists(), "the folder of links is gone"
    assert "Inserted 56 quantizers" in made.log.read_text()


def test_formats_without_calibration_get_no_texts(tmp_path: Path, worker: Any) -> None:
    source = make_llama(tmp_path / "tiny", dtype="float16")
    quantize(str(source), tmp_path / "out", format_name="mxfp8")
    assert made_job(tmp_path / "out")["texts"] == []
    assert made_job(tmp_path / "out")["dtype"] == "float16"
    quantize(str(source), tmp_path / "out", format_name="mxfp8", kv_cache="fp8")
    assert made_job(tmp_path / "out")["texts"], "the cache's scales are measured"
    assert made_job(tmp_path / "out")["kv_cache"] == "FP8_KV_CFG"


def test_on_the_command_line(tmp_path: Path, worker: Any) -> None:
    source = make_llama(tmp_path / "tiny")
    arguments = ["quantize", str(source), "--format", "fp8", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "trtllm or vllm, on GPUs from SM 89 on" in result.stdout
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(result.stdout)["format"]["algo"] == "FP8"


def test_every_format_says_who_serves_it() -> None:
    assert {"fp8", "nvfp4", "int4_awq"} <= set(formats())
    for row in formats().values():
        made = llama_8b(quantization=Quantization("modelopt", {"quant_algo": row.algo}))
        loaded = {
            found.found.name: not found.reasons
            for found in survey(
                Case(made, ModelRecipe(source="x", name="x"), toolchain.load("26.07"))
            )
        }
        assert (row.trtllm, row.vllm) == (loaded["trtllm"], loaded["vllm"]), row.name
        assert row.trtllm or row.vllm
    assert formats()["nvfp4"].sm == 100


def test_an_unknown_format_lists_the_known(tmp_path: Path) -> None:
    error = refused(tmp_path, UsageError, make_llama(tmp_path / "tiny"), format_name="fp7")
    assert "int4_awq" in error.fix
    assert error.exit_code == ExitCode.USAGE
    error = refused(tmp_path, UsageError, make_llama(tmp_path / "tiny2"), kv_cache="int3")
    assert "int3" in error.what


def test_something_else_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    error = refused(tmp_path, UsageError, make_llama(tmp_path / "tiny"))
    assert "not a quantized checkpoint" in error.what


def test_all_reasons_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.process, "available_memory", lambda: 1 << 30)
    source = make_llama(
        tmp_path / "tiny",
        chat_template=False,
        quantization_config={"quant_method": "gptq", "bits": 4},
    )
    chats = tmp_path / "chats.jsonl"
    chats.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    error = refused(tmp_path, UnsupportedError, source, format_name="int4_awq", calibration=chats)
    text = "\n".join(error.details)
    assert "quantized already (gptq)" in text
    assert "64 is not a multiple of AWQ's group size 128" in text
    assert "no chat template" in text
    assert "GiB of memory" in text
    assert error.exit_code == ExitCode.UNSUPPORTED


def test_modelopts_failure_is_said_and_the_old_result_stays(tmp_path: Path, worker: Any) -> None:
    source = make_llama(tmp_path / "tiny")
    quantize(str(source), tmp_path / "out", format_name="fp8")
    worker("fail")
    error = refused(tmp_path, BuildError, source)
    assert error.details == ("RuntimeError: amax must be a CUDA tensor",)
    assert Path(error.where).is_file()
    assert error.exit_code == ExitCode.BUILD


def test_a_kill_is_explained(tmp_path: Path, worker: Any) -> None:
    worker("kill")
    error = refused(tmp_path, BuildError, make_llama(tmp_path / "tiny"))
    assert "memory ran out" in error.what


def test_an_unquantized_result_is_not_accepted(tmp_path: Path, worker: Any) -> None:
    worker("plain")
    error = refused(tmp_path, BuildError, make_llama(tmp_path / "tiny"))
    assert "instead of FP8" in error.what


# --- texts ----------------------------------------------------------------------------------


def test_the_shipped_texts() -> None:
    texts = read_texts(None, 1000)
    assert len(texts) >= 20
    assert any("東京" in text for text in texts)
    assert read_texts(None, 4) == texts[:: len(texts) // 4][:4]


def test_texts_of_every_kind(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "hi"}]
    (tmp_path / "a.txt").write_text("one\nstill one\n\n\n two \n")
    (tmp_path / "a.jsonl").write_text(
        f'"one"\n\n{{"text": "two"}}\n{json.dumps({"messages": chat})}'
    )
    (tmp_path / "a.json").write_text(json.dumps(["one", {"text": "two"}]))
    assert read_texts(tmp_path / "a.txt", 9) == ("one\nstill one", "two")
    assert read_texts(tmp_path / "a.jsonl", 9) == ("one", "two", chat)
    assert read_texts(tmp_path / "a.json", 9) == ("one", "two")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"  \n\n", "has no text"),
        ("a.csv", b"one", "has an unknown file type"),
        ("a.jsonl", b'"one"\n{"text": 3}', "line 2 has neither text nor messages"),
        ("a.jsonl", b'{"text": ', "line 1 is not JSON"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}', "line 1 has neither"),
        ("a.json", b'{"text": "one"}', "is not a JSON list"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_files_that_are_no_texts(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_texts(tmp_path / name, 9)
    assert caught.value.fix


def test_no_file_and_no_samples(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_texts(tmp_path / "none.txt", 9)
    with pytest.raises(UsageError, match="Is a directory"):
        read_texts(tmp_path, 9)
    with pytest.raises(UsageError, match="--samples must be at least 1, got 0"):
        read_texts(None, 0)


@pytest.mark.parametrize("length", [0, -5])
def test_no_token_of_a_text_measures_nothing(tmp_path: Path, length: int) -> None:
    with pytest.raises(UsageError, match=f"--length must be at least 1, got {length}") as caught:
        quantize(
            str(make_llama(tmp_path / "llama")), tmp_path / "out", format_name="fp8", length=length
        )
    assert caught.value.fix
    assert not (tmp_path / "out").exists()
