"""Pipelines: GitHub Actions and GitLab CI around the same script and the target argo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from trtbuild import __version__
from trtbuild.signature import ServedTask
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.resources import data_file
from trtbuild_deploy.settings import SETTINGS_NAME, Settings
from trtbuild_deploy.target import OutputFile, Rendered
from trtbuild_deploy.targets.argo import EXAMPLE
from trtbuild_deploy.targets.argo import target as argo
from trtbuild_deploy.targets.pipelines import github, gitlab
from trtbuild_deploy.targets.yamltext import yaml_bytes
from trtbuild_deploy.workload import GATEWAY, HTTP, name_in, workload

_SCRIPTS = ("pipeline.sh", "Dockerfile")


class Dialect(Protocol):
    """What differs between CI systems: where the file lies, and how it is written."""

    def path(self, name: str) -> str:
        """Return the file's path in the repository."""

    def document(
        self, script: str, variables: Mapping[str, str], environments: Sequence[str]
    ) -> dict[str, Any]:
        """Return the file's content."""


class Pipeline:
    """A pipeline of one CI system."""

    example = EXAMPLE + "weights: {from: image, reference: registry.example.org/chat-models:main}\n"

    def __init__(self, name: str, summary: str, dialect: Dialect) -> None:
        """See :class:`trtbuild_deploy.target.Target`."""
        self.name = name
        self.summary = summary
        self._dialect = dialect

    def reasons_against(self, facts: Facts, settings: Settings) -> Sequence[str]:
        """Return what Argo cannot do, and what a digest needs."""
        return (*argo.reasons_against(facts, settings), *_reasons(settings))

    def render(self, facts: Facts, settings: Settings) -> Rendered:
        """Return the CI file, its script, and Argo's files for the script to deploy."""
        name = name_in(facts, settings)
        folder = f"deploy/{name}"
        made = argo.render(facts, settings)
        names = [file.path.partition("/")[0] for file in made.files if "/rollout.y" in file.path]
        environments = [one for one in ("dev", "staging", "prod") if one in names]
        header = f"Written by trtbuild deploy {self.name}; `trtbuild deploy diff` shows edits."
        document = self._dialect.document(
            f"{folder}/pipeline.sh", _variables(facts, settings, folder), environments
        )
        files = [
            OutputFile(self._dialect.path(name), yaml_bytes(document, header)),
            *(OutputFile(f"{folder}/{file.path}", file.content) for file in made.files),
            *(
                OutputFile(f"{folder}/{one}", data_file("pipeline", one).read_bytes())
                for one in _SCRIPTS
            ),
        ]
        return Rendered(
            tuple(sorted(files, key=lambda file: file.path)),
            notes=(*made.notes, *_notes(folder)),
            next=(f"git add {self._dialect.path(name)} {folder} {SETTINGS_NAME}",),
        )


def _reasons(settings: Settings) -> Iterator[str]:
    weights = settings.weights
    last = weights.reference.rpartition("/")[2]
    if weights.source != "image" or ":" not in last or "@" in last:
        yield (
            "a pipeline pushes the repository as an image and deploys its digest: give "
            "'weights.from' image, and 'weights.reference' as registry/name:tag"
        )
    if settings.argo.repository:
        yield "'argo.repository': the pipeline deploys, and Argo CD would undo it; keep one"


def _variables(facts: Facts, settings: Settings, folder: str) -> dict[str, str]:
    """What the script reads."""
    gate, load = settings.gate, workload(facts, settings)
    texts = [model.name for model in facts.models if ServedTask(model.task).makes_text]
    target = (
        f"openai:http://127.0.0.1:{GATEWAY}/v1#{texts[0]}"
        if texts
        else f"triton:http://127.0.0.1:{HTTP}/{facts.models[0].name}"
    )
    side = "active" if settings.argo.strategy == "blueGreen" else "stable"
    pause = int(settings.argo.pause[:-1]) * {"s": 1, "m": 60, "h": 3600}[settings.argo.pause[-1]]
    rollout = len(settings.argo.steps) * pause + 4 * load.load_seconds + 3600
    return {
        "TRTBUILD_VERSION": __version__,
        "NAME": load.name,
        "REPOSITORY": facts.repository,
        "SETTINGS": SETTINGS_NAME,
        "FOLDER": folder,
        "REFERENCE": settings.weights.reference,
        "SERVICE": f"{load.name}-{side}",
        "STAND_INS": str(any(one.startswith("trtllm") for one in facts.builders)).lower(),
        "GOLDEN": f"{folder}/golden.jsonl" if gate.golden else "",
        "TARGET": target,
        "SLO": gate.slo,
        "SHARE": f"{gate.share:g}",
        "RATE": f"{gate.rate:g}",
        "REQUESTS": str(gate.requests),
        "TIMEOUT": str(rollout),
    }


def _notes(folder: str) -> Iterator[str]:
    yield (
        "the pipeline needs the secrets REGISTRY_USER, REGISTRY_PASSWORD and, in each environment, "
        "KUBECONFIG_TEXT; TRTBUILD_API_KEY where the gateway asks for a key"
    )
    yield (
        f"keep bench.json of a release as {folder}/baseline.json: later ones are compared with it"
    )
    yield (
        f"record answers as {folder}/recorded.jsonl with `trtbuild eval golden record`: later "
        "releases must give them"
    )


github_target = Pipeline(
    "github", "A workflow of GitHub Actions that promotes one digest through environments.", github
)
gitlab_target = Pipeline(
    "gitlab", "A pipeline of GitLab CI that promotes one digest through environments.", gitlab
)
