"""Several repositories of one server, namespaces, and custom configurations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.config_faults import PYTHON
from trtbuild import check
from trtbuild.check import Options, Report
from trtbuild.cli.app import app
from trtbuild.toolchain import advisories_of

ENSEMBLE = """\
name: "e"
platform: "ensemble"
max_batch_size: 0
input [ { name: "a" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "b" data_type: TYPE_FP32 dims: [ 1 ] } ]
ensemble_scheduling { step [ { model_name: "m" model_version: -1
  input_map { key: "a" value: "a" } output_map { key: "b" value: "b" } } ] }
"""


def write(repo: Path, name: str, text: str = PYTHON) -> Path:
    folder = repo / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("class TritonPythonModel:\n def execute(self, r): ...\n")
    (folder / "config.pbtxt").write_text(re.sub('\\Aname: "m"', f'name: "{name}"', text))
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "one", tmp_path / "two"


def rules(report: Report) -> list[tuple[str, str]]:
    return [(found.model, found.rule) for found in report.findings if found.severity == "error"]


def test_a_model_of_two_repositories_is_loaded_from_neither(pair: tuple[Path, Path]) -> None:
    for repo in pair:
        write(repo, "m")
    report = check.validate_all(pair)
    assert rules(report) == [("m", "TRT202"), ("m", "TRT202")]
    assert report.findings[0].server_message == (
        "failed to poll model 'm': not unique across all model repositories"
    )
    assert check.validate_all(pair, Options(namespacing=True)).ok


def test_an_ensemble_finds_its_model_in_the_other_repository(pair: tuple[Path, Path]) -> None:
    write(pair[0], "e", ENSEMBLE)
    write(pair[1], "m")
    assert rules(check.validate(pair[0])) == [("e", "TRT371")]
    assert check.validate_all(pair).ok


def test_a_name_in_two_other_namespaces_is_ambiguous(pair: tuple[Path, Path]) -> None:
    third = pair[0].with_name("three")
    write(third, "e", ENSEMBLE)
    for repo in pair:
        write(repo, "m")
    options = Options(namespacing=True)
    assert rules(check.validate_all((*pair, third), options)) == [("e", "TRT371")]
    write(third, "m")
    assert check.validate_all((*pair, third), options).ok


def test_a_custom_configuration_counts_instead(tmp_path: Path) -> None:
    model = write(tmp_path, "m")
    (model / "configs").mkdir()
    (model / "configs" / "h100.pbtxt").write_text(PYTHON.replace("size: 0", "size: -1"))
    assert check.validate_all((tmp_path,)).ok
    report = check.validate_all((tmp_path,), Options(config_name="h100"))
    assert [(f.rule, f.file, f.line) for f in report.findings] == [
        ("TRT303", "m/configs/h100.pbtxt", 3)
    ]
    assert check.validate_all((tmp_path,), Options(config_name="other")).ok
    done = CliRunner().invoke(app, ["validate", str(tmp_path), "--model-config-name", "h100"])
    assert done.exit_code == 6
    assert "configs/h100.pbtxt:3:17" in done.output


def test_a_vulnerable_release_is_reported_once(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path, name)
    report = check.validate(tmp_path, triton="24.10")
    found = [one for one in report.findings if one.rule == "TRT851"]
    assert [one.model for one in found] == [""]
    known = advisories_of("triton", "24.10")
    cves = {name for one in known for name in one.ids}
    assert f"triton 24.10 has {len(cves)} known vulnerabilities; " in found[0].message
    assert "the worst is CVE-2026-47627 (CVSS 9.8): " in found[0].message
    assert len(found[0].message) < 200
    assert found[0].fix.startswith("deploy on Triton 26.06 or newer (--triton 26.06); https://")
    listed = "\n".join(found[0].details)
    assert len(found[0].details) == len(known)
    assert all(name in listed for name in cves)


def test_rules_lists_what_an_advisory_sums_up() -> None:
    said = CliRunner().invoke(app, ["rules", "TRT851"]).output
    assert "the worst is CVE-2026-47627" in said
    for one in advisories_of("triton", "24.06"):
        assert one.ids[-1] in said


def test_a_vulnerable_engine_names_its_models(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "v", 'backend: "vllm" max_batch_size: 0')
    report = check.validate(tmp_path, triton="25.05")
    found = [one.message for one in report.findings if one.rule == "TRT851"]
    assert len(found) == 2
    assert any(one.startswith("vllm 0.8.4 (serves v) has ") for one in found)


def test_what_only_the_machines_own_users_reach_is_an_info(tmp_path: Path) -> None:
    """Every TensorRT-LLM of a Triton image: one calm finding, however many models."""
    for name in "ab":
        write(tmp_path, name, 'backend: "tensorrtllm" max_batch_size: 1')
    report = check.validate(tmp_path, triton="26.07")
    (found,) = [one for one in report.findings if one.rule == "TRT851"]
    assert found.severity is check.Severity.INFO
    assert "tensorrt-llm 1.2.1 has" in found.message
    assert "all of them for local users" in found.message
    assert found.fix.startswith("no Triton image has tensorrt-llm 1.3.0rc17 yet")
    report = check.validate(tmp_path, triton="26.03")  # 1.2.0: concurrent requests
    severities = {one.severity for one in report.findings if one.rule == "TRT851"}
    assert severities == {check.Severity.WARNING}
