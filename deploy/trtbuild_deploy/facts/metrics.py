"""Which metrics a server exports, and which signals can be computed from them: ``metrics.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from trtbuild_deploy.resources import data_file

Kind = Literal["counter", "gauge", "histogram"]
Place = Literal["image", "embedded"]
_WINDOW = re.compile(r"\[\d+[smh]\]")
_KINDS: tuple[Kind, ...] = ("counter", "gauge", "histogram")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family.

    Attributes:
        name: As Prometheus stores it; a histogram without ``_bucket``, ``_sum`` and ``_count``.
        kind: What it is.
        labels: Those of every series.
        source: Who exports it.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Signal:
    """A quantity to watch, or to scale on.

    Attributes:
        name: Its name in ``metrics.toml``.
        title: What it is, with its unit.
        template: The expression with ``MATCH`` for the caller's label matchers; empty if the
            metrics for it are missing.
        families: Names of the metrics in the expression.
        source: Who exports them.
        missing: What to do where there is no expression; empty if there is one.
    """

    name: str
    title: str
    template: str = ""
    families: tuple[str, ...] = ()
    source: str = ""
    missing: str = ""

    @property
    def exists(self) -> bool:
        """Whether it can be computed."""
        return bool(self.template)

    def promql(self, match: str = "", window: str = "") -> str:
        """Return the expression; ``match`` narrows every series: ``namespace="prod"``, ``window``
        such as ``30s`` replaces the table's."""
        text = narrowed(self.template, match)
        return _WINDOW.sub(f"[{window}]", text) if window else text


@dataclass(frozen=True, slots=True)
class Exporters:
    """What is deployed, as far as metrics depend on it.

    Attributes:
        builders: Of the models that report metrics; a model can have them turned off.
        release: The Triton release.
        decoupled: Whether a model may send several responses.
        place: NVIDIA's image, or trtbuild's embedded server.
        gateway: Whether a gateway stands in front.
    """

    builders: frozenset[str]
    release: str
    decoupled: bool = False
    place: Place = "image"
    gateway: bool = False


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a deployment exports.

    Attributes:
        families: By name.
        signals: By name; those without metrics say what is missing.
        as_of: Date of the table.
        unread: Sources that were not read for this release, as sentences.
    """

    families: Mapping[str, Family]
    signals: Mapping[str, Signal]
    as_of: str
    unread: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[Signal, ...]:
        """The signals that cannot be computed."""
        return tuple(signal for signal in self.signals.values() if not signal.exists)


def metrics_of(exporters: Exporters) -> Metrics:
    """Look up what a deployment exports."""
    table = _table()
    sources = [row for row in table["source"] if _exports(row, exporters)]
    families = {family.name: family for row in sources for family in _families(row)}
    unread = dict.fromkeys(
        f"the metrics of {row['name']} are known up to {row['read_until']}; this is "
        f"{exporters.release}"
        for row in sources
        if exporters.release > row.get("read_until", exporters.release)
    )
    return Metrics(families, _signals(families), str(table["as_of"]), tuple(unread))


def metrics_on(names: Collection[str]) -> Metrics:
    """What can be computed from pages of metrics behind trtbuild's own proxy.

    Args:
        names: Metrics, spelt as on the pages. The proxy's are always there, though its page shows
            some only after the first request.
    """
    shown = {name.removesuffix("_total") for name in names}
    families = {
        family.name: family
        for row in _table()["source"]
        for family in _families(row)
        if row["place"] == "proxy" or family.name.removesuffix("_total") in shown
    }
    return Metrics(families, _signals(families, proxied=True), str(_table()["as_of"]))


def narrowed(template: str, match: str) -> str:
    """Return an expression with the label matchers ``match`` in place of ``MATCH``."""
    if match:
        return template.replace("MATCH", match)
    return template.replace("{MATCH}", "").replace("MATCH,", "")


def progress_of(exporters: Exporters, *, text: bool) -> str:
    """The counter that moves while a busy model still works; empty if there is none. ``text``:
    whether it generates any."""
    families = metrics_of(exporters).families
    for row in _table()["progress"]:
        given = {"decoupled": exporters.decoupled, "text": text}
        fits = all(row.get(key, value) == value for key, value in given.items())
        if fits and row["from"] in families:
            return str(row["from"])
    return ""


def known_families() -> frozenset[str]:
    """Every name in the table, whatever exports it."""
    return frozenset(family.name for row in _table()["source"] for family in _families(row))


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(data_file("metrics.toml").read_text(encoding="utf-8"))


def _exports(row: Mapping[str, Any], exporters: Exporters) -> bool:
    release = exporters.release
    embedded = exporters.place == "embedded"
    if not embedded and not row.get("since", release) <= release <= row.get("until", release):
        return False
    if embedded and row.get("since", "") > "24.10":
        return False  # the embedded server is a 24.10
    if row.get("decoupled", exporters.decoupled) != exporters.decoupled:
        return False
    builders: Collection[str] | None = row.get("builders")
    if builders is not None and not exporters.builders & set(builders):
        return False
    place = row["place"]
    return bool(place in ("any", exporters.place) or (place == "gateway" and exporters.gateway))


def _families(row: Mapping[str, Any]) -> Iterator[Family]:
    labels = tuple(row["labels"])
    for kind in _KINDS:
        for name in row.get(f"{kind}s", ()):
            yield Family(name, kind, labels, row["name"])
        for name, more in row.get(f"labelled_{kind}s", {}).items():
            yield Family(name, kind, (*labels, *more), row["name"])


def _signals(families: Mapping[str, Family], *, proxied: bool = False) -> dict[str, Signal]:
    rows = (row for row in _table()["signal"] if proxied or "place" not in row)
    return {row["name"]: _signal(row, families) for row in rows}


def _signal(row: Mapping[str, Any], families: Mapping[str, Family]) -> Signal:
    for one in row["expression"]:
        found = [families[name] for name in one["from"] if name in families]
        has_labels = all(set(one.get("labels", ())) <= set(family.labels) for family in found)
        if len(found) == len(one["from"]) and has_labels:
            names = tuple(family.name for family in found)
            return Signal(row["name"], row["title"], one["promql"], names, found[0].source)
    return Signal(row["name"], row["title"], missing=row["missing"])
