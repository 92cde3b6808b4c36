"""``convert --backend trtllm-engine``: engines that are there, built, or left for later."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from support import trtllm_sources as tiny
from support.checkpoints import make_llama
from support.command_line import trtbuild
from support.engine_conversions import PARTS, config_of, make_engine, refused, run
from trtbuild import check, lockfile
from trtbuild.errors import RecipeError, RepositoryError, UnsupportedError, UsageError
from trtbuild.repository import list_models, remove

# An engine that is left for later


def test_everything_but_the_engine_is_written(llama: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    result = run(llama, repo, build=False)
    assert (result.builder, result.artifacts) == ("trtllm-engine", {"engine": "later"})
    assert tuple(entry.name for entry in result.entries) == tuple(f"llm{part}" for part in PARTS)
    document = json.loads((repo / "llm_tensorrt_llm/1/config.json").read_text())
    assert document["predicted"] is True
    assert document["version"] == "1.2.1"
    assert document["pretrained_config"]["vocab_size"] == 512
    assert document["build_config"]["max_batch_size"] == 64
    for part in ("_preprocessing", "_postprocessing"):
        folder = repo / f"llm{part}/1/tokenizer"
        assert (folder / "tokenizer.json").read_bytes() == (llama / "tokenizer.json").read_bytes()
        assert not list(folder.glob("*.safetensors"))


def test_no_engine_that_computes_something_else_is_planned_or_built(tmp_path: Path) -> None:
    """The image's own converter would make it without a word, so it is not asked either."""
    config, shapes = tiny.gpt_neox(use_parallel_residual=False)
    tiny.write_source(tmp_path / "neox", (config, shapes))
    for build in (True, False):
        error = refused(UnsupportedError, tmp_path / "neox", tmp_path / "repo", build=build)
        assert "would not answer as the checkpoint does" in error.what
        assert "use_parallel_residual is False" in error.details[0]


def test_an_engine_that_is_there_is_given_no_advice_about_its_type(
    llama: Path, tmp_path: Path
) -> None:
    engine = str(make_engine(tmp_path / "engine"))
    given = run(llama, tmp_path / "given", engine_dir=engine)
    later = run(llama, tmp_path / "later", build=False)
    assert ["16 bits" in "".join(one.warnings) for one in (given, later)] == [False, True]


@pytest.mark.parametrize("batch", [0, -4, "x", None])
def test_an_engine_without_a_batch_size_is_told_as_such(
    llama: Path, tmp_path: Path, batch: Any
) -> None:
    """Not as a repository that we made wrongly."""
    engine = make_engine(tmp_path / "engine", max_batch_size=batch)
    error = refused(RepositoryError, llama, tmp_path / "repo", engine_dir=str(engine))
    assert "says no usable max_batch_size" in error.what


def test_the_validator_says_that_the_engine_is_missing_and_how_to_build_it(
    llama: Path, tmp_path: Path
) -> None:
    run(llama, tmp_path / "repo", build=False)
    errors = [f for f in check.validate(tmp_path / "repo").findings if f.severity == "error"]
    (missing,) = [f for f in errors if f.model == "llm_tensorrt_llm"]
    assert missing.rule == "TRT732"
    assert "trtbuild convert" in missing.fix


def test_the_group_is_one_model_to_list_and_remove(llama: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    run(llama, repo, build=False)
    (summary,) = list_models(repo)
    assert summary.directories == tuple(f"llm{part}" for part in PARTS)
    with pytest.raises(UsageError, match="part of the model 'llm'"):
        remove(repo, "llm_preprocessing")
    remove(repo, "llm")
    assert list_models(repo) == ()
    assert [path.name for path in repo.iterdir()] == ["trtbuild.lock"]


def test_two_llms_share_a_repository(llama: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    run(llama, repo, build=False)
    run(llama, repo, build=False, name="other")
    assert [model.name for model in list_models(repo)] == ["llm", "other"]
    assert len([path for path in repo.iterdir() if path.is_dir()]) == 8


GUIDED = {"guided_decoding_backend": "xgrammar"}


def test_guided_decoding_brings_the_vocabulary_with_it(llama: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    run(llama, repo, build=False, engine=GUIDED)
    path = config_of(repo, "_tensorrt_llm").parameters["xgrammar_tokenizer_info_path"].string_value
    document = json.loads((repo / path.removeprefix("/models/")).read_text())
    tokenizer = Tokenizer.from_file(str(llama / "tokenizer.json"))
    vocabulary = document["encoded_vocab"]
    assert vocabulary == [tokenizer.id_to_token(n) for n in range(tokenizer.get_vocab_size())]
    assert Tokenizer.from_str(document["tokenizer_str"]).encode("Hi").ids
    assert document["stop_token_ids"] == [2]


def test_again_is_nothing_to_do_and_a_dropped_part_goes(llama: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    run(llama, repo, build=False)
    assert run(llama, repo, build=False).status == "unchanged"
    lock = lockfile.read(repo).models["llm"]
    assert lock.settings["build"] is False
    assert lock.versions["tensorrt-llm"] == "1.2.1"
    assert "engine_dir" not in lock.settings


# An engine that is given


def test_values_come_from_the_engines_config(llama: Path, tmp_path: Path) -> None:
    repo, engine = tmp_path / "repo", make_engine(tmp_path / "engine")
    result = run(llama, repo, engine_dir=str(engine))
    assert result.artifacts == {"engine": "given"}
    assert (repo / "llm_tensorrt_llm/1/rank0.engine").read_bytes() == b"engine 0"
    config = config_of(repo)
    assert config.max_batch_size == 16
    assert config.parameters["max_beam_width"].string_value == "2"
    assert config_of(repo, "_preprocessing").parameters["max_input_len"].string_value == "100"
    assert not [f for f in check.validate(repo).findings if f.severity == "error"]


def test_without_paged_context_attention_reuse_and_chunks_are_off(
    llama: Path, tmp_path: Path
) -> None:
    engine = make_engine(tmp_path / "engine", plugin_config={"use_paged_context_fmha": False})
    run(llama, tmp_path / "repo", engine_dir=str(engine))
    parameters = config_of(tmp_path / "repo").parameters
    assert parameters["enable_kv_cache_reuse"].string_value == "false"
    assert parameters["enable_chunked_context"].string_value == "false"


@pytest.mark.parametrize(
    ("changes", "settings", "said"),
    [
        ({"version": "0.17.0"}, {}, "built by TensorRT-LLM 0.17.0 and the server has 1.2.1"),
        ({"version": "1.1.0"}, {}, "serve it with --triton 26.02"),
        ({}, {"triton_max_batch_size": 17}, "max_batch_size 17 is more than the engine was built"),
        ({}, {"max_beam_width": 3}, "max_beam_width 3 is more than the engine was built for (2)"),
        ({"vocab_size": 300}, {}, "vocabulary of 300 and the checkpoint of 512"),
        (
            {"plugin_config": {}},
            {"enable_kv_cache_reuse": True},
            "enable_kv_cache_reuse needs an engine with paged context FMHA",
        ),
        ({}, {"max_seq_len": 64}, "max_seq_len is built into the engine"),
        ({}, {"decoding_mode": "medusa"}, "needs an engine built for medusa"),
        ({}, {"gpu_weights_percent": 0.5}, "needs an engine with weight streaming"),
        ({}, {"gpu_device_ids": "0,1"}, "names 2 GPUs and the engine has 1 ranks"),
        ({}, {"max_tokens_in_paged_kv_cache": 127}, "does not hold one sequence"),
        ({"kv_cache_type": "CONTINUOUS"}, {}, "in-flight batching needs an engine with paged_kv"),
        ({}, {"eagle_choices": [[0], [0, 1]]}, "eagle_choices means nothing to an engine"),
        ({}, {"lora_prefetch_dir": "/loras"}, "built without LoRA"),
    ],
)
def test_what_an_engine_was_not_built_for_is_refused(
    llama: Path, tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    engine = make_engine(tmp_path / "engine", **changes)
    error = refused(RecipeError, llama, tmp_path / "repo", engine_dir=str(engine), engine=settings)
    assert said in " ".join((error.what, *error.details))
    assert error.exit_code == 3


def test_a_padded_vocabulary_is_the_checkpoints_own(llama: Path, tmp_path: Path) -> None:
    mapping = {"world_size": 3, "tp_size": 3, "pp_size": 1}
    engine = make_engine(tmp_path / "engine", ranks=3, mapping=mapping, vocab_size=513)
    run(llama, tmp_path / "repo", engine_dir=str(engine))
    assert len(list((tmp_path / "repo/llm_tensorrt_llm/1").glob("*.engine"))) == 3


def test_broken_engine_folders(llama: Path, tmp_path: Path) -> None:
    cases = {
        "gone": (shutil.rmtree, "there is no such file"),
        "empty": (lambda folder: (folder / "config.json").write_text(""), "it is empty"),
        "garbled": (lambda folder: (folder / "config.json").write_text("{"), "it is not JSON"),
        "other": (
            lambda folder: (folder / "config.json").write_text("{}"),
            "is not an engine's config",
        ),
        "less": (lambda folder: (folder / "rank0.engine").unlink(), "rank0.engine missing"),
        "more": (lambda folder: (folder / "rank1.engine").write_bytes(b""), "rank1.engine too ma"),
    }
    for name, (damage, said) in cases.items():
        folder = make_engine(tmp_path / name)
        damage(folder)
        error = refused(RepositoryError, llama, tmp_path / "repo", engine_dir=str(folder))
        assert said in error.what, name
        assert error.exit_code == 6


def test_an_engine_means_nothing_to_other_builders(llama: Path, tmp_path: Path) -> None:
    error = refused(UsageError, llama, tmp_path / "repo", backend="vllm", engine_dir="x")
    assert "the builder vllm has no --engine" in error.what
    error = refused(UsageError, llama, tmp_path / "repo", backend="vllm", build=False)
    assert "the builder vllm has no --no-build" in error.what


# What no engine can be built of


def test_releases_without_engines_are_refused(llama: Path, tmp_path: Path) -> None:
    error = refused(UnsupportedError, llama, tmp_path / "repo", triton="26.08")
    assert error.exit_code == 4
    assert "1.2.1 was the last that compiles engines" in error.details[0]
    assert "--backend trtllm" in error.details[0]


def test_a_release_that_has_not_the_network_is_refused(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope["original_max_position_embeddings"] = 8192
    source = make_llama(tmp_path / "new", rope_scaling=rope)
    error = refused(UnsupportedError, source, tmp_path / "repo", triton="24.07", build=False)
    assert error.details[0].startswith(
        "TensorRT-LLM 0.11.0 cannot compute llama with llama3 rope: use a Triton release with"
    )


# From a recipe, and on the command line


def test_an_engine_of_a_recipe_is_meant_from_where_the_recipe_lies(
    llama: Path, tmp_path: Path
) -> None:
    make_engine(tmp_path / "engine")
    (tmp_path / "trtbuild.yaml").write_text(
        "models:\n  - source: ./llama\n    name: llm\n    backend: trtllm-engine\n"
        "    engine_dir: ./engine\n",
        encoding="utf-8",
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = trtbuild("convert", "-f", tmp_path / "trtbuild.yaml", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model_repository/llm_tensorrt_llm/1/rank0.engine").is_file()


def test_the_command_line_says_what_is_left_to_do(llama: Path, tmp_path: Path) -> None:
    command = ["convert", llama, "--no-build", "--backend"]
    done = trtbuild(*command, "trtllm-engine")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "without --no-build" in told
    assert "next trtbuild serve --rehearse" in told
    assert "trtbuild validate" not in told
    assert "trtbuild serve --rehearse model_repository" in done.stdout
    refused = trtbuild("convert", llama, "--engine", "x", "--backend", "vllm", "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stdout or refused.stderr)["error"] == "UsageError"
