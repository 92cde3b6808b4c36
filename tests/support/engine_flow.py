"""What the engine flow's builder makes of settings, and what it says against them."""

from __future__ import annotations

from typing import Any

import pytest

from support.specs import llama_8b
from trtbuild import toolchain
from trtbuild.builder import Case
from trtbuild.errors import RecipeError
from trtbuild.modelspec import ModelSpec, SourceRef
from trtbuild.plan import ModelEntry
from trtbuild.recipe import ModelRecipe
from trtbuild_engine_flow.builder import builder

LOCAL = llama_8b(source=SourceRef("local", "llama"))


def entries(
    spec: ModelSpec = LOCAL, triton: str = "26.07", name: str = "llm", **engine: Any
) -> dict[str, ModelEntry]:
    """The models of these settings by name."""
    recipe = ModelRecipe(source="x", name=name, engine=engine)
    models = builder.models(Case(spec, recipe, toolchain.load(triton)))
    return {entry.name: entry for entry in models}


def refuse(spec: ModelSpec = LOCAL, triton: str = "26.07", **engine: Any) -> str:
    """The error that the settings make, exit code 3, in one line."""
    with pytest.raises(RecipeError) as caught:
        entries(spec, triton, **engine)
    assert caught.value.exit_code == 3
    return " | ".join((caught.value.what, *caught.value.details))


def reasons(spec: ModelSpec = LOCAL, triton: str = "26.07", **recipe: Any) -> str:
    """Everything that the builder has against a recipe, in one line."""
    model = ModelRecipe(**{"source": "x", "name": "llm", **recipe})
    return " | ".join(builder.reasons_unsupported(Case(spec, model, toolchain.load(triton))))
