"""A served model, described once: what it is for, how it is called, where its tokenizer lies.

Whoever makes a model writes the description (``convert`` puts it into ``trtbuild.lock``); whoever
calls one reads it here, from the repository or from a running server, and guesses nothing.
"""

from trtbuild.signature.model import Head, ServedModel, ServedTask, Tensor
from trtbuild.signature.places import MOUNT, inside
from trtbuild.signature.reading import describe
from trtbuild.signature.recognizing import recognize

__all__ = [
    "MOUNT",
    "Head",
    "ServedModel",
    "ServedTask",
    "Tensor",
    "describe",
    "inside",
    "recognize",
]
