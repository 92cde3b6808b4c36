"""Engines of a conversion: given, compiled now, or left for later with all around them written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trtbuild.builder import Builder, Case, EngineBuilder
from trtbuild.checkpoint import Checkpoint, CheckpointFile, language_config
from trtbuild.errors import RepositoryError, UnsupportedError, UsageError
from trtbuild.modelspec import ModelSpec
from trtbuild.pipeline.rewriting import Rewritten, rewritten
from trtbuild.plan import (
    ENGINE,
    GRAMMAR,
    GRAMMAR_FILE,
    TOKENIZER,
    EngineBuild,
    ModelEntry,
    RepoFile,
    Step,
)
from trtbuild.recipe import ModelRecipe, serving
from trtbuild.toolchain import Toolchain
from trtbuild_engine_flow import converter, engineconfig, executor
from trtbuild_engine_flow.engineconfig import CONFIG, EngineConfig
from trtbuild_engine_flow.jobs.guided import tokenizer_info

_NOT_TOKENIZER = (".safetensors", ".bin", ".gguf", ".py", ".index.json", "preprocessor_config.json")


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is built, by which builder, from which opened checkpoint."""

    builder: Builder
    case: Case
    checkpoint: Checkpoint

    @property
    def spec(self) -> ModelSpec:
        """The checkpoint's."""
        return self.case.spec

    @property
    def recipe(self) -> ModelRecipe:
        """What the user asks for."""
        return self.case.recipe

    @property
    def tools(self) -> Toolchain:
        """The release that will serve it."""
        return self.case.toolchain


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine of a job.

    ``state`` is ``given`` (a folder that is there), ``later`` (``config.json`` alone, as it will
    be), ``wanted`` (to be compiled) or ``compiled``. ``files`` are those to place.
    """

    state: Literal["given", "later", "wanted", "compiled"]
    build: EngineBuild | None
    config: EngineConfig
    files: tuple[CheckpointFile, ...] = ()


def engine_of(case: Conversion) -> Engine | None:
    """The engine of a conversion, as far as it is known before anything is compiled.

    Raises:
        UsageError: An engine is given, or left for later, to a builder that takes none.
        RecipeError: A wrong setting.
        RepositoryError: The folder given is no whole engine.
        UnsupportedError: Whoever converts it, the engine would compute something else.
    """
    builder, recipe = case.builder, case.recipe
    if not isinstance(builder, EngineBuilder):
        _require_no_engine(builder, recipe)
        return None
    if recipe.engine_dir:
        folder = Path(recipe.engine_dir).expanduser()
        return Engine("given", None, *whole(folder))
    _require_computed(case)
    build = builder.engine_build(case.case)
    config = _predicted(builder, build, case)
    return Engine("wanted" if recipe.build else "later", build, config)


def _require_no_engine(builder: Builder, recipe: ModelRecipe) -> None:
    for flag, given in (("--engine", bool(recipe.engine_dir)), ("--no-build", not recipe.build)):
        if given:
            raise UsageError(
                f"{flag} means nothing to {builder.name}, which compiles no engine",
                fix=f"leave it out, or name the builder: --backend trtllm-engine {flag}",
            )


def _require_computed(case: Conversion) -> None:
    reasons = converter.miscomputed(
        case.spec, language_config(case.checkpoint.config), case.tools.trtllm
    )
    if reasons:
        raise UnsupportedError(
            f"an engine of {case.spec.source.text} would not answer as the checkpoint does",
            where=case.spec.source.text,
            details=reasons,
            fix="do what each reason says",
        )


def whole(folder: Path) -> tuple[EngineConfig, tuple[CheckpointFile, ...]]:
    """An engine directory's configuration and the files to place.

    Raises:
        RepositoryError: It is no engine, or not all ranks are there.
    """
    config = engineconfig.read(folder)
    if config.max_batch_size < 1:
        raise RepositoryError(
            f"the engine's {CONFIG} says no usable max_batch_size, which every build writes",
            where=str(folder / CONFIG),
            fix="copy it again from where trtllm-build wrote it, or build the engine again",
        )
    names = [path.name for path in folder.iterdir() if path.is_file()]
    if lacking := engineconfig.lacking_ranks(config, names):
        raise RepositoryError(
            f"the engine is not whole: {lacking}",
            where=str(folder),
            fix="copy all files of the build, or build it again",
        )
    ranks = [f"rank{rank}.engine" for rank in engineconfig.ranks(names)]
    wanted = [CONFIG, *ranks, *[executor.MANIFEST] * (executor.MANIFEST in names)]
    files = [CheckpointFile(name, (folder / name).stat().st_size, folder / name) for name in wanted]
    return config, tuple(files)


def _predicted(builder: EngineBuilder, build: EngineBuild, case: Conversion) -> EngineConfig:
    """The engine's configuration as the build will write it, marked as such."""
    spec, expected = case.spec, {}
    if not image_converts(case, build):
        expected = converter.predict_config(
            spec,
            language_config(case.checkpoint.config),
            dtype=build.dtype,
            tp=build.tp,
            pp=build.pp,
            release=build.release,
        )
    document = builder.engine_expected(case.case).document
    pretrained = {**document["pretrained_config"], **expected}
    return engineconfig.of_document(
        {**document, "pretrained_config": pretrained, "predicted": True}
    )


def image_converts(case: Conversion, build: EngineBuild) -> tuple[str, ...]:
    """Why our converter cannot make the checkpoint, so that the image's own must."""
    return converter.unsupported(
        case.spec,
        language_config(case.checkpoint.config),
        tp=build.tp,
        pp=build.pp,
        release=build.release,
    )


def rewritten_of(case: Conversion) -> Rewritten:
    """What is placed instead of files of the checkpoint; nothing where none of it is placed."""
    if case.recipe.weights == "hub":
        return {}
    how = serving(case.spec, case.tools, case.builder.image(case.tools))
    return rewritten(case.checkpoint, case.recipe, how)


def entries_of(
    case: Conversion, engine: Engine | None, changed: Rewritten
) -> tuple[ModelEntry, ...]:
    """The directories, with the tokenizer's files, and the engine's ``config.json`` as predicted
    where there is no engine yet. ``changed`` replaces files of the checkpoint.
    """
    builder, spec = case.builder, case.spec
    if engine is None or not isinstance(builder, EngineBuilder):
        entries = tuple(builder.models(case.case))
    else:
        entries = tuple(builder.models_of(case.case, engine.config))
    kept = {name: content for name, content in changed.items() if content is not None}
    entries = _with_files(entries, "", kept, keep=True)
    small = tokenizer_files(case.checkpoint)
    entries = _with_files(entries, TOKENIZER, small | {n: kept[n] for n in kept if n in small})
    if any(place.origin == GRAMMAR for entry in entries for place in entry.weights):
        content = tokenizer_info(case.checkpoint, spec.eos_token_ids)
        entries = _with_files(entries, GRAMMAR, {GRAMMAR_FILE: content})
    if engine is None or engine.state in {"given", "compiled"}:
        return entries
    content = json.dumps(engine.config.document, indent=4).encode() + b"\n"
    return _with_files(entries, ENGINE, {CONFIG: content})


def tokenizer_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    """The small files of a checkpoint: known without fetching its weights."""
    names = [file.name for file in checkpoint.files if not file.name.endswith(_NOT_TOKENIZER)]
    read = ((name, checkpoint.read_bytes(name)) for name in names)
    return {name: content for name, content in read if content is not None}


def _with_files(
    entries: Sequence[ModelEntry], origin: str, files: dict[str, bytes], *, keep: bool = False
) -> tuple[ModelEntry, ...]:
    """``entries`` with the places of an origin filled in; ``keep``: there is more to place."""
    made = []
    for entry in entries:
        places = [place for place in entry.weights if place.origin == origin]
        new = [
            RepoFile(f"{p.path}/{name}", content) for p in places for name, content in files.items()
        ]
        rest = tuple(place for place in entry.weights if keep or place.origin != origin)
        made.append(replace(entry, files=(*entry.files, *new), weights=rest))
    return tuple(made)


def told_steps(steps: Sequence[Step], case: Conversion, engine: Engine | None) -> tuple[Step, ...]:
    """The plan's steps, which say who converts when ours cannot."""
    reasons = image_converts(case, engine.build) if engine and engine.build else ()
    if not reasons or engine is None or engine.build is None:
        return tuple(steps)
    other = f" with TensorRT-LLM's own converter ({engine.build.family}), because {reasons[0]}"
    return tuple(
        replace(step, title=step.title + other) if step.name == "convert" else step
        for step in steps
    )
