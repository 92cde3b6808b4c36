"""The values beside a chart, judged without helm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trtbuild.errors import RecipeError
from trtbuild.recipe.documents import Problems, mapping, validated
from trtbuild_deploy.resources import data_file
from trtbuild_deploy.settings.loading import merged
from trtbuild_deploy.targets.helm.values import Values

_SCHEMA = "values.schema.json"


def values_judged(root: Path) -> Iterator[tuple[str, Problems]]:
    """The files with values, and the lines and sentences of their problems.

    Helm judges values by the chart's schema, which is made from the model that judges them here.
    Nothing is said about a chart that trtbuild does not ship.
    """
    if not _same(root / "chart" / _SCHEMA, data_file("chart", _SCHEMA)):
        return
    base: dict[str, object] = {}
    known: Problems = []
    for path in (root / "values.yaml", *sorted(root.glob("values-*.yaml"))):
        problems: Problems = []
        try:
            text = path.read_bytes().decode("utf-8")
            data, node = mapping(text, path.name, "file", "replicas: 1")
        except RecipeError as error:
            problems.append((0, error.what))
        except (OSError, UnicodeDecodeError) as error:
            problems.append((0, str(error)))
        else:
            validated(Values, merged(base, data), node, problems)
            base = base or data
        said = {sentence for _, sentence in known}
        problems = [one for one in problems if one[1] not in said]
        known += problems
        yield path.name, problems


def _same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False
