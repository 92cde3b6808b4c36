"""How texts become tokens for a head: prompts, lengths, padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from trtbuild.checkpoint.head.files import SETTINGS, SentenceFiles
from trtbuild.checkpoint.problems import Problems
from trtbuild.modelspec import Head


def with_words(
    head: Head,
    files: SentenceFiles,
    tokenizer: Mapping[str, Any],
    problems: Problems,
    *,
    context: int,
) -> Head:
    """``head`` with what the files say of its inputs; ``tokenizer`` is tokenizer_config.json."""
    prompts = _prompts(files, problems)
    default = files.settings.get("default_prompt_name")
    if isinstance(default, str) and default not in prompts:
        problems.add(
            f"{SETTINGS} has the default prompt {default!r}, and no prompt of that name",
            f"correct default_prompt_name in {SETTINGS}",
        )
    similarity = files.settings.get("similarity_fn_name")
    return replace(
        head,
        prompts=prompts,
        default_prompt=default if isinstance(default, str) else "",
        similarity=similarity if isinstance(similarity, str) else head.similarity,
        max_tokens=context,
        lower_case=files.transformer.get("do_lower_case") is True,
        padding_side=_side(tokenizer, "padding_side"),
        truncation_side=_side(tokenizer, "truncation_side"),
    )


def _prompts(files: SentenceFiles, problems: Problems) -> dict[str, str]:
    """An empty prompt is one: it overrides a default."""
    found = files.settings.get("prompts")
    if found is None:
        return {}
    texts = found if isinstance(found, dict) else {"prompts": found}
    wrong = [name for name, text in texts.items() if not isinstance(text, str | None)]
    if wrong:
        problems.add(
            f"{SETTINGS}: the prompt {wrong[0]!r} is no text", f"correct prompts in {SETTINGS}"
        )
    return {str(name): text for name, text in texts.items() if isinstance(text, str)}


def _side(tokenizer: Mapping[str, Any], key: str) -> Literal["left", "right"]:
    return "left" if tokenizer.get(key) == "left" else "right"
