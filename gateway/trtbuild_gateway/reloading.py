"""New settings for a gateway that runs, without cutting a stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from trtbuild.errors import TrtbuildError
from trtbuild_gateway.access.gate import abandon, gate_for
from trtbuild_gateway.experiments.running import experiments_for
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.settings import Settings

_log = logging.getLogger("trtbuild.gateway")

_FIXED = (
    "host", "port", "header_seconds", "control", "page", "log_format", "log_level", "traces",
    "batches", "exposures",
)  # fmt: skip
"""Settings of what is made once: sockets, routes, telemetry, and who writes files."""


async def reload(gateway: Gateway, read: Callable[[], Settings]) -> bool:
    """Read the settings again and serve with them; whether they are valid.

    Everything is read and checked first. Requests that run keep the model, the servers and the
    limits with which they began. Without changes the repository's lock is read all the same.
    """
    gate = gateway.gate
    gate.reopen()  # whatever the settings are: a log was moved away
    try:
        settings = await asyncio.to_thread(read)
        workers = gateway.catalog.workers
        experiments = experiments_for(settings, gateway.experiments)
        use_token = None if gateway.control is None else gateway.control(settings)
        changed = settings.access != gateway.settings.access
        if changed:
            gate = await asyncio.to_thread(gate_for, settings, gateway.gate)
        if workers is not None:
            install = settings.jit_install == "allow"
            await asyncio.to_thread(workers.adopt, settings.registry, jit_install=install)
        await gateway.catalog.adopt(settings)
    except TrtbuildError as error:
        if gate is not gateway.gate:
            await abandon(gate, gateway.gate)
        _log.error("the settings are not used, the old ones stay: %s", error)
        gateway.metrics.reloaded("refused")
        return False
    if workers is not None:
        await workers.retire()
    _say_fixed(gateway, settings)
    if changed:
        await gate.open()
        gateway.retired.append(gateway.gate)  # requests that run still settle with it
    if experiments is not None:
        await experiments.open()
    if use_token is not None:
        use_token()
    gateway.settings, gateway.gate, gateway.experiments = settings, gate, experiments
    gateway.metrics.reloaded("done")
    return True


def _say_fixed(gateway: Gateway, settings: Settings) -> None:
    """Name the settings that have changed and need a restart."""
    token = settings.control.token_file  # is read again
    old = msgspec.structs.replace(
        gateway.settings,
        control=msgspec.structs.replace(gateway.settings.control, token_file=token),
    )
    for name in _FIXED:
        begins = name == "exposures" and gateway.experiments is None
        if not begins and getattr(settings, name) != getattr(old, name):
            _log.warning("%r has changed, which takes effect when the gateway is restarted", name)
