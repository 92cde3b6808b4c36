"""What lm-evaluation-harness needs of an endpoint, and how it is called for it.

Read in lm_eval 0.4.13: models/openai_completions.py, models/api_models.py and utils.py. For tasks
with log probabilities it sends ``echo`` and token ids, which it gets from the server's
``/tokenize``, without the model's name, or from a tokenizer of Hugging Face.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtbuild.errors import ServerError, UsageError
from trtbuild_measure.answers.openai import OpenAIModel
from trtbuild_measure.answers.options import LmOptions

_TEXT = "The harness compares the probabilities of texts."
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What an endpoint can do for the harness.

    Attributes:
        problem: Why its log probabilities of a prompt cannot be used; empty if they can.
        tokenizes: It has ``/tokenize`` and ``/tokenizer_info`` without a model's name.
        adds: It puts tokens before a text, such as one for its beginning.
        context: The model's context length; None if unknown.
    """

    problem: str = ""
    tokenizes: bool = False
    adds: bool = False
    context: int | None = None


async def examine(model: OpenAIModel) -> Endpoint:
    """Try what the harness will ask for."""
    given = {"prompt": _TEXT, "model": model.model}
    whole = await _tokens(model, given)
    plain = await _tokens(model, {**given, "add_special_tokens": False})
    unnamed = await _tokens(model, {"prompt": _TEXT})
    info = await model.fetch("GET", "/tokenizer_info")
    ids = _ids(whole)
    return Endpoint(
        await _echo_problem(model, len(ids) if ids else None),
        bool(_ids(unnamed)) and info.good,
        bool(ids) and ids != _ids(plain),
        context if isinstance(context := whole.get("max_model_len"), int) else None,
    )


def _ids(tokenized: Mapping[str, Any]) -> list[Any]:
    """Return the tokens of an answer of ``/tokenize``; empty for another server's."""
    found = tokenized.get("tokens")
    return found if isinstance(found, list) else []


async def _tokens(model: OpenAIModel, body: Mapping[str, Any]) -> Mapping[str, Any]:
    answer = await model.fetch("POST", "/tokenize", body)
    try:
        found = json.loads(answer.body) if answer.good else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


async def _echo_problem(model: OpenAIModel, tokens: int | None) -> str:
    """Ask for the probabilities of a prompt; return what is wrong with the answer."""
    body = {"model": model.model, "prompt": _TEXT, "max_tokens": 1, "temperature": 0}
    body |= {"echo": True, "logprobs": 1}
    answer = await model.fetch("POST", f"{model.path}/completions", body)
    if not answer.good:
        return f"it refuses 'echo' with 'logprobs': {answer.body[:300].decode('utf-8', 'replace')}"
    try:
        found = json.loads(answer.body)["choices"][0]
        values = list(found["logprobs"]["token_logprobs"])
        echoed = str(found["text"]).startswith(_TEXT)
    except _UNREADABLE:
        return "it ignores 'echo' or 'logprobs'"
    # At least one token is generated; a prompt of eight words has more than two.
    enough = len(values) == tokens + 1 if tokens is not None else len(values) > 3
    if not echoed or not enough:
        wanted = "more" if tokens is None else f"{tokens} and one more"
        return (
            f"it answers 'echo' with log probabilities of {len(values)} tokens, and the prompt has "
            f"{wanted}: those of the answer alone would be scored as chance"
        )
    return ""


def command(
    program: str,
    options: LmOptions,
    model: OpenAIModel,
    endpoint: Endpoint,
    *,
    chat: bool,
    results: str,
) -> list[str]:
    """Return the command line of the harness.

    Args:
        program: ``lm_eval``.
        options: The user's.
        model: The endpoint; its key is not in the command line.
        endpoint: What it can do.
        chat: Ask for chats; otherwise for completions, with log probabilities.
        results: The directory for the result.

    Raises:
        ServerError: The endpoint cannot do what the tasks need.
        UsageError: The harness needs a tokenizer of Hugging Face.
    """
    arguments: dict[str, Any] = {
        "model": model.model,
        "base_url": f"{model.url}/{'chat/' if chat else ''}completions",
        "num_concurrent": options.concurrency,
        "timeout": int(options.timeout),
        "max_length": endpoint.context or options.max_length,
    }
    if not chat:
        _require_exact(model, endpoint)
        arguments |= _tokenizer(options, endpoint)
    shown = ",".join(f"{name}={value}" for name, value in arguments.items())
    kind = "local-chat-completions" if chat else "local-completions"
    made = [program, "--model", kind, "--model_args", shown, "--tasks", ",".join(options.tasks)]
    made += ["--output_path", results]
    made += ["--apply_chat_template"] if chat else []
    for flag, value in (
        ("--include_path", options.include_path),
        ("--limit", options.limit),
        ("--num_fewshot", options.few_shot),
    ):
        made += [flag, str(value)] if value is not None else []
    return made


def _require_exact(model: OpenAIModel, endpoint: Endpoint) -> None:
    if endpoint.problem:
        raise ServerError(
            f"{model.url} cannot be asked for the log probabilities that these tasks need: "
            f"{endpoint.problem}",
            fix="serve the model with the vLLM backend behind `trtbuild gateway`, or with vLLM's "
            "own server; tasks that only generate can be asked with --api chat",
        )


def _tokenizer(options: LmOptions, endpoint: Endpoint) -> dict[str, Any]:
    """The arguments for the tokenizer, with which the harness finds where a text begins."""
    fix = "give the checkpoint's directory with --tokenizer"
    if options.tokenizer:
        adds = {"add_bos_token": True} if endpoint.adds else {}
        return {"tokenizer_backend": "huggingface", "tokenizer": options.tokenizer, **adds}
    if options.api_key_env:
        raise UsageError(
            "for the server's tokenizer, the harness takes the key as an argument, which it also "
            "writes into its result",
            where="--api-key-env",
            fix=fix,
        )
    if not endpoint.tokenizes:
        raise UsageError(
            "the endpoint has no tokenizer for the harness, which asks for /tokenize and "
            "/tokenizer_info without the name of a model",
            fix=f"{fix}, or serve a single model",
        )
    if endpoint.adds:
        raise UsageError(
            "the model's tokenizer adds a token before each text, and the harness leaves it out "
            "when it asks the server: every score would be off by a token",
            fix=fix,
        )
    return {"tokenizer_backend": "remote"}


def needs_logprobs(types: Mapping[str, Sequence[str]]) -> bool:
    """Whether any task asks for more than generated text."""
    return any(kind != "generate_until" for kinds in types.values() for kind in kinds)
