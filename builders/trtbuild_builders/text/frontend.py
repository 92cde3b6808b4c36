"""``--contract openai-frontend``: a second model with the tensors of Triton's OpenAI frontend."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild import pbtxt
from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind, Task
from trtbuild.plan import ModelEntry, RepoFile
from trtbuild.resources import template_dir
from trtbuild_builders.text.settings import head_of
from trtbuild_builders.text.tensors import config_file, row

OPENAI = "openai-frontend"
_WHAT = "embeddings by the tensors of Triton's OpenAI frontend (embedding_request); it asks {name}."
_ANSWERING = 4  # processes: each waits for one request at a time


def frontend_reasons(case: Case) -> Iterator[str]:
    """Return why the checkpoint cannot have that contract."""
    dense = case.spec.task is Task.EMBED and head_of(case).kind is HeadKind.DENSE
    if case.recipe.contract == OPENAI and not dense:
        yield (
            "Triton's OpenAI frontend asks for dense vectors only, and this model is for "
            f"{case.spec.task.value}: leave out --contract {OPENAI}"
        )


def frontend_entries(case: Case) -> tuple[ModelEntry, ...]:
    """Return the second model if the recipe asks for it."""
    if case.recipe.contract != OPENAI:
        return ()
    name = f"{case.recipe.name}_openai"
    flags = ("return_num_input_tokens", "return_num_output_tokens")
    config = pbtxt.model_config(
        name=name,
        backend="python",
        max_batch_size=0,
        input=[
            row("embedding_request", "TYPE_STRING", 1),
            *({**row(flag, "TYPE_BOOL", 1), "optional": True} for flag in flags),
        ],
        output=[
            row("text_output", "TYPE_STRING", 1),
            row("num_input_tokens", "TYPE_UINT32", 1),
            row("num_output_tokens", "TYPE_UINT32", 1),
        ],
        instance_group=[{"count": _ANSWERING, "kind": "KIND_CPU"}],
        parameters={"embedding_model": {"string_value": case.recipe.name}},
    )
    code = template_dir("text", "frontend", "model.py").read_bytes()
    what = _WHAT.format(name=case.recipe.name)
    return (ModelEntry(name, (config_file(case, config, what), RepoFile("1/model.py", code)), ()),)
