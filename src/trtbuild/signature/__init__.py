"""The description of a served model: its task, its request schema, its tokenizer.

``convert`` writes the description into ``trtbuild.lock``. Code that calls a model reads it here,
from the repository or from a running server, without guessing.
"""

from typing import TYPE_CHECKING

from trtbuild.lazy import exports

if TYPE_CHECKING:
    from trtbuild.signature.dialects import dialect_of, recognize
    from trtbuild.signature.model import ServedModel, ServedTask, Tensor
    from trtbuild.signature.places import MOUNT, inside
    from trtbuild.signature.reading import describe, with_files
    from trtbuild.signature.server import of_server

__all__ = [
    "MOUNT",
    "ServedModel",
    "ServedTask",
    "Tensor",
    "describe",
    "dialect_of",
    "inside",
    "of_server",
    "recognize",
    "with_files",
]

__getattr__ = exports(
    __name__,
    {
        "dialects": ("dialect_of", "recognize"),
        "model": ("ServedModel", "ServedTask", "Tensor"),
        "places": ("MOUNT", "inside"),
        "reading": ("describe", "with_files"),
        "server": ("of_server",),
    },
)
