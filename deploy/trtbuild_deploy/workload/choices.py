"""What follows from facts and settings together, for every target."""

from __future__ import annotations

from trtbuild.container import GpuResource
from trtbuild_deploy.facts import Facts
from trtbuild_deploy.facts.metrics import Place
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.settings.values import name_of

_RESOURCES = {"plugin": "nvidia.com/gpu", "shared": "nvidia.com/gpu.shared"}


def name_in(facts: Facts, settings: Settings) -> str:
    """The deployment's name."""
    return settings.name or name_of(facts.repository)


def place_of(facts: Facts, settings: Settings) -> Place:
    """Whose server runs: a repository that needs GPUs and gets none runs on the embedded one."""
    return "embedded" if settings.gpu.mode == "none" and facts.gpus else "image"


def gpu_count(facts: Facts, settings: Settings) -> int:
    """GPUs of one replica."""
    if settings.gpu.mode == "none":
        return 0
    return facts.gpus if settings.gpu.count is None else settings.gpu.count


def gpu_resource(facts: Facts, settings: Settings) -> GpuResource | None:
    """The GPUs of one node as a resource; None without any, and for DRA's claims."""
    gpu, count = settings.gpu, min(gpu_count(facts, settings), settings.gpu.per_node)
    if not count or gpu.mode == "dra":
        return None
    name = gpu.resource or _RESOURCES.get(gpu.mode, f"nvidia.com/mig-{gpu.profile}")
    return GpuResource(count, name)


def egress_of(facts: Facts, settings: Settings) -> str:
    """What a replica may reach outside: ``none``, ``https`` or ``any``."""
    return settings.network.egress or ("https" if downloads(facts, settings) else "none")


def downloads(facts: Facts, settings: Settings) -> str:
    """What is downloaded at the start of a replica, empty if nothing."""
    if settings.weights.source in ("s3", "hub"):
        return f"of 'weights.from' {settings.weights.source}"
    return "of weights that the engine makes when it starts" if facts.from_hub else ""
