"""Reasoning and tool calls in the text of a model, by data: one file a family of models.

``choose`` picks the family by the model's files or by name, ``FamilyParser`` splits the text of
one answer while it arrives.
"""

from trtbuild_gateway.parsing.boxes import BoxParser
from trtbuild_gateway.parsing.choose import OFF, UnknownFamilyError, choose, named
from trtbuild_gateway.parsing.events import (
    Boxes,
    CallArguments,
    CallEnd,
    CallStart,
    Content,
    Ended,
    Event,
    Message,
    Parser,
    Reasoning,
    ToolCall,
)
from trtbuild_gateway.parsing.family import Family, families
from trtbuild_gateway.parsing.guided import GuidedParser
from trtbuild_gateway.parsing.parser import FamilyParser

__all__ = [
    "OFF",
    "BoxParser",
    "Boxes",
    "CallArguments",
    "CallEnd",
    "CallStart",
    "Content",
    "Ended",
    "Event",
    "Family",
    "FamilyParser",
    "GuidedParser",
    "Message",
    "Parser",
    "Reasoning",
    "ToolCall",
    "UnknownFamilyError",
    "choose",
    "families",
    "named",
]
