"""Every shape of a repository on every way to its GPUs: valid objects, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.deployments import deployable
from support.kubernetes import rendered, require_valid, run_helm
from trtbuild.check.running import run_on_file
from trtbuild.errors import TrtbuildError
from trtbuild_deploy.jobs.render import render, write
from trtbuild_deploy.rules.view import Document, files_of

pytestmark = [pytest.mark.network, pytest.mark.nightly]

VERSIONS = ("1.30", "1.34", "1.37")
OPTIONS = """
gateway: {enabled: true, image: example/gateway:1}
autoscaling: {kind: keda}
monitoring: {kind: podMonitor}
route: {parents: [public], namespace: infra, hostnames: [a.example.org]}
weights: {size: 16Gi}
"""
BUILDERS = {"vllm": "plain", "trtllm": "plain", "trtllm-engine": "balanced", "onnx": "embed"}
SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "one GPU": ({}, "gpu: {count: 1}\n"),
    "tensor parallel": ({"tensor_parallel_size": 4}, "gpu: {count: 4}\n"),
    "several nodes": (
        {
            "distributed_executor_backend": "ray",
            "tensor_parallel_size": 8,
            "pipeline_parallel_size": 2,
        },
        "gpu: {count: 16}\n",
    ),
    "MIG": ({}, "gpu: {mode: mig, profile: 1g.10gb, count: 1}\n"),
    "DRA": ({}, "gpu: {mode: dra, count: 1}\n"),
}
# What cannot be, and the words that say so.
REFUSED = {
    ("trtllm", "several nodes"): "no model takes more than 1: lower it",
    ("trtllm-engine", "several nodes"): "no model takes more than 1: lower it",
    ("onnx", "several nodes"): "no model takes more than 0: lower it",
}
DRA_SINCE = "1.34"


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", ["", OPTIONS], ids=["bare", "options"])
def test_a_shape_is_valid_or_refused(
    tmp_path: Path, builder: str, shape: str, options: str
) -> None:
    engine, gpu = SHAPES[shape]
    repo = deployable(tmp_path, builder, BUILDERS[builder], settings={"engine": engine})
    (tmp_path / "deploy.yaml").write_text(gpu + (options or "weights: {size: 16Gi}\n"))
    try:
        write(render("helm", repo, tmp_path / "deploy.yaml"), tmp_path / "out")
    except TrtbuildError as error:
        assert REFUSED[(builder, shape)] in " ".join((error.what, *error.details))
        return
    assert (builder, shape) not in REFUSED
    out = tmp_path / "out"
    lint = run_helm("lint", "--strict", "chart", "-f", "values.yaml", cwd=out)
    assert lint.returncode == 0, lint.stdout
    for version in VERSIONS:
        if shape == "DRA" and version < DRA_SINCE:
            words = ("template", "demo", "chart", "-f", "values.yaml", "--kube-version", version)
            refused = run_helm(*words, cwd=out)
            assert refused.returncode != 0
            assert DRA_SINCE in refused.stderr
            continue
        objects = rendered(out, version, "values-prod.yaml")
        for one in objects:
            require_valid(one, version)
        seen = files_of([Document(one) for one in objects])
        assert run_on_file("DEP", seen, "chart") == ()
