"""What a model computes at its end, read from its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.head.files import SentenceFiles, sentence_files
from trtbuild.checkpoint.head.vectors import dense_head
from trtbuild.checkpoint.head.words import with_words
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems
from trtbuild.modelspec import Head, Task

__all__ = ["SentenceFiles", "head_of", "sentence_files"]


def head_of(
    checkpoint: Checkpoint,
    fields: Fields,
    files: SentenceFiles,
    tokenizer: Mapping[str, Any],
    problems: Problems,
    *,
    task: Task,
    context: int,
) -> Head | None:
    """The head of a model for ``task``; None for tasks that have none.

    Args:
        checkpoint: As opened.
        fields: Its configuration.
        files: Those of sentence-transformers.
        tokenizer: ``tokenizer_config.json``.
        problems: Takes what is wrong with the files.
        task: What the checkpoint is for.
        context: Tokens that it takes.
    """
    if task is not Task.EMBED:
        return None
    head = dense_head(checkpoint, fields, files, problems)
    return with_words(head, files, tokenizer, problems, context=context)
