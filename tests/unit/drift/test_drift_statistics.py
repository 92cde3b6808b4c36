"""Statistics of drift: against scipy 1.17.1, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from trtbuild_drift import statistics
from trtbuild_drift.features import histogram, language, refuses, shares, words

FIRST = np.arange(60) ** 2 * 7 % 31
SECOND = np.arange(80) ** 2 * 5 % 37


def sides(random: np.random.Generator, new: float, texts: int = 400) -> np.ndarray:
    """Embeddings of two windows, the first with a share of a topic that the second lacks."""
    topics = random.normal(size=(21, 128)) / np.sqrt(128)
    chosen = random.choice(21, 2 * texts, p=[*np.full(20, 1 / 20), 0])
    chosen[: int(texts * new)] = 20
    noise = random.normal(size=(2 * texts, 128)) / np.sqrt(128)
    found: np.ndarray = (0.6 * topics[chosen] + 0.8 * noise).astype(np.float32)
    return found


def test_distances_agree_with_scipy() -> None:
    members = statistics.divisions(60, 80, np.random.default_rng(0))
    assert (members[0] == [1] * 60 + [0] * 80).all()
    assert (members.sum(axis=1) == 60).all()
    found = statistics.kolmogorov_smirnov(members, np.concatenate([FIRST, SECOND]))
    assert found[0] == pytest.approx(0.275)  # ks_2samp
    assert statistics.chance(found) == pytest.approx(0.0055, abs=0.006)
    classes = np.eye(40, dtype=np.float32)[np.concatenate([FIRST, SECOND])]
    found = statistics.jensen_shannon(members, classes)
    assert found[0] == pytest.approx(0.7308334091600871)  # jensenshannon, base 2
    vectors = np.stack([np.concatenate([FIRST, SECOND]), np.ones(140)], axis=1)
    distance = statistics.centroids(members, vectors.astype(np.float32))[0]
    assert distance == pytest.approx(abs(FIRST.mean() - SECOND.mean()), rel=1e-4)


def test_damping_turns_and_shrinks_only() -> None:
    """In both ways of computing it: fewer texts than dimensions, and more."""
    random = np.random.default_rng(1)
    for texts in (20, 200):
        vectors = random.normal(size=(texts, 50))
        vectors[:, 0] *= 30
        found = statistics.damped(vectors)
        plain = vectors - vectors.mean(axis=0)
        assert len(found) == texts
        ratio = np.linalg.norm(found, axis=1) / np.linalg.norm(plain, axis=1)
        assert (ratio <= 1 + 1e-6).all()
        assert found.var(axis=0).max() < 0.6 * plain.var(axis=0).max()
    assert statistics.damped(np.ones((4, 3))).tolist() == np.zeros((4, 3)).tolist()


def test_the_level_is_held_and_a_new_topic_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 windows each; benchmarks/bench_drift.py draws 1,000 in 384 dimensions."""
    monkeypatch.setattr(statistics, "PERMUTATIONS", 199)
    found = {}
    for new in (0.0, 0.1):
        random, hits = np.random.default_rng(2), 0
        for _ in range(40):
            vectors = sides(random, new, 200 if not new else 400)
            members = statistics.divisions(len(vectors) // 2, len(vectors) // 2, random)
            table = statistics.centroids(members, statistics.damped(vectors))
            hits += statistics.chance(table) <= 0.05
        found[new] = hits
    assert found[0.0] <= 7  # 5 % are 2; 8 or more have a chance of 0.1 %
    assert found[0.1] >= 36  # 90 %


def test_p_values_are_adjusted_for_being_several() -> None:
    random = np.random.default_rng(3)
    first = 0
    for _ in range(200):
        tables = random.normal(size=(10, 300))
        first += min(statistics.adjusted(list(tables))) <= 0.05
    assert first <= 22  # 5 % are 10
    table = random.normal(size=300)
    table[0] = 9
    same = np.zeros(300)
    assert statistics.adjusted([table, same, -table]) == [pytest.approx(1 / 300), 1.0, 1.0]


def test_the_classifier_names_the_texts_of_the_new_topic() -> None:
    vectors = sides(np.random.default_rng(4), 0.1)
    new, old = vectors[:400], vectors[400:]
    scores, separation = statistics.new_scores(old, new, np.random.default_rng(0))
    assert (np.argsort(-scores)[:10] < 40).sum() >= 9
    assert 0.5 < separation < 0.8
    _, nothing = statistics.new_scores(old[:200], old[200:], np.random.default_rng(0))
    assert nothing == pytest.approx(0.5, abs=0.08)
    _, everything = statistics.new_scores(old, new + 1, np.random.default_rng(0))
    assert everything > 0.99


def test_words_and_their_distribution() -> None:
    assert words("Don't PAY 20€ für 東京 ไทย") == [
        "don", "t", "pay", "20", "für", "東", "京", "ไ", "ท", "ย",
    ]  # fmt: skip
    assert histogram("a b a").sum() == 3
    assert histogram("a " * 1000).max() == 255
    found = shares(np.array([histogram("a b c d"), histogram("...")]))
    assert found.sum(axis=1).tolist() == [1, 1]
    assert found[1, -1] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How do I cancel my order?", "en"),
        ("Wie kann ich meine Bestellung stornieren? Ich habe sie gestern aufgegeben.", "de"),
        ("Comment puis-je annuler ma commande ? Je ne la veux plus.", "fr"),
        ("¿Cómo puedo cancelar mi pedido? No lo quiero más.", "es"),
        ("Hoe kan ik mijn bestelling annuleren? Het is te laat.", "nl"),
        ("Jak mogę anulować zamówienie? Nie jest mi już potrzebne.", "pl"),
        ("Как отменить заказ?", "cyrillic"),
        ("注文をキャンセルするにはどうすればよいですか", "japanese"),
        ("如何取消我的订单", "chinese"),
        ("주문을 취소하려면 어떻게 해야 하나요", "korean"),
        ("كيف ألغي طلبي", "arabic"),
        ("xyzzy", "latin"),
        ("12345 !!", "unknown"),
    ],
)
def test_languages(text: str, expected: str) -> None:
    assert language(text) == expected


def test_refusals() -> None:
    assert refuses("I\u2019m sorry, but I can\u2019t help with that request.")
    assert refuses("Es tut mir leid, aber ich kann dabei nicht helfen.")
    assert refuses("很抱歉\uff0c我无法回答")
    assert not refuses("Sorry for the delay! Your order can be cancelled until noon.")
    assert not refuses("Use try/except. " * 30 + "I cannot help")
