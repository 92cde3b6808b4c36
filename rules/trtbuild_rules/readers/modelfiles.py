"""The files that the backend of a model opens, version by version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trtbuild.check.context import Model
from trtbuild_rules.readers import known_backends
from trtbuild_rules.readers.known_backends import Backend

_ON_A_GPU = (0, 1)  # KIND_AUTO, KIND_GPU


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that the backend opens.

    Attributes:
        path: Relative to the model's directory.
        says: What the server says when it is not there.
        place: The field of the configuration that names it, empty for a default.
        may_be_directory: Whether a directory of that name is one, too.
        sure: Whether it is opened on every machine.
    """

    path: str
    says: str
    place: tuple[str | int, ...] = ()
    may_be_directory: bool = False
    sure: bool = True


def wanted(model: Model) -> Iterator[Wanted]:
    """The files of the versions that would be loaded. Nothing of a backend that opens none or
    that nobody knows, nor of a model that an agent of the server changes first."""
    row = known_backends.backends().get(model.backend)
    if row is None or not (row.files or row.by) or _changed_by_agents(model):
        return
    for version in model.served:
        yield from _of_version(model, row, str(version))


def _changed_by_agents(model: Model) -> bool:
    """Whether another agent than the one that compares checksums may bring the files."""
    return any(agent.name != "checksum" for agent in model.config.model_repository_agents.agents)


def _of_version(model: Model, row: Backend, version: str) -> Iterator[Wanted]:
    names = _names(model, row)
    there = [name for name in names if (model.path / version / name).exists()]
    usual = there[0] if there else names[0]
    given = usual == model.config.default_model_filename
    place: tuple[str | int, ...] = ("default_model_filename",) if given else ()
    of_gpus = _of_gpus(model, row)
    if sm := model.repository.options.sm:
        own = of_gpus.get(f"{sm // 10}.{sm % 10}")
        yield _wanted(model, row, f"{version}/{own or usual}", _BY_GPU if own else place)
        return
    # which of them is opened is known on the server's GPU only
    several = [usual, *(name for name in of_gpus.values() if name != usual)]
    others = [(model.path / version / name).exists() for name in several[1:]]
    sure = not any(others)
    if others and all(others) and not there and not given:
        del several[0]  # the model is for the GPUs that the configuration names
    for name in several:
        field = place if name == usual else _BY_GPU
        yield _wanted(model, row, f"{version}/{name}", field, sure=sure)


_BY_GPU = ("cc_model_filenames",)


def _names(model: Model, row: Backend) -> tuple[str, ...]:
    """What the backend looks for, in its order."""
    given = model.config.default_model_filename
    named = (given,) if given else ()
    if several := row.by.get("runtime", {}).get(model.config.runtime):
        return (*named, *several)
    return (*(named or _defaults(model, row)), *row.also)


def _defaults(model: Model, row: Backend) -> tuple[str, ...]:
    for field, names in row.by.items():
        value = (
            model.completed.platform if field == "platform" else model.parameters().get(field, "")
        )
        if value in names:
            return names[value]
        if value and field not in ("platform", "runtime"):
            break  # the backend does not know it, so any file may be meant
    else:
        if row.files:
            return row.files
    return tuple(name for names in row.by.values() for each in names.values() for name in each)


def _of_gpus(model: Model, row: Backend) -> dict[str, str]:
    """The file for each compute capability, if an instance may run on a GPU."""
    groups, options = model.config.instance_group, model.repository.options
    on_a_gpu = not groups or any(group.kind in _ON_A_GPU for group in groups)
    if not row.per_gpu or not on_a_gpu or options.gpus == 0:
        return {}
    return dict(sorted(model.config.cc_model_filenames.items()))


def _wanted(
    model: Model, row: Backend, path: str, place: tuple[str | int, ...], *, sure: bool = True
) -> Wanted:
    if row.directory == "holds" and (model.path / path).is_dir():
        path = f"{path}/{row.holds}"
    complete = model.repository.options.auto_complete
    says = (row.says_completing if complete else "") or row.says
    says = says.format(path=f"/models/{model.name}/{path}")
    return Wanted(path, says, place, row.directory == "is", sure)
