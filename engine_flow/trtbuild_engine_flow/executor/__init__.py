"""Run NVIDIA's tools: in their container, or natively if they are on PATH."""

from trtbuild_engine_flow.executor.manifest import MANIFEST, Manifest, read_manifest
from trtbuild_engine_flow.executor.memory import Estimate, estimate, require_memory
from trtbuild_engine_flow.executor.model import Compilation, EngineBuild
from trtbuild_engine_flow.executor.runner import Runner, find_runner, stand_in
from trtbuild_engine_flow.executor.running import compile_engine, convert_in_image
from trtbuild_engine_flow.executor.work import checkpoint_of, commands

__all__ = [
    "MANIFEST",
    "Compilation",
    "EngineBuild",
    "Estimate",
    "Manifest",
    "Runner",
    "checkpoint_of",
    "commands",
    "compile_engine",
    "convert_in_image",
    "estimate",
    "find_runner",
    "read_manifest",
    "require_memory",
    "stand_in",
]
