"""What can be wrong with experiments together, before a request is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from trtbuild.errors import RecipeError
from trtbuild_gateway.experiment_settings import ExperimentSettings
from trtbuild_gateway.settings import Settings


def check(settings: Settings) -> None:
    """Raise RecipeError for experiments that cannot run, or not beside each other."""
    experiments = settings.experiments
    if not experiments:
        return
    if settings.exposures.directory is None:
        raise RecipeError(
            "there are experiments, and nowhere to record who got which variant",
            where="exposures.directory",
            fix="name a directory, such as `exposures: {directory: exposures}`",
        )
    _check_names(experiments)
    for one in experiments:
        if one.unit == "api_key" and not settings.access.names_callers:
            raise RecipeError(
                f"the experiment {one.name!r} divides API keys, and the gateway asks for none",
                where="access.keys",
                fix="set access.keys or access.jwt, or choose the unit user or header:NAME",
            )
    for one, other in combinations(experiments, 2):
        _check_pair(one, other)


def _check_names(experiments: Sequence[ExperimentSettings]) -> None:
    name, count = Counter(one.name for one in experiments).most_common(1)[0]
    if count > 1:
        raise RecipeError(
            f"{count} experiments have the name {name!r}",
            where="experiments",
            fix="give each its own: records and assignments depend on it",
        )


def _check_pair(one: ExperimentSettings, other: ExperimentSettings) -> None:
    names = f"{one.name!r} and {other.name!r}"
    if (one.layer or one.name) != (other.layer or other.name):
        if one.asked == other.asked:
            raise RecipeError(
                f"the experiments {names} both choose the model of requests for {one.asked!r}",
                where="experiments",
                fix="put them into one layer, each with a part of its `users`",
            )
        return
    if (one.unit, one.salt) != (other.unit, other.salt):
        raise RecipeError(
            f"the experiments {names} of the layer {one.layer!r} differ in unit or salt, so "
            "they would not divide the same users",
            where="experiments",
            fix="give both the same unit and salt, or their own layers",
        )
    first, end = max(one.users[0], other.users[0]), min(one.users[1], other.users[1])
    if first < end:
        raise RecipeError(
            f"the experiments {names} of the layer {one.layer!r} overlap: both take the users "
            f"from {first:g} to {end:g} %",
            where="experiments",
            fix="give each its own part, such as `users: [0, 50]` and `users: [50, 100]`",
        )
