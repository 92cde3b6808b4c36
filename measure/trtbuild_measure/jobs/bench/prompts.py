"""The prompts of a benchmark, from the options."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trtbuild.chat import ChatTemplate, find_template, render_chat
from trtbuild.errors import UsageError
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.loads import Prompts
from trtbuild_measure.bench.model import Prompt
from trtbuild_measure.bench.options import BenchOptions
from trtbuild_measure.bench.prompts import (
    FilePrompts,
    SyntheticPrompts,
    parse_lengths,
    read_prompts,
    read_trace,
)
from trtbuild_measure.bench.running import Run


def make_prompts(options: BenchOptions, tokenizer: Any, folder: Path | None) -> Prompts:
    """Return numbered prompts; a chat template is looked for in ``folder``.

    Raises:
        UsageError: An invalid file or length.
    """
    made = _plain(options, tokenizer)
    if not options.chat:
        return made
    if folder is None:
        raise UsageError(
            "no chat template", fix="name the directory of the checkpoint with --tokenizer"
        )
    return ChatPrompts(made, find_template(folder), Counter(tokenizer))


def _plain(options: BenchOptions, tokenizer: Any) -> Prompts:
    if options.trace is not None:
        return read_trace(options.trace, tokenizer, seed=options.seed)
    outputs = parse_lengths(options.output_tokens, "--output-tokens")
    if options.prompts is not None:
        source = random.Random(options.seed)  # noqa: S311 - reproducible, not secret
        return read_prompts(options.prompts, Counter(tokenizer), lambda: outputs(source))
    lengths = parse_lengths(options.prompt_tokens, "--prompt-tokens")
    draws = random.Random(options.seed)  # noqa: S311 - reproducible, not secret
    if options.shared_prefix and max(lengths(draws) for _ in range(99)) <= options.shared_prefix:
        raise UsageError(
            f"prompts of {options.prompt_tokens} tokens cannot begin with {options.shared_prefix} "
            "that all share",
            where=f"--shared-prefix {options.shared_prefix}",
            fix="raise --prompt-tokens, which includes the prefix",
        )
    return SyntheticPrompts(
        tokenizer,
        lengths,
        outputs,
        shared_prefix=options.shared_prefix,
        seed=options.seed,
    )


def asked_again(prompts: Prompts, run: Run) -> list[str]:
    """Return a warning if a file had fewer prompts than the loads of a target needed."""
    inner = prompts.inner if isinstance(prompts, ChatPrompts) else prompts
    if not isinstance(inner, FilePrompts):
        return []
    asked: dict[str, int] = {}
    for one in run.loads:
        name = one.subject.target.name
        asked[name] = asked.get(name, 0) + one.ledger.measured + one.ledger.warmups
    most = max(asked.values(), default=0)
    if most <= len(inner):
        return []
    return [
        f"{most} requests shared the {len(inner)} prompts of the file: a server with a prefix "
        "prefixes is faster from the second time on"
    ]


@dataclass(frozen=True, slots=True)
class ChatPrompts:
    """Prompts as conversations: messages for a chat endpoint, rendered text for others."""

    inner: Prompts
    template: ChatTemplate
    counter: Counter

    def __call__(self, number: int) -> Prompt:
        """Return the prompt with this number."""
        plain = self.inner(number)
        messages = plain.messages or ({"role": "user", "content": plain.text},)
        text = render_chat(self.template, messages)
        return replace(plain, text=text, tokens=self.counter.length(text), messages=messages)
