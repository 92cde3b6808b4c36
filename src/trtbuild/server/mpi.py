"""A server's command under MPI or TensorRT-LLM's own launcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trtbuild.server.ranks import RankLayout

# Only rank 0 serves clients and runs the Python models.
_RANK_0_ONLY = (
    "--http-", "--grpc-", "--metrics-", "--model-control-mode", "--load-model",
    "--backend-config=python,shm-region-prefix-name",
)  # fmt: skip
_SILENT = ("--allow-http=false", "--allow-grpc=false", "--allow-metrics=false")
# The orchestrator leaves the GPU memory to the processes that it starts.
_ORCHESTRATOR = ("--pinned-memory-pool-byte-size=0", "--enable-peer-access=false")


def environment(layout: RankLayout) -> Mapping[str, str]:
    """Return the environment variables that the server needs for a layout."""
    if layout.how != "orchestrator":
        return {}
    return {"TRTLLM_ORCHESTRATOR": "1", "TRTLLM_ORCHESTRATOR_SPAWN_PROCESSES": "1"}


def under_mpi(layout: RankLayout, server: Sequence[str], *, gpus: int = 0) -> tuple[str, ...]:
    """Return the server's command on one machine.

    Args:
        layout: How the processes are started.
        server: ``tritonserver`` with its arguments.
        gpus: Visible GPUs, on which an orchestrator sets up no memory pools.
    """
    if layout.how == "plain":
        return tuple(server)
    mpirun = ("mpirun", "--allow-run-as-root")
    if layout.how == "llmapi":
        # Every rank runs the launcher: the first becomes the server, the others its workers.
        return (*mpirun, "-n", str(layout.world), "trtllm-llmapi-launch", *server)
    if layout.how == "orchestrator":
        return (*mpirun, "-n", "1", *server, *_without_pools(gpus))
    words = [*mpirun, "-n", "1", *server]
    for _ in range(1, layout.world):
        words += [":", "-n", "1", *follower(layout, server)]
    return tuple(words)


def _without_pools(gpus: int) -> tuple[str, ...]:
    return (*_ORCHESTRATOR, *(f"--cuda-memory-pool-byte-size={gpu}:0" for gpu in range(gpus)))


def follower(layout: RankLayout, server: Sequence[str]) -> tuple[str, ...]:
    """Return the command of a rank above 0: only the engines, no port."""
    kept = [word for word in server if not word.startswith(_RANK_0_ONLY)]
    loads = (f"--load-model={name}" for name in layout.engines)
    return (*kept, *_SILENT, "--model-control-mode=explicit", *loads)
