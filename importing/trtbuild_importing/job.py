"""Import an archive: decide what serves it, write it, and report what was not carried over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trtbuild.errors import UnsupportedError
from trtbuild.pipeline.convert import convert
from trtbuild.progress import SILENT, Progress
from trtbuild.recipe import ModelRecipe, check_model_name
from trtbuild_importing.archive import opened
from trtbuild_importing.graphs import Graph, graph_of
from trtbuild_importing.llms import Checkpoint, checkpoint_of
from trtbuild_importing.manifest import Handler, Manifest, read_manifest
from trtbuild_importing.options import ImportOptions
from trtbuild_importing.settings import Carried, Lost, scheduling
from trtbuild_importing.writing import write

_HANDLERS = ("base_handler", "image_classifier", "image_segmenter", "object_detector")
"""TorchServe's own handlers that have a counterpart."""
_CALLS = {
    "send_intermediate_predict_response": "an answer is sent when it is complete",
    "set_response_header": "an answer of Triton has no HTTP headers",
    "set_response_content_type": "an answer of Triton has no HTTP headers",
    "explain_handle": "there is no explanations endpoint",
    "describe_handle": "there is no describe endpoint; trtbuild show describes the model",
    "get_sequence_id": "sequence batching is not imported",
}
_METRICS = "the handler's metrics are dropped; Triton counts requests, batches and times"


@dataclass(frozen=True, slots=True)
class Imported:
    """The result.

    Attributes:
        name: The model.
        served_by: ``builder``, ``onnxruntime``, ``pytorch`` (with the handler before and after it)
            or ``python``.
        builder: The builder's name, if one made the model.
        repository: Where it is.
        directories: Its directories there.
        carried: Settings and what they became.
        lost: What has no counterpart.
    """

    name: str
    served_by: Literal["builder", "onnxruntime", "pytorch", "python"]
    builder: str
    repository: str
    directories: tuple[str, ...]
    carried: tuple[Carried, ...]
    lost: tuple[Lost, ...]


def import_archive(options: ImportOptions, progress: Progress = SILENT) -> Imported:
    """Write the models of an archive. Nothing of it is run.

    Raises:
        UsageError: The archive or an option cannot be used, or the name is taken.
        UnsupportedError: Nothing serves the archive.
        BuildError: The disk or the network fails.
        RepositoryError: Triton would not load the result.
    """
    options.tensors()
    with opened(options.archive, options.repo, progress) as folder:
        manifest = read_manifest(folder)
        name = check_model_name(options.name or manifest.name)
        if not options.keep_handler:
            found = checkpoint_of(manifest, options.release, outside=options.allow_outside)
            if found is not None:
                return _converted(manifest, found, options, name, progress)
        _require_handler(manifest.handler)
        graph = None if options.keep_handler else graph_of(manifest, options)
        planned = scheduling(manifest)
        written = write(manifest, graph, planned, options, name=name, progress=progress)
        return Imported(
            name,
            graph.backend if graph else "python",  # type: ignore[arg-type]
            "",
            str(options.repo),
            written.directories,
            planned.carried,
            (*planned.lost, *_lost(manifest, graph)),
        )


def _converted(
    manifest: Manifest, found: Checkpoint, options: ImportOptions, name: str, progress: Progress
) -> Imported:
    """Convert the checkpoint; an engine has its own batching, instances and queue."""
    recipe = ModelRecipe.model_validate(
        {
            "source": found.source,
            "name": name,
            "backend": found.builder,
            "engine": dict(found.engine),
            "llm": {"adapters": dict(found.adapters)},
            "allow_pickle": options.allow_pickle,
        }
    )
    done = convert(
        recipe,
        repository=options.repo,
        triton=options.release,
        progress=progress,
        force=options.force,
    )
    planned = scheduling(manifest)
    unset = tuple(
        Lost(one.torchserve, f"the builder {done.builder} has its own: trtbuild convert --set")
        for one in planned.carried
        if one.torchserve.partition(":")[0] in manifest.settings
    )
    carried = tuple(
        Carried(f"vllm_engine_config.{key}: {value}", f"{key}={value}")
        for key, value in found.engine.items()
    )
    return Imported(
        name,
        "builder",
        done.builder,
        str(options.repo),
        tuple(entry.name for entry in done.entries),
        carried,
        (*found.lost, *unset, *planned.lost),
    )


_UNSUPPORTED = {
    "text_classifier": "it splits texts with torchtext, whose last release is of 2024",
    "dali_image_classifier": "its DALI pipeline runs only on a GPU, in Triton's DALI backend",
}


def _require_handler(handler: Handler) -> None:
    if handler.built_in and handler.name not in _HANDLERS:
        raise UnsupportedError(
            f"TorchServe's handler {handler.name} has no counterpart",
            where="MAR-INF/MANIFEST.json: handler",
            details=(_UNSUPPORTED[handler.name],) if handler.name in _UNSUPPORTED else (),
            fix="write its steps as a handler of your own, or convert the model's checkpoint with "
            "trtbuild convert",
        )


def _lost(manifest: Manifest, graph: Graph | None) -> list[Lost]:
    found = [
        Lost(f"{call}()", _CALLS.get(call, _METRICS)) for call in sorted(manifest.handler.uses)
    ]
    if requirements := manifest.model.get("requirementsFile"):
        found.append(
            Lost(
                f"requirementsFile: {requirements}",
                "install them into the server's Python, or pack an environment and set "
                "EXECUTION_ENV_PATH",
            )
        )
    if manifest.serialized.endswith(".pt") and graph is None:
        why = "the handler loads it in Python, with torch of the server's Python"
        if not manifest.model_file and not manifest.handler.loads_model:
            why += "; --input and --output give it the pytorch backend"
        found.append(Lost(f"serializedFile: {manifest.serialized}", why))
    found.append(
        Lost(
            "management API, envelopes, token authorization",
            "load and unload models through Triton or trtbuild gateway, which also has keys",
        )
    )
    return found
