"""The head of a model, read from its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.head.files import SentenceFiles, require_served, sentence_files
from trtbuild.checkpoint.head.generating import reranker_of
from trtbuild.checkpoint.head.labels import label_count, label_head
from trtbuild.checkpoint.head.pairs import with_pair_template
from trtbuild.checkpoint.head.tokens import multi_vector_head, sparse_head
from trtbuild.checkpoint.head.vectors import dense_head
from trtbuild.checkpoint.head.words import with_words
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems
from trtbuild.modelspec import Head, HeadKind, Task

__all__ = ["SentenceFiles", "head_notes", "head_of", "label_count", "reranker_of", "sentence_files"]

# ColBERT, ColPali, ColQwen3…: late interaction, a vector for each token.
_LATE = re.compile(r"^(HF_|Ops)?Col[A-Z]|ForRetrieval$")
_LABELLED = (Task.RERANK, Task.CLASSIFY, Task.TOKEN_CLASSIFY, Task.IMAGE_CLASSIFY)


def head_of(
    checkpoint: Checkpoint,
    fields: Fields,
    *,
    files: SentenceFiles,
    tokenizer: Mapping[str, Any],
    problems: Problems,
    task: Task,
) -> Head | None:
    """Return the head of a model for ``task``; None for tasks without one.

    Args:
        checkpoint: As opened.
        fields: Its configuration.
        files: Those of sentence-transformers.
        tokenizer: ``tokenizer_config.json``.
        problems: Collects what is wrong with the files.
        task: What the checkpoint is for.
    """
    require_served(files, problems)
    if task in _LABELLED:
        head = label_head(checkpoint, fields, files, task, problems)
    elif task is not Task.EMBED:
        return None
    elif files.is_sparse or "Splade" in fields.architecture:
        head = sparse_head(checkpoint, fields, files, problems)
    elif files.is_multi_vector or _LATE.search(fields.architecture):
        head = multi_vector_head(checkpoint, fields, files, problems)
    else:
        head = dense_head(checkpoint, fields, files, problems)
    if task is Task.IMAGE_CLASSIFY:
        return head
    head = with_words(head, checkpoint, fields, files=files, tokenizer=tokenizer, problems=problems)
    return with_pair_template(head, checkpoint, files) if head.score_tokens else head


def head_notes(head: Head | None, files: SentenceFiles) -> tuple[str, ...]:
    """Return notes for the user about a head that is an assumption."""
    if head is None or head.kind is not HeadKind.DENSE or files.modules or not head.pooling:
        return ()
    return (
        f"the checkpoint has no modules.json, so nothing says its pooling: {head.pooling[0]} is "
        "taken, without normalization, as sentence-transformers does; if the model's card says "
        "otherwise, add modules.json and 1_Pooling/config.json",
    )
