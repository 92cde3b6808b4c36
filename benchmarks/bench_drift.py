"""How often `drift compare` is wrong, and how often it finds what is there.

    python benchmarks/bench_drift.py [--runs 1000] [--new 0 0.1]

Windows are drawn, so the truth is known. A text belongs to a topic: its embedding is the topic's
direction plus noise, its words come from the topic's vocabulary. Topics, and how often each comes,
are drawn again in each run. Fails if the 5 % level is not held, or if 10 % of a new topic are found
in less than nine of ten windows.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtbuild_drift import statistics as found
from trtbuild_drift.features import BUCKETS, shares

POWER, POWER_AT = 0.9, 0.1
LEVEL, TEXTS, DIMENSION, TOPICS = 0.05, 400, 384, 20
Random = np.random.Generator
Array = NDArray[Any]


@dataclass
class World:
    """Topics; the last one is new, and ``often`` says how often each of the others comes."""

    directions: Array
    words: Array
    often: Array

    @classmethod
    def drawn(cls, random: Random) -> World:
        """Topics whose texts have a cosine of 0.36 with each other."""
        directions = random.normal(size=(TOPICS + 1, DIMENSION))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        common = 1 / np.arange(1, BUCKETS + 1)
        own = random.permuted(np.tile(common, (TOPICS + 1, 1)), axis=1)
        words = 0.7 * common / common.sum() + 0.3 * own / common.sum()
        return cls(directions, words, random.dirichlet(np.full(TOPICS, 2.0)))

    def window(self, random: Random, new: float, texts: int = TEXTS) -> list[Array]:
        """Embeddings, words and lengths of texts, of which the share ``new`` has the new topic."""
        topics = random.choice(TOPICS + 1, texts, p=[*(self.often * (1 - new)), new])
        noise = random.normal(size=(texts, DIMENSION))
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        vectors = 0.6 * self.directions[topics] + 0.8 * noise
        lengths = 1 + random.poisson(random.gamma(2, 15, texts))
        words = np.array(
            [random.multinomial(n, self.words[topic]) for n, topic in zip(lengths, topics)]  # noqa: B905
        )
        return [vectors.astype(np.float32), words, lengths]


def statistics(random: Random, new: Sequence[Array], old: Sequence[Array]) -> list[Array]:
    """Embeddings, words and lengths by division."""
    both = [np.concatenate(pair) for pair in zip(new, old, strict=True)]
    members = found.divisions(len(new[0]), len(old[0]), random)
    return [
        found.centroids(members, found.damped(both[0])),
        found.jensen_shannon(members, shares(both[1])),
        found.kolmogorov_smirnov(members, both[2]),
    ]


def one(random: Random, new: float, hits: Counter[str]) -> None:
    """Two windows after a baseline."""
    world = World.drawn(random)
    old = world.window(random, 0.0)
    drifted = []
    for _ in range(2):
        tables = statistics(random, world.window(random, new), old)
        drifted.append([p <= LEVEL for p in found.adjusted(tables)])
    names = ("embeddings", "words", "lengths")
    for name, table in zip(names, tables, strict=True):
        hits[f"{name} alone"] += found.chance(table) <= LEVEL
    hits["window drifts"] += any(drifted[1])
    hits["alert"] += any(all(pair) for pair in zip(*drifted, strict=True))


def examples(random: Random, runs: int, new: float = 0.1, shown: int = 5) -> None:
    """Of the texts that the classifier names, how many have the new topic."""
    right, area = 0, 0.0
    for _ in range(runs):
        world = World.drawn(random)
        old = world.window(random, 0.0)[0]
        count = int(TEXTS * new)
        vectors = np.concatenate(
            [world.window(random, 0.0, TEXTS - count)[0], world.window(random, 1.0, count)[0]]
        )
        scores, separation = found.new_scores(old, vectors, random)
        right += (np.argsort(-scores)[:shown] >= TEXTS - count).sum()
        area += separation
    print(f"named texts of the new topic {right / runs / shown:.1%}, area {area / runs:.3f}")


def judged(new: float, rate: float, runs: int) -> str:
    """Return what is wrong with the share of windows that drift; empty if nothing is."""
    error = (LEVEL * (1 - LEVEL) / runs) ** 0.5
    if new == 0 and rate > LEVEL + 3 * error:
        return f"{rate:.1%} false alarms, more than chance explains at {LEVEL:.0%}"
    if new == POWER_AT and rate < POWER:
        return f"{new:.0%} of a new topic are found in {rate:.1%} of windows, not in {POWER:.0%}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--new", type=float, nargs="*", default=[0.0, 0.05, 0.1, 0.2])
    given = parser.parse_args()
    runs, problems = given.runs, []
    for new in given.new:
        random, hits, start = np.random.default_rng(0), Counter[str](), time.process_time()
        for _ in range(runs):
            one(random, new, hits)
        seconds = (time.process_time() - start) / runs / 2
        told = ", ".join(f"{name} {count / runs:.1%}" for name, count in hits.items())
        print(f"{new:.0%} new: {told}; {1000 * seconds:.0f} ms of CPU for a window", flush=True)
        problems += filter(None, [judged(new, hits["window drifts"] / runs, runs)])
    examples(np.random.default_rng(0), min(runs, 200))
    if problems:
        sys.exit(f"error: {'; '.join(problems)}")


if __name__ == "__main__":
    main()
