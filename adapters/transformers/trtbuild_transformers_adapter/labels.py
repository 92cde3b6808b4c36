"""Texts through a classifier with several labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trtbuild_backends.backend import Classes, ClassifyRequest


def labels_of(config: Any) -> tuple[str, ...]:
    """Return the names of a classifier's labels, in the order of its scores."""
    return tuple(config.id2label[at] for at in range(config.num_labels))


def classes(
    model: Any, tokenizer: Any, request: ClassifyRequest, require_room: Callable[[int], None]
) -> Classes:
    """Return the scores of each text or pair; RequestError for one that is too long."""
    import torch

    several = model.config.problem_type == "multi_label_classification"
    scores, tokens = [], []
    for given in request.inputs:
        pair = (given,) if isinstance(given, str) else given
        encoded = tokenizer(*pair, return_tensors="pt").to(model.device)
        tokens.append(int(encoded["input_ids"].shape[1]))
        require_room(tokens[-1])
        with torch.inference_mode():
            row = model(**encoded).logits[0].float()
        if not request.raw_scores:
            row = row.sigmoid() if several else row.softmax(-1)
        scores.append(row.tolist())
    return Classes(scores, tokens)
