"""The model of a checkpoint: public tensors, our code, and the checkpoint's own files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtbuild.builder import Case
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir
from trtbuild.resources import template_dir
from trtbuild_builders.text.settings import dump, head_of
from trtbuild_builders.text.tensors import batching_config, config_file, model_files, row, tensors
from trtbuild_builders.text.worker import KEPT
from trtbuild_builders.torch.check import ARTIFACT
from trtbuild_builders.torch.settings import WEIGHTS, Kind, engine, kind_of, settings

_WHAT = "{kind} in, {task} out; computed by transformers' own code in PyTorch."
_STRING, _INT32, _FP32 = "TYPE_STRING", "TYPE_INT32", "TYPE_FP32"


def entry(case: Case) -> ModelEntry:
    """Return the directory. Raises RecipeError for an invalid setting."""
    if not case.recipe.name:
        raise ValueError("the recipe has no model name yet")
    kind, chosen = kind_of(case), engine(case)
    inputs, outputs = _tensors(case, kind)
    config = batching_config(case, chosen, (inputs, outputs), "KIND_MODEL")
    what = _WHAT.format(kind=kind, task=outputs[0]["name"])
    files = (
        config_file(case, config, what),
        RepoFile("1/settings.json", dump(settings(case))),
        *_modules(kind),
    )
    places = [WeightsDir(f"1/{WEIGHTS}")]
    if ARTIFACT in case.artifacts:
        places.append(WeightsDir("1", artifact=ARTIFACT, files={KEPT: KEPT}))
    return ModelEntry(case.recipe.name, files, tuple(places))


def _modules(kind: Kind) -> Sequence[RepoFile]:
    """Return ``model.py`` of the kind and the modules that it imports."""
    more = {
        "texts": [template_dir("text", "torch", "text_heads.py")],
        "images": [*template_dir("shared").glob("*.py")],
        "recordings": [template_dir("shared", "item_model.py")],
    }[kind]
    paths = [*template_dir("torch", kind).glob("*.py"), *more]
    own = [RepoFile(f"1/{path.name}", path.read_bytes()) for path in sorted(paths)]
    return (*own, *model_files("torch", "text"))


def _tensors(case: Case, kind: Kind) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if kind == "texts":
        return tensors(case)
    if kind == "images":
        labels = len(head_of(case).labels) or -1
        outputs = [row("scores", _FP32, labels), row("label", _STRING, 1)]
        return [row("image", _STRING, 1)], outputs
    inputs = [
        {**row("audio", _STRING, 1), "optional": True},
        {**row("samples", _FP32, -1), "optional": True, "allow_ragged_batch": True},
    ]
    names = {"text": _STRING, "language": _STRING, "duration": _FP32, "segments": _STRING}
    outputs = [row(name, kind_, 1) for name, kind_ in names.items()]
    return inputs, [*outputs, row("token_count", _INT32, 1)]
