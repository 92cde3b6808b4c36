"""Experiments while the gateway answers: who takes part, and what is recorded."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from trtbuild_gateway.experiment_settings import ExperimentSettings
from trtbuild_gateway.experiments.assignment import hash_of, takes_part, variant_of
from trtbuild_gateway.experiments.checks import check
from trtbuild_gateway.experiments.exposures import LEFT, Exposure, now, record_of
from trtbuild_gateway.experiments.figures import Figures
from trtbuild_gateway.experiments.journal import Journal
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.seams import Call, Outcome
from trtbuild_gateway.settings import Settings

_log = logging.getLogger("trtbuild.gateway")
VARIANT = "x-trtbuild-variant"
"""The header with ``EXPERIMENT=VARIANT``: of a request that chooses, and of every answer."""
_UNRECORDED = frozenset(("/tokenize", "/detokenize", "/v1/messages/count_tokens"))
_SAY_EVERY = 60.0  # seconds

Obstacle = Callable[[str], Awaitable[str]]
"""Says why a model cannot take part in an experiment; empty if it can."""

Sees = Callable[[str], bool]
"""Whether the caller may use a model."""


class Experiments:
    """The experiments of the settings.

    Args:
        settings: Each experiment.
        journal: Where records go.
        figures: Metrics.

    Attributes:
        settings: Each experiment, as configured.
    """

    def __init__(
        self, settings: Sequence[ExperimentSettings], journal: Journal, figures: Figures
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.figures = figures
        self._by_model: dict[str, list[ExperimentSettings]] = {}
        for one in settings:
            self._by_model.setdefault(one.asked, []).append(one)
        self._unsaid = Counter[tuple[str, str]]()
        self._said: dict[tuple[str, str], float] = {}

    async def expose(
        self,
        call: Call,
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        obstacle: Obstacle,
        sees: Sees,
    ) -> Exposure | None:
        """Return the variant of a request; None if it takes no part.

        Raises:
            ApiError: The client chooses a variant that it may not have, or that does not exist.
        """
        model = body.get("model")
        found = self._by_model.get(model) if isinstance(model, str) else None
        if found is None:
            return None
        chosen = _overridden(found, headers[VARIANT], sees) if VARIANT in headers else None
        unit = _unit(found[0], call, headers, body)
        if chosen is not None:
            experiment, variant = chosen
            tried = experiment.override == "try"
            return self._exposure(experiment, variant, unit, call, override=tried)
        if not unit:
            self._leave_out(found[0], "no_unit", f"they name no {found[0].unit}")
            return None
        for experiment in found:
            if not takes_part(experiment, unit):
                continue
            # Judged for all variants alike: leaving out users of one would bias the comparison.
            for one in experiment.variants.values():
                if why := await obstacle(one.model):
                    self._leave_out(experiment, "model", f"the model {one.model!r} {why}")
                    return None
            return self._exposure(experiment, variant_of(experiment, unit), unit, call)
        return None

    def _exposure(
        self,
        experiment: ExperimentSettings,
        variant: str,
        unit: str,
        call: Call,
        *,
        override: bool = False,
    ) -> Exposure:
        recorded = unit and call.endpoint not in _UNRECORDED
        return Exposure(
            experiment.name,
            variant,
            experiment.variants[variant].model,
            hash_of(experiment, unit) if recorded else "",
            override=override,
        )

    def _leave_out(self, experiment: ExperimentSettings, reason: str, why: str) -> None:
        """Count a request that takes no part, and say so now and then."""
        self.figures.left_out.labels(experiment.name, reason).inc()
        key = (experiment.name, why)
        self._unsaid[key] += 1
        moment = time.monotonic()
        if moment - self._said.get(key, -_SAY_EVERY) >= _SAY_EVERY:
            self._said[key] = moment
            _log.warning(
                "requests that take no part in the experiment %r: %d; %s",
                *(experiment.name, self._unsaid.pop(key), why),
            )

    def ended(self, exposure: Exposure, call: Call, outcome: Outcome, fallback: str) -> None:
        """Record how a request ended."""
        if not exposure.unit:
            return
        if not exposure.override:
            self._count(exposure, call, outcome)
        self.journal.add(record_of(exposure, call, outcome, fallback))

    def _count(self, exposure: Exposure, call: Call, outcome: Outcome) -> None:
        labels = (exposure.experiment, exposure.variant)
        self.figures.requests.labels(*labels, outcome.error).inc()
        if outcome.error != LEFT:
            self.figures.seconds.labels(*labels).observe(outcome.ended - call.started)
        if outcome.first_token:
            self.figures.first.labels(*labels).observe(outcome.first_token - call.started)

    async def feedback(self, ids: Sequence[str], name: str, value: float) -> str:
        """Record what was observed of an answer, and return the id of its request.

        Args:
            ids: What the id may be.
            name, value: What was observed.

        Raises:
            ApiError: No experiment had it.
        """
        found = await self.journal.find(ids)
        if found is None:
            raise ApiError(
                404,
                f"no request with the id {ids[0]!r} took part in an experiment; send the id of an "
                f"answer that has the header {VARIANT}",
                param="id",
                code="exposure_not_found",
            )
        self.figures.feedback.labels(found["experiment"], found["variant"]).inc()
        self.journal.add({"id": found["id"], "name": name, "value": value, "time": now()})
        return str(found["id"])

    async def open(self) -> None:
        """Begin: called once in the event loop, before the first request."""
        await self.journal.open()

    async def close(self) -> None:
        """Write what is left."""
        await self.journal.close()


def experiments_for(settings: Settings, before: Experiments | None = None) -> Experiments | None:
    """Return the experiments that the settings ask for; None if nothing is recorded.

    Args:
        settings: The whole file.
        before: Those until now, whose files and counts are continued.

    Raises:
        RecipeError: They are wrong, or cannot run beside each other.
        UsageError: The directory of the records cannot be used.
    """
    check(settings)
    if before is not None:
        return Experiments(settings.experiments, before.journal, before.figures)
    if settings.exposures.directory is None:
        return None
    return Experiments(settings.experiments, Journal(settings.exposures), Figures())


class ExperimentReport(Collector):
    """Prometheus's view of the experiments that run."""

    def __init__(self, experiments: Callable[[], Experiments | None]) -> None:
        self._experiments = experiments

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; none without experiments."""
        found = self._experiments()
        if found is not None:
            yield from found.figures.collect(found.journal.waiting, found.journal.lost)


def _overridden(
    found: Sequence[ExperimentSettings], text: str, sees: Sees
) -> tuple[ExperimentSettings, str]:
    """Return the experiment and the variant that a client names.

    Variants with models that it may not use are as if they were not there.
    """
    known = {
        f"{one.name}={name}": (one, name)
        for one in found
        for name, variant in one.variants.items()
        if sees(variant.model)
    }
    if text not in known:
        names = f"use one of {', '.join(known)}" if known else "your API key may use none"
        raise invalid(f"the header {VARIANT} is {text!r}; {names}", VARIANT)
    experiment, variant = known[text]
    if experiment.override == "refuse":
        raise ApiError(
            403,
            f"the experiment {experiment.name!r} lets no request choose its variant; leave out "
            f"{VARIANT}, or set `override` of the experiment in the gateway's settings",
            code="variant_not_allowed",
        )
    return experiment, variant


def _unit(
    experiment: ExperimentSettings, call: Call, headers: Mapping[str, str], body: Mapping[str, Any]
) -> str:
    """Return who asks, as the experiment tells users apart; empty if that is unknown."""
    if experiment.unit == "api_key":
        return call.caller.id
    if experiment.unit.startswith("header:"):
        return headers.get(experiment.unit.removeprefix("header:").lower(), "").strip()
    metadata = body.get("metadata")
    anthropic = metadata.get("user_id") if isinstance(metadata, dict) else None
    given = body.get("user") or body.get("safety_identifier") or anthropic
    return given if isinstance(given, str) else ""
