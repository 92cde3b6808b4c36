"""Workers on a queue in the chart: valid for a cluster, scaled by what waits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.command_line import trtbuild
from support.deployments import deployable
from support.kubernetes import rendered, require_valid, run_helm
from support.paths import TESTS
from trtbuild.check.running import run_on_file
from trtbuild.errors import RecipeError
from trtbuild_deploy.jobs.render import render, write
from trtbuild_deploy.rules.view import Document, files_of

GUIDE = (TESTS.parent / "docs/guides/queues.md").read_text(encoding="utf-8")
WORKER = {"image": "example/worker:1", "secret": "queues", "name": "requests"}
TRIGGERS: dict[str, tuple[dict[str, Any], str, dict[str, str]]] = {
    # queue: settings, KEDA's trigger, some of its metadata
    "redis": (
        {"address": "redis:6379", "variable": "REDIS_PASSWORD"},
        "redis-streams",
        {"stream": "requests", "lagCount": "64", "passwordFromEnv": "REDIS_PASSWORD"},
    ),
    "kafka": (
        {"address": "a:9092,b:9092", "group": "llm", "authentication": "kafka"},
        "kafka",
        {"bootstrapServers": "a:9092,b:9092", "consumerGroup": "llm", "lagThreshold": "64"},
    ),
    "nats": (
        {"address": "nats:8222", "waiting": 8},
        "nats-jetstream",
        {"account": "$G", "stream": "requests", "consumer": "trtbuild", "lagThreshold": "8"},
    ),
    "rabbitmq": (
        {"variable": "RABBITMQ", "target": "https://llm.example.org/v1"},
        "rabbitmq",
        {"hostFromEnv": "RABBITMQ", "queueName": "requests", "value": "64"},
    ),
}


def written(folder: Path, worker: dict[str, Any], **more: Any) -> Path:
    gateway = {"enabled": True, "image": "example/gateway:1"}
    settings = {"gateway": gateway, "monitoring": {"kind": "podMonitor"}, "worker": worker, **more}
    (folder / "deploy.yaml").write_text(yaml.safe_dump(settings))
    write(render("helm", deployable(folder), folder / "deploy.yaml"), folder / "out")
    return folder / "out"


def of_worker(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["kind"]: one for one in objects if one["metadata"]["name"] == "demo-worker"}


@pytest.mark.network
@pytest.mark.parametrize("queue", TRIGGERS)
def test_workers_are_scaled_by_their_queue(tmp_path: Path, queue: str) -> None:
    settings, kind, metadata = TRIGGERS[queue]
    objects = rendered(written(tmp_path, {"queue": queue, **WORKER, **settings}), "1.34")
    assert run_on_file("DEP", files_of([Document(one) for one in objects]), "chart") == ()
    found = of_worker(objects)
    assert set(found) == {"Deployment", "ScaledObject", "NetworkPolicy", "PodMonitor"}
    for one in found.values():
        require_valid(one, "1.34")
    scaled = found["ScaledObject"]["spec"]
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == kind
    assert trigger["metadata"].items() >= metadata.items()
    assert trigger.get("authenticationRef", {}).get("name") == settings.get("authentication")
    assert scaled["minReplicaCount"] == 0
    assert scaled["scaleTargetRef"] == {"name": "demo-worker"}
    assert "replicas" not in found["Deployment"]["spec"]
    (box,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    target = box["args"][box["args"].index("--target") + 1]
    assert target == settings.get("target", "http://demo:9000/v1")
    ports = [one["port"] for one in found["NetworkPolicy"]["spec"]["egress"][1]["ports"]]
    assert (443 if "target" in settings else 9000) in ports
    services = [one for one in objects if one["kind"] in ("Service", "PodDisruptionBudget")]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    for one in services:
        selector = one["spec"]["selector"]
        assert not selector.get("matchLabels", selector).items() <= labels


@pytest.mark.network
def test_the_guides_settings_make_a_worker_that_starts(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "deploy.yaml").write_text(text)
    write(render("helm", deployable(tmp_path), tmp_path / "deploy.yaml"), tmp_path / "out")
    lint = run_helm("lint", "--strict", "chart", "-f", "values.yaml", cwd=tmp_path / "out")
    assert lint.returncode == 0, lint.stdout
    pod = of_worker(rendered(tmp_path / "out", "1.34"))["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 60 + 30
    done = trtbuild(*pod["containers"][0]["args"][1:])
    assert done.returncode == 2
    assert "REQUESTS" in done.stderr


@pytest.mark.parametrize(
    ("worker", "port"),
    [
        ({"queue": "kafka", "address": "a:9094,b:9094"}, 9094),
        ({"queue": "kafka", "address": "a,b"}, 9092),
        ({"queue": "redis", "address": "[fd00::1]:6380"}, 6380),
        ({"queue": "redis", "address": "redis:6379", "port": 6381}, 6381),
        ({"queue": "nats", "address": "nats:8222"}, 4222),
    ],
)
def test_a_worker_may_connect_to_the_port_of_its_broker(
    tmp_path: Path, worker: dict[str, Any], port: int
) -> None:
    written(tmp_path, {**WORKER, **worker})
    values = yaml.safe_load((tmp_path / "out/values.yaml").read_text())
    assert values["workload"]["worker"]["ports"] == sorted([port, 9000])


def test_without_a_queue_there_is_no_worker(tmp_path: Path) -> None:
    values = yaml.safe_load((written(tmp_path, {}) / "values.yaml").read_text())
    assert values["workload"]["worker"] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": ""}, "'worker.image'"),
        ({"secret": ""}, "'worker.secret'"),
        ({"address": ""}, "'worker.address'"),
        ({"queue": "rabbitmq"}, "'worker.variable'"),
        ({"min": 9}, "'worker.min' 9 is more than 'worker.max' 8"),
        ({"target": "http://llm:99999/v1"}, "'worker.target' must be a URL with http"),
        ({"target": "http://[::1/v1"}, "'worker.target' must be a URL with http"),
        ({"target": "https://me:s3cret@llm/v1"}, "'worker.target' has a login"),
        ({"adress": "a:1"}, "adress"),
        ({"queue": ""}, "'worker.image' starts no worker: give 'worker.queue'"),
        ({"address": "redis://redis:6379"}, "is not HOST:PORT"),
        ({"address": "a:9092,:9092"}, "is not HOST:PORT"),
        ({"address": "[::1]:70000"}, "is not HOST:PORT"),
        ({"target": "gateway"}, "'worker.target' must be a URL with http or https"),
        ({"cpu": "1x"}, "'worker.cpu' must be a number of CPUs, such as 4, 0.5 or 250m"),
        ({"variable": "A B"}, "'A B' cannot be the name of a variable"),
    ],
)
def test_what_a_worker_needs_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        written(tmp_path, {"queue": "redis", "address": "redis:6379", **WORKER, **changes})
    found = " ".join((caught.value.what, *caught.value.details))
    assert said in found and "s3cret" not in found


def test_a_worker_without_a_gateway_needs_a_target(tmp_path: Path) -> None:
    worker = {"queue": "redis", "address": "redis:6379", **WORKER}
    with pytest.raises(RecipeError, match=r"'worker\.target'"):
        written(tmp_path, worker, gateway={})


def test_a_target_without_the_chart_says_that_it_deploys_no_workers(tmp_path: Path) -> None:
    worker = {"queue": "redis", "address": "redis:6379", "target": "http://a/v1", **WORKER}
    (tmp_path / "deploy.yaml").write_text(yaml.safe_dump({"worker": worker}))
    made = render("compose", deployable(tmp_path), tmp_path / "deploy.yaml")
    assert "the target compose deploys no workers" in made.rendered.notes[-1]
