"""The validator agrees with what the real server was seen to say of every case of the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cases import Case, corpus, disagreement
from support.tables import check_rows
from trtbuild import check


@pytest.mark.slow
def test_the_validator_says_what_the_server_said(tmp_path: Path) -> None:
    def check_case(row: tuple[Path, Case]) -> None:
        path, case = row
        repo = tmp_path / path.stem / case.name / "repository"
        repo.mkdir(parents=True)
        case.write(repo)
        assert set(case.says) <= set(case.models)
        assert case.says
        assert disagreement(case.says, case.validate(repo)) == ""

    check_rows(corpus(), check_case, lambda row: f"{row[0].stem}-{row[1].name}")


def test_every_subject_has_loaded_and_refused_models() -> None:
    said: dict[str, list[str]] = {}
    for path, case in corpus():
        said.setdefault(path.stem, []).extend(case.says.values())
    assert len(said) >= 8
    for verdicts in said.values():
        assert any(verdicts)
        assert not all(verdicts)


def test_what_an_unknown_backend_may_complete_is_a_warning(tmp_path: Path) -> None:
    text = 'name: "m" backend: "{}" max_batch_size: 0 input {{ name: "a" }}'
    for backend, auto_complete, severities in (
        ("own", True, {"TRT402": "warning"}),
        ("own", False, {"TRT402": "error"}),
        ("identity", True, {"TRT402": "error"}),
        # it fills in all inputs or none, so one that is written stays without a type
        ("onnxruntime", True, {"TRT402": "error"}),
    ):
        repo = tmp_path / f"{backend}-{auto_complete}"
        case = Case("doubt", {"m": text.format(backend)}, auto_complete=auto_complete)
        case.write(repo)
        found = {f.rule: f.severity for f in case.validate(repo).findings if f.rule == "TRT402"}
        assert found == severities


def test_elements_are_counted_safely_from_a_release_on(tmp_path: Path) -> None:
    largest = 2**63 - 1
    dims = f"dims: [ {largest}, 2 ] reshape {{ shape: [ 2, {largest} ] }}"
    text = (
        f'name: "m" backend: "identity" max_batch_size: 0 input {{ name: "a" data_type: 1 {dims} }}'
    )
    Case("large", {"m": text}).write(tmp_path)
    assert check.validate(tmp_path, triton="26.02").ok
    findings = check.validate(tmp_path, triton="26.03").findings
    found = next(finding for finding in findings if finding.rule == "TRT405")
    assert found.server_message == (
        f"element count for tensor 'a dims' exceeds maximum size of {largest} for m"
    )


def test_the_shortest_vllm_model_is_completed(tmp_path: Path) -> None:
    """The sample of NVIDIA's vLLM backend: the rest is filled in by the backend."""
    text = 'backend: "vllm"\ninstance_group [ { count: 1 kind: KIND_MODEL } ]\n'
    engine = '{"model": "org/name"}'
    case = Case("short", {"m": text}, files={"m/1/model.json": engine}, auto_complete=True)
    case.write(tmp_path)
    assert check.validate_all((tmp_path,), check.Options(auto_complete=True)).ok
    assert not check.validate_all((tmp_path,)).ok
