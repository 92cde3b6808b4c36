"""The validator agrees with ONNX Runtime's sessions and the backend's checks; long mode:
``scripts/differential_onnx.py``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from support.lanes import rounds
from support.onnx_agreement import compare, pairs


@pytest.mark.slow
@pytest.mark.long
def test_generated_models_and_configurations(tmp_path: Path) -> None:
    met: Counter[str] = Counter()
    count = rounds(20, 2000)
    differing = [
        differs for pair in pairs(first=0, count=count) for differs in compare(pair, tmp_path, met)
    ]
    assert differing == []
    assert met["verdicts"] == 2 * count
    assert count / 3 <= met["refused"] <= 1.7 * count
    assert met["undecided"] <= 2 + count / 5


@pytest.mark.parametrize("number", [1423])
def test_pairs_that_once_differed(number: int, tmp_path: Path) -> None:
    pair = next(pairs(number, 1))
    assert list(compare(pair, tmp_path, Counter())) == []
