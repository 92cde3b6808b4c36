"""What a reader is warned of: each sentence once, however many loads it is about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.guards import counted_otherwise, warnings, wrong_tokenizer
from trtbuild_measure.bench.ledger import Ledger
from trtbuild_measure.bench.metrics.goodput import Goodput
from trtbuild_measure.bench.report.page import headline
from trtbuild_measure.jobs.bench.outcome import _warnings


def ledger(ours: int = 100, server: int = 100, requests: int = 10, apart: int = 0) -> Ledger:
    found = Ledger(Counter(), Goodput({}))
    found.ok = requests
    found.tokens.output = found.tokens.ours = ours
    found.tokens.server, found.tokens.compared = server, requests
    found.tokens.disagreeing = apart
    found.asked_tokens = server
    return found


def loads(*found: tuple[str, str, Ledger], saturated: str = "") -> Any:
    return SimpleNamespace(
        loads=[
            SimpleNamespace(
                subject=SimpleNamespace(target=SimpleNamespace(name=name)),
                load=SimpleNamespace(label=label),
                ledger=one,
                client=SimpleNamespace(as_dict=lambda at=label: {"saturated": at == saturated}),
            )
            for name, label, one in found
        ]
    )


def test_counts_that_differ_a_little_are_one_sentence_for_all_loads() -> None:
    run = loads(("a", "1 client", ledger(99, 101, apart=1)), ("a", "4 clients", ledger(99, 101)))
    (told,) = _warnings(run)
    assert told.startswith("a counts other tokens than the tokenizer in 1 of 20 requests (1.98%")


def test_counts_that_differ_a_lot_are_told_of_their_load() -> None:
    run = loads(("a", "1 client", ledger()), ("a", "4 clients", ledger(80, 100)))
    told = _warnings(run)
    assert [line.partition(":")[0] for line in told] == ["4 clients"] * len(told)
    assert any("not the served one" in line for line in told)
    assert counted_otherwise("a", [ledger(80, 100)]) == ""


def test_tokens_without_text_are_no_other_tokenizer() -> None:
    """A forced end has no text; that prompts are counted alike shows whose tokenizer it is."""
    one = ledger(60, 100)
    one.tokens.prompts, one.tokens.added = 3, (1, 1)  # a token before each prompt
    (told,) = [line for line in _warnings(loads(("a", "1 client", one))) if "no text" in line]
    assert "40 of 100 tokens that a made have no text" in told
    assert wrong_tokenizer("a", one) == ""
    for prompts, added in ((10, (3, 9)), (10, (-1, 0)), (3, (12, 12)), (0, (0, 0))):
        one.tokens.prompts, one.tokens.added = prompts, added
        assert "not the served one" in wrong_tokenizer("a", one), added
    one.tokens.prompts, one.tokens.added = 10, (12, 13)  # a chat template around each
    assert wrong_tokenizer("a", one) == ""
    one.tokens.ours = 140
    assert "not the served one" in wrong_tokenizer("a", one), "more than the server made"


def test_failures_are_told_by_kind_and_the_most_frequent_with_its_words() -> None:
    """A number alone says nothing of what to do about it."""
    one = ledger()
    one.failures.add("dropped", "closed")
    for _ in range(3):
        one.failures.add("http 429", "slow down")
    (told,) = _warnings(loads(("a", "4 clients", one)))
    assert told == (
        "4 clients: 4 of 14 requests to a failed (3 http 429, 1 dropped), such as "
        "http 429: slow down"
    )
    none = ledger(0, 0, requests=0)
    none.failures.add("timeout", "")
    assert warnings("a", none) == [], "then it is an error, and told as one"
    assert none.failures.most() == "timeout"


def test_counts_that_agree_are_not_told() -> None:
    assert _warnings(loads(("a", "1 client", ledger(1000, 1001)))) == []


def test_a_sentence_about_every_load_names_none() -> None:
    echo = ledger()
    echo.counter.echoes = 3
    (sentence,) = [text for text in warnings("a", echo) if "echoes" in text]
    both = _warnings(loads(("a", "1 client", echo), ("a", "4 clients", echo)))
    assert sentence in both
    one = _warnings(loads(("a", "1 client", echo), ("a", "4 clients", ledger())))
    assert f"1 client: {sentence}" in one


def test_a_saturated_client_is_told_with_its_load() -> None:
    run = loads(("a", "1 client", ledger()), ("a", "64 clients", ledger()), saturated="64 clients")
    assert _warnings(run) == [
        "64 clients: the client was saturated; the target may be faster than these figures"
    ]


def load(ttft: float | None) -> dict[str, Any]:
    metrics: dict[str, Any] = {"output_tokens_per_s": 10.0, "e2e_ms": {"mean": 1000.0}}
    metrics["ttft_ms"] = {"mean": ttft, "p50": ttft} if ttft else None
    return {"load": {"label": "16 clients"}, "metrics": metrics}


def test_the_headline_says_where_the_time_goes() -> None:
    ratios = {"output_tokens_per_s": {"ratio": 7.0}, "e2e_ms.p99": {"ratio": 0.14}}
    row = {"load": "16 clients", "reference": "fastapi", "target": "triton", "ratios": ratios}
    result = {
        "targets": [
            {"name": "triton", "loads": [load(190.0)]},
            {"name": "fastapi", "loads": [load(940.0)]},
        ],
        "comparison": {"rows": [row]},
    }
    assert headline(result)[-1] == (
        "Of a request's time, 19% at triton and 94% at fastapi pass before its first token."
    )
    result["targets"][0]["loads"] = [load(None)]
    assert "Of a request's time" not in headline(result)[-1]
