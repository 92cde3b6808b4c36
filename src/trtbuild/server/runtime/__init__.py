"""The embedded runtime: a pinned Triton server and vLLM for the CPU, in a separate venv."""

from trtbuild.server.runtime.backends import REINSTALL, stub_environment
from trtbuild.server.runtime.facts import (
    SERVERS,
    Runtime,
    Variant,
    lock_digest,
    unsupported_platform,
)
from trtbuild.server.runtime.inspection import RuntimeStatus, verify
from trtbuild.server.runtime.installation import (
    ensure,
    install,
    planned,
    rehearsal_backends,
    remove,
    status,
)
from trtbuild.server.runtime.onnxruntime import (
    ensure_onnx_runtime,
    onnx_runtime_home,
)
from trtbuild.server.runtime.torchvision import ensure_torchvision, torchvision_home

__all__ = [
    "REINSTALL",
    "SERVERS",
    "Runtime",
    "RuntimeStatus",
    "Variant",
    "ensure",
    "ensure_onnx_runtime",
    "ensure_torchvision",
    "install",
    "lock_digest",
    "onnx_runtime_home",
    "planned",
    "rehearsal_backends",
    "remove",
    "status",
    "stub_environment",
    "torchvision_home",
    "unsupported_platform",
    "verify",
]
