"""The comparison with the reference, as an artifact: what it keeps is placed beside the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from trtbuild.builder import Artifact, Case, Workplace
from trtbuild.modelspec import HeadKind
from trtbuild_builders.text.settings import head_of, reference_settings
from trtbuild_builders.text.worker import limits, scripts, work
from trtbuild_builders.torch.settings import engine, kind_of, settings

ARTIFACT = "reference"
_PADDED = "if only those in a batch differ, --set padding=false; else "


def artifacts(case: Case) -> Sequence[Artifact]:
    """Return the comparison, unless the recipe leaves it out."""
    if not engine(case)["check"]:
        return ()
    job = _job(case)
    depends = {**job, "scripts": scripts("torch", "text", "shared")}
    made = Artifact(ARTIFACT, make=partial(_make, job), depends=depends, environment="export")
    return (made,)


def _job(case: Case) -> dict[str, Any]:
    head, said = head_of(case), settings(case)
    if kind_of(case) == "texts":
        said |= reference_settings(head)
    return {
        "kind": kind_of(case),
        "settings": said,
        "limits": limits("" if said["dtype"] == "float32" else "fp16", case.spec.task),
        "pairs": head.kind is HeadKind.SCORE,
    }


def _make(job: dict[str, Any], place: Workplace) -> None:
    """Compare; BuildError if it fails or the answers differ."""
    script = ("torch", "check", "worker.py")
    first = _PADDED if job["kind"] == "texts" and not job["settings"]["packs"] else ""
    work(place, job, *script, served="PyTorch's module", doing="the comparison", first=first)
