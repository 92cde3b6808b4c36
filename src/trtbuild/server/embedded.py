"""Run the server of the embedded runtime on the CPU."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trtbuild import process
from trtbuild.errors import ServerError
from trtbuild.resources import template_dir
from trtbuild.server import rehearsal, runtime
from trtbuild.server.contents import Contents, weight_bytes
from trtbuild.server.mode import LaunchOptions, ServerCommand, ServerJob, server_arguments
from trtbuild.server.shm import ipc_folder
from trtbuild.server.spinning import spin_count
from trtbuild.server.view import make_view
from trtbuild.signature import ServedTask
from trtbuild.toolchain import onnx_runtime

_GIB = 1 << 30
ONNX_RUNTIME = "TRTBUILD_ONNXRUNTIME"
"""Where our backend ``onnxruntime`` imports its package from."""
TORCHVISION = "TRTBUILD_TORCHVISION"
"""Where our backend ``vllm`` imports torchvision from if its environment has none."""
# A checkpoint with one of them is given images.
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# A machine with at least so many cores likely has several sockets or hyper-threads, which vLLM
# places better itself; on a smaller one vLLM would leave a core idle.
_FEW_CORES = 8


def unavailable() -> str:
    """Return why this mode is unavailable: the server's wheel is for Linux x86_64 only."""
    return runtime.unsupported_platform()


def command(job: ServerJob) -> ServerCommand:
    """Return ``tritonserver`` of the runtime, which is installed first if it is missing."""
    options = job.options
    _require_backends(job)
    vllm = needs_vllm(job.contents, options)
    if job.dry_run:
        found = runtime.planned(vllm=vllm)
    else:
        found = runtime.ensure(job.progress, vllm=vllm, torch_index=options.torch_index)
    argv = (
        str(found.tritonserver),
        *server_arguments(job, str(_repository(job)), host=options.host, ports=options.ports),
        f"--backend-directory={_backends(found, job)}",
        f"--cache-directory={found.caches}",
        f"--backend-config=python,shm-region-prefix-name={job.shm_prefix}",
    )
    env = {**runtime.stub_environment(found), **(_vllm_environment(job) if vllm else {})}
    if _needs_onnx_runtime(job):
        env[ONNX_RUNTIME] = str(_onnx_runtime(found, job))
    if _sees(job.contents):
        env[TORCHVISION] = str(_torchvision(found, job))
    if options.rehearsal:
        env[rehearsal.VARIABLE] = str(_rehearsal_file(options.rehearsal, job))
    return ServerCommand(argv, {**env, **job.contents.environment, **options.env})


def needs_vllm(contents: Contents, options: LaunchOptions) -> bool:
    """Whether models run vLLM, also as a stand-in, or a Python model of vLLM's image."""
    python = "python" in contents.backends and any("-vllm-" in image for image in contents.images)
    return "vllm" in contents.backends or python or bool(options.rehearsal and contents.trtllm)


def _needs_onnx_runtime(job: ServerJob) -> bool:
    return "onnxruntime" in job.contents.backends and "onnxruntime" not in job.options.echo


def _onnx_runtime(installed: runtime.Runtime, job: ServerJob) -> Path:
    """Return the version in the newest release that the repository was written for."""
    known = onnx_runtime(max(job.contents.releases, default=""))
    version = known.version if known else ""
    if job.dry_run:
        return runtime.onnx_runtime_home(installed, version)
    return runtime.ensure_onnx_runtime(installed, version, job.progress)


def _sees(contents: Contents) -> bool:
    """Whether vLLM serves a model that takes images."""
    return any(
        model.task is ServedTask.VISION_LANGUAGE
        or (
            model.weights
            and any((contents.repo / model.weights / n).is_file() for n in _PROCESSORS)
        )
        for model in contents.served.values()
        if model.request_schema == "vllm"
    )


def _torchvision(installed: runtime.Runtime, job: ServerJob) -> Path:
    if job.dry_run:
        return runtime.torchvision_home(installed)
    return runtime.ensure_torchvision(installed, job.progress)


def _backends(installed: runtime.Runtime, job: ServerJob) -> Path:
    if not job.options.rehearsal and not job.options.echo:
        return installed.backends
    stand_ins = job.options.rehearsal.backends if job.options.rehearsal else {}
    return runtime.rehearsal_backends(
        installed, stand_ins, echo=job.options.echo, dry_run=job.dry_run
    )


def _repository(job: ServerJob) -> Path:
    """Return what the server loads: during a rehearsal a directory of links, because Python leaves
    ``__pycache__`` directories beside imported modules and a rehearsal must not leave traces."""
    if not job.options.rehearsal:
        return job.contents.repo
    view = job.folder / rehearsal.FOLDER / "repository"
    return view if job.dry_run else make_view(job.contents.repo, view)


def _rehearsal_file(plan: rehearsal.Rehearsal, job: ServerJob) -> Path:
    folder = job.folder / rehearsal.FOLDER
    return folder / "rehearsal.json" if job.dry_run else rehearsal.write(plan, folder)


def _require_backends(job: ServerJob) -> None:
    contents = job.contents
    known = {"python", "ensemble", *_backend_names("backends"), *job.options.echo}
    if job.options.rehearsal:
        known |= job.options.rehearsal.backends.keys()
    if unknown := sorted(contents.backends - known):
        rehearse = "rehearse it here with --rehearse, or " if contents.trtllm else ""
        raise ServerError(
            f"the embedded server has no backend {', '.join(map(repr, unknown))}",
            where=str(contents.repo),
            fix=f"{rehearse}serve with --mode docker, or convert with --backend vllm",
        )
    if "llmapi" in contents.trtllm.values() and not job.options.rehearsal:
        names = ", ".join(name for name, kind in contents.trtllm.items() if kind == "llmapi")
        raise ServerError(
            f"the embedded server has no TensorRT-LLM, which {names} needs",
            where=str(contents.repo),
            fix="rehearse it here with --rehearse, or serve with --mode docker",
        )


def _backend_names(folder: str) -> set[str]:
    return {path.parent.name for path in template_dir(folder).glob("*/model.py")}


def _vllm_environment(job: ServerJob) -> dict[str, str]:
    """Return defaults for vLLM on the CPU; the user's settings stay."""
    defaults = {
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib(job.contents, job.options.rehearsal)),
        "VLLM_CPU_OMP_THREADS_BIND": thread_binding(),
        # 0.32 cannot load the compiled function it saved itself, and compiles once more: half
        # of the time to readiness. Without saving, inductor's own cache serves the next start.
        "VLLM_USE_AOT_COMPILE": "0",
        # Between two steps OpenMP's threads spin, for milliseconds by default, on the very cores
        # that the server and its stub need to send what the last step made.
        "GOMP_SPINCOUNT": str(spin_count()),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_RPC_BASE_PATH": str(ipc_folder(job.id)),
    }
    if not has_compiler() or job.options.short_lived:
        defaults["TRTBUILD_ENFORCE_EAGER"] = "1"
    if _few_cores():
        # A worker process of its own would bind threads to cores, which few cores do not need;
        # and vLLM's engine spins while it waits for that process, on a core that computes.
        defaults["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if not job.contents.needs_hub:
        defaults["HF_HUB_OFFLINE"] = "1"
    return {name: os.environ.get(name) or value for name, value in defaults.items()}


def has_compiler() -> bool:
    """Whether vLLM can compile models here: on a CPU that takes a C++ compiler."""
    return any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++"))))


def thread_binding() -> str:
    """Which cores vLLM computes on: all that we may use, on a small machine."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0)))) if _few_cores() else "auto"


def _few_cores() -> bool:
    return len(os.sched_getaffinity(0)) <= _FEW_CORES


def kv_cache_gib(contents: Contents, plan: rehearsal.Rehearsal | None = None) -> int:
    """GiB of KV cache for one engine: a quarter of the memory that weights leave, 1 to 32.

    vLLM takes it at once, so it must fit beside the weights (twice while loading) and two GiB
    of process overhead.
    """
    weights = weight_bytes(contents) + (plan.weight_bytes if plan else 0)
    left = process.available_memory() - 2 * weights - 2 * _GIB
    engines = sum(bool(model.engine_file) for model in contents.served.values())
    engines = max(1, engines + len(plan.checkpoints if plan else ()))
    return int(min(32, max(1, left // 4 // engines // _GIB)))
