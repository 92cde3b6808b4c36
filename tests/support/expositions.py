"""Pages of metrics that real servers showed, in pairs some seconds apart, by what happened then.

``scripts/record_expositions.py`` writes them. A section of a file is the page of a job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from support.paths import TESTS

FOLDER = TESTS / "data/expositions/faults"
SECONDS = 15
"""Between the two pages of a state, as between two scrapes."""
_JOB = "# job "


@dataclass(frozen=True)
class Sample:
    """What a series had on each of the two pages; None where it was not on the first."""

    counts: bool
    before: float | None
    after: float


State = Mapping[str, Mapping[str, Sample]]
"""By job the samples by series; a job whose page nobody could read is missing."""


def written(pages: Mapping[str, str]) -> str:
    """A file of pages by job."""
    return "".join(f"{_JOB}{job}\n{page}" for job, page in pages.items())


def recorded(state: str) -> State:
    """What was recorded in a state."""
    before, after = (_pages(f"{state}-{seconds}.prom") for seconds in (0, SECONDS))
    return {job: dict(_samples(before.get(job, ""), page)) for job, page in after.items()}


def _pages(name: str) -> dict[str, str]:
    _, *sections = (FOLDER / name).read_text(encoding="utf-8").split(_JOB)
    return {job: page for job, _, page in (section.partition("\n") for section in sections)}


def _samples(before: str, after: str) -> Iterator[tuple[str, Sample]]:
    first = {series: value for series, _, value in series_of(before)}
    for series, counts, value in series_of(after):
        yield series, Sample(counts, first.get(series), value)


def series_of(page: str) -> Iterator[tuple[str, bool, float]]:
    """Each series of a page as PromQL writes it, whether it counts, and its value."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            # The parser gives every counter a suffix, those of Triton have none on the page.
            bare = sample.name.removesuffix("_total")
            name = bare if f"# TYPE {bare} counter" in page else sample.name
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            yield f"{name}{{{labels}}}", family.type in ("counter", "histogram"), sample.value
