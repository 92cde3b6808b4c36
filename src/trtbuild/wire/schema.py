"""Triton's protobuf messages, built from their schema without generated modules.

The descriptor pool is private, so that ``tritonclient`` in the same process does not
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
    """Return the descriptors of all messages and enumerations of the package ``inference``."""
    from google.protobuf import descriptor_pool

    made = descriptor_pool.DescriptorPool()
    for text in json.loads(_TABLE.read_text(encoding="utf-8"))["files"]:
        made.AddSerializedFile(base64.b64decode(text))
    return made


@cache
def message(name: str) -> Any:
    """Return the class of a message: ``message("ModelConfig")``; KeyError for an unknown one."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"inference.{name}"))


@cache
def enumeration(name: str) -> Any:
    """Return the descriptor of an enumeration: ``values_by_name`` and ``values_by_number``."""
    return pool().FindEnumTypeByName(f"inference.{name}")
