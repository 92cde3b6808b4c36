"""The base class of every builder: two methods to write, a default for each of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trtbuild.builder.artifacts import Artifact
from trtbuild.builder.case import Case
from trtbuild.checkpoint import Adapter
from trtbuild.plan import Demand, MemoryPlan, ModelEntry, Step, WeightsDir
from trtbuild.recipe import ModelRecipe
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.toolchain import Toolchain


class Builder:
    """Turns a checkpoint and a recipe into the directories of a model repository.

    A subclass sets :attr:`name` and :attr:`summary` and writes :meth:`models`. The core prints only
    what the builder reports, so a default never claims anything about its models.
    """

    name: str = ""
    """What ``--backend`` takes; the same as the entry point's name."""
    summary: str = ""
    """One line for ``trtbuild builders``."""
    priority: int = 0
    """Under ``backend: auto`` the builder with the highest priority is taken."""

    takes: frozenset[str] = frozenset()
    """Keys of a model's recipe that it reads: ``engine``, ``weights``, ``adapters``, ``metrics``,
    ``health_check``, ``engine_dir``, ``build``, ``contract``. What a recipe asks for beyond them is
    refused."""

    def models(self, case: Case) -> Sequence[ModelEntry]:
        """The directories to write. Raises RecipeError for a wrong setting."""
        raise NotImplementedError

    def reasons_unsupported(self, case: Case) -> Sequence[str]:  # noqa: ARG002
        """Every reason why it cannot build this, each a sentence with its fix; none: it can."""
        return ()

    def preference(self, case: Case) -> int:  # noqa: ARG002
        """Its priority for this checkpoint, and on this GPU where one is known."""
        return self.priority

    def image(self, toolchain: Toolchain) -> str:
        """The container image that serves what it builds; default: Triton's full image."""
        return f"nvcr.io/nvidia/tritonserver:{toolchain.triton}-py3"

    def completed(self, case: Case) -> ModelRecipe:
        """The recipe with settings that follow from what it names, such as an adapter's rank."""
        return case.recipe

    def require_adapters(self, case: Case, adapters: Sequence[Adapter]) -> None:
        """Raises UnsupportedError with every reason why an adapter cannot be used."""

    def artifacts(self, case: Case) -> Sequence[Artifact]:  # noqa: ARG002
        """Files that are made before the models are written.

        :attr:`Case.artifacts` then says where they are. Raises RecipeError for a wrong setting.
        """
        return ()

    def steps(self, case: Case) -> Sequence[Step]:
        """What will be done, in order; default: each directory and what is placed in it."""
        return tuple(_steps(self.models(case)))

    def reasons_against_gpu(self, case: Case) -> Sequence[str]:  # noqa: ARG002
        """Every reason why the target's GPU, if one is named, cannot run the model."""
        return ()

    def memory(self, case: Case, demand: Demand) -> MemoryPlan | None:  # noqa: ARG002
        """What it takes of the target's GPUs; None: not estimated.

        :func:`trtbuild_builders.memory.plan_memory` estimates an LLM as vLLM plans it.
        """
        return None

    def warnings(self, case: Case) -> Sequence[str]:  # noqa: ARG002
        """What a user should know before deploying; nothing stops because of it."""
        return ()

    def versions(self, case: Case) -> Mapping[str, str]:  # noqa: ARG002
        """Versions that the result depends on, by program; ``trtbuild.lock`` records them."""
        return {}

    def arguments(self, toolchain: Toolchain) -> Sequence[Mapping[str, Any]]:  # noqa: ARG002
        """What ``--set`` takes in a release, one row each; a builder without a list has no method.

        A row has ``name``, ``types`` and ``choices``, and may have ``nullable``, ``has_default``
        with ``default``, bounds (``minimum``, ``maximum``, ``above``, ``below``), ``when`` (it is
        read only then) and ``meaning``. Raises UsageError for a release without its backend.
        """
        return ()

    def stand_ins(self) -> Mapping[str, Path]:
        """Backends that ``serve --rehearse`` runs on the CPU in place of the real ones.

        By name, each a directory with a Python-based backend's ``model.py``.
        """
        return {}

    def signature(self, case: Case) -> ServedModel:
        """What clients call, as far as config.pbtxt cannot say it; the lock's ``served`` card."""
        spec = case.spec
        task = ServedTask.of(spec.task.value, spec.head)
        return ServedModel(
            case.recipe.name,
            task,
            context_length=spec.context_length,
            head=spec.head,
            vision=spec.vision,
        )


def _steps(entries: Sequence[ModelEntry]) -> Iterator[Step]:
    for entry in entries:
        yield from (
            Step("weights", f"Place {_what(place)} under {entry.name}/{place.path}")
            for place in entry.weights
        )
        files = ", ".join(file.path for file in entry.files)
        yield Step("config", f"Write {entry.name}: {files}")


def _what(place: WeightsDir) -> str:
    if place.files:
        return ", ".join(place.files)
    if place.artifact:
        return f"the artifact {place.artifact!r}"
    return f"the adapter {place.origin!r}" if place.origin else "the checkpoint's files"
