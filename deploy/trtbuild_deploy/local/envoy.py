"""An Envoy of this machine in front of two servers, which divides requests by weights."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from trtbuild.errors import ServerError
from trtbuild.process import free_ports
from trtbuild.wire.failures import WireError
from trtbuild_deploy.local.program import Program, installed
from trtbuild_deploy.targets.yamltext import yaml_bytes

STABLE, CANARY = "stable", "canary"
CANARY_SERVER = "canary_server"
"""The cluster of the new server alone; CANARY falls back to the stable one."""

_INSTALL = "pip install 'trtbuild[rollout]'"
_KEY = "routing.split"
_TYPE = "type.googleapis.com/envoy.extensions"
_OPEN = "http.front.downstream_rq_active"
_MANY = 1 << 16
_POLL = 0.1


class Envoy(Program):
    """Envoy in front of a stable server and a new one, at first with all requests for the stable
    one.

    Args:
        stable, canary: ``HOST:PORT`` of the servers.
        listen: Host and port on which it listens.
        directory: For its configuration and its log.
        drain_seconds: How long its end waits for open requests.

    Raises:
        UnsupportedError: It is not installed.
        ServerError: As :class:`Program`.
    """

    def __init__(
        self,
        stable: str,
        canary: str,
        listen: tuple[str, int],
        directory: Path,
        *,
        drain_seconds: float,
    ) -> None:
        program = installed("envoy", _INSTALL)
        port = free_ports(1)[0]
        self.drain_seconds = drain_seconds
        file = directory / "envoy.yaml"
        file.write_bytes(yaml_bytes(config(stable, canary, listen, port)))
        # Without a hot restart no second Envoy on this machine shares memory with this one.
        argv = [str(program), "-c", str(file), "--log-level", "warn", "--disable-hot-restart"]
        # From the first moment of a drain every answer asks its client to close the connection.
        argv += ["--drain-strategy", "immediate"]
        super().__init__(argv, directory / "envoy.log", f"127.0.0.1:{port}", "/ready")

    def weigh(self, percent: int) -> None:
        """Send ``percent`` of the new requests to the new server; open ones stay where they are.

        Raises:
            ServerError: Envoy did not do it.
        """
        values = f"{_KEY}.{STABLE}={100 - percent}&{_KEY}.{CANARY}={percent}"
        try:
            done = self.ask(f"/runtime_modify?{values}", "POST").good
        except WireError:
            done = False
        if not done:
            raise ServerError("Envoy did not take the weights", where=self.address)

    def drain(self) -> None:
        """Refuse new connections and wait for the open requests, ``drain_seconds`` at most."""
        with contextlib.suppress(WireError):  # it has ended, and its requests with it
            for how in ("?graceful&skip_exit", ""):
                self.ask(f"/drain_listeners{how}", "POST")
        self.wait_for_none(_OPEN)

    def wait_for_none(self, gauge: str) -> bool:
        """Wait until a gauge of open requests is 0; False after ``drain_seconds``."""
        until = time.monotonic() + self.drain_seconds
        while self.running and self._gauge(gauge):
            if time.monotonic() > until:
                return False
            time.sleep(_POLL)
        return True

    def _gauge(self, name: str) -> int:
        try:
            found = json.loads(self.ask(f"/stats?format=json&filter=^{name}$").body)["stats"]
        except (WireError, ValueError, LookupError):
            return 0
        return int(found[0]["value"]) if found else 0


def config(stable: str, canary: str, listen: tuple[str, int], admin: int) -> dict[str, Any]:
    """Return Envoy's configuration.

    A request that the new server failed before its answer began is repeated at the stable one:
    the aggregate cluster has the stable one as its second priority.
    https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/aggregate_cluster
    """
    clusters = [_cluster(STABLE, stable), _cluster(CANARY_SERVER, canary), _either()]
    return {
        "admin": {"address": _address("127.0.0.1", admin)},
        "stats_flush_interval": "0.5s",
        "layered_runtime": {
            "layers": [{"name": "none", "static_layer": {}}, {"name": "admin", "admin_layer": {}}]
        },
        "static_resources": {"listeners": [_listener(listen)], "clusters": clusters},
    }


def _listener(listen: tuple[str, int]) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "stream_idle_timeout": "0s",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": _route()}],
                }
            ]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": "front", "address": _address(*listen), "filter_chains": [{"filters": filters}]}


def _route() -> dict[str, Any]:
    """Weights that change while requests run, and no limit for how long a stream takes."""
    next_one = {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": f"{_TYPE}.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    }
    return {
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
            "retriable_status_codes": [500, 502, 503, 504],
            "num_retries": 1,
            "retry_priority": next_one,
        },
        "weighted_clusters": {
            "runtime_key_prefix": _KEY,
            "clusters": [{"name": STABLE, "weight": 100}, {"name": CANARY, "weight": 0}],
        },
    }


def _cluster(name: str, address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    endpoint = {"endpoint": {"address": _address(host.strip("[]"), int(port))}}
    limits = dict.fromkeys(
        ("max_connections", "max_pending_requests", "max_requests", "max_retries"), _MANY
    )
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _either() -> dict[str, Any]:
    typed = {
        "@type": f"{_TYPE}.clusters.aggregate.v3.ClusterConfig",
        "clusters": [CANARY_SERVER, STABLE],
    }
    return {
        "name": CANARY,
        "connect_timeout": "2s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": {"thresholds": [{"max_retries": _MANY}]},
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": typed},
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
