"""The containers of a deployment, which every target spells in its own language."""

from trtbuild_deploy.workload.analysis import Analysis, analyses
from trtbuild_deploy.workload.choices import (
    egress_of,
    gpu_count,
    gpu_resource,
    name_in,
    place_of,
)
from trtbuild_deploy.workload.gateway import (
    GATEWAY,
    GATEWAY_FILE,
    GATEWAY_KEYS,
    gateway_settings,
)
from trtbuild_deploy.workload.replica import (
    CACHE,
    GRPC,
    HTTP,
    METRICS,
    PROBE,
    SLACK_SECONDS,
    Workload,
    trace_arguments,
    workload,
)
from trtbuild_deploy.workload.soundness import require_sound

__all__ = [
    "CACHE",
    "GATEWAY",
    "GATEWAY_FILE",
    "GATEWAY_KEYS",
    "GRPC",
    "HTTP",
    "METRICS",
    "PROBE",
    "SLACK_SECONDS",
    "Analysis",
    "Workload",
    "analyses",
    "egress_of",
    "gateway_settings",
    "gpu_count",
    "gpu_resource",
    "name_in",
    "place_of",
    "require_sound",
    "trace_arguments",
    "workload",
]
