"""Request schemas: one file for each way to call a served model.

A file translates a request of the model's task into tensors, and tensors into chunks or an answer.
They are discovered through the entry-point group ``trtbuild.dialects.v1``.
"""

from trtbuild.signature.dialects.base import Dialect, SchemaFacts
from trtbuild.signature.dialects.discovery import (
    Broken,
    Installed,
    dialect_of,
    installed,
    named,
    recognize,
)

__all__ = [
    "Broken",
    "Dialect",
    "Installed",
    "SchemaFacts",
    "dialect_of",
    "installed",
    "named",
    "recognize",
]
