"""How a repository is looked at: what is known of the server that will load it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How to look.

    Attributes:
        triton: The release whose rules count; empty: that of the lock, else the newest confirmed.
        triton_from: Who named that release: ``flag`` or ``recipe``.
        auto_complete: Whether the server completes configurations. Off by default, because the
            launchers of trtbuild turn it off.
        full: Whether every weight is read again rather than known by size and time.
        gpus: How many GPUs the server has; None when that is not known.
        sm: Their compute capability, 90 for 9.0; 0 when that is not known.
        namespacing: Whether the server tells models of one name apart by their repository.
        config_name: The server's ``--model-config-name``: ``configs/<name>.pbtxt`` counts instead
            of ``config.pbtxt`` where a model has it.
    """

    triton: str = ""
    auto_complete: bool = False
    full: bool = False
    gpus: int | None = None
    sm: int = 0
    namespacing: bool = False
    config_name: str = ""
    triton_from: str = "flag"
