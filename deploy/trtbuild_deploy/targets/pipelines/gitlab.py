"""A pipeline of GitLab CI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_IMAGE = "python:3.12-slim"
# An image with docker, helm and kubectl, which the project gives.
_TOOLS = "$TOOLS_IMAGE"


def path(name: str) -> str:  # noqa: ARG001 - GitLab knows one place
    """See :class:`trtbuild_deploy.targets.pipelines.Dialect`."""
    return ".gitlab-ci.yml"


def document(
    script: str, variables: Mapping[str, str], environments: Sequence[str]
) -> dict[str, Any]:
    """See :class:`trtbuild_deploy.targets.pipelines.Dialect`."""
    found: dict[str, Any] = {
        "stages": ["check", "push", *environments, "rollback"],
        # "$$" is a dollar sign: GitLab expands variables in values.
        "variables": {name: value.replace("$", "$$") for name, value in variables.items()},
        "workflow": {"rules": [{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}]},
        "validate": {
            "stage": "check",
            "image": _IMAGE,
            "script": _calls(script, "install", "validate"),
            "artifacts": {
                "when": "always",
                "paths": ["trtbuild.sarif"],
                "reports": {"junit": "trtbuild.xml"},
            },
        },
        "rehearse": {
            "stage": "check",
            "image": _IMAGE,
            "timeout": "1 hour",
            "script": _calls(script, "install", "rehearse"),
        },
        "push": {
            "stage": "push",
            "image": _TOOLS,
            "script": _calls(script, "push"),
            "artifacts": {"paths": ["release"]},
        },
    }
    for one in environments:
        found[one] = {
            **_environment(one),
            "stage": one,
            "timeout": "6 hours",
            "needs": ["push", *_before(environments, one)],
            "script": _calls(script, "install", f"deploy {one}", f"verify {one}"),
            "artifacts": {
                "when": "always",
                "paths": ["bench.json"],
                "reports": {"junit": "golden.xml"},
            },
        }
    last = environments[-1]
    found["rollback"] = {
        **_environment(last),
        "stage": "rollback",
        "needs": [last],
        "rules": [{"when": "on_failure"}],
        "script": _calls(script, f"rollback {last}"),
    }
    return found


def _environment(name: str) -> dict[str, Any]:
    """One deployment at a time; the environment holds the secrets and asks who may deploy."""
    return {"image": _TOOLS, "environment": {"name": name}, "resource_group": name}


def _before(environments: Sequence[str], one: str) -> list[str]:
    return list(environments[: environments.index(one)][-1:])


def _calls(script: str, *stages: str) -> list[str]:
    return [f"sh {script} {stage}" for stage in stages]
