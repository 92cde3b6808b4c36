"""Which variant a user gets, and which experiments cannot run."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtbuild.errors import RecipeError, UsageError
from trtbuild_gateway.experiment_settings import ExperimentSettings, VariantSettings
from trtbuild_gateway.experiments.assignment import hash_of, takes_part, variant_of
from trtbuild_gateway.experiments.running import experiments_for
from trtbuild_gateway.settings import settings_of

VARIANTS = {"control": {"model": "big"}, "treatment": {"model": "small"}}
SIZES: dict[str, Any] = {"name": "sizes", "unit": "header:x-user-id", "variants": VARIANTS}
OTHER, IN_LAYER = SIZES | {"name": "other"}, SIZES | {"layer": "l"}
UNITS = [f"u{number}" for number in range(2000)]


def experiment(weights: dict[str, float], **more: Any) -> ExperimentSettings:
    variants = {name: VariantSettings("m", weight) for name, weight in weights.items()}
    return ExperimentSettings("sizes", "user", variants, **more)


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=5),
    grown=st.integers(0, 4),
    factor=st.floats(1, 50),
    shrunk=st.floats(0, 1),
)
def test_growing_a_variant_moves_nobody_away_from_it(
    weights: list[float], grown: int, factor: float, shrunk: float
) -> None:
    before = {f"v{at}": weight for at, weight in enumerate(weights)}
    name = f"v{grown % len(weights)}"
    after = before | {name: before[name] * factor}
    shrinking = {key: weight * shrunk for key, weight in after.items()} | {name: after[name]}
    for unit in UNITS[:60]:
        old, new = variant_of(experiment(before), unit), variant_of(experiment(after), unit)
        assert new in (old, name), "nobody moves between the others"
        if old == name:
            assert new == name
            assert variant_of(experiment(shrinking), unit) == name


@given(start=st.integers(0, 9999), ends=st.lists(st.integers(1, 10_000), min_size=2, max_size=2))
def test_growing_an_experiment_in_its_layer_leaves_its_users_in_it(
    start: int, ends: list[int]
) -> None:
    small, large = (
        experiment({"a": 1, "b": 1}, layer="l", users=(start / 100, max(start + 1, end) / 100))
        for end in sorted(min(end, 10_000) for end in ends)
    )
    assert all(takes_part(large, unit) for unit in UNITS[:60] if takes_part(small, unit))


def test_weights_are_shares_and_experiments_are_independent() -> None:
    one = experiment({"control": 90, "treatment": 10})
    counts = Counter(variant_of(one, unit) for unit in UNITS)
    assert 160 < counts["treatment"] < 240
    assert {variant_of(experiment({"a": 0, "b": 1}), unit) for unit in UNITS[:100]} == {"b"}
    other = msgspec.structs.replace(one, name="other")
    both = sum(variant_of(one, u) == variant_of(other, u) == "treatment" for u in UNITS)
    assert both < 60, "another experiment divides the same users again"
    half = [unit for unit in UNITS if takes_part(experiment({"a": 1, "b": 1}, users=(0, 50)), unit)]
    rest = [
        unit for unit in UNITS if takes_part(experiment({"a": 1, "b": 1}, users=(50, 100)), unit)
    ]
    assert 900 < len(half) < 1100
    assert sorted(half + rest) == sorted(UNITS)


def test_assignments_are_the_same_in_every_process_and_release() -> None:
    one = experiment({"control": 1, "treatment": 1}, salt="s")
    found = "".join(variant_of(one, unit)[0] for unit in UNITS[:32])
    assert found == "ttcttctttcccctccctcttcttcccctcct"
    assert hash_of(one, "u1") == "9a00e4b0ad24aeb7e47238052a9aff2a"
    assert hash_of(msgspec.structs.replace(one, name="other"), "u1") == hash_of(one, "u1")
    assert hash_of(msgspec.structs.replace(one, salt=""), "u1") != hash_of(one, "u1")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"variants": {"a": {"model": "m", "weight": 0}, "b": {"model": "n", "weight": 0}}},
            "sum to 0",
        ),
        ({"variants": {"a": {"model": "m", "weight": -1}, "b": {"model": "n"}}}, ">= 0"),
        ({"variants": {"a": {"model": "m"}}}, "two variants"),
        ({"unit": None}, "unit"),
        ({"unit": "session"}, "unit"),
        ({"users": [50, 50]}, "must be a range"),
        ({"users": [0, 0.001]}, "must be a range of 0.01 %"),
    ],
)
def test_an_experiment_that_could_compare_nothing_is_refused(
    change: dict[str, Any], says: str
) -> None:
    given = {key: value for key, value in (SIZES | change).items() if value is not None}
    with pytest.raises(msgspec.ValidationError, match=re.escape(says)):
        settings_of({"experiments": [given]})


@pytest.mark.parametrize(
    ("experiments", "says"),
    [
        ([SIZES, SIZES], "have the name 'sizes'"),
        ([SIZES, OTHER], "both choose the model of requests for 'big'"),
        ([IN_LAYER, OTHER | {"layer": "l", "model": "x"}], "take the users from 0 to 100 %"),
        ([IN_LAYER | {"users": [0, 60]}, OTHER | {"layer": "l", "users": [50, 100]}], "50 to 60 %"),
        ([IN_LAYER, OTHER | {"layer": "l", "unit": "user"}], "differ in unit"),
        ([SIZES | {"unit": "api_key"}], "divides API keys"),
    ],
)
def test_experiments_that_cannot_run_beside_each_other_are_refused(
    tmp_path: Path, experiments: list[Any], says: str
) -> None:
    records = {"directory": str(tmp_path)}
    with pytest.raises(RecipeError, match=re.escape(says)):
        experiments_for(settings_of({"experiments": experiments, "exposures": records}))


def test_records_need_a_directory_that_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nowhere to record"):
        experiments_for(settings_of({"experiments": [SIZES]}))
    (tmp_path / "file").touch()
    records = {"directory": str(tmp_path / "file" / "exposures")}
    with pytest.raises(UsageError, match="cannot be written to"):
        experiments_for(settings_of({"experiments": [SIZES], "exposures": records}))
