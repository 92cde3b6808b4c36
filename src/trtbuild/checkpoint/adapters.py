"""LoRA adapters: directories in PEFT's format, placed beside the model that they adapt."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trtbuild.checkpoint.hub_errors import HubUnreachableError, explained
from trtbuild.checkpoint.model import CheckpointFile
from trtbuild.checkpoint.source import Source, parse_source
from trtbuild.errors import UnsupportedError
from trtbuild.files import explain_stand_ins, is_web_page, stand_in
from trtbuild.modelspec import SourceRef
from trtbuild.progress import SILENT, Progress

# PEFT's files, and others that vLLM reads; no pickles or code.
_JSON = ("adapter_config", "added_tokens", "special_tokens_map", "tokenizer", "tokenizer_config")
_WEIGHTS = ("adapter_model.safetensors", "new_embeddings.safetensors")
_WANTED = (*(f"{name}.json" for name in _JSON), *_WEIGHTS)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An opened adapter; its ``files`` are on this machine."""

    name: str
    ref: SourceRef
    files: tuple[CheckpointFile, ...]

    def fetch(self, progress: Progress = SILENT) -> tuple[CheckpointFile, ...]:
        """Return the files to place."""
        progress.step(f"taking the adapter {self.name}")
        return self.files


def open_adapters(sources: Mapping[str, str]) -> tuple[Adapter, ...]:
    """Open every adapter of a recipe, by name.

    Raises:
        UsageError: No such directory or hub id.
        UnsupportedError: A directory is not an adapter; the error has all problems of one.
        BuildError: The network failed.
    """
    return tuple(_open(name, source) for name, source in sources.items())


def local_adapters(sources: Mapping[str, str]) -> tuple[Adapter, ...]:
    """Open only the adapters that are on this machine; a plan downloads nothing."""
    here = {name: source for name, source in sources.items() if parse_source(source).kind != "hub"}
    return open_adapters(here)


def _open(name: str, source: str) -> Adapter:
    parsed = parse_source(source)
    if parsed.kind == "hub":
        ref, folder = _download(parsed)
    elif parsed.path is not None and parsed.path.is_dir():
        ref, folder = SourceRef("local", parsed.text), parsed.path.resolve()
    else:
        raise UnsupportedError(
            f"the adapter {name!r} cannot be {source!r}",
            where=f"--adapter {name}={source}",
            fix="an adapter is a directory or a hub id with adapter_config.json and "
            "adapter_model.safetensors",
        )
    return Adapter(name, ref, _files(name, folder))


def _download(source: Source) -> tuple[SourceRef, Path]:
    """Download an adapter from the hub; adapters are small, so this is not deferred."""
    try:
        folder = _fetched(source)
    except HubUnreachableError:
        cached = _cached(source)
        if cached is None:
            raise
        folder = cached
    commit = folder.name  # …/snapshots/<commit>
    return SourceRef("hub", source.text, source.revision, commit), folder


def _fetched(source: Source) -> Path:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    endpoint = os.environ.get("HF_ENDPOINT")
    with explained(source.text, source.revision):
        api = HfApi(endpoint=endpoint, library_name="trtbuild")
        info = api.model_info(source.text, revision=source.revision or None, timeout=30)
        names = {sibling.rfilename for sibling in info.siblings or ()}
        paths = [
            hf_hub_download(source.text, name, revision=info.sha, endpoint=endpoint)
            for name in _WANTED
            if name in names
        ]
    if not paths:
        raise UnsupportedError(
            f"{source.text} is not an adapter: it has neither of {', '.join(_WANTED[-2:])}",
            where=source.text,
            fix="give a LoRA adapter saved by PEFT as safetensors",
        )
    return Path(paths[0]).parent


def _cached(source: Source) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            source.text, revision=source.revision or None, local_files_only=True
        )
    except OSError:  # LocalEntryNotFoundError is one
        return None
    return Path(folder)


def _files(name: str, folder: Path) -> tuple[CheckpointFile, ...]:
    found = sorted(path for path in folder.iterdir() if path.name in _WANTED)
    kinds = {path.name: "page" if is_web_page(path) else stand_in(path) for path in found}
    for what, fix in explain_stand_ins({n: kind for n, kind in kinds.items() if kind}, folder):
        raise UnsupportedError(f"the adapter {name!r}: {what}", where=str(folder), fix=fix)
    names = {path.name for path in found}
    problems = [
        f"{wanted} is missing"
        for wanted in ("adapter_config.json", "adapter_model.safetensors")
        if wanted not in names
    ]
    if "adapter_config.json" in names:
        problems += _config_problems(folder / "adapter_config.json")
    if problems:
        raise UnsupportedError(
            f"the adapter {name!r} cannot be used: {problems[0]}",
            where=str(folder),
            details=tuple(problems[1:]),
            fix="give a LoRA adapter saved by PEFT as safetensors (save_pretrained)",
        )
    return tuple(CheckpointFile(path.name, path.stat().st_size, path) for path in found)


def _config_problems(path: Path) -> list[str]:
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        return [f"adapter_config.json is not JSON: {error}"]
    if not isinstance(config, dict):
        return ["adapter_config.json is not a JSON object"]
    kind = config.get("peft_type")
    return [] if kind == "LORA" else [f"its peft_type is {kind!r}, and vLLM serves 'LORA' only"]
