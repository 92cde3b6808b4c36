"""The validator reports whatever it is given; ``scripts/fuzz_validator.py`` is the long mode."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.fuzzing import SECRET, examine, fast_folder, hostile, one_case
from support.lanes import rounds
from support.privileges import obeying_modes
from trtbuild.check import Example, write_example


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        monkeypatch.setenv("TRTBUILD_CACHE_DIR", folder)
        yield


@pytest.mark.long
@settings(
    max_examples=rounds(60, 5000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rng=st.randoms(use_true_random=False))
def test_nothing_makes_it_fail(rng: random.Random) -> None:
    one_case(rng)


def test_the_same_seed_makes_the_same_repository(tmp_path: Path) -> None:
    def files(name: str) -> dict[str, bytes]:
        folder = tmp_path / name
        folder.mkdir()
        repo, _ = hostile(random.Random(7), folder)
        return {
            str(path.relative_to(repo)): path.read_bytes()
            for path in sorted(repo.rglob("*"))
            if path.is_file()
        }

    assert files("one") == files("two")


@pytest.mark.parametrize(
    "path",
    [
        "m/config.pbtxt",
        "m/1",
        "m",
        "m/1/model.json",
        "m/1/weights/model.safetensors",
        "trtbuild.lock",
    ],
)
def test_permission_denied_is_a_finding(path: str, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    write_example(Example(files={"trtbuild.lock": "{}"}, base="checkpoint"), repo)
    (repo / path).chmod(0)
    try:
        report = examine(random.Random(1), repo)
    finally:
        (repo / path).chmod(0o700)
    told = [found for found in report.findings if "ermission denied" in found.message]
    assert told, report.findings
    assert not report.ok


def test_modes_are_obeyed_in_the_block_and_not_after(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SECRET)
    (tmp_path / "file").chmod(0)
    with obeying_modes(), pytest.raises(PermissionError):
        (tmp_path / "file").read_text()
    if os.geteuid() == 0:
        assert (tmp_path / "file").read_text() == SECRET


def test_a_lock_that_is_a_pipe(tmp_path: Path) -> None:
    write_example(Example(), tmp_path)
    os.mkfifo(tmp_path / "trtbuild.lock")
    report = examine(random.Random(1), tmp_path)
    assert "TRT901" in {found.rule for found in report.findings}


def test_a_model_whose_files_may_not_be_looked_for(tmp_path: Path) -> None:
    files = {"m/config.pbtxt": 'name: "m" max_batch_size: 0', "m/1/model.graphdef": ""}
    write_example(Example(files=files), tmp_path)
    (tmp_path / "m/1").chmod(0o400)
    try:
        report = examine(random.Random(1), tmp_path)
    finally:
        (tmp_path / "m/1").chmod(0o700)
    assert "TRT209" in {found.rule for found in report.findings}


@pytest.mark.parametrize("digits", ["0" + "7" * 5000, "0x" + "f" * 5000, "9" * 5000])
def test_numbers_longer_than_python_takes(digits: str, tmp_path: Path) -> None:
    write_example(Example(f"max_batch_size: {digits}"), tmp_path)
    report = examine(random.Random(1), tmp_path)
    assert [found.rule for found in report.findings] == ["TRT101"]


def test_a_long_circle(tmp_path: Path) -> None:
    """Ensembles over ensembles, each in the next, and the last in the first."""
    step = 'step [ { model_name: "e%d" model_version: -1 input_map { key: "IN" value: "IN" } '
    step += 'output_map { key: "OUT" value: "OUT" } } ]'
    for number in range(60):
        config = f"ensemble_scheduling {{ {step % ((number + 1) % 60)} }}"
        folder = tmp_path / f"e{number}"
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(
            f'name: "e{number}" platform: "ensemble" max_batch_size: 8 {config}'
            'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } ]'
            'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] } ]'
        )
    report = examine(random.Random(1), tmp_path)
    assert not report.ok


def test_a_lock_with_a_number_longer_than_python_takes(tmp_path: Path) -> None:
    write_example(Example(files={"trtbuild.lock": '{"version": ' + "1" * 5000 + "}"}), tmp_path)
    report = examine(random.Random(1), tmp_path)
    assert "TRT901" in {found.rule for found in report.findings}


def test_half_a_character_for_a_token(tmp_path: Path) -> None:
    config = '{ "bos_token": "<s>\\ud800", "eos_token": "</s>" }'
    files = {"m/1/weights/tokenizer_config.json": config}
    write_example(Example(files=files, base="checkpoint"), tmp_path)
    examine(random.Random(1), tmp_path)


def test_an_engine_that_asks_for_a_million_million_ranks(tmp_path: Path) -> None:
    mapping = {"world_size": 10**12, "tp_size": 10**12}
    config = {"pretrained_config": {"mapping": mapping}, "build_config": {}}
    parameter = 'parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }'
    files = {"m/1/config.json": json.dumps(config)}
    write_example(Example(parameter, files=files, base="engine"), tmp_path)
    report = examine(random.Random(1), tmp_path)
    found = next(found for found in report.findings if found.rule == "TRT732")
    assert "rank1.engine" in found.message
    assert len(found.message) < 1000
