"""What must hold before the first call: the input, the task, the output directory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trtbuild import resources
from trtbuild.errors import UsageError
from trtbuild.files import disk_trouble
from trtbuild.progress import Progress
from trtbuild_batch.asking import Embed, Lines, Prompt, Rerank, Task
from trtbuild_batch.asking.tasks import require_column
from trtbuild_batch.inputs import Source
from trtbuild_batch.options import RunOptions, TaskOptions
from trtbuild_batch.output import journal, parts, record
from trtbuild_batch.output.parts import Layout
from trtbuild_batch.output.record import Record
from trtbuild_batch.places import Place
from trtbuild_batch.targets.opening import Address

_PART_ROWS = 10_000
_PART_BYTES = 32 << 20  # of input: what is kept of an open part is in memory
_PARTS_EACH = 4  # at least, for each of several machines


def task_of(source: Source, options: TaskOptions, address: Address) -> Task:
    """Return the task that the options describe.

    Raises:
        UsageError: None, a missing column, or one that the target cannot do.
    """
    columns = list(source.columns)
    if not address.model and not (source.openai and not options.given):
        raise UsageError(
            f"nothing says which model of {address.url} is asked", fix="name it with --model"
        )
    if options.prompt:
        task = Prompt(options.template(), options.sampling(), options.system, options.raw)
        task.check(columns)
        return task
    if options.embed:
        require_column(options.embed, columns, "--embed")
        return Embed(options.embed, options.input_type, options.dimensions)
    if options.rerank:
        require_column(options.rerank, columns, "--rerank")
        require_column(options.documents, columns, "--documents")
        return Rerank(options.rerank, options.documents)
    if not source.openai:
        raise UsageError(
            "nothing says what to ask about a row",
            fix="give --prompt 'Summarize: {{ text }}', --embed COLUMN or --rerank COLUMN; lines "
            "of an OpenAI batch file have custom_id, method, url and body",
        )
    if address.kind != "openai":
        raise UsageError(
            "lines of an OpenAI batch file need an endpoint with OpenAI's API",
            where="--target",
            fix="start `trtbuild gateway` in front of Triton and name its http://HOST:PORT/v1",
        )
    return Lines(address.model)


def layout_of(source: Source, task: Task, options: RunOptions) -> Layout:
    """Return the columns of the output.

    Raises:
        UsageError: A column that the input does not have, or whose name is one of ours.
    """
    names = list(source.columns)
    given = options.id or ("custom_id" if isinstance(task, Lines) else "")
    if given:
        require_column(given, names, "--id")
    wanted = names if "*" in options.keep else list(dict.fromkeys(options.keep))
    for name in wanted:
        require_column(name, names, "--keep")
        _require_copied(name, source.columns[name])
        if name in parts.OWN and "*" not in options.keep:
            raise UsageError(
                f"the column {name!r} has the name of a column of the output",
                where="--keep",
                fix="rename it in the input, or leave it out",
            )
    kept = {name: source.columns[name] for name in wanted if name not in (*parts.OWN, given)}
    return Layout(task.output, given, kept)


def _require_copied(name: str, kind: Any) -> None:
    """Raise UsageError for a type of Arrow that no list of values becomes."""
    import pyarrow as pa

    try:
        pa.array([None], kind)
    except (pa.ArrowException, TypeError) as error:
        raise UsageError(
            f"the column {name!r} of type {kind} cannot be copied: {error}",
            where="--keep",
            fix="leave it out; the column row gives the row number of the input",
        ) from None


def describe(
    source: Source,
    task: Task,
    layout: Layout,
    options: RunOptions,
    *,
    identity: Mapping[str, Any],
    known: Record | None,
    progress: Progress,
) -> Record:
    """Return the job: everything that the answers depend on.

    The rows of an input that a ``known`` job has are not counted again.
    """
    inputs = source.fingerprint(progress)
    if known and (known.fingerprint.get("inputs"), known.id) == (inputs, layout.id):
        starts = known.starts
    else:
        starts = list(source.counted(layout.id, progress))
    fingerprint = {
        "inputs": inputs,
        "model": identity,
        **task.about(),
        "id": layout.id,
        "keep": list(layout.keep),
    }
    rows = options.part_rows or _part_rows(source, starts, options)
    return Record(fingerprint, starts, rows, task.output, layout.id)


def _part_rows(source: Source, starts: Sequence[int], options: RunOptions) -> int:
    total, (_, count) = starts[-1], options.share()
    size = max(1, sum(file.bytes for file in source.files) // total)
    most = min(_PART_ROWS, max(1, _PART_BYTES // size))
    if count > 1:
        most = min(most, math.ceil(total / (_PARTS_EACH * count)))
    return max(1, most)


def require_usable(folder: Place, scratch: Path, new: bool) -> Record | None:
    """Return the job of the output directory, None for a new one; ``new`` removes its rows.

    A new job starts without journals: those of an object store are in ``scratch``, on this machine,
    and outlive the objects.

    Raises:
        UsageError: The directory has files of something else.
        BuildError: A file cannot be removed.
    """
    names = folder.names()
    found = record.read(folder)
    if found is None:
        others = [name for name in names if not name.startswith(".")]
        if others:
            raise UsageError(
                f"{folder} is not empty, and has no job",
                where=", ".join(others[:5]),
                fix="choose a new directory with -o",
            )
    elif not new:
        return found
    else:
        for name in names:
            if parts.number_of(name) is not None or name.startswith((".part-", ".claim-", "_")):
                (folder / name).remove()
    with disk_trouble(scratch):
        journal.drop_all(scratch)
    return None


def memory(options: RunOptions, task: TaskOptions) -> dict[str, Any]:
    """Return the options as they are kept for a later command, which may run elsewhere."""
    inputs = [one if "://" in one else str(Path(one).absolute()) for one in options.inputs]
    given = asdict(task)
    if task.prompt.startswith("@"):
        given["prompt"] = f"@{Path(task.prompt[1:]).absolute()}"
    return {"run": asdict(options) | {"inputs": inputs}, "task": given}


def scratch_of(folder: Place) -> Path:
    """Return the directory for journals: the output directory, or one of this machine for an
    object store, where nothing can be appended."""
    import hashlib

    if folder.local:
        return folder.local
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    found = resources.state_dir("batch", name)
    found.mkdir(parents=True, exist_ok=True)
    return found
