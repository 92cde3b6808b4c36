"""The seam between the core and the builders: what a builder is, what it is given, how it is found.

A builder is one object and one line in the entry-point group :data:`ENTRY_POINT_GROUP`. All its
methods are pure, so each is tested without a GPU.
"""

from trtbuild.builder.artifacts import Artifact, MadeArtifact, Workplace
from trtbuild.builder.base import Builder
from trtbuild.builder.case import Case
from trtbuild.builder.discovery import ENTRY_POINT_GROUP, Discovered, discover
from trtbuild.builder.worker import run_worker

__all__ = [
    "ENTRY_POINT_GROUP",
    "Artifact",
    "Builder",
    "Case",
    "Discovered",
    "MadeArtifact",
    "Workplace",
    "discover",
    "run_worker",
]
