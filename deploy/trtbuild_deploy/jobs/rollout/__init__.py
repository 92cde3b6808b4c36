"""A rollout on this machine: two live servers behind Envoy, judged as Argo would judge them."""

from trtbuild_deploy.jobs.rollout.driving import Plan, Result, require_promoted, roll_out
from trtbuild_deploy.jobs.rollout.measuring import (
    Measurement,
    Server,
    listening,
    parsed_server,
)

__all__ = [
    "Measurement",
    "Plan",
    "Result",
    "Server",
    "listening",
    "parsed_server",
    "require_promoted",
    "roll_out",
]
