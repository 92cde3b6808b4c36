"""Running Triton: the embedded runtime, three modes of running a server, and its lifecycle."""

from trtbuild.server.contents import Contents
from trtbuild.server.contents import read as read_contents
from trtbuild.server.docker import container_command
from trtbuild.server.embedded import needs_vllm
from trtbuild.server.handle import ServerHandle, find, latest_log, servers
from trtbuild.server.launch import (
    Stopped,
    died,
    dry_run,
    launch,
    mark_ready,
    require_alive,
    require_free,
    stop,
    sweep_dead,
    watch,
)
from trtbuild.server.mode import LaunchOptions, Ports
from trtbuild.server.mpi import (
    environment,
    under_mpi,
)
from trtbuild.server.ranks import RankLayout, lay_out, require_startable, shm_bytes, shm_option
from trtbuild.server.readiness import lost_models, says_ready
from trtbuild.server.rehearsal import Rehearsal, not_rehearsed, rehearsed
from trtbuild.server.select import Choice, choose

__all__ = [
    "Choice",
    "Contents",
    "LaunchOptions",
    "Ports",
    "RankLayout",
    "Rehearsal",
    "ServerHandle",
    "Stopped",
    "choose",
    "container_command",
    "died",
    "dry_run",
    "environment",
    "find",
    "latest_log",
    "launch",
    "lay_out",
    "lost_models",
    "mark_ready",
    "needs_vllm",
    "not_rehearsed",
    "read_contents",
    "rehearsed",
    "require_alive",
    "require_free",
    "require_startable",
    "says_ready",
    "servers",
    "shm_bytes",
    "shm_option",
    "stop",
    "sweep_dead",
    "under_mpi",
    "watch",
]
