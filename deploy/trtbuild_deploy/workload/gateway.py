"""The gateway beside a server: its container, and the settings that it reads."""

from __future__ import annotations

from typing import Any

from trtbuild.container import ContainerSpec, Port
from trtbuild.jsonlog import VARIABLE as LOG_FORMAT
from trtbuild.jsonlog import LogFormat
from trtbuild.signature import MOUNT
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.settings.values import quantity_bytes

GATEWAY = 9000
"""Its port."""

GATEWAY_FILE = "/etc/trtbuild/gateway.yaml"
GATEWAY_KEYS = "/etc/trtbuild-keys/keys.json"
"""Where its settings and its keys are mounted."""


def gateway_container(settings: Settings, server: str, slack: int) -> ContainerSpec:
    """Return the container; ``server`` is HOST:PORT, ``slack`` the seconds before SIGKILL."""
    # The pipeline of logs reads lines of JSON.
    logs = {LOG_FORMAT: LogFormat.JSON.value} if settings.observe.ships_logs else {}
    return ContainerSpec(
        image=settings.gateway.image,
        command=(
            *("trtbuild", "gateway", MOUNT, "-f", GATEWAY_FILE, "--url", server),
            *("--host", "0.0.0.0", "--port", str(GATEWAY)),  # noqa: S104 - inside the container
        ),
        env={"HOME": "/tmp", **logs},  # noqa: S108 - inside the container
        ports=(Port(GATEWAY, GATEWAY),),
        user=f"{settings.server.user}:{settings.server.user}",
        memory_bytes=quantity_bytes(settings.gateway.memory),
        stop_seconds=settings.server.exit_timeout + slack,
        read_only=True,
        scratch=("/tmp",),  # noqa: S108 - inside the container
    )


def gateway_settings(settings: Settings) -> dict[str, Any]:
    """Return ``gateway.yaml``: open streams may take as long as the server's."""
    found: dict[str, Any] = {"drain_seconds": settings.server.exit_timeout}
    if settings.gateway.keys:
        # Prometheus has no key.
        found["access"] = {"keys": GATEWAY_KEYS, "public": ["/health*", "/metrics"]}
    return found
