"""``trtbuild infer``: ask a served model, whatever its task and its request schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trtbuild.cli.infer.asker import Asker
    from trtbuild.client import Sampling
    from trtbuild.client.transport import Protocol
    from trtbuild.pipeline.asking import Chat

_EPILOG = """
Examples

  trtbuild infer smollm2 -p "The capital of France is"

  trtbuild infer smollm2 --chat -p "Write a haiku about Triton" --temperature 0.7

  trtbuild infer qwen3 --chat --chat-template-kwargs '{"enable_thinking": false}'

  trtbuild infer qwen3 --messages turns.json --tools tools.json --json

  cat prompt.txt | trtbuild infer smollm2 -p - --protocol http --json

  trtbuild infer minilm -p "a text to embed" --json

  trtbuild infer reranker -p "a query" --document "one text" --document "another"
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("infer", epilog=_EPILOG)(infer)


def infer(
    name: Annotated[str, typer.Argument(help="Name of the served model.")],
    *,
    prompt: Annotated[
        str,
        typer.Option("--prompt", "-p", help="Prompt, text or query; '-' reads standard input."),
    ] = "",
    stream: Annotated[
        bool,
        typer.Option("--stream/--no-stream", help="Print text as it is generated, or at the end."),
    ] = True,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Apply the model's chat template to the prompt; without a prompt, each "
            "line of standard input is a turn.",
        ),
    ] = False,
    system: Annotated[str, typer.Option(help="A system message; implies --chat.")] = "",
    messages: Annotated[
        Path | None,
        typer.Option(help="A JSON list of messages before the prompt; implies --chat."),
    ] = None,
    tools: Annotated[
        Path | None,
        typer.Option(help="A JSON list of tools, as OpenAI describes them; implies --chat."),
    ] = None,
    chat_template: Annotated[
        Path | None,
        typer.Option(help="A chat template of your own; implies --chat.", dir_okay=False),
    ] = None,
    chat_template_kwargs: Annotated[
        str,
        typer.Option(
            help="A JSON object for the chat template, such as '{\"enable_thinking\": false}'; "
            "implies --chat."
        ),
    ] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to generate.")] = 128,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Sampling temperature; 0 is greedy; default: the checkpoint's or the server's.",
        ),
    ] = None,
    top_p: Annotated[float | None, typer.Option(min=0, max=1, help="Nucleus sampling.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from the k most likely tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed that makes sampling repeatable.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="Stop before this text; repeatable.")
    ] = None,
    generation_config: Annotated[
        bool,
        typer.Option(
            help="Apply the sampling settings of the checkpoint's generation_config.json; "
            "options win."
        ),
    ] = True,
    logprobs: Annotated[
        int | None,
        typer.Option(min=0, help="Return log probabilities of this many tokens (with --json)."),
    ] = None,
    prompt_logprobs: Annotated[
        int | None, typer.Option(min=0, help="The same for the prompt's tokens.")
    ] = None,
    document: Annotated[
        list[str] | None,
        typer.Option(help="Text for a reranker to score against the query; repeatable."),
    ] = None,
    input_type: Annotated[
        str, typer.Option(help="query or passage, for embedding models that distinguish them.")
    ] = "",
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Dimensions of an embedding to keep (Matryoshka).")
    ] = None,
    protocol: Annotated[str, typer.Option(help="Protocol: grpc or http.")] = "grpc",
    url: Annotated[
        str, typer.Option(help="HOST:PORT; default: the running server that has this model.")
    ] = "",
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait for the whole answer.")
    ] = 300,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end.")
    ] = False,
) -> None:
    """Send a request to a served model and print its answer, text as it is generated."""
    from trtbuild.cli.infer.asker import Asker
    from trtbuild.client import Sampling
    from trtbuild.pipeline.asking import open_chat, read_messages, with_defaults
    from trtbuild.pipeline.tasks import TaskOptions

    text = _prompt(prompt)
    sampling = Sampling(
        max_tokens,
        temperature,
        top_p,
        top_k,
        seed,
        tuple(stop or ()),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )
    options = TaskOptions(tuple(document or ()), input_type, dimensions)
    asker = Asker(name, url, _protocol(protocol), stream, timeout, as_json, options)
    chatted = chat or any((system, messages, tools, chat_template, chat_template_kwargs))
    if chatted:
        asker.require_text()
    turns: list[Mapping[str, Any]] = []
    turns += [{"role": "system", "content": system}] if system else []
    turns += read_messages(messages) if messages else []
    opened = (
        open_chat(name, template=chat_template, tools=tools, variables=chat_template_kwargs)
        if chatted
        else None
    )
    if generation_config and asker.generates:
        sampling, taken = with_defaults(name, sampling)
        _say_defaults(taken, as_json=as_json)
    if opened is None:
        _require_prompt(text)
        asker.ask(text, sampling)
    elif text or messages:
        turns += [{"role": "user", "content": text}] if text else []
        asker.ask(opened.prompt(turns), sampling)
    else:
        _converse(asker, opened, turns, sampling)


def _require_prompt(text: str) -> None:
    from trtbuild.errors import UsageError

    if not text:
        raise UsageError("there is no prompt", fix="give one with -p TEXT, or -p - and a file")


def _say_defaults(taken: Mapping[str, Any], *, as_json: bool) -> None:
    if taken and not as_json:
        said = ", ".join(f"{key} {value}" for key, value in taken.items())
        typer.secho(
            f"sampling by the checkpoint's generation_config.json: {said} "
            "(--no-generation-config turns this off)",
            err=True,
            dim=True,
        )


def _converse(asker: Asker, chat: Chat, turns: list[Mapping[str, Any]], sampling: Sampling) -> None:
    """A turn for each line of standard input, until it ends."""
    import sys

    from trtbuild.client.values import prompt_text

    shown = sys.stdin.isatty()
    while True:
        if shown:
            typer.secho("> ", nl=False, err=True, bold=True)
        line = sys.stdin.buffer.readline()
        if not line:
            return
        text = prompt_text(line).strip()
        if not text:
            continue
        turns.append({"role": "user", "content": text})
        answer = asker.ask(chat.prompt(turns), sampling)
        turns.append({"role": "assistant", "content": answer.strip()})


def _protocol(text: str) -> Protocol:
    from trtbuild.errors import UsageError

    if text == "grpc":
        return "grpc"
    if text == "http":
        return "http"
    raise UsageError(f"unknown protocol {text!r}", fix="use --protocol grpc or --protocol http")


def _prompt(prompt: str) -> str:
    """The prompt as valid text; ``-`` is standard input."""
    import sys

    from trtbuild.client.values import prompt_text

    return prompt_text(sys.stdin.buffer.read() if prompt == "-" else prompt)
