"""What a repository is to whoever deploys it: one frozen object for every target."""

from trtbuild_deploy.facts.metrics import (
    Exporters,
    Family,
    Metrics,
    Signal,
    known_families,
    metrics_of,
    metrics_on,
    narrowed,
    progress_of,
)
from trtbuild_deploy.facts.model import Facts, ModelFacts, ProbeRequest
from trtbuild_deploy.facts.reading import read_facts

__all__ = [
    "Exporters",
    "Facts",
    "Family",
    "Metrics",
    "ModelFacts",
    "ProbeRequest",
    "Signal",
    "known_families",
    "metrics_of",
    "metrics_on",
    "narrowed",
    "progress_of",
    "read_facts",
]
