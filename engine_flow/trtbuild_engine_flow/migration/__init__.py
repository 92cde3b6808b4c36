"""Repositories of the engine flow, read so that they can be written again for the LLM API."""

from trtbuild_engine_flow.migration.callers import Caller
from trtbuild_engine_flow.migration.mapping import UNFILLED, Change, Loss, Mapping, map_deployment
from trtbuild_engine_flow.migration.reading import Deployment, deployments, left_behind

__all__ = [
    "UNFILLED",
    "Caller",
    "Change",
    "Deployment",
    "Loss",
    "Mapping",
    "deployments",
    "left_behind",
    "map_deployment",
]
