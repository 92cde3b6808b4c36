"""``trtbuild eval lm``: run lm-evaluation-harness with the model type that its tasks need."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild import process
from trtbuild.errors import BenchError, UsageError
from trtbuild.progress import SILENT, Progress
from trtbuild.wire.blocking import run as wait
from trtbuild_measure.answers.harness import Endpoint, command, examine, needs_logprobs
from trtbuild_measure.answers.openai import OpenAIModel
from trtbuild_measure.answers.options import LmOptions
from trtbuild_measure.jobs.answering import asker_for
from trtbuild_measure.resources import template_dir

_INSTALL = "pip install 'lm-eval[api]>=0.4.13', or name the program with --harness"
_INDEX_SECONDS = 300.0  # it reads 15,000 files
_LAST = 15  # lines of a failed harness


@dataclass(frozen=True, slots=True)
class Measured:
    """The result.

    Attributes:
        target: What was asked.
        api: ``chat`` or ``completions``.
        command: The harness's command line.
        results: By task: each metric with its filter, as the harness names it.
    """

    target: str
    api: str
    command: tuple[str, ...]
    results: Mapping[str, Mapping[str, Any]]


def lm(options: LmOptions, progress: Progress = SILENT) -> Measured:
    """Run the tasks.

    Raises:
        UsageError: An unknown task, a target without OpenAI's API, or no harness.
        ServerError: The target does not answer, or not what the tasks need.
        BenchError: The harness failed.
    """
    asker = asker_for(options, progress)
    address = asker.address
    if address.kind != "openai":
        raise UsageError(
            "the harness speaks OpenAI's API, and this target is a Triton server",
            where=address.text,
            fix="start `trtbuild gateway` in front of it and name that: "
            "openai:http://127.0.0.1:9000/v1#MODEL",
        )
    program = _program(options.harness)
    progress.step("reading what the tasks ask for")
    chat = options.api == "chat" or (
        not options.api and not needs_logprobs(_types(program, options))
    )
    progress.step(f"trying what {address.url} can do")
    key = os.environ.get(options.api_key_env, "")
    model = OpenAIModel(address.url, address.model, timeout=options.timeout, api_key=key)
    endpoint = wait(_examined(model, chat=chat))
    with tempfile.TemporaryDirectory() as scratch:
        kept = _made(options.out) if options.out else Path(scratch)
        before = set(kept.rglob("results_*.json"))
        argv = command(program, options, model, endpoint, chat=chat, results=str(kept))
        _run(argv, key, Path(scratch) / "harness.log", progress)
        made = max(set(kept.rglob("results_*.json")) - before, default=None)
        if made is None:
            raise BenchError(
                "lm_eval wrote no result", fix="run its command by hand: " + " ".join(argv)
            )
        found = json.loads(made.read_bytes())["results"]
    return Measured(address.text, "chat" if chat else "completions", tuple(argv), found)


def _made(out: Path) -> Path:
    """Return the directory for the harness's results, made where it is missing."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{out} cannot be a directory for results: {error.strerror}",
            where="--out",
            fix="name a directory that exists, or can be made",
        ) from None
    return out


async def _examined(model: OpenAIModel, *, chat: bool) -> Endpoint:
    try:
        await model.open()
        return Endpoint() if chat else await examine(model)
    finally:
        await model.close()


def _program(name: str) -> str:
    beside = Path(sys.executable).parent
    found = shutil.which(name) or shutil.which(name, path=str(beside))
    if found is None:
        raise UsageError(f"lm-evaluation-harness: there is no program {name!r}", fix=_INSTALL)
    return found


def _types(program: str, options: LmOptions) -> Mapping[str, Sequence[str]]:
    """What each task asks for, by the harness's own index."""
    script = str(template_dir("harness", "output_types.py"))
    include = "" if options.include_path is None else str(options.include_path)
    argv = [_python_of(program), script, include, *options.tasks]
    done = process.run(argv, timeout=_INDEX_SECONDS)
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        types, known = found["types"], found["known"]
    except (ValueError, LookupError, TypeError):
        said = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise UsageError(
            f"{program} does not tell what its tasks ask for: {said}",
            fix=f"{_INSTALL}; --api chat or completions goes on without",
        ) from None
    for name, kinds in types.items():
        if kinds is None:
            near = difflib.get_close_matches(name, known, 3)
            raise UsageError(
                f"lm_eval has no task {name!r}",
                where=f"similar: {', '.join(near)}" if near else "",
                fix="`lm_eval ls tasks` lists them; --include-path names a directory of your own",
            )
    made: Mapping[str, Sequence[str]] = types
    return made


def _python_of(program: str) -> str:
    """The Python that a console script begins with; else the one beside it."""
    with Path(program).open("rb") as file:
        first = file.readline().decode("utf-8", "replace").strip()
    if first.startswith("#!") and "python" in first and " " not in first[2:].strip():
        return first[2:].strip()
    return str(Path(program).resolve().parent / "python")


def _run(argv: Sequence[str], key: str, log: Path, progress: Progress) -> None:
    progress.step(f"running {' '.join(argv)}")
    lines: list[str] = []

    def on_line(line: str) -> None:
        if line.strip():
            lines.append(line)
            del lines[:-_LAST]
            progress.step(line.strip()[:160])

    code = process.run_lines(
        argv, on_line=on_line, log_path=log, env={"OPENAI_API_KEY": key} if key else None
    )
    if code:
        raise BenchError(
            f"lm_eval ended with exit code {code}",
            where=" ".join(argv),
            details=tuple(lines),
            fix="the last lines say why; data sets are downloaded from huggingface.co",
        )
