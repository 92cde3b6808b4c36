"""The command line's flags as a recipe of one model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

from trtbuild.errors import UsageError
from trtbuild.recipe.model import LlmSettings, ModelRecipe
from trtbuild.recipe.names import check_model_name
from trtbuild.recipe.settings import parse_settings

_DTYPES = ("", "float32", "bfloat16")
_WEIGHTS = ("copy", "hub")
_CONTRACTS = ("", "openai-frontend")


def model_from_flags(
    *,
    source: str,
    name: str = "",
    backend: str = "auto",
    dtype: str = "",
    weights: str = "copy",
    settings: Iterable[str] = (),
    quantize: str = "",
    accelerator: str = "",
    adapters: Iterable[str] = (),
    engine_dir: str = "",
    contract: str = "",
    **switches: bool,
) -> ModelRecipe:
    """One model as flags say it; ``switches`` are the boolean keys of :class:`ModelRecipe`.

    Raises:
        UsageError: No source, an unusable name, a value that is not among the choices.
        RecipeError: A ``--set`` that is not ``key=value``.
    """
    if not source:
        raise UsageError(
            "no SOURCE is given", fix="give a hub id, a directory, a .gguf file or sample:smollm2"
        )
    if name:
        check_model_name(name)
    _one_of("dtype", dtype, _DTYPES)
    _one_of("weights", weights, _WEIGHTS)
    _one_of("contract", contract, _CONTRACTS)
    return ModelRecipe(
        source=source,
        name=name,
        backend=backend,
        dtype=cast(Literal["", "float32", "bfloat16"], dtype),
        weights=cast(Literal["copy", "hub"], weights),
        engine=_graph_settings(
            parse_settings(settings), {"quantize": quantize, "accelerator": accelerator}
        ),
        contract=cast(Literal["", "openai-frontend"], contract),
        llm=LlmSettings(adapters=_adapters(adapters), engine_dir=engine_dir),
        **cast(dict[str, Any], switches),
    )


def _graph_settings(settings: dict[str, Any], flags: dict[str, str]) -> dict[str, Any]:
    """Settings with those that have a flag of their own; the builder checks their values."""
    for name, value in flags.items():
        if value and settings.get(name, value) != value:
            raise UsageError(
                f"--{name} {value} and --set {name}={settings[name]} contradict each other",
                fix="leave one of them out",
            )
    return settings | {name: value for name, value in flags.items() if value}


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        wanted = " or ".join(choice for choice in choices if choice)
        raise UsageError(f"unknown --{option} {value!r}", fix=f"use {wanted}")


def _adapters(texts: Iterable[str]) -> dict[str, str]:
    adapters: dict[str, str] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or not source:
            raise UsageError(
                f"--adapter {text!r} is not of the form NAME=DIRECTORY",
                fix="write --adapter french=./lora-french, or a hub id after '='",
            )
        check_model_name(name)
        if name in adapters:
            raise UsageError(f"the adapter {name!r} is given twice", fix="give each its own name")
        adapters[name] = source
    return adapters
