"""The reference's answers, as an artifact: a server's readiness compares vLLM's with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from trtbuild.builder import Artifact, Case, Workplace
from trtbuild.modelspec import HeadKind
from trtbuild_builders.text.settings import head_of, reference_settings
from trtbuild_builders.text.worker import limits, scripts, work
from trtbuild_builders.vllm_pooling.settings import computes_in, own, settings

ARTIFACT = "reference"
_SMALL = 1_000_000_000  # parameters up to which a CPU computes the reference without being asked


def artifacts(case: Case) -> Sequence[Artifact]:
    """Return the answers, unless the recipe leaves them out or nothing would compare them."""
    exact = computes_in(case) == "float32"
    asked = "check" in case.recipe.engine
    small = 0 < case.spec.parameters <= _SMALL
    head = head_of(case)
    if not own(case)["check"] or not (asked or (exact and small)):
        return ()
    said = settings(case) | reference_settings(head)
    job = {
        "settings": said,
        "limits": limits("" if exact else "fp16", case.spec.task),
        "pairs": head.kind is HeadKind.SCORE,
    }
    return (
        Artifact(
            ARTIFACT,
            make=partial(_make, job),
            depends={**job, "scripts": scripts("vllm_pooling", "text")},
            environment="export",
            optional=not asked,
        ),
    )


def _make(job: dict[str, Any], place: Workplace) -> None:
    """Compute the answers; BuildError if that fails."""
    script = ("vllm_pooling", "check", "worker.py")
    work(place, job, *script, served="vLLM", doing="the reference")
