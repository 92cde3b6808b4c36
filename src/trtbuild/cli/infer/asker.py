"""Who asks a served model, and how the answer is printed."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import typer

from trtbuild.cli.infer.options import Connection
from trtbuild.cli.infer.tasks import report_task
from trtbuild.cli.infer.writing import Writer
from trtbuild.cli.output import print_json, progress
from trtbuild.client import Answer, LLMClient, Sampling, collect
from trtbuild.errors import ServerError, UsageError
from trtbuild.pipeline.asking import described, repository_of
from trtbuild.pipeline.condition import explained_death
from trtbuild.pipeline.items import Item
from trtbuild.pipeline.seeing import Seeing, is_text_model, vision_of
from trtbuild.pipeline.tasks import TaskOptions, task_items, task_requests
from trtbuild.server_records import find_server
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.signature.boxes import Box, read_boxes
from trtbuild.signature.requests import GenerateRequest, TaskRequest

_ROW = re.compile(r"\btext (\d+) has ")
"""How our models name the row of a request that is too long."""
Part = tuple[Sequence[Item], TaskRequest]


@dataclass(frozen=True, slots=True)
class Asker:
    """Where and how a model is asked."""

    name: str
    connection: Connection
    options: TaskOptions
    file: Path | None = None
    stream: bool = True

    @property
    def generates(self) -> bool:
        """Whether the model generates text, as far as its files tell before it is asked."""
        known = self._known(self.name)
        return known is None or known.task.makes_text or known.task is ServedTask.TENSOR

    def ask(
        self,
        texts: Sequence[str],
        sampling: Sampling,
        as_prompt: Callable[[str, int], str] = lambda text, _: text,
    ) -> str:
        """Ask, print the answers, and return the text if there is one answer of text.

        ``as_prompt`` makes a prompt of a text and its number of images, for a model that
        generates text.
        """
        asked = self.connection
        server = None if asked.url else find_server(self.name)
        protocol = asked.transport
        port = "8001" if protocol == "grpc" else "8000"
        url = asked.url or (server.url(protocol) if server else f"127.0.0.1:{port}")
        with LLMClient(url, protocol, self._known) as client:
            try:
                return self._ask(client, texts, sampling, as_prompt)
            except ServerError as error:
                raise explained_death(error, self.name, url) from None

    @property
    def seeing(self) -> Seeing:
        """How images get into a prompt. UsageError for images that the model cannot take."""
        images, known = len(self.options.image), self._known(self.name)
        if not self.generates:  # its images are not part of a prompt
            return Seeing(self.name, None, 0)
        repository = repository_of(self.name)
        if images and is_text_model(known, repository):
            raise UsageError(
                f"{self.name!r} takes no images: it is a text model",
                fix="leave out --image, or ask a vision-language model",
            )
        return Seeing(self.name, vision_of(known, repository), images, self.options.task)

    def require_text(self) -> None:
        """UsageError for a chat with a model that generates no text."""
        known = self._known(self.name)
        if known is not None and not self.generates:
            raise UsageError(
                f"{self.name!r} cannot chat: its task is {known.task}",
                fix="leave out --chat and the options that imply it",
            )

    def _known(self, name: str) -> ServedModel | None:
        """What the model's files say; of a server named by --url they may be others."""
        return None if self.connection.url else described(name)

    def _ask(
        self,
        client: LLMClient,
        texts: Sequence[str],
        sampling: Sampling,
        as_prompt: Callable[[str, int], str],
    ) -> str:
        model = client.served(self.name, self.connection.timeout)
        if model.task is ServedTask.TENSOR:
            text = as_prompt(texts[0], len(self.options.image)) if texts else ""
            return self._generate(client, GenerateRequest(text, sampling))
        items = task_items(model, texts, self.options, self.file)
        if model.task.makes_text:
            shared = len(self.options.image)
            items = [
                replace(item, value=as_prompt(item.value, len(item.images) or shared))
                for item in items
            ]
        parts = list(task_requests(model, items, self.options, sampling))
        if len(items) > 1 or self.file or self.connection.output:
            self._ask_many(client, parts)
            return ""
        ((_, request),) = parts
        if isinstance(request, GenerateRequest):
            return self._generate(client, request)
        start = time.perf_counter()
        answer = client.ask(self.name, request, timeout=self.connection.timeout)
        seconds = time.perf_counter() - start
        report_task(request, answer, seconds, as_json=self.connection.as_json, kind=self._kind)
        return ""

    @property
    def _kind(self) -> str:
        return self.options.embedding_type.lower()

    def _generate(self, client: LLMClient, request: GenerateRequest) -> str:
        asked = replace(request, stream=self.stream)
        timeout = self.connection.timeout
        chunks = (
            client.stream(self.name, asked, timeout=timeout)
            if asked.images
            else client.generate(
                self.name, asked.prompt, asked.sampling, stream=self.stream, timeout=timeout
            )
        )
        seeing = self.seeing
        if doubt := seeing.doubt(asked.prompt):
            typer.secho(f"warning: {doubt}", err=True, fg="yellow")
        marks = seeing.vision if seeing.vision and seeing.vision.boxes else None
        shown = None if self.connection.as_json or marks else _write
        try:
            answer = collect(chunks, shown)
        finally:
            # Ctrl-C comes through here: closing cancels the request on the server.
            chunks.close()
        answer, boxes = self._marked(answer)
        if marks and not self.connection.as_json:
            _write(answer.text)
        _report(answer, boxes, as_json=self.connection.as_json)
        return answer.text

    def _marked(self, answer: Answer) -> tuple[Answer, tuple[Box, ...] | None]:
        """Separate the boxes of an answer; None for a family that marks none."""
        seeing = self.seeing
        if not (seeing.vision and seeing.vision.boxes):
            return answer, None
        found = read_boxes(answer.text, seeing.vision, seeing.named)
        return replace(answer, text=found.text), found.boxes

    def _ask_many(self, client: LLMClient, parts: Sequence[Part]) -> None:
        total, timeout = sum(len(items) for items, _ in parts), self.connection.timeout
        answers = client.answers(self.name, (request for _, request in parts), timeout=timeout)
        writer = Writer(self.connection.output, as_json=self.connection.as_json, kind=self._kind)
        with writer, progress() as bars:
            bars.step(f"asking {self.name}")
            for items, request in parts:
                with _located(items):
                    answer = next(answers)
                more: dict[str, Any] = {}
                if isinstance(answer, Answer):
                    answer, boxes = self._marked(answer)
                    more = {} if boxes is None else {"boxes": [asdict(box) for box in boxes]}
                writer.write(items, request, answer, more)
                bars.advance(writer.written, total, "answers")
        writer.say_end()


class _located:  # noqa: N801 - a context manager
    """Adds file and line to an error of a request."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        first, last = self._items[0].where, self._items[-1].where
        if not isinstance(error, ServerError) or not first:
            return
        row = _ROW.search(error.what)
        if row and int(row[1]) < len(self._items):
            first = last = self._items[int(row[1])].where
        where = first if first == last else f"{first} to {last.rpartition(':')[2]}"
        error.where = f"{where} ({error.where})" if error.where else where


def _write(piece: str) -> None:
    # Text of a model may hold what the terminal's encoding does not.
    sys.stdout.buffer.write(piece.encode("utf-8"))
    sys.stdout.buffer.flush()


def _report(answer: Answer, boxes: Sequence[Box] | None, *, as_json: bool) -> None:
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
                **({"boxes": [asdict(box) for box in boxes]} if boxes is not None else {}),
            }
        )
        return
    if not answer.text.endswith("\n"):
        typer.echo()
    notes = [f"boxes: {len(boxes)} (--json has them)"] if boxes else []
    if answer.output_tokens is not None:
        notes.append(f"{answer.output_tokens} tokens")
    if answer.tokens_per_second is not None:
        notes.append(f"{answer.tokens_per_second:.1f} tokens/s")
    if answer.ttft_ms is not None:
        notes.append(f"first text after {answer.ttft_ms:.0f} ms")
    if answer.finish_reason:
        notes.append(f"stopped: {answer.finish_reason}")
    typer.secho(" · ".join(notes), err=True, dim=True)
