"""Validation of model repositories without a server: rules, findings, reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from trtbuild import toolchain
from trtbuild.check.comments import Ignoring
from trtbuild.check.context import Repository
from trtbuild.check.engine import Rule, clean
from trtbuild.check.examples import Example, write_example
from trtbuild.check.families import REPOSITORIES, judge_of, judged_by
from trtbuild.check.model import Edit, Finding, Judged, Report, Severity
from trtbuild.check.opening import open_repository
from trtbuild.check.options import Options
from trtbuild.check.running import all_rules, artifact_rules, following_rules, run
from trtbuild.check.selecting import EVERYTHING, Selection
from trtbuild.errors import UsageError
from trtbuild.lockfile import Lock
from trtbuild.progress import SILENT, Progress

__all__ = [
    "EVERYTHING",
    "Edit",
    "Example",
    "Finding",
    "Judged",
    "Options",
    "Report",
    "Rule",
    "Selection",
    "Severity",
    "all_rules",
    "artifact_rules",
    "following_rules",
    "judge_example",
    "validate",
    "validate_all",
    "write_example",
]


def validate(
    repository: Path,
    *,
    model: str = "",
    triton: str = "",
    full: bool = False,
    auto_complete: bool = False,
    gpus: int | None = None,
    sm: int = 0,
    selection: Selection = EVERYTHING,
    lock: Lock | None = None,
    progress: Progress = SILENT,
) -> Report:
    """Apply the rules to a repository; what is wrong is in the report, never raised.

    Args:
        repository: The directory.
        model: Only this model (or directory); empty: all.
        triton: Check against this release; empty: the one each model was written for.
        full: Read every weight again instead of trusting size and time of what was read before.
        auto_complete: Judge as a server would that completes configurations.
        gpus: How many GPUs the server has; None when that is not known.
        sm: Their compute capability, 90 for 9.0; 0 when that is not known.
        selection: Which rules.
        lock: Instead of the one in the repository.
        progress: Told when something takes long.

    Raises:
        UsageError: There is no such directory, model or release.
    """
    options = Options(triton, auto_complete, full, gpus, sm)
    opened = _open((repository,), options, lock=lock, only=model, progress=progress)
    return _judge(opened, selection)


def validate_all(
    repositories: Sequence[Path],
    options: Options = Options(),
    *,
    model: str = "",
    selection: Selection = EVERYTHING,
    progress: Progress = SILENT,
) -> Report:
    """The same for several repositories that one server would be given together."""
    return _judge(_open(repositories, options, only=model, progress=progress), selection)


@judged_by(REPOSITORIES)
def _judge_directory(root: Path, options: Options) -> Report:
    return validate_all([root], options)


def judge_example(rule: Rule, example: Example, root: Path) -> Report:
    """Write a rule's example into an empty directory and judge it as the rule's family does; an
    empty report where nothing judges that family yet."""
    write_example(example, root)
    judge = judge_of(rule.family)
    return judge(root, example.options) if judge else Report()


def _open(
    paths: Sequence[Path],
    options: Options,
    *,
    only: str,
    progress: Progress,
    lock: Lock | None = None,
) -> tuple[Repository, ...]:
    if options.triton:
        toolchain.load(options.triton)
    for path in paths:
        _require_folder(path)
    opened = [
        open_repository(path, options, lock=lock, only=only, progress=progress)
        for path in dict.fromkeys(paths)
    ]
    for each in opened:
        each.siblings = tuple(other for other in opened if other is not each)
    asked = any(each.models or only in each.lock.models for each in opened)
    if only and not asked:
        known = ", ".join(path.name for each in opened for path in each.directories) or "no model"
        where = ", ".join(repr(str(path)) for path in paths)
        raise UsageError(f"there is no model {only!r} in {where}", fix=f"it has {known}")
    return tuple(opened)


def _require_folder(path: Path) -> None:
    fix = "give the directory whose subdirectories are models; trtbuild convert makes one"
    try:
        next(path.iterdir(), None)
    except FileNotFoundError:
        what = "does not exist"
    except NotADirectoryError:
        what = "is not a directory"
    except (OSError, ValueError) as error:
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        fix = "give a directory that this user may read"
    else:
        return
    raise UsageError(f"the model repository {str(path)!r} {what}", fix=fix)


def _judge(repositories: Iterable[Repository], selection: Selection) -> Report:
    report = Report()
    rules = {rule.id: rule for rule in all_rules()}
    for repository in repositories:
        found = run(repository, selection.takes)
        comments = Ignoring(repository)
        kept = tuple(comments.keep(found))
        hidden = len(found) - len(kept)
        if selection is EVERYTHING:
            kept += tuple(comments.unused())
        report = replace(
            report,
            repositories=(*report.repositories, str(repository.root)),
            models=report.models + len(repository.models),
            ignored=report.ignored + hidden,
            judged=(*report.judged, *_judged(repository)),
        )
        counting = (selection.apply(finding, rules.get(finding.rule)) for finding in kept)
        root = str(repository.root)
        report = report.with_findings(
            tuple(replace(finding, repository=root) for finding in counting if finding)
        )
    return report


def _judged(repository: Repository) -> Iterator[Judged]:
    """The releases that count in a repository, the one of most models first."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for model in repository.models:
        groups[model.judged_as].append(model.name)
    for (triton, origin), models in sorted(groups.items(), key=lambda group: -len(group[1])):
        yield Judged(triton, origin, tuple(map(clean, models)), str(repository.root))
