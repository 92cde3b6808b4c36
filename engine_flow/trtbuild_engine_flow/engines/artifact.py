"""The engine of a model as the core's artifact: given, postponed, or compiled now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from trtbuild.builder import Artifact, Case, MadeArtifact
from trtbuild.checkpoint import language_config
from trtbuild.errors import RepositoryError, UnsupportedError
from trtbuild.resources import expanded
from trtbuild_engine_flow import converter, engineconfig, executor
from trtbuild_engine_flow.engineconfig import CONFIG, EngineConfig
from trtbuild_engine_flow.engines import compiling
from trtbuild_engine_flow.executor import EngineBuild

ENGINE = "engine"


def engine_artifact(case: Case, build: Callable[[], EngineBuild], image: str) -> Artifact:
    """Return the engine of ``case``; ``build`` is called only if it has to be compiled.

    Raises:
        RecipeError: A wrong setting.
        RepositoryError: The given directory has no complete engine.
        UnsupportedError: The engine would compute wrong results with any converter.
    """
    recipe = case.recipe
    if recipe.engine_dir:
        folder = expanded(recipe.engine_dir)
        return Artifact(ENGINE, there=MadeArtifact(folder, tuple(engine_files(folder))))
    _require_computed(case)
    how = build()
    if not recipe.build:
        return Artifact(ENGINE)
    return Artifact(
        ENGINE,
        make=partial(compiling.compile_engine, case, how, image),
        commands=partial(compiling.commands, case, how, image),
        require=partial(compiling.require_tools, image),
        depends=asdict(how),
        on_gpu=True,
        files=engine_files,
    )


def engine_files(folder: Path) -> Iterator[str]:
    """The files of an engine directory that belong into a model.

    Raises:
        RepositoryError: It holds no engine, or not all ranks are there.
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
    yield CONFIG
    yield from (f"rank{rank}.engine" for rank in engineconfig.ranks(names))
    if executor.MANIFEST in names:
        yield executor.MANIFEST


def predicted(case: Case, build: EngineBuild, expected: EngineConfig) -> EngineConfig:
    """The engine's configuration as the build will write it, marked as such."""
    if case.checkpoint is None:
        return expected
    known = {}
    if not compiling.image_converts(case, build):
        known = converter.predict_config(
            case.spec,
            language_config(case.checkpoint.config),
            dtype=build.dtype,
            tp=build.tp,
            pp=build.pp,
            release=build.release,
        )
    pretrained = {**expected.document["pretrained_config"], **known}
    return engineconfig.of_document(
        {**expected.document, "pretrained_config": pretrained, "predicted": True}
    )


def _require_computed(case: Case) -> None:
    if case.checkpoint is None:
        return
    reasons = converter.miscomputed(
        case.spec, language_config(case.checkpoint.config), case.toolchain.trtllm
    )
    if reasons:
        raise UnsupportedError(
            f"an engine of {case.spec.source.text} would not answer as the checkpoint does",
            where=case.spec.source.text,
            details=reasons,
            fix="each reason names its fix",
        )
