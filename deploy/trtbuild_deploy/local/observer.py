"""Prometheus and a collector beside the server of ``trtbuild serve --observe``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild.errors import UnsupportedError
from trtbuild.process import free_ports, port_is_free
from trtbuild_deploy.facts import read_facts
from trtbuild_deploy.local.collector import Collector, find_collector
from trtbuild_deploy.local.program import installed
from trtbuild_deploy.local.prometheus import INSTALL, Prometheus
from trtbuild_deploy.settings import Gpu, Settings
from trtbuild_deploy.targets.observe import rules_document
from trtbuild_deploy.targets.observing import RULES
from trtbuild_deploy.targets.yamltext import yaml_bytes
from trtbuild_deploy.workload import trace_arguments

_PORT = 9090
_ANY_IMAGE = "any"
_NO_COLLECTOR = (
    "no traces: no collector is installed; `pip install 'trtbuild[traces]'`, or otelcol on the PATH"
)


@dataclass(frozen=True, slots=True)
class _Observing:
    """What was found on this machine; see :class:`trtbuild.pipeline.observing.Observing`."""

    arguments: tuple[str, ...]
    notes: tuple[str, ...]
    rules: Mapping[str, Any]
    collector: Path | None
    traces: int
    scrapes: bool

    def start(self, metrics: str, mark: str, folder: Path) -> dict[str, str]:
        found = {}
        if self.collector:
            found["traces"] = str(Collector(self.collector, self.traces, folder, mark).log)
        if self.scrapes:
            (folder / RULES).write_bytes(yaml_bytes(dict(self.rules)))
            port = _PORT if port_is_free(_PORT) else 0
            running = Prometheus(_scrapes(metrics), folder, port, mark)
            found["metrics"] = f"http://{running.address}/graph"
            found["alerts"] = f"http://{running.address}/alerts"
        return found


class Observer:
    """The observer of trtbuild; an entry point of ``trtbuild.observers.v1``."""

    def prepare(self, repo: Path, *, embedded: bool) -> _Observing:
        """Find what is installed, and write the rules for what the server will export.

        Raises:
            UnsupportedError: Neither Prometheus nor a collector is installed.
            TrtbuildError: As :func:`trtbuild_deploy.facts.read_facts`.
        """
        # The rules name no image; whether one serves every model is the launcher's to say.
        facts = read_facts(repo, image=_ANY_IMAGE)
        settings = Settings(gpu=Gpu(mode="none" if embedded else "plugin"))
        collector, port = find_collector(), free_ports(1)[0]
        notes = [] if collector else [_NO_COLLECTOR]
        try:
            installed("prometheus", INSTALL)
        except UnsupportedError as error:
            if not collector:
                raise UnsupportedError(
                    "nothing can observe: neither Prometheus nor a collector is installed",
                    fix=f"{INSTALL}; {_NO_COLLECTOR.partition('; ')[2]}",
                ) from None
            notes.append(f"no metrics: {error.what}; {error.fix}")
        url = f"http://127.0.0.1:{port}/v1/traces" if collector else ""
        return _Observing(
            arguments=trace_arguments(url, 1),
            notes=tuple(notes),
            rules=rules_document(facts, settings),
            collector=collector,
            traces=port,
            scrapes=not any(note.startswith("no metrics") for note in notes),
        )


def _scrapes(metrics: str) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "5s"},
        "rule_files": [RULES],
        "scrape_configs": [{"job_name": "triton", "static_configs": [{"targets": [metrics]}]}],
    }


observer = Observer()
