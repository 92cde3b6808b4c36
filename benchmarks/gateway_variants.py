"""The gateway, its settings and other relays, as ``bench_gateway.py`` compares them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gateway_load import HERE, Request, chat, completion, direct, free_port

ENVOY_KIND = "type.googleapis.com/envoy.extensions.filters"
ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {kind}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: relay
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: upstream, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {kind}.http.router.v3.Router}}
  clusters:
  - name: upstream
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 9000, max_requests: 9000}}]}}
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""


def relays(upstream: int, args: Any, folder: Path) -> Iterator[tuple[str, list[str], int, Request]]:
    gateway, two, envoy, raw, usual = (free_port() for _ in range(5))
    code = "from trtbuild.cli.app import main; main()"
    settings = folder / "gateway.yaml"
    template = folder / "template.jinja"
    template.write_text("{{ messages[0].content }}")
    settings.write_text("models: {m: {chat_template: template.jinja}}\n")
    argv = [sys.executable, "-c", code, "gateway", "--url", f"127.0.0.1:{upstream}"]
    argv += ["-f", str(settings), "--port"]
    if args.envoy:
        config = folder / "envoy.yaml"
        config.write_text(ENVOY.format(kind=ENVOY_KIND, port=envoy, upstream=upstream))
        line = [args.envoy, "-c", str(config), "--concurrency", "1", "--log-level", "off"]
        yield "Envoy, raw", line, envoy, direct
    yield "gateway, completions", [*argv, str(gateway)], gateway, completion
    yield "gateway, chat", [], gateway, chat  # the same process
    # One process by two names: two would write at other times, which costs every relay more.
    other = ["--url", f"localhost:{upstream}"]
    yield "gateway, two servers", [*argv, str(two), *other], two, completion
    for name, script, port, make in (
        ("asyncio, raw", "raw_relay.py", raw, direct),
        ("Starlette + httpx + json", "usual_relay.py", usual, completion),
    ):
        place = f"http://127.0.0.1:{upstream}"
        yield name, [sys.executable, str(HERE / script), place, str(port)], port, make


def access_variants(upstream: int, folder: Path) -> Iterator[tuple[str, list[str], int, Request]]:
    """The gateway without access control, with it, and with masking or an experiment as well."""
    from datetime import UTC, datetime

    from trtbuild_gateway.access.keys import Key, Secret, digest_of, new_key, write_keys

    id, text = new_key()
    now = datetime.now(UTC)
    write_keys(folder / "keys.json", [Key(id, "bench", now, (Secret(digest_of(text), now),))])
    limits = dict.fromkeys(("requests_per_minute", "requests_per_day", "concurrent"), 10**6)
    limits |= dict.fromkeys(("tokens_per_minute", "tokens_per_day"), 10**12)
    kinds = ["email", "phone", "iban", "card", "ip", "ssn"]
    full: dict[str, Any] = {"keys": "keys.json", "limits": limits}
    masking = {"audit": {"path": "masked.jsonl"}, "masking": {"default": [{"find": kinds}]}}
    same = {name: {"model": "m"} for name in ("control", "treatment")}
    experiment = {
        "access": full | {"audit": {"path": "exposed.jsonl"}},
        "exposures": {"directory": "exposures"},
        "experiments": [{"name": "same", "unit": "api_key", "variants": same}],
    }
    variants: list[tuple[str, dict[str, Any]]] = [
        ("without", {}),
        ("keys, limits, audit", {"access": full | {"audit": {"path": "audit.jsonl"}}}),
        ("and masking", {"access": full | masking}),
        ("and an experiment", experiment),
    ]
    for name, settings in variants:
        port, file = free_port(), folder / f"{name}.yaml"
        file.write_text(json.dumps(settings))
        code = "from trtbuild.cli.app import main; main()"
        argv = [sys.executable, "-c", code, "gateway", "--url", f"127.0.0.1:{upstream}"]
        argv += ["--port", str(port), "-f", str(file)]
        yield name, argv, port, partial(completion, key=text)
