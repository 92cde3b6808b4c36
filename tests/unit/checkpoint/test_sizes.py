"""Every size that ``inspect`` finds is the one that vLLM itself allocates for, or explained."""

from __future__ import annotations

from collections import defaultdict

import pytest

from support.sizes import COMPARED, Asked, asked, described, explained, ours

ALL = list(asked())


def differences(case: Asked) -> dict[str, tuple[object, object]]:
    """What we say otherwise: ours and vLLM's, by what is compared."""
    mine = ours(described(case.config, case.files))
    return {
        what: (mine[what], case.answer[what])
        for what in COMPARED
        if what in case.answer and mine[what] != case.answer[what]
    }


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], tuple[object, object]]:
    return {
        (case.name, what): pair
        for case in ALL
        if "refused" not in case.answer
        for what, pair in differences(case).items()
    }


def test_nothing_differs_unexplained(
    found: dict[tuple[str, str], tuple[object, object]],
) -> None:
    unexplained = defaultdict(dict)
    for (name, what), pair in found.items():
        if (name, what) not in explained():
            unexplained[name][what] = pair
    assert not unexplained


def test_every_explanation_is_needed(
    found: dict[tuple[str, str], tuple[object, object]],
) -> None:
    assert set(explained()) <= set(found)


def test_enough_is_compared() -> None:
    built = [case for case in ALL if "groups" in case.answer]
    assert len(built) >= 200
    kinds = {group[0] for case in built for group in case.answer["groups"]}
    assert kinds == {"full", "mla", "sliding", "recurrent"}
    assert len(explained()) < len(built) / 5
