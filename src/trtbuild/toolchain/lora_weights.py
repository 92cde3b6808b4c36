"""Whether a LoRA adapter's tensors fit its base model, from headers only.

vLLM compares neither names nor shapes with the base. A tensor that is too large fails to copy; one
that is too small or belongs to a missing module loads and gives wrong answers or has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from trtbuild.toolchain.lora import AdapterFault

Shape = tuple[int, ...]

_PREFIX = "base_model.model."
# The kind of a tensor, by its suffix; the rest is the module's name.
_PARTS = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "A",
    ".lora_embedding_B": "B",
}
# BaseModules embeddings that PEFT saves along, which vLLM leaves out.
_ALONG = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")
_HEADS = ("score", "classifier")
_LAYER = re.compile(r"(?:^|\.)(\d+\..+)$")
# Vision models: transformers moved their language model between releases, vLLM maps both.
_MOVED = re.compile(r"(?:^|\.)(?:language_model|text_model|visual|vision_\w+)\.")
# Tensors of a quantised module; their shapes are not those of the module.
_WEIGHTS = ("weight", "qweight", "weight_packed", "weight_scale", "blocks")
_OTHER_BASE = "train the adapter on this base model, or convert the one that it was trained on"


@dataclass(frozen=True, slots=True)
class BaseModules:
    """The modules of a base model with their weights' shapes, None for packed weights."""

    modules: Mapping[str, Shape | None]
    by_kind: Mapping[str, list[str]]

    @classmethod
    def of(cls, shapes: Mapping[str, Shape]) -> BaseModules:
        """Return the modules of a checkpoint's tensors, without norms and biases."""
        found: dict[str, Shape | None] = {}
        for name, shape in shapes.items():
            module, _, kind = name.rpartition(".")
            if kind == "weight" and len(shape) == 2:
                found.setdefault(module, shape)
            elif kind in _WEIGHTS and (kind != "weight" or len(shape) > 2):
                found[module] = None
        by_kind: dict[str, list[str]] = {}
        for name in found:
            by_kind.setdefault(name.rpartition(".")[2], []).append(name)
        return cls(found, by_kind)

    def named(self, module: str) -> list[str]:
        """Return the modules that an adapter's ``module`` may mean, because classes and files
        differ in the prefix of a name."""
        if module in self.modules:
            return [module]
        alike = self.by_kind.get(module.rpartition(".")[2], ())
        found = [n for n in alike if n.endswith(f".{module}") or module.endswith(f".{n}")]
        if not found and any(map(_MOVED.search, (module, *alike))):
            return [name for name in alike if _layer(name) == _layer(module)]
        return found

    def has_kind(self, module: str) -> bool:
        """Whether any layer has a module with that last name."""
        return module.rpartition(".")[2] in self.by_kind


def _layer(module: str) -> str:
    """Return a module's name from its layer's number on, else its last part."""
    match = _LAYER.search(module)
    return match[1] if match else module.rpartition(".")[2]


def weight_faults(
    tensors: Mapping[str, Shape],
    base: BaseModules,
    rank: int,
    embeddings: Collection[str] | None,
) -> Iterator[AdapterFault]:
    """Return what is wrong with an adapter's tensors.

    Args:
        tensors: Shapes by name, from ``adapter_model.safetensors``.
        base: The base model; without modules only the adapter itself is checked.
        rank: ``r`` of the configuration, 0 if modules have different ranks.
        embeddings: Embeddings that adapters of this architecture may change, None if unknown.
    """
    modules, strange = _modules(tensors)
    if strange:
        yield AdapterFault(
            "modules",
            f"its tensor {strange[0]!r}{_more(strange)} is not a LoRA weight",
            "give a LoRA adapter as PEFT's save_pretrained writes it",
            "is unsupported LoRA weight",
        )
    if not modules and not strange:
        yield AdapterFault("modules", "it has no LoRA weights at all", _OTHER_BASE, loads=True)
    for module, parts in modules.items():
        if ".experts" in module or module.endswith("base_layer"):
            continue  # fused experts have forms of their own
        fault = _incomplete(module, parts) or _misplaced(module, base, embeddings)
        fault = fault or _misshapen(module, parts, base, rank)
        if fault:
            yield fault
            return  # report one module for all layers


def _modules(tensors: Mapping[str, Shape]) -> tuple[dict[str, dict[str, Shape]], list[str]]:
    """Return A and B by module, and the tensors that are neither."""
    modules: dict[str, dict[str, Shape]] = {}
    strange = []
    for name, shape in sorted(tensors.items()):
        end = next((end for end in _PARTS if name.endswith(end)), "")
        if end:
            module = name.removesuffix(end).removeprefix(_PREFIX)
            modules.setdefault(module, {})[_PARTS[end]] = shape
        elif not name.endswith(_ALONG) and name.split(".")[-2:-1] not in ([h] for h in _HEADS):
            strange.append(name)
    return modules, strange


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _incomplete(module: str, parts: Mapping[str, Shape]) -> AdapterFault | None:
    missing = next((part for part in ("A", "B") if part not in parts), "")
    if not missing:
        return None
    return AdapterFault(
        "modules",
        f"{module} has no lora_{missing}",
        "save the adapter again; the file is not complete",
        loads=missing == "A",
    )


def _misplaced(
    module: str, base: BaseModules, embeddings: Collection[str] | None
) -> AdapterFault | None:
    kind = module.rpartition(".")[2]
    if not base.modules:
        return None
    if kind in ("lm_head", "embed_tokens", "wte"):
        if embeddings is None or kind in embeddings:
            return None
        return AdapterFault(
            "modules",
            f"it changes {kind}, where vLLM supports no adapter in this architecture",
            "train it without that module, or merge it into the checkpoint",
            "expected target modules in",
        )
    if base.named(module):
        return None
    if not base.has_kind(module):
        what = f"it changes {module}, and no layer of the base model has a {kind}"
        return AdapterFault("modules", what, _OTHER_BASE, "expected target modules in")
    what = f"it changes {module}, which the base model does not have"
    return AdapterFault("modules", what, _OTHER_BASE, loads=True)


def _misshapen(
    module: str, parts: Mapping[str, Shape], base: BaseModules, rank: int
) -> AdapterFault | None:
    first, second = parts["A"], parts["B"]
    if len(first) != 2 or len(second) != 2:
        return None
    if first[0] != second[1] or rank not in (0, first[0]):
        what = f"{module} has lora_A {list(first)} and lora_B {list(second)} at rank {rank}"
        return AdapterFault("shapes", what, "save the adapter again", loads=True)
    shapes = [base.modules[name] for name in base.named(module)]
    wanted = (second[0], first[1])
    if not shapes or None in shapes or any(set(wanted) == set(shape or ()) for shape in shapes):
        return None
    own = shapes[0] or wanted
    large = any(a > b for a, b in zip(wanted, own, strict=True))
    return AdapterFault(
        "shapes",
        f"{module} is for a weight of {list(wanted)}, and the base model's is {list(own)}",
        _OTHER_BASE,
        "must match the size of tensor" if large else "",
        loads=not large,
    )
