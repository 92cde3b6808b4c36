"""Several ranks: how they are laid out, what is run to the word, what is checked before."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from support.models import write_python_model
from support.programs import write_docker, write_program, write_tritonserver
from support.ranked import write_engine, write_llm_api
from trtbuild import pbtxt, server
from trtbuild.errors import ServerError, UsageError
from trtbuild.progress import SILENT
from trtbuild.server import LaunchOptions, docker, local, ranks
from trtbuild.server.mode import ServerJob
from trtbuild.server.mpi import under_mpi
from trtbuild_engine_flow.slurm import Cluster, pyxis_image, sbatch_file, under_slurm

IMAGE = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
SERVER = (
    "tritonserver", "--model-repository=/models", "--http-port=8000", "--grpc-port=8001",
    "--metrics-port=8002", "--exit-on-error=true",
)  # fmt: skip


def layout(repo: Path, how: str = "auto") -> server.RankLayout:
    return server.lay_out(server.read_contents(repo), how)


def test_the_layout_follows_from_the_engines(tmp_path: Path) -> None:
    one = write_engine(tmp_path / "one")
    assert (layout(one).how, layout(one).world) == ("plain", 1)
    four = write_engine(tmp_path / "four", tp=2, pp=2)
    assert (layout(four).how, layout(four).world) == ("leader", 4)
    write_engine(four, "other", tp=2)
    assert (layout(four).how, layout(four).world) == ("orchestrator", 1)
    several = write_engine(tmp_path / "several", tp=2, gpu_device_ids="0,1;2,3")
    assert layout(several).how == "orchestrator"
    assert layout(several).models[0].devices == ((0, 1), (2, 3))
    api = write_llm_api(tmp_path / "api", tensor_parallel_size=2, pipeline_parallel_size=2)
    assert (layout(api).how, layout(api).models[0].world) == ("plain", 4)
    assert layout(api, "llmapi").world == 4


def test_a_version_is_a_number_that_can_be_read(tmp_path: Path) -> None:
    for name in ("\u00b2", "10", "9", "9" * 200, "1x"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()
    assert ranks.newest_version(tmp_path) == tmp_path / "10"


def test_ways_that_cannot_be(tmp_path: Path) -> None:
    repo = write_engine(write_engine(tmp_path / "repo", tp=4), "other", tp=2)
    with pytest.raises(ServerError, match="engines of 2 and 4 ranks cannot share one leader"):
        layout(repo, "leader")
    with pytest.raises(UsageError, match="unknown launch mode 'lead'"):
        layout(repo, "lead")
    with pytest.raises(ServerError, match="for compiled engines"):
        layout(write_llm_api(tmp_path / "api"), "orchestrator")


def test_leader_mode_is_a_process_for_each_rank(tmp_path: Path) -> None:
    found = layout(write_engine(tmp_path / "repo", tp=3))
    words = list(under_mpi(found, SERVER))
    assert words[:4] == ["mpirun", "--allow-run-as-root", "-n", "1"]
    processes = " ".join(words[2:]).split(" : ")
    assert len(processes) == 3
    assert processes[0] == "-n 1 " + " ".join(SERVER)
    for other in processes[1:]:
        assert "--model-control-mode=explicit --load-model=llm" in other
        assert "--model-repository=/models" in other
        assert "--http-port" not in other, "only rank 0 answers"
        assert "--allow-http=false" in other
    assert server.environment(found) == {}


def test_followers_load_the_engines_alone(tmp_path: Path) -> None:
    repo = write_engine(tmp_path / "repo", tp=2)
    write_python_model(repo, "preprocessing")
    explicit = (*SERVER, "--model-control-mode=explicit", "--load-model=*")
    follower = " ".join(under_mpi(layout(repo), explicit)).split(" : ")[1]
    assert re.findall(r"--load-model=\S+", follower) == ["--load-model=llm"]
    assert follower.count("--model-control-mode") == 1


def test_an_orchestrator_starts_the_ranks_itself(tmp_path: Path) -> None:
    found = layout(write_engine(tmp_path / "repo", tp=2), "orchestrator")
    words = under_mpi(found, SERVER, gpus=2)
    assert words[:4] == ("mpirun", "--allow-run-as-root", "-n", "1")
    assert ":" not in words
    assert words[-2:] == ("--cuda-memory-pool-byte-size=0:0", "--cuda-memory-pool-byte-size=1:0")
    assert server.environment(found) == {
        "TRTLLM_ORCHESTRATOR": "1",
        "TRTLLM_ORCHESTRATOR_SPAWN_PROCESSES": "1",
    }


def test_slurm_tells_rank_0_from_the_others(tmp_path: Path) -> None:
    found = layout(write_engine(tmp_path / "repo", tp=8, pp=2))
    cluster = Cluster(2, 8, IMAGE, ("/shared/models:/models",))
    words = under_slurm(found, SERVER, cluster)
    assert words[:8] == (
        "srun", "--mpi=pmix", "--nodes=2", "--ntasks=16", "--ntasks-per-node=8",
        "--gpus-per-node=8", f"--container-image={IMAGE.replace('/', '#', 1)}",
        "--container-mounts=/shared/models:/models",
    )  # fmt: skip
    assert words[8:10] == ("bash", "-c")
    script = words[10]
    assert f"exec {shlex.join(SERVER)}; fi; exec tritonserver" in script
    assert script.endswith("--model-control-mode=explicit --load-model=llm")


def test_a_step_of_its_own_asks_slurm_for_everything(tmp_path: Path) -> None:
    found = layout(write_engine(tmp_path / "repo", tp=2))
    cluster = Cluster(1, 4, options=("partition=gpu", "exclusive"))
    assert {"--gpus-per-node=4", "--partition=gpu", "--exclusive"} <= {
        *under_slurm(found, SERVER, cluster)
    }
    inside = under_slurm(found, SERVER, cluster, in_job=True)
    assert not {"--gpus-per-node=4", "--partition=gpu"} & {*inside}, "the script has asked"


def test_more_machines_than_needed_share_the_ranks(tmp_path: Path) -> None:
    found = layout(write_engine(tmp_path / "repo", tp=8))
    assert "--ntasks-per-node=4" in under_slurm(found, SERVER, Cluster(2, 8))
    assert "--ntasks-per-node=3" in under_slurm(found, SERVER, Cluster(3, 8))


@pytest.mark.parametrize(
    ("given", "pyxis"),
    [
        ("nvcr.io/nvidia/tritonserver:26.07", "nvcr.io#nvidia/tritonserver:26.07"),
        ("nvcr.io#nvidia/tritonserver:26.07", "nvcr.io#nvidia/tritonserver:26.07"),
        ("docker://nvcr.io/nvidia/triton", "docker://nvcr.io#nvidia/triton"),
        ("node1:5000/triton:mine", "node1:5000#triton:mine"),
        ("localhost/triton", "localhost#triton"),
        ("nvidia/cuda:13.1.0", "nvidia/cuda:13.1.0"),
        ("/shared/images/triton.sqsh", "/shared/images/triton.sqsh"),
        ("./triton.sqsh", "./triton.sqsh"),
        ("../images.d/triton.sqsh", "../images.d/triton.sqsh"),
        ("triton:26.07", "triton:26.07"),
    ],
)
def test_images_are_named_as_pyxis_does(given: str, pyxis: str) -> None:
    assert pyxis_image(given) == pyxis


def test_an_orchestrator_leaves_gpu_memory_to_its_ranks_under_slurm_too(tmp_path: Path) -> None:
    found = layout(write_engine(tmp_path / "repo", tp=2), "orchestrator")
    words = under_slurm(found, SERVER, Cluster(1, 2), in_job=True)
    assert words[:2] == ("srun", "--mpi=none"), "Slurm's PMIx spawns nothing"
    assert words[5:10] == ("mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "1")
    assert "--pinned-memory-pool-byte-size=0" in words
    assert words[-1] == "--cuda-memory-pool-byte-size=1:0"


def test_the_llm_api_has_its_own_launcher(tmp_path: Path) -> None:
    found = layout(write_llm_api(tmp_path / "repo", tensor_parallel_size=4), "llmapi")
    assert under_mpi(found, SERVER)[2:5] == ("-n", "4", "trtllm-llmapi-launch"), "every rank"
    words = under_slurm(found, SERVER, Cluster(1, 4), in_job=True)
    assert words[3:6] == ("--ntasks=4", "--ntasks-per-node=4", "trtllm-llmapi-launch")


def test_an_sbatch_file_is_a_script_that_bash_reads(tmp_path: Path) -> None:
    found = layout(write_engine(tmp_path / "repo", tp=2))
    cluster = Cluster(1, 8, options=("partition=gpu", "time=1-00:00:00"), name="llm")
    script = sbatch_file(found, SERVER, cluster)
    assert script.startswith("#!/bin/bash\n")
    for line in ("--ntasks=2", "--gpus-per-node=8", "--partition=gpu", "--time=1-00:00:00"):
        assert f"#SBATCH {line}\n" in script
    path = tmp_path / "job"
    path.write_text(script)
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    # the step's words survive two shells
    fake = write_program(tmp_path / "bin", "srun", "import json, sys\nprint(json.dumps(sys.argv))")
    done = subprocess.run(
        ["bash", str(path)], env={"PATH": f"{fake.parent}:/usr/bin:/bin"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (
        tuple(json.loads(done.stdout.splitlines()[-1])[1:])
        == under_slurm(found, SERVER, cluster, in_job=True)[1:]
    )
    assert done.stdout.startswith("Triton listens on 127.0.0.1 of ")


# What is checked before anything starts


def problems(repo: Path, *, gpus: int | None = 8, shm: int | None = 1 << 40) -> list[str]:
    contents = server.read_contents(repo)
    return list(ranks.problems(server.lay_out(contents), contents, gpus=gpus, shm_bytes=shm))


def test_nothing_stands_in_the_way(tmp_path: Path) -> None:
    assert problems(write_engine(tmp_path / "repo", tp=2, gpu_device_ids="0,1")) == []


def test_everything_that_stands_in_the_way(tmp_path: Path) -> None:
    repo = write_engine(tmp_path / "repo", tp=2, files=1, gpu_device_ids="7")
    for name in ("pre", "post"):
        write_python_model(repo, name)
    found = problems(repo, gpus=1, shm=64 << 20)
    assert [text for text in found if "rank1.engine missing" in text]
    assert [text for text in found if "gpu_device_ids 7 are 1 GPUs, and it has 2 ranks" in text]
    assert [text for text in found if "there is no GPU 7: 1 are seen" in text]
    assert [text for text in found if "2 ranks take 2 GPUs, and 1 are seen" in text]
    assert [text for text in found if "2 instances take 128 MiB" in text]


def test_one_rank_without_a_gpu(tmp_path: Path) -> None:
    (found,) = problems(write_engine(tmp_path / "repo"), gpus=0)
    assert found == "llm: 1 rank takes 1 GPU, and 0 are seen"


def test_an_engine_that_lies_elsewhere_has_its_ranks(tmp_path: Path) -> None:
    """As in NVIDIA's own templates, whose gpt_model_path is any directory of the machine."""
    built = write_engine(tmp_path / "built", tp=4) / "llm" / "1"
    repo = write_engine(tmp_path / "repo", gpt_model_path=str(built))
    (repo / "llm/1/config.json").unlink()
    assert (layout(repo).how, layout(repo).world) == ("leader", 4)
    assert problems(repo) == []
    (built / "rank3.engine").unlink()
    assert "rank3.engine missing" in problems(repo)[0]


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    repo = write_engine(tmp_path / "repo")
    (repo / "llm/1/config.json").write_text("")
    assert "it is empty" in problems(repo)[0]


@pytest.mark.parametrize(
    ("text", "size"), [("2g", 2 << 30), ("512m", 512 << 20), ("64MB", 64 << 20), ("lots", None)]
)
def test_sizes_of_shared_memory(text: str, size: int | None) -> None:
    assert server.shm_option(text) == size


# In the modes of `serve`


def job(repo: Path, tmp_path: Path, **options: Any) -> ServerJob:
    folder = tmp_path / "server"
    folder.mkdir(exist_ok=True)
    return ServerJob("abc123", server.read_contents(repo), LaunchOptions(**options), folder, SILENT)


def test_local_and_docker_start_the_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    write_tritonserver(programs)
    write_docker(programs)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    repo = write_engine(tmp_path / "repo", tp=2)
    found = local.command(job(repo, tmp_path))
    assert found.argv[0] == "mpirun"
    assert found.argv.count(str(programs / "tritonserver")) == 2
    inside = docker.command(job(repo, tmp_path, image=IMAGE, launch="orchestrator")).argv
    assert inside[inside.index(IMAGE) + 1 :][:5] == (
        "mpirun", "--allow-run-as-root", "-n", "1", "tritonserver",
    )  # fmt: skip
    assert "TRTLLM_ORCHESTRATOR=1" in inside


def test_local_moves_the_engines_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tritonserver(tmp_path / "programs")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:/usr/bin:/bin")
    repo = write_engine(tmp_path / "repo")
    before = (repo / "llm/config.pbtxt").read_bytes()
    found = local.command(job(repo, tmp_path))
    (view,) = [word.partition("=")[2] for word in found.argv if "--model-repository" in word]
    config = pbtxt.parse(Path(view, "llm/config.pbtxt").read_text())
    assert config.parameters["gpt_model_path"].string_value == str(repo.resolve() / "llm/1")
    assert Path(view, "llm/1/rank0.engine").read_bytes() == b"engine"
    assert (repo / "llm/config.pbtxt").read_bytes() == before


def test_serving_checks_the_ranks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tritonserver(tmp_path / "programs")
    repo = write_engine(tmp_path / "repo", tp=2, files=1)
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:/usr/bin:/bin")
    done = trtbuild("serve", repo, "--no-validate", "--mode", "local", "--port", "auto")
    assert done.returncode == 7
    assert "the ranks cannot be started: llm: " in done.stderr
    assert "rank1.engine missing" in done.stderr
    assert not (tmp_path / "programs/argv.json").exists(), "nothing was started"
