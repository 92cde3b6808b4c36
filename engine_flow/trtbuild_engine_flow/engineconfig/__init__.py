"""TensorRT-LLM engines without a GPU: what they were built for, and what they do not support."""

from typing import TYPE_CHECKING

from trtbuild.lazy import exports

if TYPE_CHECKING:
    from trtbuild_engine_flow.engineconfig.fit import Conflict, conflicts, lookahead_conflict
    from trtbuild_engine_flow.engineconfig.reading import (
        CONFIG,
        EngineConfig,
        lacking_ranks,
        of_document,
        parse,
        ranks,
        read,
    )

__all__ = [
    "CONFIG",
    "Conflict",
    "EngineConfig",
    "conflicts",
    "lacking_ranks",
    "lookahead_conflict",
    "of_document",
    "parse",
    "ranks",
    "read",
]

__getattr__ = exports(
    __name__,
    {
        "fit": ("Conflict", "conflicts", "lookahead_conflict"),
        "reading": (
            "CONFIG",
            "EngineConfig",
            "lacking_ranks",
            "of_document",
            "parse",
            "ranks",
            "read",
        ),
    },
)
