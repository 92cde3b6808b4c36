"""A dashboard of Grafana 11.6 and newer: a panel for each signal, and those of ``panels.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trtbuild.errors import UnsupportedError
from trtbuild_deploy.facts import Metrics, narrowed
from trtbuild_deploy.resources import data_file
from trtbuild_deploy.settings import Observe
from trtbuild_deploy.targets.observe.rules import matchers, series

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.timeseries import Panel as PanelBuilder

_SOURCE = "datasource"  # a variable: whoever imports the dashboard chooses his Prometheus
_WIDTH, _HEIGHT = 12, 8  # of the grid's 24 columns


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel: its expression, its unit as Grafana names it, and the limit of its alert."""

    title: str
    promql: str
    unit: str
    legend: str
    limit: float | None = None


def panels(metrics: Metrics, observe: Observe) -> Iterator[Panel]:
    """The panels whose metrics exist, in the table's order."""
    match = matchers(observe)
    text = data_file("panels.toml").read_text(encoding="utf-8")
    for row in tomllib.loads(text)["panel"]:
        limit = getattr(observe, row["limit"]) if "limit" in row else None
        found = _found(row, metrics, match)
        if found:
            yield Panel(*found, row["unit"], row["legend"], limit)


def _found(row: Mapping[str, Any], metrics: Metrics, match: str) -> tuple[str, str] | None:
    """The title and the expression of a row; None where its metrics do not exist."""
    if "signal" in row:
        signal = metrics.signals[row["signal"]]
        return (signal.title, series(signal.name, match)) if signal.exists else None
    has_all = set(row["from"]) <= set(metrics.families)
    return (row["title"], narrowed(row["promql"], match)) if has_all else None


def dashboard_bytes(name: str, metrics: Metrics, observe: Observe) -> bytes:
    """The dashboard of the deployment ``name`` as JSON, for Grafana's import or provisioning.

    Raises:
        UnsupportedError: The extra that writes it is not installed.
    """
    try:
        from grafana_foundation_sdk.builders import dashboard
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
    except ImportError as error:
        raise UnsupportedError(
            f"the dashboard needs grafana-foundation-sdk: {error}",
            fix="pip install 'trtbuild[dashboards]', or leave 'observe.dashboard' out",
        ) from None
    made = (
        dashboard.Dashboard(f"Triton: {name}")
        .uid(f"trtbuild-{name}")
        .tags(["trtbuild", "triton"])
        .time("now-1h", "now")
        .refresh("30s")
        .readonly()
        .with_variable(dashboard.DatasourceVariable(_SOURCE).type("prometheus"))
    )
    for number, panel in enumerate(panels(metrics, observe), start=1):
        made = made.with_panel(_panel(number, panel))
    return (JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n").encode()


def _panel(number: int, panel: Panel) -> PanelBuilder:
    from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
    from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
    from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

    query = prometheus.Dataquery().expr(panel.promql).legend_format(panel.legend).ref_id("A")
    made = (
        timeseries.Panel()
        .id(number)
        .title(panel.title)
        .unit(panel.unit)
        .min(0)
        .datasource(DataSourceRef("prometheus", f"${{{_SOURCE}}}"))
        .with_target(query)
        .span(_WIDTH)
        .height(_HEIGHT)
    )
    if panel.limit is None:
        return made
    steps = [Threshold(None, "green"), Threshold(panel.limit, "red")]
    line = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
    limits = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return made.thresholds(limits).thresholds_style(line)
