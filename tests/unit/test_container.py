"""A container as data, and as the command that runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.paths import ROOT
from trtbuild.container import (
    Claim,
    ContainerSpec,
    GpuResource,
    HealthCheck,
    Mount,
    Port,
    run_arguments,
)
from trtbuild.progress import SILENT
from trtbuild.server.contents import Contents
from trtbuild.server.docker import container
from trtbuild.server.mode import LaunchOptions, ServerJob

FULL = ContainerSpec(
    image="registry.example/triton:1",
    command=("tritonserver", "--model-repository=/models"),
    name="one",
    env={"B": "2", "HF_TOKEN": "hf_secret"},
    inherited=("A",),
    mounts=(Mount("/data/repo", "/models"), Mount("/home/me/a:b", "/cache", writable=True)),
    ports=(Port(8000, 9000), Port(8001, 9001, "::1")),
    shm_size="2g",
    gpus="0,1",
    ulimits={"memlock": -1},
    user="1000:1000",
)


def test_docker_run_is_spelt_from_every_field() -> None:
    assert run_arguments(FULL) == (
        *("docker", "run", "--rm", "--name", "one", "--gpus", '"device=0,1"', "--shm-size=2g"),
        *("--ulimit", "memlock=-1", "--user", "1000:1000"),
        *("-p", "127.0.0.1:9000:8000", "-p", "[::1]:9001:8001"),
        *("-v", "/data/repo:/models:ro"),
        *("--mount", "type=bind,source=/home/me/a:b,target=/cache"),
        *("-e", "A", "-e", "B=2", "-e", "HF_TOKEN"),
        *("registry.example/triton:1", "tritonserver", "--model-repository=/models"),
    )


def test_a_secret_is_never_on_the_command_line() -> None:
    assert "hf_secret" not in " ".join(run_arguments(FULL))
    assert FULL.secrets == {"HF_TOKEN": "hf_secret"}


def test_limits_are_spelt_only_when_set() -> None:
    spec = ContainerSpec(
        image="i",
        command=(),
        memory_bytes=1 << 30,
        health=HealthCheck(("python3", "a b"), period=5, timeout=4, failures=2, start=60),
        stop_seconds=105,
        read_only=True,
        scratch=("/tmp",),
        claims=(Claim("weights", "/models", "v1"), Claim("cache", "/hf", writable=True)),
        gpu=GpuResource(2),
    )
    assert run_arguments(spec) == (
        *("docker", "run", "--rm", "--gpus", '"device=0,1"', "--memory", "1073741824"),
        *("--stop-timeout", "105", "--read-only", "--tmpfs", "/tmp"),
        *("--health-cmd", "python3 'a b'", "--health-interval", "5s", "--health-timeout", "4s"),
        *("--health-retries", "2", "--health-start-period", "60s"),
        *("--mount", "type=volume,source=weights,target=/models,volume-subpath=v1,readonly"),
        *("--mount", "type=volume,source=cache,target=/hf", "i"),
    )


@pytest.mark.parametrize(
    ("gpus", "words"),
    [("none", ()), ("all", ("--device", "nvidia.com/gpu=all")),
     ("0,1", ("--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=1"))],
)  # fmt: skip
def test_podman_names_gpus_by_cdi(gpus: str, words: tuple[str, ...]) -> None:
    spec = ContainerSpec(image="i", command=(), gpus=gpus)
    assert run_arguments(spec, "podman") == ("podman", "run", "--rm", *words, "i")


def test_the_dockerfile_starts_the_server_as_serve_does(tmp_path: Path) -> None:
    contents = Contents(
        repo=tmp_path,
        models=("m",),
        backends=frozenset({"vllm"}),
        health_checked=True,
        images=("i",),
        mounted_paths=False,
        needs_hub=False,
    )
    spec = container(ServerJob("id", contents, LaunchOptions(), tmp_path, SILENT))
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    (line,) = [line for line in text.splitlines() if line.startswith("CMD ")]
    program = json.loads(line.removeprefix("CMD "))
    assert set(program) <= set(spec.command)
    # The addresses and ports are the server's defaults in a container of its own.
    spelt_out = ("--http-", "--grpc-", "--metrics-", "--exit-on-error=true", "--strict-readiness")
    assert [w for w in spec.command if w not in program and not w.startswith(spelt_out)] == []
