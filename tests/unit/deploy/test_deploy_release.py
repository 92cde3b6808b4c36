"""The life of a release: the real helm against a stand-in that takes what a cluster takes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.deployments import deployable
from support.kubernetes import run_helm
from support.kubernetes_api import Api, kubernetes_api
from trtbuild_deploy.jobs.render import render, write

pytestmark = pytest.mark.network
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def api() -> Iterator[Api]:
    with kubernetes_api() as found:
        yield found


@pytest.fixture
def helm(api: Api, tmp_path: Path) -> Run:
    def run(*words: object, values: Path = tmp_path / "first/out") -> Any:
        kube = ("--kube-apiserver", api.url, "-n", "serving")
        more = ("chart", "-f", "values.yaml") if words[0] in ("install", "upgrade") else ()
        checks = ("--disable-openapi-validation",) if more else ()
        done = run_helm(*words, *more, *checks, *kube, cwd=values)
        assert done.returncode == 0, done.stderr
        return done

    return run


def written(folder: Path, weights: int) -> Path:
    folder.mkdir()
    write(render("helm", deployable(folder, weights=weights), None), folder / "out")
    return folder / "out"


def pod_checksum(api: Api) -> str:
    template = api.objects["Deployment", "demo"]["spec"]["template"]
    found: str = template["metadata"]["annotations"]["checksum/repository"]
    return found


def test_a_release_is_installed_upgraded_rolled_back_and_removed(
    api: Api, helm: Run, tmp_path: Path
) -> None:
    written(tmp_path / "first", 1)
    second = written(tmp_path / "second", 2)
    helm("install", "demo")
    kinds = {kind for kind, _ in api.objects}
    assert kinds == {
        "Deployment", "Service", "ServiceAccount", "ConfigMap", "NetworkPolicy",
        "PodDisruptionBudget",
    }  # fmt: skip
    before, selector = pod_checksum(api), api.objects["Deployment", "demo"]["spec"]["selector"]

    api.writes.clear()
    helm("upgrade", "demo")
    assert api.writes == []  # the same repository changes nothing

    helm("upgrade", "demo", values=second)
    assert pod_checksum(api) != before
    assert api.objects["Deployment", "demo"]["spec"]["selector"] == selector

    helm("rollback", "demo", "1")
    assert pod_checksum(api) == before
    helm("uninstall", "demo")
    assert api.objects == {}


def test_the_stand_in_refuses_what_a_cluster_refuses(api: Api, helm: Run, tmp_path: Path) -> None:
    out = written(tmp_path / "first", 1)
    template = out / "chart/templates/workload.yaml"
    template.write_text(template.read_text().replace("revisionHistoryLimit", "revisionHistoryLimt"))
    with pytest.raises(AssertionError, match="revisionHistoryLimt"):
        helm("install", "demo")
