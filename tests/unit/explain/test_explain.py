"""Every known cause is found in what servers write, before what only follows from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.log_excerpts import ALSO, CONFIG, EXCERPTS, engine, failed, python, vllm
from support.programs import write_program
from support.real_logs import LOGS
from support.tables import check_rows
from trtbuild.check import Example, all_rules, write_example
from trtbuild.check.examples import MODEL_PY, example_of
from trtbuild.cli.app import app
from trtbuild.errors import ServerError
from trtbuild.explain import Cause, Explanation, causes, explain
from trtbuild.explain.causes import PLACE

TABLE = {cause.id: cause for cause in causes()}
NOISE = 'I1121 03:57:05.983698 5945 model_lifecycle.cc:472] "loading: m:1"'
GAVE_UP = EXCERPTS["server-gave-up"]


def explained(*lines: str, repository: Path | None = None) -> Explanation:
    return explain("\n".join(lines).splitlines(), repository)


def test_every_cause_has_an_excerpt_or_a_real_log() -> None:
    assert EXCERPTS.keys() <= TABLE.keys()
    assert TABLE.keys() <= EXCERPTS.keys() | {log["cause"] for log in LOGS}


@pytest.mark.parametrize("name", [name for name in EXCERPTS if TABLE[name].kind == "family"])
def test_a_family_is_told_where_no_cause_is(name: str) -> None:
    assert [one.cause for one in explained(EXCERPTS[name]).reasons] == [name]
    found = explained(EXCERPTS["gpu-out-of-memory"], EXCERPTS[name])
    assert "gpu-out-of-memory" in [one.cause for one in found.reasons]
    assert found.reasons[0].cause == "gpu-out-of-memory"


@pytest.mark.parametrize("name", [name for name in EXCERPTS if TABLE[name].kind == "general"])
def test_the_sort_of_a_failure_is_told_of_its_one_sentence(name: str) -> None:
    (reason,) = explained(EXCERPTS[name], EXCERPTS["engine-core"]).reasons
    assert reason.cause == name
    assert TABLE[name].fix in reason.fix
    assert "line" in reason.fix.removeprefix(TABLE[name].fix)  # where to look next
    found = explained(EXCERPTS["gpu-out-of-memory"], EXCERPTS[name])
    assert [one.cause for one in found.reasons] == ["gpu-out-of-memory"]


def test_a_cause_is_the_root() -> None:
    def check_excerpt(name: str) -> None:
        found = explained(NOISE, EXCERPTS[name], EXCERPTS["member-failed"], GAVE_UP)
        assert found.reasons, name
        root = found.reasons[0]
        assert (root.cause, len(found.reasons)) == (name, 1)
        assert root.fix
        assert "{" not in root.title
        assert root.log_line >= 2
        assert {one.cause for one in found.follows} >= {"member-failed", "server-gave-up"}
        assert not found.ok

    check_rows([name for name in EXCERPTS if TABLE[name].kind == "cause"], check_excerpt)


def test_another_wording_has_the_same_cause() -> None:
    found = {text: [one.cause for one in explained(text).reasons] for _, text in ALSO}
    assert found == {text: [cause] for cause, text in ALSO}


@pytest.mark.parametrize("name", [name for name in EXCERPTS if TABLE[name].kind == "cascade"])
def test_a_consequence_is_no_reason(name: str) -> None:
    found = explained(python("ValueError: the weights are cursed"), EXCERPTS[name])
    assert [reason.message for reason in found.reasons] == ["ValueError: the weights are cursed"]
    assert [one.cause for one in found.follows] == [name]


@pytest.mark.parametrize("name", [name for name in EXCERPTS if TABLE[name].kind == "hint"])
def test_a_hint_is_told_beside_a_failure_only(name: str) -> None:
    assert explained(EXCERPTS[name]) == Explanation()
    found = explained(EXCERPTS[name], EXCERPTS["gpu-out-of-memory"])
    assert [hint.cause for hint in found.hints] == [name]


def test_a_row_is_complete() -> None:
    rules = {"", *(rule.id for rule in all_rules())}

    def check_row(row: Cause) -> None:
        wanted = set(PLACE.findall(row.title + row.json + row.parameter))
        for pattern in row.patterns:
            assert wanted <= set(pattern.groupindex), f"{pattern.pattern} lacks a group"
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", issue) for issue in row.known_as)
        assert row.fix
        assert row.rule in rules

    check_rows(causes(), check_row, lambda row: row.id)


def test_a_sound_log_tells_of_no_failure() -> None:
    assert explained(NOISE, "hello from a model", "").ok


def test_a_traceback_is_told_by_its_last_line_and_the_model_it_hit() -> None:
    found = explained(vllm("ValueError: No available memory for the cache blocks."))
    assert [(one.cause, one.model) for one in found.reasons] == [("vllm-no-cache", "bot")]
    assert found.reasons[0].message.startswith("ValueError: No available")
    assert {one.cause for one in found.follows} == {"engine-core", "server-gave-up"}


def test_a_killed_engine_is_told_apart_from_a_missing_gpu() -> None:
    found = explained(
        EXCERPTS["engine-core"],
        "Error: Failed to initialize NVML",
        'W1130 18:52:13.062003 2163 metrics.cc:798] "DCGM unable to start: DCGM initialization"',
        GAVE_UP,
    )
    assert not found.reasons
    assert "the kernel killed it because memory ran out (dmesg)" in found.follows[0].fix


def test_an_exception_that_nobody_knows_is_still_the_root() -> None:
    found = explained(vllm("FrobnicationError: the frob is off"))
    assert found.reasons[0].message == "FrobnicationError: the frob is off"
    assert found.reasons[0].log_line == 4


def test_several_models_have_a_reason_each() -> None:
    found = explained(
        failed("a", "Internal: ValueError: one"), failed("b", "Internal: KeyError: two")
    )
    assert [(one.model, one.message) for one in found.reasons] == [
        ("a", "ValueError: one"),
        ("b", "KeyError: two"),
    ]


def test_the_table_of_models_is_read_where_it_wraps() -> None:
    table = """\
+----------------+---------+----------------------------------------------+
| Model          | Version | Status                                       |
+----------------+---------+----------------------------------------------+
| postprocessing | 1       | READY                                        |
| tensorrt_llm   | 1       | UNAVAILABLE: Internal: unexpected error when |
|                |         |  creating: Assertion failed: mpiSize == tp * |
|                |         |  pp (/app/worldConfig.cpp:80)                |
+----------------+---------+----------------------------------------------+"""
    (reason,) = explained(*table.splitlines()).reasons
    assert (reason.cause, reason.model) == ("mpi-world-size", "tensorrt_llm")
    assert reason.message.endswith("mpiSize == tp * pp (/app/worldConfig.cpp:80)")


@pytest.mark.parametrize(
    "prefix",
    ["triton-models-1  | ", "2026-11-21T03:57:14.647784Z ", "2026-11-21T03:57:14Z stderr F ",
     "[1,0]<stderr>:", "\x1b[31m"],
)  # fmt: skip
def test_prefixes_of_containers_and_mpi_are_seen_through(prefix: str) -> None:
    (reason,) = explained(prefix + engine("mpiSize == tp * pp")).reasons
    assert (reason.cause, reason.model) == ("mpi-world-size", "bot_tensorrt_llm")


def test_what_people_paste_is_the_ensembles_line_alone() -> None:
    line = CONFIG.format(
        "Invalid argument: ensemble 'ensemble' depends on 'tensorrt_llm' which has no loaded "
        "version. Model 'tensorrt_llm' loading failed with error: version 1 is at UNAVAILABLE "
        "state: Internal: unexpected error when creating modelInstanceState: "
        "[json.exception.out_of_range.403] key 'builder_config' not found;"
    )
    found = explained(line)
    assert [(one.cause, one.model) for one in found.reasons] == [("engine-schema", "tensorrt_llm")]
    assert [one.cause for one in found.follows] == ["member-failed"]


def test_native_frames_are_left_out() -> None:
    (reason,) = explained(EXCERPTS["mpi-world-size"]).reasons
    assert "0x7f92" not in reason.message


# ---------------------------------------------------------------------- with the repository


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    return folder


def test_the_servers_sentence_leads_to_the_finding(repo: Path) -> None:
    write_example(Example('name: "other"'), repo)
    (reason,) = explained(EXCERPTS["directory-name"], repository=repo).reasons
    assert (reason.rule, reason.place) == ("TRT202", "m/config.pbtxt:1:7")


def test_an_engine_argument_is_found_in_model_json(repo: Path) -> None:
    settings = '{\n  "model": "org/name",\n  "gpu_memory_utilization": 0.95\n}\n'
    write_example(Example(files={"m/1/model.json": settings}, base="vllm"), repo)
    (reason,) = explained(EXCERPTS["vllm-memory-taken"], repository=repo).reasons
    assert reason.place == "m/1/model.json:3:3"


def test_a_parameter_is_found_in_config_pbtxt(repo: Path) -> None:
    config = """\
parameters { key: "a" value { string_value: "1" } }
parameters: {
  key: "enable_kv_cache_reuse"
  value: { string_value: "true" }
}
"""
    write_example(Example(config), repo)
    (reason,) = explained(EXCERPTS["paged-context-fmha"], repository=repo).reasons
    assert reason.place == "m/config.pbtxt:4:26"


FIELDS = {  # what the server of 2.51 said of a model: fields or files, their place
    "failed to open text file for read /srv/r/m/warmup/x: No such file or directory": (
        'model_warmup { name: "w" batch_size: 1\n  inputs { key: "IN" value {\n'
        '    data_type: TYPE_FP32 dims: [ 1 ] input_data_file: "x" } } }',
        ("TRT342", "TRT342", "m/config.pbtxt:2:3"),
    ),
    "instance group m_0 of model m has kind KIND_CPU but specifies one or more GPUs": (
        "instance_group { gpus: [ 0 ] }",
        ("TRT501", "TRT501", "m/config.pbtxt:1:26"),
    ),
    "unable to find 'libtritonrepoagent_checksum.so' for repo agent 'checksum', searched: /opt": (
        'model_repository_agents { agents { name: "checksum" } }',
        ("TRT353", "TRT353", "m/config.pbtxt"),
    ),
    "TypeError: TritonPythonModel.initialize() takes 1 positional argument but 2 were given": (
        {"m/1/model.py": "class TritonPythonModel:\n    def initialize(self): ...\n"},
        ("TRT603", "TRT603", "m/1/model.py"),
    ),
    "KeyError: 'x'\\n\\nAt:\\n  <frozen os>(679): get\\n  /srv/r/m/1/model.py(6): initialize": (
        {"m/1/model.py": MODEL_PY},
        ("key-missing", "", "m/1/model.py:6"),
    ),
    "KeyError: 'FP32'\\n\\nAt:\\n  /opt/tritonserver/backends/python/triton_python_backend_utils.py"
    "(296): triton_string_to_numpy\\n  /srv/r/m/1/model.py(1): initialize": (
        {"m/1/model.py": MODEL_PY},
        ("key-missing", "", "m/1/model.py:1"),
    ),
    "NameError: name 'x' is not defined\\n\\nAt:\\n  /srv/r/m/1/model.py(2): <module>": (
        {"m/1/model.py": MODEL_PY},
        ("python-bug", "", "m/1/model.py:2"),
    ),
}


@pytest.mark.parametrize("said", FIELDS, ids=lambda said: said[:24])
def test_the_place_of_what_the_server_refuses(repo: Path, said: str) -> None:
    example, told = FIELDS[said]
    write_example(example_of(example, "python"), repo)
    (reason,) = explained(failed("m", f"Internal: {said}"), repository=repo).reasons
    assert (reason.cause, reason.rule, reason.place) == told


def test_a_version_that_an_ensemble_asks_for_in_vain_is_a_cause(repo: Path) -> None:
    rule = next(rule for rule in all_rules() if rule.id == "TRT374")
    write_example(rule.bad[0], repo)
    said = "ensemble 'm' depends on 'a' whose required version 0 is not loaded."
    (reason,) = explained(failed("m", f"Invalid argument: {said}"), repository=repo).reasons
    assert (reason.rule, reason.place) == ("TRT374", "m/config.pbtxt:1:30")


def test_a_repository_that_is_gone_takes_nothing_away(tmp_path: Path) -> None:
    (reason,) = explained(GAVE_UP, EXCERPTS["not-unique"], repository=tmp_path / "no").reasons
    assert (reason.cause, reason.file) == ("not-unique", "")


def test_serve_tells_the_root_cause_of_a_failed_start(repo: Path, tmp_path: Path) -> None:
    from trtbuild.pipeline.serve import explained as told
    from trtbuild.server import ServerHandle

    write_example(Example('name: "other"'), repo)
    log = tmp_path / "server.log"
    log.write_text(f"{EXCERPTS['directory-name']}\n{GAVE_UP}\n")
    handle = ServerHandle("a", "local", 0, 0.0, "", 0, 0, 0, str(log), str(repo), ("m",))
    error = told(ServerError("the server ended", where=str(log), fix="look"), handle)
    assert error.what == "the server ended: the directory and the model in it have different names"
    assert error.details == ("at m/config.pbtxt:1:7 (TRT202)",)
    assert error.fix.startswith("give the directory and 'name' the same name")
    log.write_text(f"{EXCERPTS['engine-core']}\n{GAVE_UP}\n")
    assert "the kernel killed it" in told(ServerError("the server ended"), handle).fix
    log.write_text("nothing of interest\n")
    assert told(error, handle) is error
    log.unlink()
    assert told(error, handle) is error


# ------------------------------------------------------------------------------ the command


def run(*arguments: str, given: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, ["explain", *arguments], input=given)
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return result.exit_code, result.output


def test_a_log_from_standard_input(repo: Path) -> None:
    status, text = run("-", given=f"{NOISE}\n{EXCERPTS['mpi-world-size']}\n{GAVE_UP}\n")
    assert status == 0
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0].startswith("root cause: the number of server processes is not the engine's")
    assert lines[0].endswith("(bot_tensorrt_llm)")
    assert lines[1].startswith("log line 2: unexpected error when creating modelInstanceState")
    assert any(line.startswith("fix: start one process for each rank") for line in lines)
    assert "known as: https://github.com/NVIDIA/TensorRT-LLM/issues/2021" in lines
    assert lines[-1].startswith("consequences: ")


def test_json(repo: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(EXCERPTS["vllm-unknown-argument"] + "\n")
    status, text = run(str(log), "--json")
    found = json.loads(text)
    assert (status, found["ok"]) == (0, False)
    reason = found["reasons"][0]
    assert (reason["cause"], reason["rule"]) == ("vllm-unknown-argument", "TRT703")
    assert reason["fix"].startswith("remove max_modellen")


def test_without_a_log_the_newest_server_is_explained(repo: Path, state_dir: Path) -> None:
    folder = state_dir / "servers" / "abc123"
    folder.mkdir(parents=True)
    (folder / "server.log").write_text(EXCERPTS["port-taken"])
    assert "a port is taken" in run()[1]


def test_a_log_without_failure(repo: Path) -> None:
    assert run("-", given=NOISE) == (0, "the log shows no failure that trtbuild knows\n")


def test_only_consequences(repo: Path) -> None:
    assert "pass the log from the server's start" in run("-", given=GAVE_UP)[1]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["/no/such.log"], "the log '/no/such.log' cannot be read"),
        (["-", "--repository", "/no/such"], "the repository '/no/such' does not exist"),
        (["-", "--container", "x"], "a log and --container cannot be combined"),
        ([], "no server has left a log"),
    ],
)
def test_what_cannot_be_explained(repo: Path, arguments: list[str], what: str) -> None:
    from trtbuild.errors import UsageError

    with pytest.raises(UsageError) as caught:
        run(*arguments)
    assert caught.value.what.startswith(what)
    assert caught.value.fix


def test_no_container_engine(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repo))
    with pytest.raises(ServerError, match="no container can be asked"):
        run("--container", "triton")


def test_the_log_of_a_container(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (
        "import sys\n"
        "if sys.argv[1] == 'logs' and sys.argv[2] != 'triton':\n"
        "    sys.exit('Error: No such container: ' + sys.argv[2])\n"
        "if sys.argv[1] == 'logs':\n"
        f"    print({EXCERPTS['port-taken']!r}, file=sys.stderr)\n"
    )
    write_program(repo / "bin", "docker", body)
    monkeypatch.setenv("PATH", str(repo / "bin"))
    assert run("--container", "triton")[1].startswith("root cause: a port is taken")
    with pytest.raises(ServerError, match="docker has no log of 'gone'") as caught:
        run("--container", "gone")
    assert caught.value.where == "Error: No such container: gone"


def test_any_bytes_are_a_log(repo: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(bytes(range(256)) * 50 + CONFIG.format("\\ud800 | x").encode())
    assert run(str(log))[0] == 0


def test_an_exception_is_told_though_no_server_speaks_of_it() -> None:
    text = "Traceback (most recent call last):\n  File 'a.py', line 1, in f\nKeyError: 'weights'\n"
    code, shown = run("-", given=text)
    assert code == 0
    assert "KeyError: 'weights'" in shown


def test_ptx_of_a_newer_toolkit_is_an_old_driver() -> None:
    line = "CUDA error: the provided PTX was compiled with an unsupported toolchain."
    (reason,) = explain([f"RuntimeError: {line}"]).reasons
    assert (reason.cause, "update the driver" in reason.fix) == ("driver", True)
