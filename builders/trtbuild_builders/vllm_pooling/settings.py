"""The settings of a recipe: vLLM's engine arguments and our own, and those of the served model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind
from trtbuild.recipe import ModelRecipe, engine_problems, raise_problems
from trtbuild.toolchain import vllm_release
from trtbuild_builders.text.settings import (
    DEFAULTS as TEXT_DEFAULTS,
)
from trtbuild_builders.text.settings import (
    MEANINGS as TEXT_MEANINGS,
)
from trtbuild_builders.text.settings import arguments, head_of, head_settings
from trtbuild_builders.vllm.engine import engine_settings
from trtbuild_builders.vllm.pooler import POOLING

DEFAULTS: Mapping[str, Any] = {
    "check": True,
    **{name: TEXT_DEFAULTS[name] for name in ("max_batch_size", "truncate")},
}
MEANINGS = {
    **TEXT_MEANINGS,
    "check": "keep answers of the reference, which a server must give before it is ready",
    "max_batch_size": "texts in one request",
}
ARGUMENTS = arguments(DEFAULTS, positive=("max_batch_size",))
_UNUSED = ("inputs", "padding_side", "token_budget")
# vLLM's task of a head.
_TASKS = {
    HeadKind.DENSE: "embed", HeadKind.SCORE: "classify", HeadKind.LABELS: "classify",
    HeadKind.MULTI_VECTOR: "token_embed", HeadKind.TOKEN_LABELS: "token_classify",
}  # fmt: skip
# Bodies to which vLLM takes the types of a pair's tokens.
_TYPED = frozenset({"bert", "nomic_bert"})


def own(case: Case) -> Mapping[str, Any]:
    """Return our settings with defaults. Raises RecipeError with all problems."""
    given = {name: case.recipe.engine[name] for name in DEFAULTS if name in case.recipe.engine}
    raise_problems(
        list(engine_problems(given, ARGUMENTS)),
        "settings of the builder vllm-pooling",
        "trtbuild toolchains RELEASE --arguments --backend vllm-pooling lists them",
    )
    return {**DEFAULTS, **given}


def engine_recipe(case: Case) -> ModelRecipe:
    """Return the recipe with vLLM's engine arguments alone."""
    rest = {name: v for name, v in case.recipe.engine.items() if name not in DEFAULTS}
    return case.recipe.model_copy(update={"engine": rest})


def vllm_arguments(case: Case) -> dict[str, Any]:
    """Return the contents of ``model.json``. Raises RecipeError for an invalid argument."""
    head, spec, recipe = head_of(case), case.spec, engine_recipe(case)
    chosen = engine_settings(spec, recipe, case.toolchain)
    sizes = [size for size in (head.max_tokens, spec.context_length) if size > 0]
    longest = min(sizes, default=0)
    if longest and not recipe.engine.get("hf_overrides"):
        chosen.setdefault("max_model_len", longest)
    return chosen | token_task(case)


def token_task(case: Case) -> dict[str, Any]:
    """Return what makes vLLM answer for each token, where it asks for that."""
    fields = vllm_release(case.toolchain.vllm).groups.get("pooler_config")
    if fields is None or "task" not in fields.variants[""]:
        return {}  # such a release takes either task with a request
    task = "token_embed" if by_tokens(case) else _TASKS[head_of(case).kind]
    return {"pooler_config": {"task": task}} if task.startswith("token") else {}


def computes_in(case: Case) -> str:
    """Return the type that vLLM computes in."""
    said = str(vllm_arguments(case).get("dtype", "auto"))
    return case.spec.dtype if said == "auto" else said


def by_tokens(case: Case) -> bool:
    """Whether vLLM gives the states of all tokens, which the served model pools by itself."""
    head = head_of(case)
    if head.kind is not HeadKind.DENSE or not head.pooling:
        return False
    other = len(head.pooling) > 1 or head.pooling[0] not in POOLING
    return other or (bool(head.prompts) and not head.include_prompt)


def settings(case: Case) -> dict[str, Any]:
    """Return everything that the served model needs to know of its checkpoint."""
    head, spec, chosen = head_of(case), case.spec, own(case)
    engine = vllm_arguments(case)
    tokens = by_tokens(case)
    made = head_settings(
        case,
        {"truncate": chosen["truncate"], "token_budget": 0},
        {
            "pooling": list(head.pooling) if tokens else [],
            "pooling_task": "token_embed" if tokens else _TASKS[head.kind],
            "row": _row_size(case),
            "types": spec.model_type in _TYPED,
        },
    )
    kept = {name: value for name, value in made.items() if name not in _UNUSED}
    sizes = (head.max_tokens, engine.get("max_model_len") or 0)
    return {**kept, "max_tokens": min((size for size in sizes if size > 0), default=0)}


def _row_size(case: Case) -> int:
    """Return how many numbers a row has, of a text or of a token; 0 if unknown."""
    head = head_of(case)
    if head.kind in (HeadKind.DENSE, HeadKind.MULTI_VECTOR):
        return head.dimension
    return 1 if head.kind is HeadKind.SCORE else len(head.labels)
