"""What each mode would run, to the word."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from support.models import write_python_model, write_vllm_model
from support.programs import write_docker, write_program, write_tritonserver
from trtbuild import lockfile, server
from trtbuild.errors import RepositoryError, ServerError, UsageError
from trtbuild.modelspec import SourceRef
from trtbuild.progress import SILENT
from trtbuild.server import Contents, LaunchOptions, Ports, docker, embedded
from trtbuild.server.handle import ModeName
from trtbuild.server.mode import ServerCommand, ServerJob
from trtbuild.server.select import MODES

IMAGE = "nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH beside the system's own."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def job(repo: Path, tmp_path: Path, *, dry_run: bool = False, **options: object) -> ServerJob:
    folder = tmp_path / "server"
    folder.mkdir(exist_ok=True)
    chosen = LaunchOptions(**options)  # type: ignore[arg-type]
    contents = server.read_contents(repo)
    return ServerJob("abc123", contents, chosen, folder, SILENT, dry_run=dry_run)


def command(mode: ModeName, *args: Path, **options: object) -> ServerCommand:
    return MODES[mode].command(job(*args, **options))  # type: ignore[arg-type]


def lock(repo: Path, *images: str) -> None:
    models = {
        f"m{index}": lockfile.LockedModel(
            SourceRef("local", "x"), "vllm", "26.07", image, "key", (f"m{index}",)
        )
        for index, image in enumerate(images)
    }
    lockfile.write(repo, lockfile.Lock(models))


def test_docker_runs_the_image_of_the_lock_file(tmp_path: Path, programs: Path) -> None:
    write_docker(programs)
    repo = write_vllm_model(tmp_path / "models", "m", "/models/m/1/weights")
    lock(repo, IMAGE)
    found = command("docker", repo, tmp_path, ports=Ports(9000, 9001, 9002))
    assert list(found.argv) == [
        *("docker", "run", "--rm", "--name", "trtbuild-abc123", "--gpus", "all"),
        *("--shm-size=2g", "--ulimit", "memlock=-1", "--ulimit", "stack=67108864"),
        *("-p", "127.0.0.1:9000:8000", "-p", "127.0.0.1:9001:8001"),
        *("-p", "127.0.0.1:9002:8002", "-v", f"{repo}:/models:ro"),
        *(IMAGE, "tritonserver", "--model-repository=/models", "--http-address=0.0.0.0"),
        *("--grpc-address=0.0.0.0", "--metrics-address=0.0.0.0", "--http-port=8000"),
        *("--grpc-port=8001", "--metrics-port=8002", "--exit-timeout-secs=30"),
        *("--disable-auto-complete-config", "--exit-on-error=true", "--strict-readiness=true"),
    ]
    assert (found.container, found.tool) == ("trtbuild-abc123", "docker")


@pytest.mark.parametrize(
    ("tool", "gpus", "words"),
    [
        ("docker", "0,1", ["--gpus", '"device=0,1"']),
        ("docker", "none", []),
        ("podman", "all", ["--device", "nvidia.com/gpu=all"]),
        ("podman", "0,1", ["--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=1"]),
    ],
)
def test_gpus_of_a_container(
    tmp_path: Path, programs: Path, tool: str, gpus: str, words: list[str]
) -> None:
    write_docker(programs, tool)
    repo = write_python_model(tmp_path / "models", "m")
    found = command("docker", repo, tmp_path, gpus=gpus, image="i")
    name = found.argv.index("trtbuild-abc123")
    assert list(found.argv[name + 1 : found.argv.index("--shm-size=2g")]) == words


def test_a_token_never_shows(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_docker(programs)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HOME", "/cache/hf")
    repo = write_vllm_model(tmp_path / "models", "m", "org/model")
    options = {"image": "i", "env": {"MY_API_KEY": "hidden", "PLAIN": "seen"}}
    found = command("docker", repo, tmp_path, **options)
    words = list(found.argv)
    assert words[words.index("-e") - 1] == "/cache/hf:/hf"
    assert {words[i + 1] for i, word in enumerate(words) if word == "-e"} == {
        "HF_HOME=/hf",
        "HF_TOKEN",
        "MY_API_KEY",
        "PLAIN=seen",
    }
    line = server.dry_run(server.read_contents(repo), "docker", LaunchOptions(**options))
    assert "hf_secret" not in line
    assert "hidden" not in line
    assert found.env == {"MY_API_KEY": "hidden"}


def test_weights_inside_need_neither_cache_nor_token(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_docker(programs)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    repo = write_vllm_model(tmp_path / "models", "m", "/models/m/1/weights")
    assert "-e" not in command("docker", repo, tmp_path, image="i").argv


def test_an_image_has_to_be_known(tmp_path: Path, programs: Path) -> None:
    write_docker(programs)
    repo = write_python_model(tmp_path / "models", "m")
    with pytest.raises(UsageError, match="image for this repository is unknown") as none:
        command("docker", repo, tmp_path)
    assert "--image" in none.value.fix
    lock(repo, "one", "two")
    with pytest.raises(UsageError, match="2 different images") as several:
        command("docker", repo, tmp_path)
    assert several.value.details == ("one", "two")


def test_no_engine_is_told_but_not_to_a_dry_run(tmp_path: Path, programs: Path) -> None:
    write_docker(programs, answers=False)
    repo = write_python_model(tmp_path / "models", "m")
    with pytest.raises(ServerError, match="no response from docker") as error:
        command("docker", repo, tmp_path, image="i")
    assert error.value.exit_code == 7
    assert command("docker", repo, tmp_path, image="i", dry_run=True).argv[0] == "docker"


def test_podman_is_taken_when_docker_does_not_answer(programs: Path) -> None:
    write_docker(programs, answers=False)
    write_docker(programs, "podman")
    assert docker.engine() == "podman"


def test_a_health_checked_model_needs_explicit_control(tmp_path: Path, programs: Path) -> None:
    write_tritonserver(programs)
    repo = write_vllm_model(tmp_path / "a", "m", "org/x", ENABLE_VLLM_HEALTH_CHECK="true")
    argv = command("local", repo, tmp_path).argv
    assert {"--model-control-mode=explicit", "--load-model=*"} <= set(argv)
    repo = write_vllm_model(tmp_path / "b", "m", "org/x", ENABLE_VLLM_HEALTH_CHECK="false")
    assert "--load-model=*" not in command("local", repo, tmp_path).argv


def test_a_local_server_gets_a_view_with_real_paths(tmp_path: Path, programs: Path) -> None:
    write_tritonserver(programs)
    repo = write_vllm_model(tmp_path / "models", "m", "/models/m/1/weights")
    (repo / "m/1/weights/model.safetensors").write_bytes(b"w")
    (repo / "m/1/multi_lora.json").write_text('{"fr": "/models/m/1/adapters/fr"}')
    before = {path: path.read_bytes() for path in repo.rglob("*") if path.is_file()}
    argv = command("local", repo, tmp_path).argv
    view = tmp_path / "server" / "view"
    assert f"--model-repository={view}" in argv
    assert json.loads((view / "m/1/model.json").read_text())["model"] == f"{repo}/m/1/weights"
    lora = json.loads((view / "m/1/multi_lora.json").read_text())
    assert lora == {"fr": f"{repo}/m/1/adapters/fr"}
    assert (view / "m/1/weights/model.safetensors").read_bytes() == b"w"
    assert (view / "m/config.pbtxt").read_bytes() == (repo / "m/config.pbtxt").read_bytes()
    assert before == {path: path.read_bytes() for path in repo.rglob("*") if path.is_file()}


def test_a_dry_run_makes_no_view(tmp_path: Path, programs: Path) -> None:
    write_tritonserver(programs)
    repo = write_vllm_model(tmp_path / "models", "m", "/models/m/1/weights")
    argv = command("local", repo, tmp_path, dry_run=True).argv
    assert f"--model-repository={tmp_path}/server/view" in argv
    assert not (tmp_path / "server" / "view").exists()


def test_a_repository_without_mounted_paths_needs_no_view(tmp_path: Path, programs: Path) -> None:
    program = write_tritonserver(programs)
    repo = write_python_model(tmp_path / "models", "m")
    argv = command("local", repo, tmp_path, arguments=("--log-verbose=1",)).argv
    assert argv[:2] == (str(program), f"--model-repository={repo}")
    assert argv[-2:] == (
        "--log-verbose=1",
        "--backend-config=python,shm-region-prefix-name=trtbuild_abc123_",
    )


@pytest.mark.parametrize("place", ["own", "own/1"])
@pytest.mark.parametrize("runtime", ["", "libother.so"])
def test_a_model_may_bring_its_backend(tmp_path: Path, place: str, runtime: str) -> None:
    repo = write_python_model(tmp_path / "models", "echo")
    (repo / "own" / "1").mkdir(parents=True)
    named = f'runtime: "{runtime}"' if runtime else ""
    (repo / "own" / "config.pbtxt").write_text(f'backend: "special" {named}')
    assert server.read_contents(repo).backends == {"python", "special"}
    (repo / place / (runtime or "libtriton_special.so")).write_bytes(b"")
    assert server.read_contents(repo).backends == {"python"}


def test_a_model_of_a_backend_in_python_brings_none(tmp_path: Path) -> None:
    repo = tmp_path / "models"
    (repo / "llm" / "1").mkdir(parents=True)
    (repo / "llm" / "config.pbtxt").write_text('backend: "special" runtime: "model.py"')
    (repo / "llm" / "1" / "model.py").write_text("")
    assert server.read_contents(repo).backends == {"special"}


def test_the_embedded_server_knows_its_backends(tmp_path: Path) -> None:
    repo = write_python_model(tmp_path / "models", "m")
    config = repo / "m" / "config.pbtxt"
    config.write_text(config.read_text().replace('"python"', '"openvino"'))
    with pytest.raises(ServerError, match="no backend 'openvino'") as error:
        command("embedded", repo, tmp_path, dry_run=True)
    assert "--mode docker" in error.value.fix


def test_the_dry_run_of_the_embedded_server_installs_nothing(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    repo = write_vllm_model(tmp_path / "models", "m", "/models/m/1/weights")
    line = server.dry_run(server.read_contents(repo), "embedded", LaunchOptions())
    words = shlex.split(line)
    assert {"VLLM_CPU_KVCACHE_SPACE=7", "VLLM_NO_USAGE_STATS=1", "HF_HUB_OFFLINE=1"} <= set(words)
    assert words[0].endswith("/bin:$PATH")
    assert f"--model-repository={repo}" in words
    assert not cache_dir.exists()


@pytest.mark.parametrize(("cores", "alone"), [(2, True), (8, True), (9, False), (64, False)])
def test_few_cores_are_not_shared_with_a_polling_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, alone: bool
) -> None:
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    repo = write_vllm_model(tmp_path / "models", "m", "/models/m/1/weights")
    env = command("embedded", repo, tmp_path, dry_run=True).env
    assert (env.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0") is alone
    assert (env["VLLM_CPU_OMP_THREADS_BIND"] == "auto") is not alone


def test_a_server_for_one_answer_does_not_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtbuild.server.embedded.has_compiler", lambda: True)
    repo = write_vllm_model(tmp_path / "models", "m", "/models/m/1/weights")
    for short_lived in (True, False):
        options = LaunchOptions(short_lived=short_lived)
        line = server.dry_run(server.read_contents(repo), "embedded", options)
        assert ("TRTBUILD_ENFORCE_EAGER=1" in line) is short_lived


def test_hub_weights_are_not_looked_for_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    repo = write_vllm_model(tmp_path / "models", "m", "org/model")
    assert "HF_HUB_OFFLINE" not in command("embedded", repo, tmp_path, dry_run=True).env


def test_all_cores_of_a_small_machine_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 1})
    assert embedded.thread_binding() == "1,3"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert embedded.thread_binding() == "auto"


@pytest.mark.parametrize(
    ("gib", "weights_gib", "expected"), [(24, 0.5, 5), (2, 0, 1), (1024, 100, 32)]
)
def test_the_kv_cache_fits_the_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gib: int,
    weights_gib: float,
    expected: int,
) -> None:
    monkeypatch.setattr(embedded.process, "available_memory", lambda: gib << 30)
    monkeypatch.setattr(embedded, "weight_bytes", lambda _: int(weights_gib * (1 << 30)))
    contents = Contents(tmp_path, (), frozenset(), False, (), False, False)
    assert embedded.kv_cache_gib(contents) == expected


@pytest.mark.parametrize(
    ("backend", "image", "needed"),
    [
        ("python", "nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3", True),
        ("python", "nvcr.io/nvidia/tritonserver:26.07-py3", False),
        ("onnxruntime", "nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3", False),
        ("vllm", "", True),
    ],
)
def test_a_python_model_of_vllms_image_gets_its_packages(
    tmp_path: Path, backend: str, image: str, needed: bool
) -> None:
    contents = Contents(tmp_path, (), frozenset({backend}), False, (image,), False, False)
    assert embedded.needs_vllm(contents, LaunchOptions()) is needed


def test_without_a_compiler_nothing_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(tmp_path / "with", "g++", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "with"))
    assert embedded.has_compiler()
    monkeypatch.setenv("PATH", str(tmp_path / "without"))
    assert not embedded.has_compiler()


def test_auto_takes_a_local_server_first(programs: Path) -> None:
    write_docker(programs)
    program = write_tritonserver(programs)
    choice = server.choose("auto", has_gpu=True)
    assert (choice.mode, str(program) in choice.why) == ("local", True)


def test_auto_takes_docker_with_a_gpu(programs: Path) -> None:
    write_docker(programs)
    assert server.choose("auto", has_gpu=True).mode == "docker"
    choice = server.choose("auto", has_gpu=False)
    assert (choice.mode, "there is no GPU" in choice.why) == ("embedded", True)


def test_auto_says_all_reasons_when_nothing_goes(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_docker(programs, answers=False)
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(ServerError) as error:
        server.choose("auto", has_gpu=False)
    assert len(error.value.details) == 3
    assert "Darwin arm64" in error.value.details[2]


def test_an_unknown_mode_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="'dokcer'"):
        server.choose("dokcer", has_gpu=False)


def test_an_empty_repository_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="no model"):
        server.read_contents(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        server.read_contents(tmp_path / "none")
