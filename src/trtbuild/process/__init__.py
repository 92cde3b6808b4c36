"""The only package that starts programs; also ports, memory and files in use.

Ruff's TID251 keeps ``subprocess`` and its relatives out of every other package.
"""

from trtbuild.process.guarding import Guard
from trtbuild.process.machine import (
    all_mapped_files,
    available_memory,
    free_ports,
    listener,
    mapped_files,
    port_is_free,
    port_owner,
    running_from,
)
from trtbuild.process.mounts import mount
from trtbuild.process.programs import (
    MARK,
    Member,
    exists,
    exit_status,
    family,
    is_alive,
    session_members,
    spawn,
    start_time,
    terminate,
)
from trtbuild.process.running import Result, run, run_lines

__all__ = [
    "MARK",
    "Guard",
    "Member",
    "Result",
    "all_mapped_files",
    "available_memory",
    "exists",
    "exit_status",
    "family",
    "free_ports",
    "is_alive",
    "listener",
    "mapped_files",
    "mount",
    "port_is_free",
    "port_owner",
    "run",
    "run_lines",
    "running_from",
    "session_members",
    "spawn",
    "start_time",
    "terminate",
]
