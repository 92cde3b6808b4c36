"""What a rollout measures: pages of metrics, Prometheus over them, and the analyses."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from trtbuild.errors import ServerError, UsageError
from trtbuild.wire.blocking import fetch
from trtbuild.wire.failures import WireError
from trtbuild_deploy.facts import Metrics, metrics_on
from trtbuild_deploy.jobs.addresses import require_address
from trtbuild_deploy.local import Prometheus
from trtbuild_deploy.local.envoy import CANARY, CANARY_SERVER, STABLE
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.workload import Analysis, analyses

_READY = ("/health/ready", "/v2/health/ready")
_LABEL = "version"


@dataclass(frozen=True, slots=True)
class Server:
    """A server of a rollout.

    Attributes:
        address: ``HOST:PORT`` of its HTTP endpoint: a gateway's or Triton's.
        pages: Whole addresses of its metrics; empty: ``/metrics`` at its own address, if it
            answers.
    """

    address: str
    pages: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, int]:
        """Address and port without names; the name where it has no address."""
        host, port = _host_and_port(self.address)
        with contextlib.suppress(OSError, UnicodeError):
            host = socket.gethostbyname(host)
        return host, port


@dataclass(frozen=True, slots=True)
class Measurement:
    """The values at one moment.

    Attributes:
        percent: The new server's share of the requests.
        values: By analysis; None without a value.
        failed: The analyses whose value is above its limit.
    """

    percent: int
    values: Mapping[str, float | None]
    failed: tuple[str, ...]


def parsed_server(address: str, pages: Sequence[str] = (), option: str = "") -> Server:
    """Return a server by what a user typed, its pages of metrics with ``option``.

    Raises:
        UsageError: It is no ``HOST:PORT``, or needs TLS; a page is no URL, or has a login.
    """
    host, port = _host_and_port(address)
    for page in pages:
        require_address(option, page, "http://127.0.0.1:8002/metrics", full=True)
    return Server(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", tuple(pages))


def listening(address: str) -> tuple[str, int]:
    """Return where Envoy listens, which takes no names. UsageError: it is no ``HOST:PORT``, or the
    host is none."""
    host, port = _host_and_port(address)
    try:
        return (host if ":" in host else socket.gethostbyname(host)), port
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"{host!r} is not an address of this machine: {getattr(error, 'strerror', error)}",
            fix="such as 127.0.0.1:8080, or 0.0.0.0:8080 for other machines",
        ) from None


def _host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``http://HOST:PORT``. UsageError: it is neither."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.username is not None:
        raise UsageError("an address has a login, which Envoy does not send", fix="leave it out")
    if parts.scheme != "http" or not parts.hostname or not port or parts.path not in ("", "/"):
        raise UsageError(
            f"{address!r} is not HOST:PORT",
            fix="write it as 127.0.0.1:8080; TLS is not supported",
        )
    return parts.hostname, port


def require_ready(name: str, server: Server) -> None:
    """Raise ServerError unless a server says that it is ready."""
    said = "nothing answers"
    for path in _READY:
        try:
            response = fetch(f"http://{server.address}{path}", seconds=5)
        except WireError:
            continue
        if response.good:
            return
        said = f"it answers {response.status} to {path}"
    raise ServerError(
        f"the {name} server is not ready: {said}",
        where=server.address,
        fix="start it, wait for /v2/health/ready (a gateway: /health/ready), and try again",
    )


def pages_of(server: Server) -> dict[str, str]:
    """Return the text of a server's pages of metrics by address.

    Raises:
        ServerError: A page that was named cannot be read.
    """
    found = {}
    for url in server.pages or (f"http://{server.address}/metrics",):
        text = _text(url)
        if text:
            found[url] = text
        elif server.pages:
            raise ServerError(
                "a page of metrics cannot be read",
                where=url,
                fix="correct --stable-metrics or --canary-metrics",
            )
    return found


def _text(url: str) -> str:
    try:
        response = fetch(url, seconds=5)
    except (WireError, ValueError):
        return ""
    return response.body.decode("utf-8", "replace") if response.good else ""


def seen_metrics(*pages: str) -> Metrics:
    """What can be measured with Envoy and what the pages of the new server show.

    Raises:
        ServerError: A page is not in Prometheus' format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        return metrics_on({
            family.name for page in pages for family in text_string_to_metric_families(page)
        })  # fmt: skip
    except ValueError as error:
        raise ServerError(f"a page of metrics is not in Prometheus' format: {error}") from None


def scrapes(proxy: str, pages: Mapping[str, Sequence[str]], interval: float) -> dict[str, Any]:
    """Return the configuration of a Prometheus that labels every series by its version.

    Args:
        proxy: Address of Envoy's admin interface.
        pages: Addresses of pages of metrics by version.
        interval: Seconds between two scrapes.
    """
    jobs = [
        {
            "job_name": f"{version}-{number}",
            "scheme": parts.scheme,
            "metrics_path": parts.path or "/",
            "params": parse_qs(parts.query),
            "static_configs": [{"targets": [parts.netloc], "labels": {_LABEL: version}}],
        }
        for version, urls in pages.items()
        for number, parts in enumerate(map(urlsplit, urls))
    ]
    versions = {STABLE: STABLE, CANARY: CANARY, CANARY_SERVER: CANARY}
    envoy = {
        "job_name": "envoy",
        "metrics_path": "/stats/prometheus",
        "static_configs": [{"targets": [proxy]}],
        "metric_relabel_configs": [
            {
                "source_labels": ["envoy_cluster_name"],
                "regex": cluster,
                "target_label": _LABEL,
                "replacement": version,
            }
            for cluster, version in versions.items()
        ],
    }
    every = f"{round(interval * 1000)}ms"
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every},
        "scrape_configs": [*jobs, envoy],
    }


def chosen(metrics: Metrics, settings: Settings, window: float) -> tuple[Analysis, ...]:
    """Return the analyses of a rollout, the same as Argo's."""
    new, stable = (f'{_LABEL}="{version}"' for version in (CANARY, STABLE))
    return tuple(analyses(metrics, settings, new, stable, f"{round(window * 1000)}ms"))


def measured(prometheus: Prometheus, wanted: Sequence[Analysis], percent: int) -> Measurement:
    """Ask Prometheus for every analysis now."""
    values = {one.name: prometheus.value(one.query) for one in wanted}
    return Measurement(percent, values, tuple(_failed(wanted, values)))


def _failed(wanted: Sequence[Analysis], values: Mapping[str, float | None]) -> Iterator[str]:
    for one in wanted:
        value = values[one.name]
        if value is not None and value > one.limit:
            yield one.name
