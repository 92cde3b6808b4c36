"""Triton's protobuf messages, built from their schema: no generated module, no global registry.

The pool is our own, so that another version of ``tritonclient`` in the same process does not
collide with it (docs/adr/0135).
"""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool

_TABLE = Path(__file__).parents[1] / "data" / "inference_protocol.json"


@cache
def pool() -> DescriptorPool:
    """Descriptors of every message and enumeration of the package ``inference``."""
    from google.protobuf import descriptor_pool

    made = descriptor_pool.DescriptorPool()
    for text in json.loads(_TABLE.read_text(encoding="utf-8"))["files"]:
        made.AddSerializedFile(base64.b64decode(text))
    return made


@cache
def message(name: str) -> Any:
    """The class of a message: ``message("ModelConfig")``; KeyError for a name it does not have."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"inference.{name}"))


@cache
def enumeration(name: str) -> Any:
    """The descriptor of an enumeration: ``values_by_name`` and ``values_by_number``."""
    return pool().FindEnumTypeByName(f"inference.{name}")
