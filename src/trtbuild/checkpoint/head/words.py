"""How texts become tokens for a head: prompts, lengths, padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from trtbuild.checkpoint import families
from trtbuild.checkpoint.context import context_length
from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.head.files import SETTINGS, SentenceFiles
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems
from trtbuild.checkpoint.tokens import appends_token
from trtbuild.modelspec import Head

_UNLIMITED = 1e9  # transformers writes 1e30 for a tokenizer without a limit
_TRUNCATIONS = ("longest_first", "only_first", "only_second")


def with_words(
    head: Head,
    checkpoint: Checkpoint,
    fields: Fields,
    *,
    files: SentenceFiles,
    problems: Problems,
    tokenizer: Mapping[str, Any],
) -> Head:
    """Return ``head`` with the settings of its inputs; ``tokenizer`` is tokenizer_config.json."""
    prompts = _prompts(files, problems)
    default = files.settings.get("default_prompt_name")
    if isinstance(default, str) and default not in prompts:
        problems.add(
            f"{SETTINGS} has the default prompt {default!r}, and no prompt of that name",
            f"correct default_prompt_name in {SETTINGS}",
        )
    similarity = files.settings.get("similarity_fn_name")
    appends = tokenizer.get("add_eos_token") is True and not appends_token(checkpoint)
    return replace(
        head,
        prompts={**head.prompts, **prompts},
        default_prompt=default if isinstance(default, str) else "",
        similarity=similarity if isinstance(similarity, str) else head.similarity,
        max_tokens=longest(fields, files, tokenizer),
        lower_case=files.transformer.get("do_lower_case") is True,
        truncation=_truncation(files),
        padding_side="left" if head.padding_side == "left" else _side(tokenizer, "padding_side"),
        append_eos=appends,
        truncation_side=_side(tokenizer, "truncation_side"),
    )


def longest(fields: Fields, files: SentenceFiles, tokenizer: Mapping[str, Any]) -> int:
    """Return the tokens beyond which sentence-transformers truncates; 0 if unknown.

    ``max_seq_length`` of its own file, which release 6 no longer writes, decides; else the smaller
    of the tokenizer's limit and of the model's positions.
    """
    positions = context_length(fields)
    if fields.family in families.POSITIONS_AFTER_PADDING and positions:
        padding = fields.get("pad_token_id")
        positions -= (padding if type(padding) is int else 1) + 1
    chosen = files.transformer.get("max_seq_length")
    limit = tokenizer.get("model_max_length")
    if type(chosen) is int and chosen > 0:
        learnt = fields.family in families.POSITIONS_AFTER_PADDING and positions > 0
        return min(chosen, positions) if learnt else chosen
    if limit is not True and isinstance(limit, int | float) and 0 < limit < _UNLIMITED:
        return min(int(limit), positions or int(limit))
    return positions


def _truncation(files: SentenceFiles) -> str:
    """``processing_kwargs`` of sentence-transformers 6; by default the longer text."""
    said = files.transformer.get("processing_kwargs")
    text = said.get("text") if isinstance(said, dict) else None
    chosen = text.get("truncation") if isinstance(text, dict) else None
    return chosen if chosen in _TRUNCATIONS else "longest_first"


def _prompts(files: SentenceFiles, problems: Problems) -> dict[str, str]:
    """Return the prompts; an empty one counts, because it overrides a default."""
    found = files.settings.get("prompts")
    if found is None:
        return {}
    texts = found if isinstance(found, dict) else {"prompts": found}
    wrong = [name for name, text in texts.items() if not isinstance(text, str | None)]
    if wrong:
        problems.add(
            f"{SETTINGS}: the prompt {wrong[0]!r} is not text", f"correct prompts in {SETTINGS}"
        )
    return {str(name): text for name, text in texts.items() if isinstance(text, str)}


def _side(tokenizer: Mapping[str, Any], key: str) -> Literal["left", "right"]:
    return "left" if tokenizer.get(key) == "left" else "right"
