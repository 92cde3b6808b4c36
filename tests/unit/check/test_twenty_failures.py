"""The failures that people meet most, each caught by the validator or made impossible.

The numbers are those of "the 20 failures" that TensorRT-LLM's and Triton's users report (issues of
tensorrtllm_backend b, TensorRT-LLM T, server s); after them what the nearest tool, triton_cli, does
wrong. Where an engine's log shows the failure, `trtbuild explain` knows it too
(test_explain.py, test_live_check.py).
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from support import ensemble
from support.checkpoints import make_llama
from support.places import places
from support.tokenizers_made import FAMILIES
from trtbuild import check, pbtxt, server, toolchain
from trtbuild.check import Example, Finding, Severity, write_example
from trtbuild.check.examples import engine_config
from trtbuild.errors import ExitCode, RecipeError, TrtbuildError, UsageError
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe
from trtbuild.server import LaunchOptions
from trtbuild_engine_flow import engineconfig

REQUIRED = ("tokenizer_dir", "xgrammar_tokenizer_info_path", "guided_decoding_backend")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two LLMs by engine flow in one repository, their engines left for later."""
    folder = tmp_path_factory.mktemp("made")
    source = make_llama(folder / "llama")
    with places(folder):
        for name in ("first", "second"):
            convert(llm(source, name), repository=folder / "repo")
    return folder / "repo"


def llm(source: Path, name: str, **recipe: Any) -> ModelRecipe:
    settings = {"backend": "trtllm-engine", "build": False, **recipe}
    return ModelRecipe(source=str(source), name=name, **settings)


def config_of(repo: Path, model: str) -> Any:
    return pbtxt.parse((repo / model / "config.pbtxt").read_text(encoding="utf-8"))


def parameters_of(repo: Path, model: str) -> dict[str, str]:
    return {k: v.string_value for k, v in config_of(repo, model).parameters.items()}


def engine(*, config: str = "", build: str = "", files: Any = None, **parameters: str) -> Example:
    """A model over an engine, with ``parameters`` among its own."""
    ours = {"gpt_model_path": "/models/m/1", "gpt_model_type": "inflight_fused_batching"}
    given = {**ours, **dict.fromkeys(REQUIRED, ""), **parameters}
    lines = [
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
        for key, value in given.items()
    ]
    made = {**({"m/1/config.json": build} if build else {}), **(files or {})}
    return Example("\n".join([config, *lines]), made, "engine", triton="26.07")


def found(repo: Path, example: Example, rule: str, severity: Severity = Severity.ERROR) -> Finding:
    """The one finding of ``rule`` about the example."""
    write_example(example, repo)
    report = check.validate(repo, triton=example.triton)
    alike = [one for one in report.findings if one.rule == rule]
    assert len(alike) == 1, report.findings
    assert alike[0].severity is severity
    assert alike[0].fix
    return alike[0]


# -------------------------------------------------------------------------- the twenty failures


def test_01_an_engine_of_another_release(repo: Path) -> None:  # b531, b190, T1838
    one = found(repo, engine(build=engine_config(version="0.9.0")), "TRT733")
    assert "built by TensorRT-LLM 0.9.0 and the server has 1.2.1" in one.message


def test_02_ranks_that_are_not_the_mapping(repo: Path) -> None:  # T2021, T1047, b33
    document = json.loads(engine_config())
    document["pretrained_config"]["mapping"] = {"world_size": 2, "tp_size": 2, "pp_size": 1}
    one = found(repo, engine(build=json.dumps(document), gpu_device_ids="0"), "TRT732")
    assert "tp2, which is 2 rank*.engine, and 1 are there" in one.message
    named = [f for f in check.validate(repo).findings if f.rule == "TRT736"]
    assert any("gpu_device_ids 0 names 1 GPUs" in one.message for one in named)


def test_03_a_placeholder_that_was_never_filled(repo: Path, made: Path) -> None:  # s8592
    unfilled = "max_batch_size: ${triton_max_batch_size}"
    found(repo, engine(config=unfilled), "TRT101")
    one = found(fresh(repo), engine(tokenizer_dir="${tokenizer_dir}"), "TRT104", Severity.INFO)
    assert "tokenizer_dir" in one.message
    one = found(fresh(repo), engine(gpt_model_type="${batching_strategy}"), "TRT743")
    assert "${batching_strategy}" in one.message
    assert not any("${" in text for text in texts(made))


def test_04_streaming_over_a_model_that_is_not_decoupled(repo: Path, made: Path) -> None:  # b626
    closed = engine(config="model_transaction_policy { decoupled: false }")
    found(repo, closed, "TRT739", Severity.INFO)
    assert config_of(made, "first_tensorrt_llm").model_transaction_policy.decoupled


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a b  c. Don't you think so?", id="05-spaces"),  # b332, b112, b34
        pytest.param("emoji 🙂🎉 日本語", id="06-no-replacement-characters"),  # b606, b196, b192
    ],
)
def test_05_06_a_stream_is_the_text(family: str, text: str) -> None:
    tokenizer = FAMILIES[family]()
    stream = ensemble.module("llm_detokenizer").detokenizers(tokenizer, True)()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    pieces = [stream.step(token) for token in ids] + [stream.flush()]
    assert "".join(pieces) == tokenizer.decode(ids)
    assert not any("\ufffd" in piece for piece in pieces)


def test_07_the_prompt_is_not_echoed(made: Path) -> None:  # s7665, b89
    assert parameters_of(made, "first_tensorrt_llm")["exclude_input_in_output"] == "true"


def test_08_a_text_that_never_stops(repo: Path) -> None:  # T250, T5670, b82
    other = {"m/1/weights/generation_config.json": '{ "eos_token_id": 3 }'}
    several = Example(files=other, base="checkpoint")
    write_example(several, repo)
    rules = {one.rule for one in check.validate(repo).findings}
    assert "TRT765" in rules


def test_09_a_tokenizer_out_of_reach(repo: Path, made: Path) -> None:  # b197, b62
    one = found(repo, engine(tokenizer_dir="/home/me/llama"), "TRT761", Severity.WARNING)
    assert "a path outside the repository" in one.message
    for part in ("preprocessing", "postprocessing"):
        folder = parameters_of(made, f"first_{part}")["tokenizer_dir"]
        assert (made / f"first_{part}" / "1" / folder / "tokenizer.json").is_file()


@pytest.mark.parametrize("key", ["enable_kv_cache_reuse", "enable_chunked_context"])
def test_10_reuse_without_paged_context_attention(repo: Path, key: str) -> None:  # b271, b323
    one = found(repo, engine(**{key: "true"}), "TRT736")
    assert (one.line, one.file) != (0, "")
    assert "paged context FMHA" in one.message


def test_11_two_engines_that_want_one_gpu(repo: Path) -> None:  # T486, b456
    write_example(engine(kv_cache_free_gpu_mem_fraction="0.9"), repo)
    shutil.copytree(repo / "m", repo / "n")
    path = repo / "n" / "config.pbtxt"
    path.write_text(path.read_text().replace('"m"', '"n"').replace("/models/m/", "/models/n/"))
    report = check.validate(repo)
    (one,) = [found for found in report.findings if found.rule == "TRT825"]
    assert "m 0.9, n 0.9" in one.message


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ("", "m 0.9, n 0.9"),
        ("kv_cache_config: {free_gpu_memory_fraction: 0.5}", "m 0.9, n 0.5"),
        ("kv_cache_config: {free_gpu_memory_fraction: 0.1}", ""),
    ],
)
def test_11_an_engine_beside_the_llm_api(repo: Path, given: str, shares: str) -> None:
    write_example(engine(kv_cache_free_gpu_mem_fraction="0.9"), repo)
    folder = repo / "n" / "1"
    folder.mkdir(parents=True)
    (repo / "n" / "config.pbtxt").write_text('name: "n" backend: "python" max_batch_size: 0\n')
    (folder / "model.py").write_text("class TritonPythonModel:\n    pass\n")
    (folder / "model.yaml").write_text(f"model: org/name\n{given}\n")
    report = check.validate(repo)
    said = [found.message for found in report.findings if found.rule == "TRT825"]
    assert [text.rpartition(": ")[2] for text in said] == [shares] * bool(shares)


def test_12_a_cache_below_one_sequence(repo: Path) -> None:  # b168
    one = found(repo, engine(max_tokens_in_paged_kv_cache="512"), "TRT736")
    assert "does not hold one sequence" in one.message


def test_13_prompts_that_the_engine_refuses(repo: Path, made: Path) -> None:  # b141, b565
    short = engine_config(max_num_tokens=256, max_input_len=1024)
    one = found(repo, engine(build=short), "TRT737", Severity.WARNING)
    assert "prompts longer than max_num_tokens 256 are refused" in one.message
    limits = parameters_of(made, "first_preprocessing")
    assert int(limits["max_input_len"]) > 0, "preprocessing says it before the engine does"


@pytest.mark.parametrize("content", [None, "", "{"])
def test_14_an_engine_without_its_config(repo: Path, content: str | None) -> None:  # b61, b207
    one = found(repo, engine(files={"m/1/config.json": content}), "TRT731")
    assert one.file == "m/1/config.json"


def test_15_an_engine_config_of_another_schema(repo: Path) -> None:  # T10450, b467
    old = json.dumps({"builder_config": {"name": "llama", "precision": "float16"}})
    one = found(repo, engine(build=old), "TRT731")
    assert "it has no pretrained_config and no build_config" in one.message


def test_16_an_engine_of_another_gpu(repo: Path) -> None:
    # that a build on another GPU makes another engine is in test_engine_conversion.py
    made = {"m/1/manifest.json": json.dumps({"sm": 89, "gpu": "NVIDIA L4"})}
    write_example(engine(files=made), repo)
    (one,) = [found for found in check.validate(repo, sm=90).findings if found.rule == "TRT734"]
    assert "compiled on NVIDIA L4 (SM 89), and the server's GPU is SM 90" in one.message
    assert check.validate(repo, sm=89).ok


def test_17_batches_beyond_the_engine(repo: Path) -> None:  # b130, b45, b319
    one = found(repo, engine(config="max_batch_size: 64"), "TRT736")
    assert "max_batch_size 64 is more than the engine was built for (8)" in one.message


def test_17_an_ensemble_beyond_its_members(repo: Path) -> None:
    write_example(Example("max_batch_size: 64", base="ensemble"), repo)
    said = [one.server_message for one in check.validate(repo).findings]
    assert any("allows maximum batch size 64" in message for message in said)


def test_18_too_little_shared_memory(repo: Path, made: Path) -> None:  # b562, s6195
    many = Example("instance_group [ { count: 40 kind: KIND_CPU } ]")
    one = found(repo, many, "TRT826", Severity.WARNING)
    assert "40 Python instances need 2,560 MB" in one.message
    command = server.dry_run(server.read_contents(made), "docker", LaunchOptions(image="x"))
    assert "--shm-size=2g" in command


def test_19_a_context_of_a_million_tokens(repo: Path) -> None:  # b577
    huge = engine_config(max_seq_len=1_048_576)
    found(repo, engine(build=huge), "TRT737", Severity.WARNING)


def test_20_parameters_that_nobody_reads(repo: Path, tmp_path: Path) -> None:  # b364
    one = found(repo, engine(enable_trt_overlap="true"), "TRT735", Severity.INFO)
    assert "enable_trt_overlap has no effect" in one.message
    one = found(fresh(repo), engine(max_beam_widht="2"), "TRT735", Severity.WARNING)
    assert "did you mean 'max_beam_width'?" in one.message
    source = make_llama(tmp_path / "llama")
    with pytest.raises(RecipeError):
        convert(llm(source, "x", engine={"max_beam_widht": 2}), repository=tmp_path / "other")
    assert not (tmp_path / "other").exists()


# --------------------------------------------------------------------------- and what comes along


def test_two_llms_share_a_repository(made: Path) -> None:  # b714, s7823
    names = {path.name for path in made.iterdir() if path.is_dir()}
    parts = ("", "_preprocessing", "_tensorrt_llm", "_postprocessing")
    assert names == {f"{name}{part}" for name in ("first", "second") for part in parts}
    steps = config_of(made, "second").ensemble_scheduling.step
    assert all(step.model_name.startswith("second_") for step in steps)


def test_no_path_of_the_machine_is_written(made: Path, repo: Path) -> None:  # b727
    assert not any(str(made.parent) in text for text in texts(made))
    config = 'parameters { key: "asset_dir" value { string_value: "/home/me/x" } }'
    found(repo, Example(config), "TRT853", Severity.WARNING)


def test_the_only_errors_of_what_was_made_are_the_engines_that_are_left(made: Path) -> None:
    errors = [one for one in check.validate(made).findings if one.severity is Severity.ERROR]
    assert {one.rule for one in errors} == {"TRT732", "TRT373"}


# -------------------------------------------------------------------------- triton_cli's defects


def test_a_folder_can_be_a_source(made: Path) -> None:
    assert (made / "first" / "config.pbtxt").is_file()


def test_a_missing_config_is_never_a_default(tmp_path: Path) -> None:
    source = make_llama(tmp_path / "llama")
    (source / "config.json").unlink()
    with pytest.raises(TrtbuildError) as caught:
        convert(llm(source, "x"), repository=tmp_path / "repo")
    assert "config.json" in f"{caught.value.what} {caught.value.where}"
    assert not (tmp_path / "repo").exists()


def test_a_failed_import_leaves_the_first_as_it_was(made: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(made, repo)
    before = listing(repo)
    source = make_llama(tmp_path / "llama")
    with pytest.raises(RecipeError):
        convert(llm(source, "third", engine={"max_batch_size": -1}), repository=repo)
    assert listing(repo) == before


def test_the_world_size_is_the_mapping_of_any_release() -> None:
    document = json.loads(engine_config())
    document["pretrained_config"]["mapping"] = {"tp_size": 2, "pp_size": 3}  # newer engines
    assert engineconfig.of_document(document).world == 6


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["convert", "/no/such/folder"], ExitCode.USAGE),
        (["validate", "/no/such/folder"], ExitCode.USAGE),
        (["serve", "/no/such/folder"], ExitCode.USAGE),
    ],
)
def test_an_error_has_an_exit_code(arguments: list[str], code: ExitCode) -> None:
    from typer.testing import CliRunner

    from trtbuild.cli.app import app

    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, UsageError)
    assert error.exit_code == code


def test_a_container_gets_the_token_and_the_ports(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    write_example(Example(base="vllm"), repo)
    options = LaunchOptions(image="x", ports=server.Ports(9000, 9001, 9002))
    command = server.dry_run(server.read_contents(repo), "docker", options)
    assert "-e HF_TOKEN" in command
    assert "hf_secret" not in command
    assert all(f"127.0.0.1:{port}:800{port % 10}" in command for port in (9000, 9001, 9002))


def test_every_release_that_compiles_is_known() -> None:
    assert next(row.trtllm for row in toolchain.releases() if row.engine_flow) == "1.2.1"


def fresh(repo: Path) -> Path:
    shutil.rmtree(repo)
    repo.mkdir()
    return repo


def texts(repo: Path) -> list[str]:
    kinds = re.compile(r".*\.(pbtxt|json|yaml|lock|py)")
    files = [path for path in repo.rglob("*") if path.is_file() and kinds.fullmatch(path.name)]
    return [path.read_text(encoding="utf-8") for path in files if "tokenizer" not in path.parts]


def listing(repo: Path) -> dict[str, bytes]:
    return {
        path.relative_to(repo).as_posix(): path.read_bytes()
        for path in sorted(repo.rglob("*"))
        if path.is_file()
    }
