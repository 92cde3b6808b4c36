"""Tokenizers: text goes in and comes out as the checkpoint means it."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import TOKENIZER, Example
from trtbuild.check.model import Severity
from trtbuild.check.reading import is_inside
from trtbuild_rules.readers.named_directories import (
    TOKENIZER_DIR,
    NamedDirectory,
    named_directories,
)
from trtbuild_rules.readers.served import is_hub_id, local_folder
from trtbuild_rules.readers.tokenizing import TokenizerFacts, facts_of
from trtbuild_rules.readers.vocabulary import end_ids, shown, vocabulary_sizes

_WEIGHTS = "m/1/weights/"
_KINDS = (
    "tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt", "spiece.model",
    "tiktoken.model",
)  # fmt: skip


def _tokenizers(model: Model) -> Iterator[tuple[NamedDirectory, TokenizerFacts]]:
    """Every directory that a model of this repository names and that is there, and its facts."""
    memo = model.repository.memo
    for folder in named_directories(model):
        if folder.path.is_dir():
            key = ("tokenizer", folder.path)
            if key not in memo:  # read and digested once for all rules
                memo[key] = facts_of(folder.path, model.repository.root)
            yield folder, memo[key]


def _pre(value: str) -> str:
    return f'parameters {{ key: "tokenizer_dir" value {{ string_value: "{value}" }} }}'


@rule(
    "TRT761",
    "the tokenizer is inside the repository",
    fix="put the tokenizer's files into the model's version directory and name that directory",
    bad=[
        Example(_pre("tokenizer")),
        Example(_pre("/home/me/llama")),
        Example(_pre("org/name")),
        Example(_pre("gpt2")),
    ],
    good=Example(_pre("tokenizer"), {"m/1/tokenizer/tokenizer.json": TOKENIZER}),
)
def is_there(model: Model) -> Problems:
    """``tokenizer_dir`` is a directory beside model.py, ``/models/NAME/VERSION/…`` as a container
    sees the repository, or a hub id, which needs the network at every start. Any other path exists
    only on the machine that wrote it. The C++ backend does not read the parameter."""
    value = model.parameters().get(TOKENIZER_DIR, "")
    at = model.at_parameter(TOKENIZER_DIR)
    named = [one for one in named_directories(model) if one.key == TOKENIZER_DIR]
    there = [one for one in named if one.path.is_dir()]
    for folder in there:
        if not any((folder.path / name).is_file() for name in _KINDS):
            yield Problem(f"tokenizer_dir is {value!r}, which has no tokenizer", at)
    if not value or "${" in value or there or _is_elsewhere(model, value):
        return
    if _is_on_the_hub(model, value):
        yield Problem(
            f"tokenizer_dir {value!r} is downloaded at every start: the container must "
            "reach the hub",
            at,
            severity=Severity.WARNING,
        )
    elif named:
        unread = Severity.WARNING if model.backend == "tensorrtllm" else None
        yield Problem(f"tokenizer_dir is {value!r}, which does not exist", at, severity=unread)
    elif value.startswith("/") and local_folder(model, value) is None:
        yield Problem(
            f"tokenizer_dir is {value!r}, a path outside the repository",
            at,
            severity=Severity.WARNING,
        )


def _is_elsewhere(model: Model, value: str) -> bool:
    """Whether a relative directory is at the model's or the repository's root.

    A model.py that is not ours may look for it there.
    """
    root = model.repository.root
    places = () if value.startswith("/") else (model.path / value, root / value)
    return any(place.is_dir() and is_inside(place, root) for place in places)


def _is_on_the_hub(model: Model, value: str) -> bool:
    """Whether a value that names no directory is an id of the hub: ``org/name``, or one of the old
    ids without an owner, which have a number or a hyphen (``gpt2``, ``t5-small``). What trtbuild
    wrote has its tokenizer beside it."""
    if model.repository.lock.owner(model.name) or not is_hub_id(value):
        return False
    return "/" in value or any(char.isdigit() or char == "-" for char in value)


@rule(
    "TRT762",
    "the tokenizer loads",
    fix="copy tokenizer.json from the checkpoint again",
    bad=Example(files={_WEIGHTS + "tokenizer.json": "{}"}, base="checkpoint"),
    good=Example(base="checkpoint"),
)
def loads(model: Model) -> Problems:
    """``tokenizer.json`` is loaded once with the library that the server uses."""
    for folder, facts in _tokenizers(model):
        if facts.problem:
            file = folder.relative(model, "tokenizer.json")
            yield Problem(f"the tokenizer does not load: {facts.problem}", file=file)


@rule(
    "TRT763",
    "the tokenizer's ids are in the model's vocabulary",
    fix="use the tokenizer and weights of the same checkpoint",
    severity=Severity.WARNING,
    bad=Example(
        files={
            _WEIGHTS + "tokenizer.json": '{ "version": "1.0", "model": { "type": "WordLevel", '
            '"vocab": { "<s>": 0, "</s>": 1, "a": 7 }, "unk_token": "a" } }'
        },
        base="checkpoint",
    ),
    good=Example(base="checkpoint"),
)
def vocabulary(model: Model) -> Problems:
    """An id beyond the embedding is read out of bounds or fails the request. A model may have
    more rows than the tokenizer has ids; the rest is padding."""
    for folder, facts in _tokenizers(model):
        for size, whose in vocabulary_sizes(model, folder):
            if facts.size > size:
                file = folder.relative(model, "tokenizer.json")
                yield Problem(
                    f"the tokenizer has ids up to {facts.size - 1:,}, {whose} has {size:,} rows",
                    file=file,
                )
    for folder, facts in _tokenizers(model):
        for role, number in facts.ids.items():
            if number < 0:
                file = folder.relative(model, "tokenizer_config.json")
                text = facts.special.get(role, "")
                yield Problem(f"{role} is {text!r}, which the tokenizer does not have", file=file)


@rule(
    "TRT764",
    "the chat template can be rendered",
    fix="correct it in chat_template.jinja or tokenizer_config.json",
    severity=Severity.WARNING,
    bad=Example(
        files={_WEIGHTS + "chat_template.jinja": "{% for m in messages %}{{ m.content }"},
        base="checkpoint",
    ),
    good=Example(
        files={
            _WEIGHTS
            + "chat_template.jinja": "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
        },
        base="checkpoint",
    ),
)
def template_renders(model: Model) -> Problems:
    """It is rendered with one message, in the sandbox, with limits on time and size."""
    for folder, facts in _tokenizers(model):
        if facts.template_problem:
            own = (folder.path / "chat_template.jinja").is_file()
            file = "chat_template.jinja" if own else "tokenizer_config.json"
            yield Problem(
                f"the chat template cannot be rendered: {facts.template_problem}",
                file=folder.relative(model, file),
            )


@rule(
    "TRT765",
    "the files agree on the tokens that end a text",
    fix="list every end token in eos_token_id of generation_config.json",
    severity=Severity.WARNING,
    bad=[
        Example(
            files={_WEIGHTS + "generation_config.json": '{ "eos_token_id": 3 }'},
            base="checkpoint",
        ),
        Example(
            files={
                _WEIGHTS + "tokenizer_config.json": '{ "bos_token": "<s>", "eos_token": "a" }',
            },
            base="checkpoint",
        ),
    ],
    good=Example(
        files={_WEIGHTS + "generation_config.json": '{ "eos_token_id": [1, 3] }'},
        base="checkpoint",
    ),
)
def eos_agrees(model: Model) -> Problems:
    """An engine stops at the ids of ``generation_config.json`` (else of ``config.json``). When the
    tokenizer's own end token is not among them, or config.json has others, answers run on to the
    limit."""
    for folder, facts in _tokenizers(model):
        config, generation, stops = end_ids(model, folder)
        name = "generation_config.json" if generation else "config.json"
        file = folder.relative(model, name)
        eos = facts.ids.get("eos_token", -1)
        if stops and eos >= 0 and eos not in stops:
            yield Problem(
                f"the tokenizer's eos_token {facts.special['eos_token']!r} has id {eos}, and "
                f"eos_token_id in {name} is {shown(stops)}",
                file=file,
            )
        if generation and config and not config & generation:
            yield Problem(
                f"eos_token_id is {shown(config)} in config.json and {shown(generation)} in "
                "generation_config.json",
                file=file,
            )


_TURNS = "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"
_WITH_END = """\
{
  "version": "1.0",
  "added_tokens": [ { "id": 3, "content": "<|end|>", "special": true, "single_word": false,
    "lstrip": false, "rstrip": false, "normalized": false } ],
  "model": { "type": "WordLevel", "vocab": { "<s>": 0, "</s>": 1, "a": 2 }, "unk_token": "a" }
}
"""


@rule(
    "TRT766",
    "the token that ends an answer in the chat template ends the text",
    fix="add its id to eos_token_id in generation_config.json",
    severity=Severity.WARNING,
    bad=Example(
        files={
            _WEIGHTS + "tokenizer.json": _WITH_END,
            _WEIGHTS + "chat_template.jinja": _TURNS,
        },
        base="checkpoint",
    ),
    good=Example(
        files={
            _WEIGHTS + "tokenizer.json": _WITH_END,
            _WEIGHTS + "chat_template.jinja": _TURNS,
            _WEIGHTS + "generation_config.json": '{ "eos_token_id": [1, 3] }',
        },
        base="checkpoint",
    ),
)
def answers_end(model: Model) -> Problems:
    """A chat model ends its answers with the token that the template puts after them. If the
    engine does not stop at it, the answer goes on with an invented turn."""
    for folder, facts in _tokenizers(model):
        _, generation, stops = end_ids(model, folder)
        stops |= {number for role, number in facts.ids.items() if role == "eos_token"}
        if facts.ending and facts.ending_id >= 0 and facts.ending_id not in stops:
            name = "generation_config.json" if generation else "config.json"
            yield Problem(
                f"the chat template ends answers with {facts.ending!r} (id {facts.ending_id}), and "
                f"the text ends at {shown(stops) or 'no token'}",
                file=folder.relative(model, name),
            )
