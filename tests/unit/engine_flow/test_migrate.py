"""``trtbuild migrate``: every setting of an engine repository is kept, not needed, or listed."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from support.checkpoints import make_llama
from support.engine_repos import engine_config, write_engine_repo
from trtbuild import pbtxt, toolchain
from trtbuild.cli.app import app
from trtbuild.errors import ExitCode, RepositoryError, TrtbuildError, UsageError
from trtbuild_engine_flow import parameters
from trtbuild_engine_flow import resources as flow
from trtbuild_engine_flow.jobs.migrate import left_out, migrate
from trtbuild_engine_flow.migration import (
    LegacyDeployment,
    deployments,
    left_behind,
    map_deployment,
)
from trtbuild_engine_flow.migration.roles import roles
from trtbuild_engine_flow.resources import data_file

RELEASE = toolchain.trtllm_release("1.2.1")


def mapping_of(**parameters: str) -> Any:
    deployment = LegacyDeployment("tensorrt_llm", "ensemble", ("ensemble",), parameters)
    return map_deployment(deployment, RELEASE)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "llama", dtype="bfloat16")


def test_what_maps_is_kept_and_validated(tmp_path: Path, llama: Path) -> None:
    old = write_engine_repo(
        tmp_path / "old",
        engine=engine_config(tp=2),
        kv_cache_free_gpu_mem_fraction="0.6",
        enable_kv_cache_reuse="true",
        batch_scheduler_policy="max_utilization",
        max_attention_window_size="256,512",
        gpu_device_ids="0,1",
    )
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    (made,) = migrate(old, tmp_path / "new", sources=[str(llama)])
    assert made.recipe.name == "ensemble", "clients keep asking the same name"
    assert made.deployment.models[0] == "ensemble"
    written = yaml.safe_load((tmp_path / "new" / "ensemble" / "1" / "model.yaml").read_text())
    assert written["tensor_parallel_size"] == 2
    assert (written["max_batch_size"], written["max_seq_len"]) == (64, 512)
    assert written["max_input_len"] == 256
    assert written["dtype"] == "bfloat16"
    assert written["scheduler_config"] == {"capacity_scheduler_policy": "MAX_UTILIZATION"}
    cache = written["kv_cache_config"]
    assert cache["free_gpu_memory_fraction"] == 0.6
    assert cache["enable_block_reuse"] is True
    assert cache["max_attention_window"] == [256, 512]
    config = pbtxt.parse((tmp_path / "new" / "ensemble" / "config.pbtxt").read_text())
    assert config.model_transaction_policy.decoupled
    assert config.parameters["gpu_device_ids"].string_value == "0,1"
    assert before == {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}


def test_on_the_command_line(tmp_path: Path, llama: Path) -> None:
    old = write_engine_repo(
        tmp_path / "old", engine=engine_config(quant_algo="FP8"), medusa_choices="mc_sim_7b_63"
    )
    arguments = ["migrate", str(old), "--repo", str(tmp_path / "new"), "--source", str(llama)]
    result = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "LOST        medusa_choices" in result.stdout
    assert "LOST        engine quantization = FP8" in result.stdout
    assert "clients     max_tokens is now sampling_param_max_tokens" in result.stdout
    assert "not needed  gpt_model_path: no engine is compiled" in result.stdout
    assert not (tmp_path / "new").exists()
    result = CliRunner().invoke(app, [*arguments, "--name", "first"])
    assert f"trtbuild serve --rehearse {tmp_path / 'new'}" in result.stdout
    result = CliRunner().invoke(app, [*arguments, "--json", "--name", "chat"])
    document = json.loads(result.stdout)["models"][0]
    assert document["name"] == "chat"
    assert document["status"] == "written"
    assert {loss["key"] for loss in document["lost"]} == {"medusa_choices", "engine quantization"}
    assert (tmp_path / "new" / "chat" / "config.pbtxt").is_file()


def test_two_llms_in_one_repository(tmp_path: Path, llama: Path) -> None:
    old = write_engine_repo(tmp_path / "old", "a_", engine=engine_config())
    write_engine_repo(old, "b_", engine=engine_config(dtype="float16"), bls=False)
    found = deployments(old)
    assert [one.entry for one in found] == ["a_ensemble", "b_ensemble"]
    assert "a_tensorrt_llm_bls" in found[0].models
    assert not [model for model in found[1].models if model.startswith("a_")]
    with pytest.raises(UsageError, match="does not say for which") as caught:
        migrate(old, tmp_path / "new", sources=[str(llama)])
    assert "NAME=CHECKPOINT" in caught.value.fix
    with pytest.raises(UsageError, match="--name is for one LLM"):
        migrate(old, tmp_path / "new", sources=[str(llama)], name="x")
    both = [f"a_ensemble={llama}", f"b_ensemble={llama}"]
    made = migrate(old, tmp_path / "new", sources=both)
    assert [one.recipe.engine["dtype"] for one in made] == ["bfloat16", "float16"]


def test_nothing_is_written_when_one_of_several_cannot_be(tmp_path: Path, llama: Path) -> None:
    old = write_engine_repo(tmp_path / "old", prefix="a_", engine=engine_config(), bls=False)
    write_engine_repo(old, prefix="b_", engine=engine_config(), bls=False)
    sources = [f"a_ensemble={llama}", f"b_ensemble={tmp_path / 'gone'}"]
    with pytest.raises(TrtbuildError):
        migrate(old, tmp_path / "new", sources=sources)
    assert not (tmp_path / "new" / "a_ensemble").exists()


def test_a_draft_model_is_no_llm_of_its_own(tmp_path: Path, llama: Path) -> None:
    """The pair of speculative decoding: BLS asks the draft's engine and the target's."""
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    write_engine_repo(tmp_path / "draft", engine=engine_config(), bls=False)
    (tmp_path / "draft/tensorrt_llm").rename(old / "tensorrt_llm_draft")
    change(old, "tensorrt_llm_draft", name="tensorrt_llm_draft")
    change(old, "tensorrt_llm_bls", tensorrt_llm_draft_model_name="tensorrt_llm_draft")
    (made,) = migrate(old, tmp_path / "new", sources=[str(llama)])
    assert "tensorrt_llm_draft" in made.deployment.models
    assert [one for one in made.account.lost if one.key == "tensorrt_llm_draft_model_name"]
    assert left_out(old, [made]) == {}


def test_models_that_belong_to_none_are_named(tmp_path: Path, llama: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    whisper = 'name: "whisper_bls"\nbackend: "python"\nmax_batch_size: 8\n'
    (old / "whisper_bls").mkdir()
    (old / "whisper_bls/config.pbtxt").write_text(whisper)
    arguments = ["migrate", str(old), "--repo", str(tmp_path / "new"), "--source", str(llama)]
    done = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert "not migrated: whisper_bls (python)" in done.output
    found = json.loads(CliRunner().invoke(app, [*arguments, "--dry-run", "--json"]).stdout)
    assert found["left"] == {"whisper_bls": "python"}


def test_an_engine_whose_backend_was_never_filled_in(tmp_path: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    path = old / "tensorrt_llm/config.pbtxt"
    path.write_text(path.read_text().replace('"tensorrtllm"', '"${triton_backend}"'))
    (found,) = deployments(old)
    assert (found.engine_model, found.entry) == ("tensorrt_llm", "ensemble")


def test_a_bls_model_of_before_0_9_names_no_engine(tmp_path: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    path = old / "tensorrt_llm_bls/config.pbtxt"
    config = pbtxt.parse(path.read_text())
    del config.parameters["tensorrt_llm_model_name"]
    path.write_text(pbtxt.render(config))
    assert "tensorrt_llm_bls" in deployments(old)[0].models


def change(repo: Path, model: str, name: str = "", **parameters: str) -> None:
    path = repo / model / "config.pbtxt"
    config = pbtxt.parse(path.read_text())
    config.name = name or config.name
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    path.write_text(pbtxt.render(config))


def test_the_tokenizers_folder_is_the_checkpoint_when_it_has_weights(
    tmp_path: Path, llama: Path
) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config(), tokenizer=llama)
    (made,) = migrate(old, tmp_path / "new", dry_run=True)
    assert made.recipe.source == str(llama)


def test_settings_win_over_what_is_mapped(tmp_path: Path, llama: Path) -> None:
    old = write_engine_repo(
        tmp_path / "old", engine=engine_config(), kv_cache_free_gpu_mem_fraction="0.6"
    )
    settings = ["max_seq_len=128", "max_input_len=64", "kv_cache_config.tokens_per_block=64"]
    (made,) = migrate(old, tmp_path / "new", sources=[str(llama)], settings=settings)
    assert made.recipe.engine["max_seq_len"] == 128
    assert made.recipe.engine["kv_cache_config"] == {
        "free_gpu_memory_fraction": 0.6, "tokens_per_block": 64,
    }  # fmt: skip


def test_without_its_engine_the_lengths_are_unknown(tmp_path: Path, llama: Path) -> None:
    old = write_engine_repo(tmp_path / "old")
    (made,) = migrate(old, tmp_path / "new", sources=[str(llama)], dry_run=True)
    assert made.recipe.engine["max_batch_size"] == 64, "the model's own"
    (loss,) = [loss for loss in made.account.lost if loss.key == "engine"]
    assert "config.json" in loss.why


# --- what is refused ------------------------------------------------------------------------


def refused(tmp_path: Path, old: Path, kind: type[TrtbuildError], **options: Any) -> TrtbuildError:
    with pytest.raises(kind) as caught:
        migrate(old, options.pop("out", tmp_path / "new"), **options)
    assert caught.value.fix
    assert not (tmp_path / "new").exists()
    return caught.value


def test_no_checkpoint_is_known(tmp_path: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    error = refused(tmp_path, old, UsageError)
    assert "which checkpoint does ensemble serve" in error.what
    assert error.exit_code == ExitCode.USAGE
    named = write_engine_repo(tmp_path / "named", engine=engine_config(), tokenizer_dir="org/llama")
    assert "its tokenizer is org/llama" in refused(tmp_path, named, UsageError).fix


def test_the_same_folder(tmp_path: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    assert "the old one" in refused(tmp_path, old, UsageError, out=old).what


def test_no_repository_and_no_engine_model(tmp_path: Path) -> None:
    assert "there is no directory" in refused(tmp_path, tmp_path / "none", UsageError).what
    (tmp_path / "plain" / "m").mkdir(parents=True)
    (tmp_path / "plain" / "m" / "config.pbtxt").write_text('backend: "onnxruntime"')
    error = refused(tmp_path, tmp_path / "plain", UsageError)
    assert error.details == ("m: onnxruntime",)


@pytest.mark.parametrize(
    ("triton", "said"),
    [("26.08", "Triton 26.08 has no TensorRT-LLM image"), ("25.04", "Triton 25.04 has TensorRT-")],
)
def test_a_release_without_the_llm_api(tmp_path: Path, triton: str, said: str) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    error = refused(tmp_path, old, UsageError, triton=triton)
    assert error.what.startswith(said)
    assert "--triton 26.07" in error.fix


def test_templates_that_were_never_filled_in(tmp_path: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    path = old / "preprocessing" / "config.pbtxt"
    path.write_text(path.read_text().replace("max_batch_size: 64", "max_batch_size: ${size}"))
    error = refused(tmp_path, old, RepositoryError)
    assert "${size}" in error.what
    assert error.where.startswith(f"{path}:")
    assert error.exit_code == ExitCode.REPOSITORY


def test_a_placeholder_meant_the_default_and_loses_nothing(tmp_path: Path, llama: Path) -> None:
    left = {key: f"${{{key}}}" for key in ("max_beam_width", "medusa_choices", "num_nodes")}
    old = write_engine_repo(tmp_path / "old", engine=engine_config(), **left)
    (made,) = migrate(old, tmp_path / "new", sources=[str(llama)], dry_run=True)
    assert left.keys() <= {change.key for change in made.account.moot}
    assert not left.keys() & {loss.key for loss in made.account.lost}
    arguments = ["migrate", str(old), "--repo", str(tmp_path / "new"), "--source", str(llama)]
    shown = CliRunner().invoke(app, [*arguments, "--dry-run"]).stdout
    assert "never filled in, so the default applied: max_beam_width, medusa_choices" in shown


def test_a_path_that_was_never_filled_in(tmp_path: Path, llama: Path) -> None:
    old = write_engine_repo(tmp_path / "old", gpt_model_path="${engine_dir}")
    arguments = ["migrate", str(old), "--repo", str(tmp_path / "new"), "--source", str(llama)]
    shown = CliRunner().invoke(app, [*arguments, "--dry-run"]).stdout
    assert (
        "LOST        engine: its config.json is not at hand (gpt_model_path is still ${engine_dir})"
        in shown
    )


# --- who asks what is migrated --------------------------------------------------------------

CALLER = """\
import triton_python_backend_utils as pb_utils

NAME = "tensorrt_llm"


class TritonPythonModel:
    def execute(self, requests):
        given = {"input_ids": 1, "request_output_len": 2}
        inputs = [pb_utils.Tensor(name, value) for name, value in given.items()]
        ask = pb_utils.InferenceRequest(
            model_name=NAME, requested_output_names=["output_ids"], inputs=inputs
        )
        return [pb_utils.get_output_tensor_by_name(ask.exec(), "output_ids")]
"""


def add(repo: Path, name: str, files: dict[str, str]) -> None:
    for path, text in files.items():
        target = repo / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


@pytest.fixture
def engine_repo(tmp_path: Path) -> Path:
    repo = write_engine_repo(tmp_path / "old", engine=engine_config())
    path = repo / "tensorrt_llm/config.pbtxt"
    config = pbtxt.parse(path.read_text())
    config.output.add(name="output_ids", data_type=pbtxt.data_type("TYPE_INT32"), dims=[-1, -1])
    path.write_text(pbtxt.render(config))
    return repo


PYTHON = 'backend: "python"\nmax_batch_size: 0\n'
PARAMETER = 'parameters { key: "llm" value { string_value: "ensemble" } }\n'


@pytest.mark.parametrize(
    ("files", "place", "calls", "sends", "reads"),
    [
        (
            {"1/model.py": CALLER, "config.pbtxt": PYTHON},
            "tts/1/model.py:3", "tensorrt_llm", ("input_ids", "request_output_len"),
            ("output_ids",),
        ),  # the server infers the backend of a model without a configuration
        (
            {"1/model.py": CALLER}, "tts/1/model.py:3", "tensorrt_llm",
            ("input_ids", "request_output_len"), ("output_ids",),
        ),
        (
            {"1/lib/ask.py": CALLER, "1/model.py": "import ask\n", "config.pbtxt": PYTHON},
            "tts/1/lib/ask.py:3", "tensorrt_llm", ("input_ids", "request_output_len"),
            ("output_ids",),
        ),
        (
            {"1/model.py": CALLER + "print 'of another Python'\n", "config.pbtxt": PYTHON},
            "tts/1/model.py:3", "tensorrt_llm", ("input_ids", "request_output_len"),
            ("output_ids",),
        ),
        (
            {"1/model.py": CALLER.replace('"tensorrt_llm"', "self.llm"),
             "config.pbtxt": PYTHON + PARAMETER},
            "tts/config.pbtxt:3", "ensemble", (), (),
        ),
        (
            {"1/model.py": "import tritonclient.grpc as g\ng.infer('ensemble', 'max_tokens')\n",
             "config.pbtxt": PYTHON},
            "tts/1/model.py:2", "ensemble", ("max_tokens",), (),
        ),
        (
            {"1/model.py": "import requests\nrequests.post(f'{at}/v2/models/ensemble/generate')\n",
             "config.pbtxt": PYTHON},
            "tts/1/model.py:2", "ensemble", (), (),
        ),
        (
            {"1/model.py": "import names\n" + CALLER.replace('"tensorrt_llm"', "names.LLM"),
             "names.py": "TTS = 'vits'\nLLM = 'tensorrt_llm'\n", "config.pbtxt": PYTHON},
            "tts/names.py:2", "tensorrt_llm", ("input_ids", "request_output_len"),
            ("output_ids",),
        ),
        (
            {"config.pbtxt": 'platform: "ensemble"\nensemble_scheduling { step {\n'
             'model_name: "preprocessing" model_version: -1 } }\n'},
            "tts/config.pbtxt:3", "preprocessing", (), (),
        ),
    ],
)  # fmt: skip
def test_a_model_that_calls_a_migrated_one_is_reported_first(
    engine_repo: Path,
    llama: Path,
    files: dict[str, str],
    place: str,
    calls: str,
    sends: tuple[str, ...],
    reads: tuple[str, ...],
) -> None:
    add(engine_repo, "tts", files)
    new = engine_repo.parent / "new"
    arguments = ["migrate", str(engine_repo), "--repo", str(new), "--source", str(llama)]
    shown = CliRunner().invoke(app, [*arguments, "--dry-run"]).stdout
    assert shown.startswith(f"BREAKS  tts calls {calls}")
    assert f"({place})" in shown.splitlines()[0]
    document = json.loads(CliRunner().invoke(app, [*arguments, "--dry-run", "--json"]).stdout)
    (caller,) = document["models"][0]["callers"]
    assert (caller["model"], caller["calls"]) == ("tts", calls)
    assert (tuple(caller["sends"]), tuple(caller["reads"])) == (sends, reads)
    assert f"{caller['file']}:{caller['line']}" == place


def test_a_model_that_only_mentions_a_name_is_no_caller(engine_repo: Path) -> None:
    add(engine_repo, "other", {"1/model.py": "NAME = 'tensorrt_llm'\n", "config.pbtxt": PYTHON})
    outside = engine_repo.parent / "outside.py"
    outside.write_text(CALLER)
    asks = CALLER.replace('"tensorrt_llm"', '"other"')
    add(engine_repo, "chain", {"1/model.py": asks, "1/words.py": "NAME = 'tensorrt_llm'\n"})
    add(engine_repo, "linked", {"config.pbtxt": PYTHON})
    (engine_repo / "linked/1").mkdir()
    (engine_repo / "linked/1/model.py").symlink_to(outside)
    (found,) = deployments(engine_repo)
    assert found.callers == ()


@pytest.mark.parametrize(
    ("file", "runs"),
    [("model.onnx", "onnxruntime"), ("model.py", "python"), ("model.plan", "tensorrt"),
     ("model.bin", "no backend")],
)  # fmt: skip
def test_the_backend_of_what_stays_is_inferred_as_the_server_does(
    engine_repo: Path, file: str, runs: str
) -> None:
    add(engine_repo, "vocoder", {f"1/{file}": "", "config.pbtxt": "max_batch_size: 0\n"})
    (engine_repo / "docs").mkdir()
    assert left_behind(engine_repo, deployments(engine_repo)) == {"vocoder": runs}


# --- an ensemble's own names ----------------------------------------------------------------


def test_names_of_an_ensemble_are_followed_through_its_maps(tmp_path: Path, llama: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config(), bls=False)
    path = old / "ensemble/config.pbtxt"
    config = pbtxt.parse(path.read_text())
    del config.input[:], config.output[:]
    for name in ("text", "max_output_len", "creativity", "lora_task_id"):
        config.input.add(name=name, data_type=pbtxt.data_type("TYPE_STRING"), dims=[1])
    config.output.add(name="output", data_type=pbtxt.data_type("TYPE_STRING"), dims=[-1])
    maps = {
        "preprocessing": ({"QUERY": "text", "REQUEST_OUTPUT_LEN": "max_output_len"}, {}),
        "tensorrt_llm": ({"temperature": "creativity", "lora_task_id": "lora_task_id"}, {}),
        "postprocessing": ({}, {"OUTPUT": "output"}),
    }
    for step in config.ensemble_scheduling.step:
        for key, value in maps[step.model_name][0].items():
            step.input_map[key] = value
        for key, value in maps[step.model_name][1].items():
            step.output_map[key] = value
    path.write_text(pbtxt.render(config))
    (made,) = migrate(old, tmp_path / "new", sources=[str(llama)], dry_run=True)
    assert made.account.tensors == {
        "text": "text_input",
        "max_output_len": "sampling_param_max_tokens",
        "creativity": "sampling_param_temperature",
        "output": "text_output",
    }
    assert made.account.tensors_lost == ("lora_task_id",)
    assert [loss.key for loss in made.account.lost] == ["lora_task_id"]


def test_an_ensemble_in_an_ensemble_and_one_in_itself() -> None:
    def ensemble(**steps: dict[str, str]) -> Any:
        config = pbtxt.model_config(platform="ensemble")
        config.input.add(name="words")
        for name, inputs in steps.items():
            step = config.ensemble_scheduling.step.add(model_name=name)
            for key, value in inputs.items():
                step.input_map[key] = value
        return config

    inner = ensemble(pre={"QUERY": "words"})
    configs = {"outer": ensemble(inner={"words": "words"}), "inner": inner}
    assert roles("outer", configs, {"QUERY": "text_input"}) == {"words": "text_input"}
    circle = {"e": ensemble(e={"words": "words"})}
    assert roles("e", circle, {"QUERY": "text_input"}) == {}


def test_the_engines_own_value_wins_over_its_helpers(tmp_path: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config(), max_beam_width="2")
    for part, value in (("preprocessing", "3"), ("postprocessing", "4")):
        path = old / part / "config.pbtxt"
        config = pbtxt.parse(path.read_text())
        config.parameters["max_beam_width"].string_value = value
        path.write_text(pbtxt.render(config))
    (found,) = deployments(old)
    assert found.parameters["max_beam_width"] == "2"


def test_a_model_goes_by_its_folder_when_it_has_no_name(tmp_path: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    path = old / "preprocessing" / "config.pbtxt"
    config = pbtxt.parse(path.read_text())
    config.name = ""
    config.parameters["tokenizer_dir"].string_value = "tokenizer"
    path.write_text(pbtxt.render(config))
    folder = old / "preprocessing" / "1" / "tokenizer"
    folder.mkdir(parents=True)
    (found,) = deployments(old)
    assert found.tokenizer_dir == str(folder)


def test_a_configuration_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    old = write_engine_repo(tmp_path / "old", engine=engine_config())
    path = old / "preprocessing" / "config.pbtxt"
    path.unlink()
    os.mkfifo(path)
    assert "is not a file" in refused(tmp_path, old, RepositoryError).what


# --- the table ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "to", "new"),
    [
        ("enable_chunked_context", "True", "enable_chunked_prefill", True),
        ("enable_chunked_context", "0", "enable_chunked_prefill", False),
        ("sink_token_length", "4", "kv_cache_config.sink_token_length", 4),
        ("cancellation_check_period_ms", "50", "triton_config.cancellation_check_period_ms", 50),
        ("lora_cache_gpu_memory_fraction", "0.1", "peft_cache_config.device_cache_percent", 0.1),
    ],
)
def test_values_are_typed(key: str, value: str, to: str, new: Any) -> None:
    (change,) = [one for one in mapping_of(**{key: value}).mapped if one.key == key]
    assert (change.to, change.new) == (to, new)
    assert type(change.new) is type(new)


@pytest.mark.parametrize(
    ("key", "value"),
    [("enable_chunked_context", "yes"), ("kv_cache_free_gpu_mem_fraction", "0,9"),
     ("max_beam_width", "many"), ("batch_scheduler_policy", "MAX_UTILIZATION"),
     ("batch_scheduler_policy", "fifo")],
)  # fmt: skip
def test_values_that_the_backend_took_for_the_default(key: str, value: str) -> None:
    account = mapping_of(**{key: value})
    (loss,) = [one for one in account.lost if one.key == key]
    assert "in silence" in loss.why
    assert not [one for one in account.mapped if one.key == key]


def test_values_out_of_bounds_are_not_carried_on() -> None:
    account = mapping_of(kv_cache_free_gpu_mem_fraction="1.5", max_beam_width="0")
    why = {one.key: one.why for one in account.lost}
    assert "more than 1" in why["kv_cache_free_gpu_mem_fraction"]
    assert "at least 1" in why["max_beam_width"]
    assert not {"kv_cache_config", "max_beam_width"} & account.engine.keys()


def test_defaults_that_lose_nothing_are_not_listed() -> None:
    kept = {"exclude_input_in_output": "True", "gpu_weights_percent": "1.0", "num_nodes": "1"}
    assert not [one for one in mapping_of(**kept).lost if one.key in kept]
    assert [one for one in mapping_of(exclude_input_in_output="false").lost if one.key in kept]


def test_tensors_without_a_counterpart_are_listed() -> None:
    names = ("text_input", "max_tokens", "text_output", "context_logits", "messages")
    deployment = LegacyDeployment("tensorrt_llm", "ensemble", ("ensemble",), {}, tensors=names)
    account = map_deployment(deployment, RELEASE)
    assert account.tensors == {"max_tokens": "sampling_param_max_tokens"}
    assert account.tensors_lost == ("context_logits",), "messages have the same name"


def test_an_unknown_parameter_is_listed() -> None:
    assert "look up" in next(one for one in mapping_of(turbo="9").lost if one.key == "turbo").fix


def test_every_row_is_exact() -> None:
    """Targets exist in the release, and tensors in our model; no row says two things."""
    table = tomllib.loads(data_file("migrate.toml").read_text(encoding="utf-8"))
    for row in table["parameter"]:
        assert len({"to", "moot", "lost"} & row.keys()) == 1, row
        if "to" in row and not row["to"].startswith("triton_config."):
            group, _, name = row["to"].partition(".")
            assert group in RELEASE.arguments, row
            kinds = RELEASE.groups[group].variants.values() if name else ()
            assert not name or any(name in kind for kind in kinds), row
    from trtbuild.resources import template_dir

    tensors = tomllib.loads(template_dir("trtllm", "tensors.toml").read_text(encoding="utf-8"))
    names = {row["name"] for part in ("input", "output") for row in tensors[part]}
    for target in table["tensors"].values():
        assert set(target.split(" with ")) <= names, target
    assert set(table["members"].values()) <= table["tensors"].keys() | names
    ours = tomllib.loads(flow.template_dir("ensemble", "tensors.toml").read_text(encoding="utf-8"))
    client = {row["name"] for row in ours["ensemble"]["input"]}
    assert {"max_tokens", "stop_words", "random_seed"} <= client & table["tensors"].keys()


def test_every_parameter_of_the_engine_flow_is_in_the_table() -> None:
    rows = tomllib.loads(data_file("parameters.toml").read_text(encoding="utf-8"))["parameter"]
    known = {
        row["key"]
        for row in tomllib.loads(data_file("migrate.toml").read_text(encoding="utf-8"))["parameter"]
    }
    ours = {row["name"] for row in rows if not row.get("in_config")}
    ours |= {row["former"] for row in rows if "former" in row} | set(
        parameters.ignored_parameters()
    )
    assert not ours - known - {"bls"}, "bls is a switch of the recipe, no parameter"


def test_a_queue_of_triton_is_listed() -> None:
    deployment = LegacyDeployment("t", "e", ("e",), {}, queue_delay=1500, queue_size=64)
    account = map_deployment(deployment, RELEASE)
    assert "max_queue_size" in {one.key for one in account.lost}
    moot = {one.key: one.why for one in account.moot}
    assert "batch_wait_timeout_ms=1.5" in moot["max_queue_delay_microseconds"]


def test_the_old_name_of_a_parameter_is_known() -> None:
    moot = {one.key: one.why for one in mapping_of(worker_path="/x", multiBlockMode="true").moot}
    assert "the old name of executor_worker_path" in moot["worker_path"]
    assert "the old name of multi_block_mode" in moot["multiBlockMode"]
    made = mapping_of(max_kv_cache_length="4096", visual_model_path="/v", EXECUTION_ENV_PATH="/e")
    assert made.engine["kv_cache_config"] == {"max_attention_window": [4096]}
    assert {one.key for one in made.moot} == {"EXECUTION_ENV_PATH"}
    assert {one.key for one in made.lost} == {"engine", "visual_model_path"}
