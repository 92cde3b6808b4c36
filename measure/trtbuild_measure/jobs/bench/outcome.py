"""The result of a benchmark, and the error that goes with it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from trtbuild.endings import word
from trtbuild.errors import BenchError
from trtbuild_measure.bench import guards
from trtbuild_measure.bench.comparison import side_by_side
from trtbuild_measure.bench.ledger import Ledger
from trtbuild_measure.bench.limits import no_connection
from trtbuild_measure.bench.loads.model import MISTAKE
from trtbuild_measure.bench.model import BenchTarget, Endpoint, Json
from trtbuild_measure.bench.results import FORMAT, load_result
from trtbuild_measure.bench.running import UNFINISHED, Run
from trtbuild_measure.bench.sweep import Sweep
from trtbuild_measure.bench.targets import Address
from trtbuild_measure.bench.targets.openai_tasks import TASKS
from trtbuild_measure.jobs.bench.targets import Prepared


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything measured in one run.

    Attributes:
        prepared: The targets.
        run: Every load of each.
        sweeps: The result by target, if rates were swept.
        accepted: Objections before measuring that were allowed.
        allow: Kinds of reasons that are accepted.
    """

    prepared: list[Prepared]
    run: Run
    sweeps: dict[str, Sweep]
    accepted: list[guards.Objection]
    allow: frozenset[str]

    def result(self, environment: Json, settings: Json) -> Json:
        """Return the JSON of the whole run."""
        targets = [self._target(one) for one in self.prepared]
        after = _after(self.run) if len(self.prepared) > 1 else []
        refused = [one.text for one in after if one.kind not in self.allow]
        accepted = [*self.accepted, *(one for one in after if one.kind in self.allow)]
        return {
            "format": FORMAT,
            "environment": environment,
            "settings": settings,
            "targets": targets,
            "comparison": {
                "refused": refused,
                "accepted": [one.text for one in accepted],
                "rows": side_by_side(targets) if len(targets) > 1 and not refused else [],
            },
            "warnings": _warnings(self.run),
            "partial": word(self.run.signal) if self.run.signal else self.run.lost,
        }

    def so_far(self, environment: Json, settings: Json) -> Json:
        """Return the partial result of a run in progress."""
        return {**self.result(environment, settings), "partial": UNFINISHED}

    def _target(self, prepared: Prepared) -> Json:
        loads = [found for found in self.run.loads if found.subject.target is prepared.target]
        found: Json = {
            "name": prepared.address.name,
            "address": prepared.address.text,
            "kind": prepared.address.kind,
            "model": prepared.address.model,
            "precision": prepared.precision,
            "loads": [load_result(load) for load in loads],
        }
        if prepared.target.name in self.sweeps:
            swept = self.sweeps[prepared.target.name]
            found["sweep"] = {"highest_rate": swept.held, "broke_at": swept.broke}
        return found

    def error(self, result: Json) -> BenchError | None:
        """Return why a script must not trust this run; None if it may."""
        if self.run.lost and not self.run.interrupted:
            return BenchError(
                self.run.lost,
                where="the result has what was measured until then, marked partial",
                fix=_after_loss(self.run, self.prepared),
            )
        if result["comparison"]["refused"]:
            return BenchError(
                "the measurements are not comparable",
                details=tuple(result["comparison"]["refused"]),
                fix="make the targets alike, or accept it with --allow lengths",
            )
        useless = _useless(self.run, self.prepared)
        return useless or _unjudged(self.run) or _no_rate(self.sweeps)


def server_log(address: Address) -> str:
    """Return a sentence that names the log of a target's server."""
    if address.kind == "openai":
        return f"see the log of the server at {address.url}"
    return "see the server's log: `trtbuild logs`"


def ask_once(address: Address, endpoint: Endpoint = "chat") -> str:
    """Return the command that sends the target a single request."""
    if address.kind == "openai" and endpoint in TASKS:
        body = json.dumps({"model": address.model, **TASKS[endpoint].body(("Hi",))})
        return (
            f"send one request: curl {address.url}{TASKS[endpoint].path} "
            f"-H 'Content-Type: application/json' -d {shlex.quote(body)}"
        )
    if address.kind == "openai":
        return (
            f"send one request: curl {address.url}/chat/completions "
            "-H 'Content-Type: application/json' "
            f'-d \'{{"model": "{address.model}", "max_tokens": 8, "messages": '
            '[{"role": "user", "content": "Hi"}]}\''
        )
    if address.kind == "baseline":
        return server_log(address)
    return f"`trtbuild infer {address.model} -p Hi` sends a single request"


def _after_loss(run: Run, prepared: list[Prepared]) -> str:
    if MISTAKE in run.lost:
        return "please report this with the result (--out FILE)"
    lost = next((one.subject.target for one in run.loads if one.partial == run.lost), None)
    return server_log(_prepared(prepared, lost).address)


def _prepared(prepared: list[Prepared], target: BenchTarget | None) -> Prepared:
    return next((one for one in prepared if one.target is target), prepared[0])


def _useless(run: Run, prepared: list[Prepared]) -> BenchError | None:
    for load in run.loads:
        name, ledger = load.subject.target.name, load.ledger
        if not ledger.ok and ledger.failures.total:
            asked = _prepared(prepared, load.subject.target)
            return BenchError(
                f"no request to {name} succeeded at {load.load.label}",
                where=ledger.failures.most(),
                fix=ask_once(asked.address, asked.endpoint),
            )
        if text := guards.wrong_tokenizer(name, ledger):
            return BenchError(text, fix="give the served checkpoint's directory with --tokenizer")
    return None


def _unjudged(run: Run) -> BenchError | None:
    """Report an objective without measurements: without token counts there is no ITL."""
    for load in run.loads:
        latencies = load.ledger.latencies
        for name in load.ledger.goodput.slo:
            if latencies["icl_ms"].count and not latencies[name].count:
                objective = name.removesuffix("_ms")
                return BenchError(
                    f"cannot tell whether {load.subject.target.name} meets the objective of "
                    f"{objective}: its tokens are not counted",
                    fix="give the served checkpoint's directory with --tokenizer, or use an "
                    "objective of icl or e2e",
                )
    return None


def _no_rate(sweeps: dict[str, Sweep]) -> BenchError | None:
    for name, found in sweeps.items():
        if not found.held and found.broke is not None:
            return BenchError(
                f"{name} meets the objectives at no rate, not even {found.broke:g} requests/s",
                fix="relax the objectives (--slo), or start at a lower rate (--rate)",
            )
    return None


def _after(run: Run) -> list[guards.Objection]:
    by_load: dict[str, dict[str, Any]] = {}
    for one in run.loads:
        by_load.setdefault(one.load.label, {})[one.subject.target.name] = one.ledger
    return [reason for label, ledgers in by_load.items() for reason in guards.after(ledgers, label)]


def _warnings(run: Run) -> list[str]:
    """Return each warning once, with its loads unless it applies to all."""
    found: dict[str, list[str]] = {}
    ledgers: dict[str, list[Ledger]] = {}
    for one in run.loads:
        name = one.subject.target.name
        ledgers.setdefault(name, []).append(one.ledger)
        texts = guards.warnings(name, one.ledger)
        if one.client.as_dict()["saturated"]:
            texts.append("the client was saturated; the target may be faster than these figures")
        if one.ledger.waited:
            texts.append(no_connection(one.ledger.waited))
        for text in texts:
            found.setdefault(text, []).append(one.load.label)
    everywhere = len({one.load.label for one in run.loads})
    told = [
        text if len(set(labels)) == everywhere > 1 else f"{_listed(labels)}: {text}"
        for text, labels in found.items()
    ]
    counted = (guards.counted_otherwise(name, of_target) for name, of_target in ledgers.items())
    return told + [text for text in counted if text]


def _listed(labels: list[str]) -> str:
    return ", ".join(dict.fromkeys(labels))
