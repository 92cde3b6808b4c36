"""``trtbuild infer``: ask a served LLM, whatever its dialect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trtbuild.client import Answer, Sampling
    from trtbuild.client.llm import Protocol
    from trtbuild.pipeline.asking import Chat

_EPILOG = """
Examples

  trtbuild infer smollm2 -p "The capital of France is"

  trtbuild infer smollm2 --chat -p "Write a haiku about Triton" --temperature 0.7

  trtbuild infer qwen3 --chat --chat-template-kwargs '{"enable_thinking": false}'

  trtbuild infer qwen3 --messages turns.json --tools tools.json --json

  cat prompt.txt | trtbuild infer smollm2 -p - --protocol http --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("infer", epilog=_EPILOG)(infer)


def infer(
    name: Annotated[str, typer.Argument(help="Name of the served model.")],
    *,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="The prompt; '-' reads standard input.")
    ] = "",
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Print text as it comes, or at the end.")
    ] = True,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Put the prompt through the model's chat template; without a prompt, every "
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
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate at most.")] = 128,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="0 is greedy; the default is the checkpoint's, or the server's."),
    ] = None,
    top_p: Annotated[float | None, typer.Option(min=0, max=1, help="Nucleus sampling.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample among the best k tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="Stop before this text; may be repeated.")
    ] = None,
    generation_config: Annotated[
        bool,
        typer.Option(
            help="Apply the sampling settings of the checkpoint's generation_config.json; "
            "options win."
        ),
    ] = True,
    logprobs: Annotated[
        int | None, typer.Option(min=0, help="Log probabilities of this many tokens (with --json).")
    ] = None,
    prompt_logprobs: Annotated[
        int | None, typer.Option(min=0, help="The same for the tokens of the prompt.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="grpc or http.")] = "grpc",
    url: Annotated[
        str, typer.Option(help="HOST:PORT; the default is the server that has this model.")
    ] = "",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for the whole answer.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object at the end.")] = False,
) -> None:
    """Ask a served LLM and print its answer as it is written."""
    from trtbuild.client import Sampling
    from trtbuild.pipeline.asking import open_chat, read_messages, with_defaults

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
    asker = _Asker(name, url, _protocol(protocol), stream, timeout, as_json)
    chatted = chat or any((system, messages, tools, chat_template, chat_template_kwargs))
    turns: list[Mapping[str, Any]] = []
    turns += [{"role": "system", "content": system}] if system else []
    turns += read_messages(messages) if messages else []
    opened = (
        open_chat(name, template=chat_template, tools=tools, variables=chat_template_kwargs)
        if chatted
        else None
    )
    if generation_config:
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


def _converse(
    asker: _Asker, chat: Chat, turns: list[Mapping[str, Any]], sampling: Sampling
) -> None:
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
        turns.append({"role": "assistant", "content": answer.text.strip()})


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


@dataclass(frozen=True, slots=True)
class _Asker:
    """Where and how a model is asked."""

    name: str
    url: str
    protocol: Protocol
    stream: bool
    timeout: float
    as_json: bool

    def ask(self, text: str, sampling: Sampling) -> Answer:
        """Ask, and print the answer."""
        from trtbuild.client import LLMClient, collect, find_server
        from trtbuild.errors import ServerError
        from trtbuild.pipeline.condition import explained_death

        server = None if self.url else find_server(self.name)
        port = "8001" if self.protocol == "grpc" else "8000"
        url = self.url or (server.url(self.protocol) if server else f"127.0.0.1:{port}")
        with LLMClient(url, self.protocol) as client:
            chunks = client.generate(
                self.name, text, sampling, stream=self.stream, timeout=self.timeout
            )
            try:
                answer = collect(chunks, None if self.as_json else _write)
            except ServerError as error:
                raise explained_death(error, self.name, url) from None
            finally:
                # Ctrl-C comes through here: closing cancels the request on the server.
                chunks.close()
        _report(answer, as_json=self.as_json)
        return answer


def _write(piece: str) -> None:
    import sys

    # Text of a model may hold what the terminal's encoding does not.
    sys.stdout.buffer.write(piece.encode("utf-8"))
    sys.stdout.buffer.flush()


def _report(answer: Answer, *, as_json: bool) -> None:
    from trtbuild.cli.output import print_json

    of_prompt = answer.prompt_logprobs
    if as_json:
        print_json(
            {
                "text": answer.text,
                "finish_reason": answer.finish_reason,
                "input_tokens": answer.input_tokens,
                "output_tokens": answer.output_tokens,
                "ttft_ms": answer.ttft_ms,
                "seconds": answer.seconds,
                "tokens_per_second": answer.tokens_per_second,
                **({"logprobs": list(answer.logprobs)} if answer.logprobs else {}),
                **({"prompt_logprobs": list(of_prompt)} if of_prompt else {}),
            }
        )
        return
    if not answer.text.endswith("\n"):
        typer.echo()
    notes = []
    if answer.output_tokens is not None:
        notes.append(f"{answer.output_tokens} tokens")
    if answer.tokens_per_second is not None:
        notes.append(f"{answer.tokens_per_second:.1f} tokens/s")
    if answer.ttft_ms is not None:
        notes.append(f"first text after {answer.ttft_ms:.0f} ms")
    if answer.finish_reason:
        notes.append(f"ended by {answer.finish_reason}")
    typer.secho(" · ".join(notes), err=True, dim=True)
