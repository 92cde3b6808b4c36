"""``trtbuild infer``: ask a served model, whatever its task and its request schema."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from trtbuild.cli.fields import from_fields
from trtbuild.cli.infer.options import Asked, ChatOptions, Connection, SamplingOptions
from trtbuild.pipeline.tasks import TaskOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trtbuild.cli.infer.asker import Asker
    from trtbuild.pipeline.asking import Chat
    from trtbuild.signature.images import Content
    from trtbuild.signature.sampling import Sampling

_EPILOG = """
Examples

  trtbuild infer smollm2 "The capital of France is"

  trtbuild infer smollm2 --chat -p "Write a haiku about Triton" --temperature 0.7

  trtbuild infer qwen3 --chat --chat-template-kwargs '{"enable_thinking": false}'

  trtbuild infer qwen3 --messages turns.json --tools tools.json --json

  cat prompt.txt | trtbuild infer smollm2 -p - --protocol http --json

  trtbuild infer minilm "a text to embed" "another" --json

  trtbuild infer minilm --input texts.jsonl --input-type passage --output vectors.jsonl

  trtbuild infer reranker "a query" --documents candidates.txt --top-n 5

  trtbuild infer vit --image cat.jpg

  trtbuild infer qwen-vl "What is on these pages?" --image one.png --image two.png

  trtbuild infer deepseek-ocr --task markdown --image page.png --json

  trtbuild infer whisper --audio talk.wav --timestamps
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("infer", epilog=_EPILOG)(infer)


@from_fields(Asked, TaskOptions, ChatOptions, SamplingOptions, Connection)
def infer(
    asked: Asked,
    options: TaskOptions,
    chat: ChatOptions,
    generating: SamplingOptions,
    connection: Connection,
) -> None:
    """Send a request to a served model and print its answer, text as it is generated."""
    from trtbuild.cli.infer.asker import Asker
    from trtbuild.pipeline.asking import own_template_of, with_defaults

    texts = _texts(asked)
    asker = Asker(asked.name, connection, options, asked.input, stream=generating.stream)
    if chat.used:
        asker.require_text()
    opened, turns = _opened(asked.name, chat) if chat.used else (None, [])
    seeing = asker.seeing
    texts = texts or [""] * bool(seeing.task and asked.input is None)
    sampling = generating.sampling(seeing.vision.sampling if seeing.vision else {})
    if generating.generation_config and asker.generates:
        sampling, taken = with_defaults(asked.name, sampling)
        _say_defaults(taken, as_json=connection.as_json)
    if opened is None:
        _require_something(asked, texts, options)
        template = own_template_of(asked.name) if options.image or asked.input else None

        def plain(text: str, images: int) -> str:
            one = replace(seeing, images=images)
            return one.prompt(text, template if one.wants_template(text) else None)

        asker.ask(texts, sampling, plain)
    elif texts or asked.input:

        def chatted(text: str, images: int) -> str:
            one = replace(seeing, images=images)
            return one.prompt(text, lambda content: opened.prompt([*turns, _user(content)]))

        asker.ask(texts, sampling, chatted)
    elif chat.messages:
        asker.ask([opened.prompt(turns)], sampling)
    else:
        _require_no_image(options)
        _converse(asker, opened, turns, sampling)


def _user(content: Content) -> Mapping[str, Any]:
    return {"role": "user", "content": content}


def _opened(name: str, chat: ChatOptions) -> tuple[Chat, list[Mapping[str, Any]]]:
    """Return the chat, and the turns before the prompt."""
    from trtbuild.pipeline.asking import open_chat, read_messages

    turns: list[Mapping[str, Any]] = []
    turns += [{"role": "system", "content": chat.system}] if chat.system else []
    turns += read_messages(chat.messages) if chat.messages else []
    opened = open_chat(
        name, template=chat.chat_template, tools=chat.tools, variables=chat.chat_template_kwargs
    )
    return opened, turns


def _require_something(asked: Asked, texts: list[str], options: TaskOptions) -> None:
    from trtbuild.errors import UsageError

    if not (texts or asked.input or options.image or options.audio):
        raise UsageError(
            "there is no prompt",
            fix="give a text as an argument or with -p TEXT, or -p - and a file; --input, --image "
            "and --audio name files",
        )


def _require_no_image(options: TaskOptions) -> None:
    from trtbuild.errors import UsageError

    if options.image:
        raise UsageError(
            "a conversation on standard input cannot have --image", fix="ask about it with -p TEXT"
        )


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
        turns.append(_user(text))
        answer = asker.ask([chat.prompt(turns)], sampling)
        turns.append({"role": "assistant", "content": answer.strip()})


def _texts(asked: Asked) -> list[str]:
    """The texts of the command line as valid text; ``-p -`` is standard input."""
    import sys

    from trtbuild.client.values import prompt_text

    prompt = sys.stdin.buffer.read() if asked.prompt == "-" else asked.prompt
    return [prompt_text(text) for text in (*asked.texts, prompt) if text]
