"""A workflow of GitHub Actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_RUNNER = "ubuntu-24.04"
# By the commit, because a tag can move; docs/guides/deploy-pipelines.md has the versions.
_CHECKOUT = "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8"
_PYTHON = "actions/setup-python@e797f83bcb11b83ae66e0230d6156d7c80228e7c"
_UPLOAD = "actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02"
_DOWNLOAD = "actions/download-artifact@634f93cb2916e3fdff6788551b99b062d0335ce0"


def path(name: str) -> str:
    """See :class:`trtbuild_deploy.targets.pipelines.Dialect`."""
    return f".github/workflows/deploy-{name}.yml"


def document(
    script: str, variables: Mapping[str, str], environments: Sequence[str]
) -> dict[str, Any]:
    """See :class:`trtbuild_deploy.targets.pipelines.Dialect`."""
    jobs: dict[str, Any] = {
        "validate": {
            "permissions": {"contents": "read", "security-events": "write"},
            **_job(
                15,
                _call(script, "install"),
                _call(script, "validate"),
                {
                    **_call(script, "report"),
                    "if": "always()",
                    "env": {"GH_TOKEN": "${{ github.token }}"},
                },
            ),
        },
        "rehearse": _job(60, _call(script, "install"), _call(script, "rehearse")),
        "push": {
            "needs": ["validate", "rehearse"],
            **_job(
                60,
                _call(script, "push", "REGISTRY_USER", "REGISTRY_PASSWORD"),
                _keep("release", "release/"),
            ),
        },
    }
    before = "push"
    for one in environments:
        jobs[one] = _deployment(script, one, before)
        before = one
    jobs["rollback"] = {
        "needs": before,
        "if": f"failure() && needs.{before}.result == 'failure'",
        "environment": before,
        **_job(30, _call(script, f"rollback {before}", "KUBECONFIG_TEXT")),
    }
    return {
        "name": f"Deploy {variables['NAME']}",
        "on": {"push": {"branches": ["main"]}},
        "permissions": {"contents": "read"},
        "concurrency": {"group": f"deploy-{variables['NAME']}", "cancel-in-progress": False},
        "env": dict(variables),
        "jobs": jobs,
    }


def _deployment(script: str, environment: str, before: str) -> dict[str, Any]:
    return {
        "needs": before,
        "environment": environment,
        **_job(
            360,
            _call(script, "install"),
            {"uses": _DOWNLOAD, "with": {"name": "release", "path": "release/"}},
            _call(script, f"deploy {environment}", "KUBECONFIG_TEXT"),
            _call(script, f"verify {environment}", "KUBECONFIG_TEXT", "TRTBUILD_API_KEY"),
            {**_keep(f"verify-{environment}", "bench.json\ngolden.xml"), "if": "always()"},
        ),
    }


def _job(minutes: int, *steps: dict[str, Any]) -> dict[str, Any]:
    first = [
        {"uses": _CHECKOUT, "with": {"persist-credentials": False, "lfs": True}},
        {"uses": _PYTHON, "with": {"python-version": "3.12"}},
    ]
    return {"runs-on": _RUNNER, "timeout-minutes": minutes, "steps": [*first, *steps]}


def _call(script: str, stage: str, *secrets: str) -> dict[str, Any]:
    """A stage, with those secrets and no other."""
    found: dict[str, Any] = {"run": f"sh {script} {stage}"}
    if secrets:
        found["env"] = {name: f"${{{{ secrets.{name} }}}}" for name in secrets}
    return found


def _keep(name: str, path: str) -> dict[str, Any]:
    return {"uses": _UPLOAD, "with": {"name": name, "path": path}}
