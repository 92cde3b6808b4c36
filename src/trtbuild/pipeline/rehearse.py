"""Find the checkpoints that stand-ins for TensorRT-LLM run on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from trtbuild import lockfile
from trtbuild.builder import discover
from trtbuild.checkpoint import Checkpoint, inspect, materialize, open_checkpoint
from trtbuild.errors import UnsupportedError, UsageError
from trtbuild.lockfile import LockedModel
from trtbuild.progress import SILENT, Progress
from trtbuild.server import Contents, Rehearsal


def parse_checkpoints(texts: Iterable[str]) -> dict[str, str]:
    """Parse ``NAME=SOURCE`` arguments into a mapping; UsageError for anything else."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or not name or not source:
            raise UsageError(
                f"--checkpoint {text!r} is not of the form NAME=SOURCE",
                fix="write --checkpoint my-llama=./my-llama, or a hub id after '='",
            )
        found[name] = source
    return found


def find_checkpoints(
    contents: Contents, sources: Mapping[str, str], progress: Progress = SILENT
) -> Rehearsal:
    """Return what the stand-ins of ``contents`` need.

    Args:
        contents: The repository.
        sources: Sources by model, for models that are not in the lock; the name is that of the
            conversion or of the Triton model that runs TensorRT-LLM.

    Raises:
        UsageError: Nothing runs TensorRT-LLM; an unknown name; a checkpoint that is
            neither given nor known, or is quantised.
        BuildError: The network, the hub or the disk failed.
    """
    if not contents.trtllm:
        raise UsageError(
            "nothing to rehearse: no model of this repository runs TensorRT-LLM",
            where=str(contents.repo),
            fix="serve it without --rehearse: trtbuild serve",
        )
    lock = lockfile.read(contents.repo)
    owners = {name: lock.owner(name) or name for name in contents.trtllm}
    _require_known(sources, owners)
    files: dict[str, Mapping[str, Path]] = {}
    for name, kind in contents.trtllm.items():
        source = sources.get(name) or sources.get(owners[name])
        locked = lock.models.get(owners[name])
        # A model of the LLM API has weights of its own, named in model.yaml.
        if source or kind == "tensorrtllm":
            files[name] = _files(name, source, locked, progress)
        else:
            _require_plain_weights(contents, name, locked)
    return Rehearsal(checkpoints=files, backends=_stand_ins())


def _stand_ins() -> dict[str, Path]:
    """Return the stand-in backends of builders, by name."""
    builders = (found.builder for found in discover() if found.builder)
    return {name: folder for each in builders for name, folder in each.stand_ins().items()}


def _require_known(sources: Mapping[str, str], owners: Mapping[str, str]) -> None:
    known = sorted({*owners, *owners.values()})
    for name in sources:
        if name not in known:
            raise UsageError(
                f"--checkpoint names {name!r}, which is not a TensorRT-LLM model here",
                fix=f"name one of {', '.join(known)}",
            )


def _files(
    name: str, source: str | None, locked: LockedModel | None, progress: Progress
) -> dict[str, Path]:
    settings = locked.settings if locked else {}
    text = source or _source_of(name, locked)
    progress.step(f"opening {text}")
    converted = text.startswith("sample:") or text.endswith(".gguf")
    checkpoint = open_checkpoint(
        text,
        dtype=str(settings.get("dtype", "")) if converted else "",
        allow_pickle=bool(settings.get("allow_pickle", False)),
        trust_remote_code=bool(settings.get("trust_remote_code", False)),
        progress=progress,
    )
    _require_plain(name, checkpoint, locked)
    files = materialize(checkpoint, progress)
    return {file.name: file.path for file in files if file.path is not None}


def _require_plain_weights(contents: Contents, name: str, locked: LockedModel | None) -> None:
    """Like :func:`_require_plain`, for weights in the repository; hub weights are not checked."""
    model = contents.served.get(name)
    if model is None or not model.weights:
        return
    weights = contents.repo / model.weights
    if (weights / "config.json").is_file():
        _require_plain(name, open_checkpoint(str(weights)), locked)


def _require_plain(name: str, checkpoint: Checkpoint, locked: LockedModel | None) -> None:
    """Refuse formats such as FP8: float32 on the CPU would not reproduce their arithmetic."""
    trusted = bool(locked and locked.settings.get("trust_remote_code", False))
    try:
        found = inspect(checkpoint, trust_remote_code=trusted).quantization
    except UnsupportedError:
        return  # the server reports what is wrong with it
    if found:
        raise UsageError(
            f"the weights of {name} are quantized ({found.method}), which a CPU cannot run",
            fix=f"name the checkpoint they were made from: --checkpoint {name}=SOURCE",
        )


def _source_of(name: str, locked: LockedModel | None) -> str:
    """Return the source as a user would write it; the lock holds no local path."""
    source = locked.source if locked else None
    if source and source.kind == "sample":
        return source.text
    if source and source.kind == "hub" and source.commit:
        return f"{source.text}@{source.commit}"
    why = f"it was made from {source.text!r}, whose directory is not kept" if source else "no lock"
    raise UsageError(
        f"the checkpoint to rehearse {name!r} with is unknown ({why})",
        fix=f"name it: --checkpoint {name}=DIRECTORY",
    )
