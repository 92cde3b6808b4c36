"""Read repositories of the engine flow, to write them again for the LLM API."""

from trtbuild_engine_flow.migration.callers import Caller
from trtbuild_engine_flow.migration.mapping import (
    UNFILLED,
    Loss,
    MappedParameter,
    Mapping,
    map_deployment,
)
from trtbuild_engine_flow.migration.reading import LegacyDeployment, deployments, left_behind

__all__ = [
    "UNFILLED",
    "Caller",
    "LegacyDeployment",
    "Loss",
    "MappedParameter",
    "Mapping",
    "deployments",
    "left_behind",
    "map_deployment",
]
