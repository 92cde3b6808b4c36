"""``trtbuild launch``: what it prints, runs and refuses."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from support.programs import write_program
from support.ranked import seen_as_is, write_engine, write_llm_api
from support.trtllm_tools import write_nvidia_smi
from trtbuild.errors import BuildError, ServerError, TrtbuildError, UsageError
from trtbuild.server import LaunchOptions
from trtbuild_engine_flow.jobs.launch import LaunchPlan, plan_launch, run, write_script

IMAGE = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"


def plan(repo: Path, **changes: Any) -> LaunchPlan:
    asked = {
        "using": "mpirun", "how": "auto", "nodes": 0, "gpus_per_node": 8, "image": "",
        "slurm": (), "options": LaunchOptions(), "validate": False,
    }  # fmt: skip
    return plan_launch(repo, **{**asked, **changes})


def test_a_launch_is_printed(tmp_path: Path) -> None:
    repo = write_engine(tmp_path / "repo", tp=8, pp=2)
    found = plan(repo, using="srun", image=IMAGE, slurm=("partition=gpu",))
    assert "--nodes=2" in found.command, "as few machines as the ranks need"
    assert "--partition=gpu" in found.command
    assert f"--container-mounts={repo.resolve()}:/models" in found.line
    assert plan(repo, using="sbatch", image=IMAGE).script.count("srun") == 1
    line = plan(seen_as_is(tmp_path / "two", tp=2), how="orchestrator").line
    assert line.startswith("TRTLLM_ORCHESTRATOR=1 TRTLLM_ORCHESTRATOR_SPAWN_PROCESSES=1 mpirun ")


def test_with_an_image_mpirun_runs_in_its_container(tmp_path: Path) -> None:
    repo = write_engine(tmp_path / "re po", tp=2)
    found = plan(repo, image=IMAGE, how="orchestrator")
    assert found.command[:2] == ("docker", "run")
    assert f"{repo.resolve()}:/models:ro" in found.command
    inside = found.command[found.command.index(IMAGE) + 1 :]
    assert inside[:5] == ("mpirun", "--allow-run-as-root", "-n", "1", "tritonserver")
    assert "TRTLLM_ORCHESTRATOR=1" in found.command
    assert shlex.split(found.line) == list(found.command)
    with pytest.raises(UsageError, match="a container is started by trtbuild serve") as caught:
        run(found, script=None, log=tmp_path / "log", on_line=print)
    assert "--launch orchestrator" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"using": "lsf"}, "--with 'lsf' is not known"),
        ({"image": IMAGE}, "16 ranks take 2 machines of 8 GPUs, and mpirun starts them on this"),
        ({"using": "srun", "nodes": 1, "image": IMAGE}, "1 nodes of 8 GPUs do not hold 16 ranks"),
        ({"how": "orchestrator"}, "an orchestrator starts its ranks on one machine"),
        ({"using": "srun"}, "the models name their files below /models"),
        ({"using": "sbatch", "slurm": ("x\nrm -rf",)}, "is not an option of sbatch"),
        ({"slurm": ("partition=gpu",)}, "--slurm is for Slurm"),
    ],
)
def test_launches_that_cannot_be(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    repo = write_engine(tmp_path / "repo", tp=8, pp=2)
    with pytest.raises(TrtbuildError) as caught:
        plan(repo, **changes)
    assert said in caught.value.what
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_the_llm_api_on_several_machines_has_its_launcher(tmp_path: Path) -> None:
    repo = write_llm_api(tmp_path / "repo", tensor_parallel_size=8, pipeline_parallel_size=2)
    found = plan(repo, using="srun")
    assert (found.layout.how, found.layout.world) == ("llmapi", 16)
    assert found.layout.why == "the LLM API on 2 machines"
    assert {"--nodes=2", "--ntasks=16", "trtllm-llmapi-launch"} <= {*found.command}
    assert plan(repo, using="srun", gpus_per_node=16).layout.how == "plain"
    with pytest.raises(UsageError, match="16 ranks take 2 machines of 8 GPUs"):
        plan(repo)
    for changes in ({"how": "plain"}, {"nodes": 2, "how": "plain", "gpus_per_node": 16}):
        with pytest.raises(UsageError, match="one process, for one machine, and 2 are asked for"):
            plan(repo, using="srun", **changes)


def test_a_path_that_pyxis_cannot_mount(tmp_path: Path) -> None:
    repo = write_engine(tmp_path / "a,b:c", tp=2)
    with pytest.raises(UsageError, match="cannot mount a path with ',' and ':'"):
        plan(repo, using="sbatch", image=IMAGE)


def test_a_login_node_needs_no_gpu_but_the_engine_has_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, lines = tmp_path / "programs", list[str]()
    write_program(programs, "srun", "print('submitted')")
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin")
    log = tmp_path / "log"
    for name in ("leader", "plain"):
        repo = seen_as_is(tmp_path / name, tp=2 if name == "leader" else 1)
        run(plan(repo, using="srun"), script=None, log=log, on_line=lines.append)
    api = write_llm_api(tmp_path / "api", tensor_parallel_size=2)
    run(plan(api, using="srun"), script=None, log=log, on_line=lines.append)
    assert lines == ["submitted"] * 3
    lacking = seen_as_is(tmp_path / "lacking", tp=2, files=1)
    with pytest.raises(ServerError, match="1 are there: rank1"):
        run(plan(lacking, using="srun"), script=None, log=log, on_line=lines.append)


def test_a_launcher_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    planned = plan(seen_as_is(tmp_path / "repo"), using="srun")
    with pytest.raises(BuildError, match="srun could not be started") as caught:
        run(planned, script=None, log=tmp_path / "log", on_line=print)
    assert "install srun" in (caught.value.fix or "")


def test_a_launch_is_run_and_its_exit_code_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, log = tmp_path / "programs", tmp_path / "triton.log"
    write_program(programs, "mpirun", "import sys\nprint(sys.argv[1:3])\nsys.exit(9)")
    write_nvidia_smi(programs, "NVIDIA L4, 23034, 8.9", "NVIDIA L4, 23034, 8.9")
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin")
    lines: list[str] = []
    planned = plan(seen_as_is(tmp_path / "repo", tp=2))
    with pytest.raises(ServerError, match="mpirun ended with exit code 9") as caught:
        run(planned, script=None, log=log, on_line=lines.append)
    assert lines == ["['--allow-run-as-root', '-n']"]
    assert caught.value.where == str(log)
    with pytest.raises(ServerError, match="3 ranks take 3 GPUs, and 2 are seen"):
        many = plan(seen_as_is(tmp_path / "three", tp=3))
        run(many, script=None, log=log, on_line=lines.append)


def test_a_batch_script_is_written_and_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, out = tmp_path / "programs", tmp_path / "job.sbatch"
    write_program(programs, "sbatch", "import sys\nprint(open(sys.argv[1]).readline().strip())")
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin")
    planned = plan(seen_as_is(tmp_path / "repo", tp=2), using="sbatch")
    write_script(planned, out)
    lines: list[str] = []
    run(planned, script=out, log=tmp_path / "log", on_line=lines.append)
    assert lines == ["#!/bin/bash"]
    with pytest.raises(UsageError, match="submitted from a file"):
        run(planned, script=None, log=tmp_path / "log", on_line=lines.append)


def test_the_command_line(tmp_path: Path) -> None:
    repo = seen_as_is(tmp_path / "repo", tp=2)
    options = ["--no-validate"]
    done = trtbuild("launch", repo, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mpirun --allow-run-as-root -n 1 tritonserver ")
    assert "leader: 2 ranks, one process each" in done.stderr
    found = json.loads(trtbuild("launch", repo, *options, "--json", cwd=tmp_path).stdout)
    assert (found["mode"], found["world"]) == ("leader", 2)
    assert found["models"][0]["name"] == "llm"
    assert found["command"][0] == "mpirun"
    done = trtbuild("launch", repo, *options, "--with", "sbatch", "--out", "a job", cwd=tmp_path)
    assert done.stdout == "sbatch 'a job'\n"
    assert "--host 0.0.0.0 for all" in done.stderr
    assert (tmp_path / "a job").read_text().startswith("#!/bin/bash")
    (repo / "llm/1/rank1.engine").unlink()
    assert "rank1.engine missing" in trtbuild("launch", repo, *options, cwd=tmp_path).stderr
    assert trtbuild("launch", repo, *options, "--mode", "lead", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "job"], "--out is for a batch script"),
        (["--with", "sbatch", "--out", "/"], "the batch script / is a directory"),
        (["--with", "sbatch", "--out", "no/job"], "in a directory that does not exist"),
        (["--host", "no.such.host.invalid"], "cannot listen on 'no.such.host.invalid'"),
        (["--with", "srun", "--port", "auto"], "cannot find free ports on another machine"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: list[str], said: str) -> None:
    repo = seen_as_is(tmp_path / "repo")
    done = trtbuild("launch", repo, "--no-validate", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "fix:" in done.stderr


def test_an_address_of_another_machine_is_for_its_ranks(tmp_path: Path) -> None:
    repo = seen_as_is(tmp_path / "repo")
    options = ["--no-validate", "--with", "srun", "--host", "192.0.2.7"]
    done = trtbuild("launch", repo, *options, cwd=tmp_path)
    assert "--http-address=192.0.2.7" in done.stdout, done.stderr
