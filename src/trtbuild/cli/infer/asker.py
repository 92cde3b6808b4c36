"""Who asks a served model, and how the answer is printed."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import typer

from trtbuild.cli.infer.tasks import report_task
from trtbuild.cli.output import print_json
from trtbuild.client import Answer, LLMClient, Sampling, collect, find_server
from trtbuild.client.transport import Protocol
from trtbuild.errors import ServerError, UsageError
from trtbuild.pipeline.asking import described
from trtbuild.pipeline.condition import explained_death
from trtbuild.pipeline.tasks import TaskOptions, task_request
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.signature.requests import TaskRequest


@dataclass(frozen=True, slots=True)
class Asker:
    """Where and how a model is asked."""

    name: str
    url: str
    protocol: Protocol
    stream: bool
    timeout: float
    as_json: bool
    options: TaskOptions

    @property
    def generates(self) -> bool:
        """Whether the model generates text, as far as its files tell before it is asked."""
        known = self._known(self.name)
        return known is None or known.task.makes_text or known.task is ServedTask.TENSOR

    def ask(self, text: str, sampling: Sampling) -> str:
        """Ask, print the answer, and return the text if it is one."""
        server = None if self.url else find_server(self.name)
        port = "8001" if self.protocol == "grpc" else "8000"
        url = self.url or (server.url(self.protocol) if server else f"127.0.0.1:{port}")
        with LLMClient(url, self.protocol, self._known) as client:
            try:
                request = task_request(client.served(self.name, self.timeout), text, self.options)
                if request is None:
                    return self._generate(client, text, sampling)
                self._ask_task(client, request)
            except ServerError as error:
                raise explained_death(error, self.name, url) from None
        return ""

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
        return None if self.url else described(name)

    def _generate(self, client: LLMClient, text: str, sampling: Sampling) -> str:
        chunks = client.generate(
            self.name, text, sampling, stream=self.stream, timeout=self.timeout
        )
        try:
            answer = collect(chunks, None if self.as_json else _write)
        finally:
            # Ctrl-C comes through here: closing cancels the request on the server.
            chunks.close()
        _report(answer, as_json=self.as_json)
        return answer.text

    def _ask_task(self, client: LLMClient, request: TaskRequest) -> None:
        start = time.perf_counter()
        answer = client.ask(self.name, request, timeout=self.timeout)
        report_task(request, answer, time.perf_counter() - start, as_json=self.as_json)


def _write(piece: str) -> None:
    # Text of a model may hold what the terminal's encoding does not.
    sys.stdout.buffer.write(piece.encode("utf-8"))
    sys.stdout.buffer.flush()


def _report(answer: Answer, *, as_json: bool) -> None:
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
        notes.append(f"stopped: {answer.finish_reason}")
    typer.secho(" · ".join(notes), err=True, dim=True)
