"""LoRA adapters: the rank that vLLM needs, and what it does not support."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from trtbuild.builder import Case
from trtbuild.checkpoint import Adapter
from trtbuild.errors import UnsupportedError
from trtbuild.files.safetensors import read_header
from trtbuild.recipe import ModelRecipe
from trtbuild.resources import expanded
from trtbuild.toolchain import (
    AdapterFault,
    BaseModules,
    Toolchain,
    architecture_fault,
    config_faults,
    engine_arguments,
    lora_embeddings,
    weight_faults,
)

_RANKS = (8, 16, 32, 64, 128, 256)  # for releases whose table has no choices


def with_adapter_rank(recipe: ModelRecipe, toolchain: Toolchain) -> ModelRecipe:
    """Return ``recipe`` with ``max_lora_rank`` for the highest rank of its local adapters.

    The engine rejects an adapter above its ``max_lora_rank`` (16 by default) only when a request
    names it. A rank in the recipe stays; adapters on the hub are not checked.

    Raises:
        UnsupportedError: An adapter directory without a readable ``adapter_config.json``, or a
            rank above the engine's maximum.
    """
    if not recipe.adapters or "max_lora_rank" in recipe.engine or not toolchain.vllm:
        return recipe
    argument = engine_arguments(toolchain.vllm).get("max_lora_rank")
    if argument is None:
        return recipe
    folders = {name: expanded(source) for name, source in recipe.adapters.items()}
    ranks = {name: _rank(name, folder) for name, folder in folders.items() if folder.is_dir()}
    highest = max(ranks.values(), default=0)
    default = argument.default or 16
    if highest <= default:
        return recipe
    choices = sorted(choice for choice in argument.choices or _RANKS if choice >= highest)
    if not choices:
        name = max(ranks, key=lambda key: ranks[key])
        raise UnsupportedError(
            f"the adapter {name!r} has rank {highest}, above all that vLLM {toolchain.vllm} takes",
            fix="merge the adapter into the checkpoint, or take one of a lower rank",
        )
    return recipe.model_copy(update={"engine": {**recipe.engine, "max_lora_rank": choices[0]}})


def _rank(name: str, folder: Path) -> int:
    why = "has no rank 'r'"
    try:
        config = json.loads((folder / "adapter_config.json").read_bytes())
        return max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
    except json.JSONDecodeError as error:
        why = f"is not JSON: {error}"
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UnsupportedError(
        f"adapter_config.json of the adapter {name!r} {why}",
        where=str(folder),
        fix="give a LoRA adapter saved by PEFT (save_pretrained)",
    )


def require_fit(case: Case, adapters: Iterable[Adapter]) -> None:
    """Raise UnsupportedError with every reason why vLLM cannot run an adapter.

    The engine would notice only when a request names it, and then fail for all clients.
    """
    checkpoint, release = case.checkpoint, case.toolchain.vllm
    if checkpoint is None:
        return
    base = BaseModules.of({name: info.shape for name, info in checkpoint.tensors.items()})
    found = [
        (adapter.name, fault)
        for adapter in adapters
        for fault in _faults(adapter, base, case.spec.architecture, case.recipe, release)
    ]
    if not found:
        return
    told = [f"the adapter {name!r} cannot be used: {fault.what}" for name, fault in found]
    raise UnsupportedError(
        told[0],
        where=f"vLLM {release}",
        details=tuple(told[1:]),
        fix=found[0][1].fix,
    )


def _faults(
    adapter: Adapter, base: BaseModules, architecture: str, recipe: ModelRecipe, release: str
) -> Iterator[AdapterFault]:
    if fault := architecture_fault(architecture, release):
        yield fault
        return
    paths = {file.name: file.path for file in adapter.files if file.path}
    config = json.loads(paths["adapter_config.json"].read_bytes())
    yield from config_faults(config, release, recipe.engine)
    rank = config.get("r")
    alike = type(rank) is int and not config.get("rank_pattern")
    shapes = _shapes(adapter.name, paths["adapter_model.safetensors"])
    embeddings = lora_embeddings(architecture, release)
    yield from weight_faults(shapes, base, rank if alike else 0, embeddings)


def _shapes(name: str, path: Path) -> dict[str, tuple[int, ...]]:
    def read(begin: int, length: int) -> bytes:
        with path.open("rb") as stream:
            stream.seek(begin)
            return stream.read(length)

    header = read_header(f"adapter_model.safetensors of {name}", path.stat().st_size, read)
    return {key: info.shape for key, info in header.tensors.items()}
