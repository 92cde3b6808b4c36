"""Open a checkpoint from a store, with the same checks for every kind of source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from trtbuild.checkpoint.layout import INDEX, PARAMS, CheckpointLayout, choose, safe_name
from trtbuild.checkpoint.mistral import config_of
from trtbuild.checkpoint.model import Checkpoint, CheckpointFile, Materializer
from trtbuild.checkpoint.problems import Problems, json_object
from trtbuild.checkpoint.store import Store
from trtbuild.errors import UnsupportedError
from trtbuild.files.safetensors import Header, TensorInfo, read_header
from trtbuild.modelspec import SourceRef

_HEADER_THREADS = 8  # range requests wait for the network, not for the CPU


@dataclass(frozen=True, slots=True)
class Choices:
    """What the caller accepts."""

    allow_pickle: bool = False
    trust_remote_code: bool = False


def assemble(
    ref: SourceRef,
    name: str,
    store: Store,
    choices: Choices,
    materializer: Callable[[tuple[CheckpointFile, ...]], Materializer],
) -> Checkpoint:
    """Choose files, parse the configuration and every header; report all problems in one error.

    ``materializer`` is given the chosen files and returns the function that fetches them.
    """
    problems = Problems()
    if store.stand_ins(_present(store, ("config.json", PARAMS, INDEX))):
        _require_real(store, store.sizes, ref)
    config = _config(store, problems)
    index = _index(store, problems)
    layout = choose(store.sizes, index)
    opened = layout.body or layout.pickles or layout.onnx
    _require_real(store, (*layout.metadata, *layout.weights, *opened), ref)
    opaque = _without_headers(layout, store, choices, problems)
    headers = _headers(layout, store, problems)
    tensors = _tensors(headers, index, problems)
    problems.raise_if_any(ref.text)
    names = [*layout.metadata, *opaque, *layout.weights]
    if choices.trust_remote_code:
        names += layout.code
    files = tuple(
        CheckpointFile(n, store.sizes[n], store.path(n), store.sha256(n)) for n in sorted(names)
    )
    metadata = {key: value for h in headers.values() for key, value in h.metadata.items()}
    return Checkpoint(
        ref=ref,
        default_name=name,
        files=files,
        tensors=tensors,
        config=config,
        reader=lambda wanted: store.read(wanted) if wanted in store.sizes else None,
        materializer=materializer(files),
        metadata=metadata,
        pickle=bool(opaque) and opaque == layout.pickles,
        onnx=bool(opaque) and opaque == layout.onnx,
    )


def _require_real(store: Store, names: Iterable[str], ref: SourceRef) -> None:
    """Raise UnsupportedError for Git LFS pointers and broken links."""
    problems = Problems()
    for what, fix in store.stand_ins(_present(store, names)):
        problems.add(what, fix)
    problems.raise_if_any(ref.text)


def _present(store: Store, names: Iterable[str]) -> list[str]:
    return [name for name in names if name in store.sizes]


def _config(store: Store, problems: Problems) -> Mapping[str, Any]:
    name = "config.json"
    if name not in store.sizes and PARAMS in store.sizes:
        name = PARAMS
    if name not in store.sizes:
        ggufs = sorted(name for name in store.sizes if name.endswith(".gguf"))
        hint = "give the directory that holds config.json next to the weights"
        if "adapter_config.json" in store.sizes or "adapter_model.safetensors" in store.sizes:
            hint = "this is a LoRA adapter: deploy its base model with --adapter NAME=SOURCE"
        elif ggufs:
            hint = f"give one .gguf file instead of the directory, such as {ggufs[0]}"
        elif "model_index.json" in store.sizes:
            hint = "this is a diffusers pipeline, which makes images: no builder serves those"
        problems.add("config.json is missing", hint)
        return {}
    try:
        found = json_object(store.read(name), name)
        return found if name == "config.json" else config_of(found)
    except UnsupportedError as error:
        problems.take(error)
        return {}


def _index(store: Store, problems: Problems) -> dict[str, str] | None:
    """Return the index's map from tensor to shard, None without an index."""
    if INDEX not in store.sizes:
        return None
    fix = f"fetch {INDEX} again from where the checkpoint came from"
    try:
        weight_map = json_object(store.read(INDEX), INDEX).get("weight_map")
    except UnsupportedError as error:
        problems.take(error)
        return {}
    if not isinstance(weight_map, dict) or not weight_map:
        problems.add(f"{INDEX} has no weight_map", fix)
        return {}
    for shard in sorted({str(value) for value in weight_map.values()}):
        if not safe_name(shard) or not shard.endswith(".safetensors"):
            problems.add(f"{INDEX} names {shard!r}, which cannot be a shard", fix)
        elif shard not in store.sizes:
            problems.add(f"{shard} is missing; {INDEX} names it", "fetch the missing shards again")
    return {str(k): str(v) for k, v in weight_map.items() if safe_name(str(v))}


def _without_headers(
    layout: CheckpointLayout, store: Store, choices: Choices, problems: Problems
) -> tuple[str, ...]:
    """Return the pickles or ONNX files to use, none if there are safetensors; add a problem if
    there are no weights. Pickles that are not accepted do not hide an ONNX export."""
    if layout.body:
        return ()
    if layout.pickles and choices.allow_pickle:
        return layout.pickles
    if layout.onnx:
        return layout.onnx
    if layout.pickles:
        problems.add(
            f"the weights are pickles only ({', '.join(layout.pickles[:3])}); loading a pickle "
            "can run code",
            "convert them to safetensors, or accept them with --allow-pickle",
        )
    elif "config.json" in store.sizes or PARAMS in store.sizes:
        problems.add("there are no *.safetensors and no *.onnx weights", "fetch the weights too")
    return ()


def _headers(layout: CheckpointLayout, store: Store, problems: Problems) -> dict[str, Header]:
    present = [name for name in layout.weights if name in store.sizes]

    def one(name: str) -> Header | UnsupportedError:
        try:
            return read_header(
                name, store.sizes[name], lambda at, length: store.read_range(name, at, length)
            )
        except UnsupportedError as error:
            return error

    with ThreadPoolExecutor(_HEADER_THREADS) as pool:
        results = dict(zip(present, pool.map(one, present), strict=True))
    headers: dict[str, Header] = {}
    for name, result in results.items():
        if isinstance(result, Header):
            headers[name] = result
        else:
            problems.take(result)
    return headers


def _tensors(
    headers: Mapping[str, Header], index: Mapping[str, str] | None, problems: Problems
) -> dict[str, TensorInfo]:
    """Return all tensors by name; those of sentence-transformers modules under ``<module>/``."""
    tensors: dict[str, TensorInfo] = {}
    for file, header in headers.items():
        module = f"{file.rpartition('/')[0]}/" if "/" in file else ""
        for key, info in header.tensors.items():
            if module + key in tensors:
                problems.add(
                    f"tensor {key!r} is in {tensors[module + key].file} and in {file}",
                    "keep one of the two files",
                )
            tensors[module + key] = info
    for key, shard in (index or {}).items():
        if shard in headers and key not in headers[shard].tensors:
            problems.add(
                f"{shard} lacks tensor {key!r}, which {INDEX} places there",
                f"fetch {shard} and {INDEX} again, from the same revision",
            )
    return tensors
