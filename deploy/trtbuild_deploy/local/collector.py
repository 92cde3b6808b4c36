"""A collector of OpenTelemetry on this machine, which writes the spans it gets to its log.

The log is rotated at 16 MiB, and one older file is kept.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from trtbuild.process import free_ports
from trtbuild_deploy.local.program import Program
from trtbuild_deploy.targets.observing import collector
from trtbuild_deploy.targets.yamltext import yaml_bytes

_NAMES = ("otelcol-contrib", "otelcol")
_LOG_BYTES = 16 << 20  # a span takes some 1.5 kB


def find_collector() -> Path | None:
    """Return OpenTelemetry's collector on the PATH, or rotel of the extra; None without either."""
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec("rotel")
    agent = Path(spec.origin).with_name("rotel-agent") if spec and spec.origin else None
    return agent if agent and agent.is_file() else None


class Collector(Program):
    """A collector on 127.0.0.1.

    Args:
        program: From :func:`find_collector`.
        port: Where it takes OTLP over HTTP, JSON too, as Triton sends it.
        directory: For its configuration and its log.
        mark: As :class:`Program`.

    Raises:
        ServerError: As :class:`Program`.
    """

    def __init__(self, program: Path, port: int, directory: Path, mark: str = "") -> None:
        address = f"127.0.0.1:{port}"
        self.log = directory / "collector.log"
        if program.name in _NAMES:
            file = directory / "collector.yaml"
            file.write_bytes(yaml_bytes(collector(address, "detailed")))
            argv = [str(program), f"--config={file}"]
        else:
            unused = f"127.0.0.1:{free_ports(1)[0]}"
            argv = [str(program), "start", "--otlp-http-endpoint", address]
            argv += ["--otlp-grpc-endpoint", unused, "--exporter", "blackhole"]
            argv += ["--debug-log", "traces", "--debug-log-verbosity", "detailed"]
        super().__init__(argv, self.log, address, mark=mark, log_bytes=_LOG_BYTES)
