"""What a model is asked about a row, for every kind of target."""

from trtbuild_batch.asking.model import (
    Call,
    Conversation,
    Question,
    RowError,
    Task,
    requests_of,
)
from trtbuild_batch.asking.tasks import Embed, Lines, Prompt, Rerank

__all__ = [
    "Call",
    "Conversation",
    "Embed",
    "Lines",
    "Prompt",
    "Question",
    "Rerank",
    "RowError",
    "Task",
    "requests_of",
]
