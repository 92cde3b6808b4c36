"""Our scripts at work on a checkpoint in the export environment, and how they fail."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.builder import Workplace, run_worker
from trtbuild.errors import BuildError
from trtbuild.modelspec import Task
from trtbuild.resources import template_dir

KEPT = "reference.json"
"""The reference's answers, placed beside the model: a server is ready when it gives the same."""
_DIFFERS = 3
# By number format, and whether rows are vectors. In float32 only the order of sums differs,
# measured at 2.5e-7; int8 keeps the best label and the order of scores.
_LIMITS: Mapping[tuple[str, bool], Mapping[str, Any]] = {
    ("", True): {"max_abs": 1e-5, "cosine": 0.99999},
    ("", False): {"max_abs": 1e-4},
    ("fp16", True): {"cosine": 0.999},
    ("fp16", False): {"max_abs": 0.05},
    ("int8", True): {"mean_cosine": 0.98},
    ("int8", False): {"best": 0.9, "order": 0.95},
}


def limits(form: str, task: Task) -> Mapping[str, Any]:
    """Return how far an answer may be from the reference's.

    Args:
        form: The numbers that it is computed with: ``fp16`` (or another with 16 bits), ``int8``,
            empty for float32.
        task: The checkpoint's.
    """
    return _LIMITS[form, task is Task.EMBED]


def scripts(*parts: str) -> dict[str, str]:
    """Return the templates of ``parts`` by name: what an artifact depends on."""
    roots = [template_dir(part) for part in parts]
    paths = [path for root in roots for path in root.rglob("*") if path.suffix in (".py", ".json")]
    return {f"{p.parent.name}/{p.name}": p.read_text(encoding="utf-8") for p in sorted(paths)}


def work(
    place: Workplace,
    job: Mapping[str, Any],
    *script: str,
    served: str,
    doing: str,
    given: str = "",
    first: str = "",
) -> None:
    """Run a template on the checkpoint's files; BuildError if it fails or the answers differ.

    Args:
        place: The workplace of the artifact.
        job: For the script.
        script: Its place below the templates.
        served: What is compared with the reference, for messages: ``the graph``.
        doing: What the script does, for messages: ``the export to ONNX``.
        given: A file of the checkpoint that is taken as it is.
        first: What to try when answers differ, before reporting it.
    """
    files = [file for file in place.files if not file.name.endswith((".bin", ".py"))]
    status, tail = run_worker(
        place.python,
        template_dir(*script),
        {**job, "out": str(place.out)},
        files,
        log=place.log,
        progress=place.progress,
    )
    if status:
        if status == _DIFFERS:
            raise _differs(place, _errors(tail), served, first)
        raise _failure(status, tail, place, doing=doing, given=given)


def _errors(tail: Sequence[str]) -> tuple[str, ...]:
    return tuple(line.removeprefix("ERROR: ") for line in tail if line.startswith("ERROR: "))


def _differs(place: Workplace, errors: tuple[str, ...], served: str, first: str) -> BuildError:
    return BuildError(
        f"{served} of {place.source} does not answer as the reference does, so nothing was written",
        where=str(place.log),
        details=errors,
        fix=f"{first}report it with the checkpoint's name; --set check=false serves it all the "
        "same",
    )


def _failure(
    status: int, tail: Sequence[str], place: Workplace, *, doing: str, given: str
) -> BuildError:
    where = str(place.log)
    last = [line for line in tail if line and not line.startswith((" ", "Traceback"))][-1:]
    details = _errors(tail) or tuple(last)
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return BuildError(
            f"{doing} was killed, which the system does when memory runs out",
            where=where,
            fix="close other programs, or use a machine with more memory",
        )
    if given:
        return BuildError(
            f"{given} of {place.source} cannot be served",
            where=where,
            details=details,
            fix="fetch the checkpoint's safetensors, to export those, or correct the graph",
        )
    return BuildError(
        f"{doing} failed with exit code {status}",
        where=where,
        details=details,
        fix="read the log above; other builders may take the checkpoint (trtbuild plan)",
    )
