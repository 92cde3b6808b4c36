"""When a comparison is refused, and the words of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from support.bench import mock, tokenizer_folder
from support.command_line import trtbuild
from trtbuild_measure.bench import guards
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.guards import Probe, before

TEXTS = ["the river ran on", "a bridge of stone", "people walked"]


def probe(name: str, texts: list[str] | None = None, **other: object) -> Probe:
    found = Probe(name, texts=list(texts or TEXTS), inputs=[10, 11, 12])
    for key, value in other.items():
        setattr(found, key, value)
    return found


def kinds(*probes: Probe) -> list[str]:
    return [reason.kind for reason in before(probes, Counter())]


def test_the_same_is_comparable() -> None:
    assert kinds(probe("a"), probe("b")) == []
    assert kinds(probe("a", precision="float32"), probe("b", precision="")) == []
    assert kinds(probe("a"), probe("b", [f" {text} and on" for text in TEXTS])) == []


def test_what_makes_two_targets_incomparable() -> None:
    one = probe("a", precision="float32")
    other = probe("b", ["x", "y", "z"], precision="float16", echoes=True, inputs=[10, 12, 12])
    other.ignored = ("temperature",)
    reasons = before([one, other], Counter())
    assert [reason.kind for reason in reasons] == [
        "echo",
        "inputs",
        "sampling",
        "texts",
        "precision",
    ]
    text = "\n".join(reason.text for reason in reasons)
    assert "a does not, b echoes the prompt" in text
    assert "a 11, b 12 tokens" in text
    assert "a takes all values, b takes no temperature" in text
    assert "'the river ran on' and 'x'" in text
    assert "a float32, b float16" in text
    assert {reason.kind for reason in reasons} <= set(guards.KINDS)


def test_one_text_of_three_may_part() -> None:
    assert kinds(probe("a"), probe("b", [*TEXTS[:2], "something else"])) == []


def bench(*args: object) -> subprocess.CompletedProcess[str]:
    return trtbuild("bench", *args)


FAST = {"first_ms": 2, "role_ms": 1, "gap_ms": 1}


def test_a_comparison_is_refused_before_it_is_measured(tmp_path: Path) -> None:
    tokenizer = tokenizer_folder(tmp_path / "t")
    four = {"pieces": [" time"] * 4, "completion_tokens": 4}
    other = {"pieces": [" life"] * 4, "completion_tokens": 4}
    with mock(**FAST, **four) as one, mock(**FAST, **other) as two:
        args = (f"a=openai:{one}#mock", f"b=openai:{two}#mock", "--tokenizer", tokenizer)
        refused = bench(*args, "--requests", 4, "--output-tokens", 4)
        assert refused.returncode == 8
        assert "these targets are not comparable" in refused.stderr
        assert "--allow texts" in refused.stderr
        allowed = bench(*args, "--requests", 4, "--output-tokens", 4, "--allow", "texts")
    assert allowed.returncode == 0, allowed.stderr
    assert "answer the same greedy prompt differently" in allowed.stdout


def test_other_lengths_are_refused_after_measuring(tmp_path: Path) -> None:
    tokenizer, out = tokenizer_folder(tmp_path / "t"), tmp_path / "r.json"
    four = {"pieces": [" time"] * 8, "completion_tokens": 8}
    more = {"pieces": [" time"] * 12, "completion_tokens": 12}
    with mock(**FAST, **four) as one, mock(**FAST, **more) as two:
        args = (f"a=openai:{one}#mock", f"b=openai:{two}#mock", "--tokenizer", tokenizer)
        done = bench(*args, "--requests", 4, "--out", out)
    assert done.returncode == 8
    assert "answers have different lengths at 1 client: a 8.0, b 12.0 tokens" in done.stderr
    result = json.loads(out.read_text())
    assert result["comparison"]["rows"] == []
    assert len(result["targets"]) == 2
