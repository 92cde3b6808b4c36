"""A fault of a converted repository is found at its place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.faults import only, python_model
from trtbuild import check
from trtbuild.check import Severity

Breaker = Callable[[Path], object]


def engine(**change: object) -> Breaker:
    def write(model: Path) -> None:
        path = model / "1/model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}, indent=1))

    return write


def replaced(name: str, old: str, new: str) -> Breaker:
    def write(model: Path) -> None:
        path = model / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return write


def truncated(name: str) -> Breaker:
    return lambda model: os.truncate(model / name, (model / name).stat().st_size - 1)


def flipped(name: str) -> Breaker:
    def write(model: Path) -> None:
        path = model / name
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    return write


SHARD = "1/weights/model-00002-of-00002.safetensors"


TRUE = "decoupled: true"


BROKEN: list[tuple[str, Breaker, str, str]] = [
    ("TRT701", replaced("config.pbtxt", TRUE, "decoupled: false"), "config.pbtxt", "not decoupled"),
    ("TRT702", lambda m: (m / "1/model.json").unlink(), "1/model.json", "is missing"),
    ("TRT702", lambda m: (m / "1/model.json").write_text("{"), "1/model.json", "not JSON"),
    ("TRT702", lambda m: (m / "1/model.json").write_text("[]"), "1/model.json", "a list"),
    ("TRT703", engine(max_model_length=3), "1/model.json", "did you mean 'max_model_len'"),
    ("TRT703", engine(max_model_len="long"), "1/model.json", "must be a whole number"),
    ("TRT704", lambda m: (m / "1/model.json").write_text(
        '{"model": "a/b", "revision": "x",\n "model": "/models/bot/1/weights"}'
    ), "1/model.json", "given twice"),
    ("TRT705", engine(model="/home/me/llama"), "1/model.json", "on one machine only"),
    ("TRT705", engine(model="/models/bot/2/weights"), "1/model.json", "bot/2/weights is missing"),
    ("TRT705", engine(model=""), "1/model.json", "has no 'model'"),
    ("TRT706", engine(model="org/name"), "1/model.json", "at that moment"),
    ("TRT707", replaced("config.pbtxt", "max_batch_size: 0", "max_batch_size: 4"),
     "config.pbtxt", "max_batch_size is 4"),
    ("TRT709", replaced("config.pbtxt", '"text_input"', '"prompt"'), "config.pbtxt", "text_input"),
    ("TRT710", lambda m: (engine(enable_lora=True)(m), (m / "1/multi_lora.json").write_text(
        '{"fr": "/models/bot/1/adapters/fr"}'
    )), "1/multi_lora.json", "'fr' has no adapter_config.json"),
    ("TRT710", lambda m: (m / "1/multi_lora.json").write_text("{}"), "1/model.json",
     "does not set enable_lora"),
    ("TRT710", lambda m: (engine(enable_lora=True)(m), (m / "1/multi_lora.json").write_text("[]")),
     "1/multi_lora.json", "not a JSON object"),
    ("TRT801", lambda m: (m / "1/weights/config.json").unlink(), "1/weights/config.json",
     "cannot be read"),
    ("TRT802", lambda m: (m / SHARD).unlink(), SHARD, "is missing"),
    ("TRT802", truncated(SHARD), SHARD, "where its header needs"),
    ("TRT802", lambda m: (m / SHARD).write_bytes(b"x" * 100), SHARD, "is not a safetensors file"),
    ("TRT803", lambda m: (m / "1/weights/tokenizer.json").unlink(), "1/weights", "no tokenizer"),
    ("TRT804", lambda m: (m / "1/weights/x.bin").touch(), "1/weights/x.bin", "pickle"),
    ("TRT805", lambda m: (m / "1/weights/x.py").touch(), "1/weights", "x.py"),
    ("TRT902", lambda m: (m / SHARD).unlink(), SHARD, "is missing"),
    ("TRT902", truncated(SHARD), SHARD, "were written"),
    ("TRT903", flipped(SHARD), SHARD, "was changed"),
    ("TRT903", replaced("config.pbtxt", "count: 1", "count: 2"), "config.pbtxt", "was changed"),
    ("TRT904", lambda m: (m / "1/notes.txt").touch(), "1/notes.txt", "was added"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "breaker", "file", "message"),
    BROKEN,
    ids=[f"{row[0]}-{number}" for number, row in enumerate(BROKEN)],
)
def test_a_fault_of_a_converted_model(
    bot: Path, rule: str, breaker: Breaker, file: str, message: str
) -> None:
    breaker(bot / "bot")
    found = [finding for finding in check.validate(bot).findings if finding.rule == rule]
    assert [finding.file for finding in found] == [f"bot/{file}"], found
    assert message in found[0].message
    assert found[0].model == "bot"


def test_an_engine_argument_is_pointed_at(bot: Path) -> None:
    engine(max_modle_len=3)(bot / "bot")
    found = only(check.validate(bot), "TRT703")
    assert (found.line, found.column) == (3, 2)
    assert "unexpected keyword argument 'max_modle_len'" in found.server_message


def test_several_gpus_need_kind_model(bot: Path) -> None:
    engine(tensor_parallel_size=2)(bot / "bot")
    assert "TRT708" not in {found.rule for found in check.validate(bot).findings}
    replaced("config.pbtxt", "KIND_MODEL", "KIND_GPU")(bot / "bot")
    assert "2" in only(check.validate(bot), "TRT708").message


def test_a_changed_weight_is_an_error_and_an_edited_setting_a_warning(bot: Path) -> None:
    replaced("config.pbtxt", "count: 1", "count: 2")(bot / "bot")
    report = check.validate(bot)
    assert report.ok
    assert only(report, "TRT903").severity is Severity.WARNING
    flipped(SHARD)(bot / "bot")
    assert not check.validate(bot).ok


def test_a_full_check_sees_a_change_behind_an_old_time_stamp(bot: Path) -> None:
    shard = bot / "bot" / SHARD
    os.utime(shard, ns=(1, 1))
    assert check.validate(bot).ok
    flipped(SHARD)(bot / "bot")
    os.utime(shard, ns=(1, 1))
    assert check.validate(bot).ok
    assert only(check.validate(bot, full=True), "TRT903").file == f"bot/{SHARD}"


def test_a_model_that_the_lock_does_not_know(bot: Path) -> None:
    python_model(bot)
    report = check.validate(bot)
    assert report.ok
    assert only(report, "TRT905").severity is Severity.INFO


def test_a_model_whose_folder_is_gone(bot: Path) -> None:
    python_model(bot)
    shutil.rmtree(bot / "bot")
    assert "trtbuild remove bot" in only(check.validate(bot), "TRT906").fix


def test_a_damaged_lock_is_a_finding(bot: Path) -> None:
    (bot / "trtbuild.lock").write_text("{")
    found = only(check.validate(bot), "TRT901")
    assert found.file == "trtbuild.lock"
    assert not check.validate(bot).ok


def test_a_lock_cannot_send_us_outside(bot: Path, tmp_path: Path) -> None:
    lock = json.loads((bot / "trtbuild.lock").read_text())
    lock["models"]["bot"]["files"]["../../etc/passwd"] = {"sha256": "0", "size": 0}
    (bot / "trtbuild.lock").write_text(json.dumps(lock))
    assert all("etc" not in found.file for found in check.validate(bot).findings)


def test_what_python_compiled_was_not_added(bot: Path) -> None:
    compiled = bot / "bot/1/__pycache__/model.cpython-312.pyc"
    compiled.parent.mkdir()
    compiled.touch()
    assert not [one for one in check.validate(bot).findings if one.rule == "TRT904"]
