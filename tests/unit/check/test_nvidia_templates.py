"""Repositories made with NVIDIA's templates are judged by what their release reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import nvidia_templates as nvidia
from trtbuild import check, toolchain
from trtbuild.check import Finding, Severity
from trtbuild.check.examples import engine_config
from trtbuild_engine_flow import parameters

TAGS = pytest.mark.parametrize("tag", nvidia.TAGS)
ENDS = pytest.mark.parametrize("tag", ["0.8.0", "0.19.0"])


def judged(repo: Path, tag: str, **changed: str) -> tuple[Finding, ...]:
    nvidia.write(repo, tag, **changed)
    release = nvidia.TAGS[tag]
    built = engine_config(version=toolchain.load(release).trtllm, max_batch_size=4)
    (repo / "tensorrt_llm/1/config.json").write_text(built)
    (repo / "tensorrt_llm/1/rank0.engine").write_bytes(b"engine")
    return check.validate(repo, triton=release).findings


def of(found: tuple[Finding, ...], rule: str) -> list[Finding]:
    return [one for one in found if one.rule == rule]


@TAGS
def test_a_filled_template_is_valid_for_its_release(tmp_path: Path, tag: str) -> None:
    found = judged(tmp_path, tag)
    assert [one for one in found if one.severity is Severity.ERROR] == []
    warned = {one.rule for one in found if one.severity is Severity.WARNING}
    assert warned <= {"TRT851"}, found
    by_model = {one.model: [other.rule for other in found if other.model == one.model]
                for one in found}  # fmt: skip
    assert all(len(rules) <= 3 for model, rules in by_model.items() if model), by_model


@ENDS
def test_optional_placeholders_are_one_info(tmp_path: Path, tag: str) -> None:
    (one,) = [one for one in of(judged(tmp_path, tag), "TRT104") if one.model == "tensorrt_llm"]
    left = [key for key, value in nvidia.parameters(tag).items() if value.startswith("${")]
    assert one.severity is Severity.INFO
    assert one.message.startswith(f"{len(left)} optional parameters still have a placeholder")


@ENDS
@pytest.mark.parametrize("value", ["${batching_strategy}", "inflight", "INFLIGHT_BATCHING", ""])
def test_a_strategy_that_is_none_is_an_error(tmp_path: Path, tag: str, value: str) -> None:
    found = judged(tmp_path, tag, gpt_model_type=value)
    (one,) = of(found, "TRT743")
    assert one.severity is Severity.ERROR
    assert "Must be v1/inflight_batching/inflight_fused_batching" in one.server_message
    assert not [other for other in of(found, "TRT104") if other.severity is not Severity.INFO]


@ENDS
@pytest.mark.parametrize("value", ["${engine_dir}", ""])
def test_an_engine_that_is_nowhere_is_an_error(tmp_path: Path, tag: str, value: str) -> None:
    (one,) = of(judged(tmp_path, tag, gpt_model_path=value), "TRT744")
    assert "Both encoder and decoder model paths are empty" in one.server_message


def drop(repo: Path, *keys: str) -> None:
    from trtbuild import pbtxt

    path = repo / "tensorrt_llm/config.pbtxt"
    config = pbtxt.parse(path.read_text())
    for key in keys:
        config.parameters.pop(key, None)
    path.write_text(pbtxt.render(config))


@ENDS
def test_no_strategy_at_all_is_an_error(tmp_path: Path, tag: str) -> None:
    nvidia.write(tmp_path, tag)
    drop(tmp_path, "gpt_model_type")
    found = check.validate(tmp_path, triton=nvidia.TAGS[tag]).findings
    (one,) = of(found, "TRT740")
    assert "Cannot find parameter with name: gpt_model_type" in one.server_message


@pytest.mark.parametrize(
    ("release", "wanted"),
    [("24.06", ""), ("25.04", ""), ("25.05", "error"), ("26.07", "error"), ("", "warning")],
)
def test_the_keys_of_guided_decoding_are_needed_since_25_05(
    tmp_path: Path, release: str, wanted: str
) -> None:
    keys = ("tokenizer_dir", "guided_decoding_backend", "xgrammar_tokenizer_info_path")
    nvidia.write(tmp_path, "0.18.2")
    drop(tmp_path, *keys)
    found = of(check.validate(tmp_path, triton=release).findings, "TRT740")
    assert [str(one.severity) for one in found] == ([wanted] if wanted else [])
    assert all(repr(key) in one.message for one in found for key in keys)


@pytest.mark.parametrize(
    ("key", "release", "reported"),
    [
        ("multi_block_mode", "24.10", "it is called 'multiBlockMode' there"),
        ("multi_block_mode", "24.11", ""),
        ("multiBlockMode", "24.08", ""),
        ("multiBlockMode", "24.06", "TensorRT-LLM 0.10.0 reads no 'multiBlockMode'"),
        ("multiBlockMode", "24.11", "it is called 'multi_block_mode' there"),
        ("enable_context_fmha_fp32_acc", "24.08", "called 'enableContextFMHAFP32Acc' there"),
        ("recv_poll_period_ms", "24.09", ""),
        ("recv_poll_period_ms", "24.08", "TensorRT-LLM 0.12.0 reads no"),
        ("speculative_decoding_fast_logits", "24.10", "TensorRT-LLM 0.14.0 reads no"),
        ("speculative_decoding_fast_logits", "24.11", ""),
        ("encoder_model_path", "24.06", "TensorRT-LLM 0.10.0 reads no"),
        ("tokenizer_dir", "25.04", "TensorRT-LLM 0.18.2 reads no"),
        ("tokenizer_dir", "25.05", ""),
    ],
)
def test_a_parameter_by_release(tmp_path: Path, key: str, release: str, reported: str) -> None:
    value = {"recv_poll_period_ms": "5", "tokenizer_dir": "/models/x/1", "encoder_model_path": "/e"}
    nvidia.write(tmp_path, "0.8.0", **{key: value.get(key, "true")})
    found = of(check.validate(tmp_path, triton=release).findings, "TRT735")
    assert len(found) == bool(reported), found
    assert not found or reported in found[0].message


@pytest.mark.parametrize(
    ("value", "severity"),
    [("org/llama-7b", Severity.WARNING), ("gpt2", Severity.WARNING), ("weights", Severity.ERROR)],
)
def test_a_tokenizer_of_the_hub(tmp_path: Path, value: str, severity: Severity) -> None:
    nvidia.write(tmp_path, "0.12.0")
    path = tmp_path / "preprocessing/config.pbtxt"
    path.write_text(path.read_text().replace("/models/preprocessing/1/tokenizer", value))
    (one,) = of(check.validate(tmp_path).findings, "TRT761")
    assert one.severity is severity
    assert ("the container must reach the hub" in one.message) == (severity is Severity.WARNING)


@pytest.mark.parametrize("place", ["preprocessing/1", "preprocessing", "."])
@pytest.mark.parametrize("value", ["org/llama", "tokenizer_files"])
def test_a_folder_that_is_there_is_no_hub_id(tmp_path: Path, place: str, value: str) -> None:
    nvidia.write(tmp_path, "0.12.0")
    path = tmp_path / "preprocessing/config.pbtxt"
    path.write_text(path.read_text().replace("/models/preprocessing/1/tokenizer", value))
    folder = tmp_path / place / value
    folder.mkdir(parents=True)
    (folder / "tokenizer.model").write_bytes(b"\n\x02")
    assert not of(check.validate(tmp_path).findings, "TRT761")


def test_a_tokenizer_that_was_never_filled_in_is_an_error(tmp_path: Path) -> None:
    nvidia.write(tmp_path, "0.12.0")
    path = tmp_path / "postprocessing/config.pbtxt"
    filled = "/models/postprocessing/1/tokenizer"
    path.write_text(path.read_text().replace(filled, "${tokenizer_dir}"))
    found = of(check.validate(tmp_path).findings, "TRT104")
    errors = [one for one in found if one.severity is Severity.ERROR]
    assert [one.model for one in errors] == ["postprocessing"]


def test_a_backend_that_was_never_filled_in_is_an_error(tmp_path: Path) -> None:
    nvidia.write(tmp_path, "0.12.0")
    path = tmp_path / "tensorrt_llm/config.pbtxt"
    path.write_text(path.read_text().replace('"tensorrtllm"', '"${triton_backend}"'))
    found = of(check.validate(tmp_path).findings, "TRT104")
    errors = [one.message for one in found if one.severity is Severity.ERROR]
    assert errors == [
        "the placeholder ${triton_backend} was never filled in: no backend is called so"
    ]


def test_what_cannot_be_parsed_lists_its_placeholders_once(tmp_path: Path) -> None:
    nvidia.write(tmp_path, "0.12.0")
    path = tmp_path / "tensorrt_llm/config.pbtxt"
    path.write_text(path.read_text().replace("max_batch_size: 4", "max_batch_size: ${size}"))
    found = check.validate(tmp_path).findings
    assert of(found, "TRT101")
    (one,) = [one for one in of(found, "TRT104") if one.model == "tensorrt_llm"]
    assert "placeholders were never filled in: ${size}" in one.message


def test_the_table_and_the_templates_agree() -> None:
    """Every parameter of a template has a row, and is read when it comes, or later."""
    rows = {**parameters.triton_parameters(), **parameters.ignored_parameters()}
    for since, names in nvidia.PARAMETERS.items():
        for name in names:
            row = rows[name]
            if isinstance(row, parameters.Setting) and since not in ("0.8.0", "0.9.0"):
                assert row.known_to(since, "tensorrt_llm"), name
