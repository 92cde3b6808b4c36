"""The recipe: ``trtbuild.yaml`` or the flags that say the same, checked before anything runs.

What needs pydantic or YAML is imported when it is first asked for: a name is checked without them.
"""

from typing import TYPE_CHECKING

from trtbuild.lazy import exports

if TYPE_CHECKING:
    from trtbuild.recipe.arguments import engine_problems
    from trtbuild.recipe.consent import EngineSupport, engine_support, listed
    from trtbuild.recipe.flags import model_from_flags
    from trtbuild.recipe.jobs import JobRecipe
    from trtbuild.recipe.llm import llm_findings, llm_problems
    from trtbuild.recipe.loading import load, load_jobs, load_validation, parse
    from trtbuild.recipe.model import ModelRecipe, Recipe
    from trtbuild.recipe.names import (
        DEFAULT_REPOSITORY,
        DEFAULT_TRITON,
        RECIPE_NAME,
        check_model_name,
    )
    from trtbuild.recipe.objects import argument_findings, argument_problems, object_problems
    from trtbuild.recipe.schema import json_schema
    from trtbuild.recipe.settings import merge_settings, parse_settings, raise_problems
    from trtbuild.recipe.validation import Validation

__all__ = [
    "DEFAULT_REPOSITORY",
    "DEFAULT_TRITON",
    "RECIPE_NAME",
    "EngineSupport",
    "JobRecipe",
    "ModelRecipe",
    "Recipe",
    "Validation",
    "argument_findings",
    "argument_problems",
    "check_model_name",
    "engine_problems",
    "engine_support",
    "json_schema",
    "listed",
    "llm_findings",
    "llm_problems",
    "load",
    "load_jobs",
    "load_validation",
    "merge_settings",
    "model_from_flags",
    "object_problems",
    "parse",
    "parse_settings",
    "raise_problems",
]

__getattr__ = exports(
    __name__,
    {
        "arguments": ("engine_problems",),
        "consent": ("EngineSupport", "listed", "engine_support"),
        "flags": ("model_from_flags",),
        "jobs": ("JobRecipe",),
        "llm": ("llm_findings", "llm_problems"),
        "loading": ("load", "load_jobs", "load_validation", "parse"),
        "model": ("ModelRecipe", "Recipe"),
        "names": ("DEFAULT_REPOSITORY", "DEFAULT_TRITON", "RECIPE_NAME", "check_model_name"),
        "objects": ("argument_findings", "argument_problems", "object_problems"),
        "schema": ("json_schema",),
        "settings": ("merge_settings", "parse_settings", "raise_problems"),
        "validation": ("Validation",),
    },
)
