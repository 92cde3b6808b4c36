"""A Prometheus of this machine, with its data in a directory that is removed afterwards."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trtbuild.errors import ServerError
from trtbuild.process import free_ports
from trtbuild.wire.failures import DeadlineError, WireError
from trtbuild_deploy.local.program import Program, installed
from trtbuild_deploy.targets.yamltext import yaml_bytes

INSTALL = "install it (apt-get install prometheus, or https://prometheus.io/download)"
_LATE = 4  # as many errors in a row as Argo's analysis forgives


class Prometheus(Program):
    """Prometheus with a configuration, on 127.0.0.1.

    Args:
        config: Its whole configuration.
        directory: For the configuration, its data and its log.
        port: Where it listens; 0 takes a free port.
        mark: As :class:`Program`.

    Raises:
        UnsupportedError: It is not installed.
        ServerError: As :class:`Program`.
    """

    def __init__(
        self, config: Mapping[str, Any], directory: Path, port: int = 0, mark: str = ""
    ) -> None:
        program = installed("prometheus", INSTALL)
        address = f"127.0.0.1:{port or free_ports(1)[0]}"
        file = directory / "prometheus.yaml"
        file.write_bytes(yaml_bytes(dict(config)))
        argv = [
            str(program),
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            "--storage.tsdb.retention.size=256MB",
            f"--web.listen-address={address}",
            "--log.level=warn",
            # Otherwise the first scrape comes after 5 s.
            "--scrape.discovery-reload-interval=250ms",
        ]
        super().__init__(argv, directory / "prometheus.log", address, "/-/ready", mark)

    def value(self, query: str) -> float | None:
        """Return the number that a query gives now; None without one, as for 0 / 0.

        Raises:
            ServerError: Prometheus refused the query or did not answer.
        """
        try:
            found = json.loads(self._answer(f"/api/v1/query?query={quote(query, safe='')}"))
            if found["status"] != "success":
                raise ServerError(f"Prometheus refused a query: {found['error']}", where=query)
            result = found["data"]["result"]
            number = float(result[0]["value"][1]) if result else math.nan
        except (WireError, ValueError, LookupError, TypeError) as error:
            raise ServerError(
                f"Prometheus did not answer a query: {error}", where=self.address
            ) from None
        return None if math.isnan(number) else number

    def _answer(self, path: str) -> bytes:
        """On a busy machine an answer may be late; that says nothing about what is measured."""
        for _ in range(_LATE):
            with contextlib.suppress(DeadlineError):
                return self.ask(path).body
        return self.ask(path).body
