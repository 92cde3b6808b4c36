"""Write an archive as models of a repository: the handler, and its graph beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from trtbuild import __version__, pbtxt
from trtbuild.errors import RepositoryError
from trtbuild.files import digest_all
from trtbuild.lockfile import LockedModel
from trtbuild.modelspec import SourceRef
from trtbuild.pipeline.convert import require_valid
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir
from trtbuild.progress import Progress
from trtbuild.repository import WeightFile, write_model
from trtbuild.signature import ServedModel, ServedTask
from trtbuild_importing.graphs import Graph
from trtbuild_importing.manifest import Manifest
from trtbuild_importing.options import ImportOptions
from trtbuild_importing.settings import Scheduling

_SHIM = Path(__file__).parent / "templates" / "torchserve"
_HEADER = """\
{name}: {what}
Imported by trtbuild from {archive} for Triton {triton}. trtbuild.lock has this file's digest."""
_STRING = {"data_type": "TYPE_STRING", "dims": [1]}


def write(
    manifest: Manifest,
    graph: Graph | None,
    scheduling: Scheduling,
    options: ImportOptions,
    *,
    name: str,
    progress: Progress,
) -> LockedModel:
    """Write the directories atomically, after the validator has accepted them.

    Raises:
        UsageError: The name is taken.
        BuildError: The disk is full.
        RepositoryError: Triton would not load the result.
    """
    header = partial(_HEADER.format, archive=options.archive.name, triton=options.release)
    entries = [_handler(manifest, graph, scheduling, name, header)]
    if graph is not None:
        entries.append(_graph(graph, scheduling, name, header))
    files = sorted(_files(manifest.folder))
    progress.step("hashing the archive's files")
    digests = digest_all({one: manifest.folder / one for one in files}, progress)
    weights = [_weight(manifest.folder, one, digests[one]) for one in files]
    kept = {"manifest": manifest.model, "settings": manifest.settings}
    model = LockedModel(
        source=SourceRef("local", options.archive.name),
        builder="import",
        triton=options.release,
        image=f"nvcr.io/nvidia/tritonserver:{options.release}-py3",
        key=hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest(),
        directories=tuple(entry.name for entry in entries),
        versions={"trtbuild": __version__},
        settings=json.loads(json.dumps(kept, default=str)),
        served=ServedModel(name, ServedTask.TENSOR),
    )
    try:
        return write_model(
            options.repo,
            name,
            entries,
            {"": weights},
            model,
            check=partial(require_valid, later=False, progress=progress),
            force=options.force,
            progress=progress,
        )
    except RepositoryError as error:
        error.fix = f"{error.fix}; correct the archive and import it again"
        raise


def _handler(
    manifest: Manifest, graph: Graph | None, scheduling: Scheduling, name: str, header: Any
) -> ModelEntry:
    handler = manifest.handler
    module = f"ts.torch_handler.{handler.name}" if handler.built_in else handler.file[:-3]
    settings = {
        "handler": module,
        "function": handler.function,
        "batch_size": scheduling.batch,
        "manifest": {"model": dict(manifest.model)},
        "config": dict(manifest.settings),
        "graph": graph.described(graph_name(name)) if graph else None,
    }
    config = pbtxt.model_config(
        name=name,
        backend="python",
        max_batch_size=scheduling.batch,
        input=[
            {"name": "body", **_STRING},
            {"name": "content_type", **_STRING, "optional": True},
        ],
        output=[{"name": "output", **_STRING}],
        **scheduling.fields,
    )
    text = pbtxt.render(config, header=header(name=name, what="a handler of TorchServe."))
    found = [RepoFile("config.pbtxt", text.encode())]
    content = json.dumps(settings, indent=1, ensure_ascii=False, default=str)
    found.append(RepoFile("1/settings.json", f"{content}\n".encode()))
    found += [
        RepoFile(f"1/{path.relative_to(_SHIM).as_posix()}", path.read_bytes())
        for path in sorted(_SHIM.rglob("*.py"))
    ]
    placed = {
        one: one for one in _files(manifest.folder) if graph is None or one not in graph.files
    }
    return ModelEntry(name, tuple(found), (WeightsDir("1/archive", files=placed),))


def graph_name(name: str) -> str:
    """Return the name of the model with the graph."""
    return f"{name}_graph"


def _graph(graph: Graph, scheduling: Scheduling, name: str, header: Any) -> ModelEntry:
    config = pbtxt.model_config(
        name=graph_name(name),
        backend=graph.backend,
        max_batch_size=scheduling.batch if graph.batches else 0,
        input=graph.inputs,
        output=graph.outputs,
        instance_group=scheduling.fields["instance_group"],
    )
    what = f"the graph of {name}; clients call {name}."
    text = pbtxt.render(config, header=header(name=graph_name(name), what=what))
    return ModelEntry(
        graph_name(name),
        (RepoFile("config.pbtxt", text.encode()),),
        (WeightsDir("1", files=graph.files),),
    )


def _files(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        for name in names:
            yield (Path(root) / name).relative_to(folder).as_posix()


def _weight(folder: Path, name: str, sha256: str) -> WeightFile:
    path = folder / name
    return WeightFile(name, path, sha256, path.stat().st_size, link=False)
