"""Who may control models: whoever knows the token."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

from trtbuild.errors import UsageError
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.seams import Call, Caller, OpenGate
from trtbuild_gateway.settings import ControlSettings

VARIABLE = "TRTBUILD_CONTROL_TOKEN"
_LEAST_CHARACTERS = 16


class ControlGate(OpenGate):
    """Admits callers that send the token; without one, programs of this machine.

    A browser on this machine can be made to send requests by any page, so that without a token a
    request with an ``Origin``, or for another host than this machine, is refused.

    Args:
        token: The token; empty for none. Only its digest is kept.
    """

    def __init__(self, token: str) -> None:
        self._digest = _digest(token) if token else b""

    async def identify(self, headers: Mapping[str, str], call: Call) -> Caller:  # noqa: ARG002
        """Return the caller.

        Raises:
            ApiError: The token is missing or wrong (401), or a browser asks (403).
        """
        if not self._digest:
            if "origin" in headers or not _is_local(_hostname(headers.get("host", ""))):
                raise ApiError(
                    403,
                    f"without a token only programs of this machine are answered; set {VARIABLE}",
                    code="no_control_token",
                )
            return Caller()
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(_digest(given), self._digest):
            raise ApiError(
                401,
                "the control token is missing or wrong; send it as `Authorization: Bearer TOKEN`",
                code="invalid_control_token",
                headers={"www-authenticate": "Bearer"},
            )
        return Caller("control")


def gate_of(settings: ControlSettings) -> ControlGate:
    """Return the gate of a control plane.

    Raises:
        UsageError: The token cannot be read or is too short, or there is none although other
            machines can reach the port.
    """
    file = settings.token_file
    token = os.environ.get(VARIABLE, "") if file is None else _read(file)
    if token and len(token) < _LEAST_CHARACTERS:
        raise UsageError(
            f"the control token has {len(token)} characters",
            where=str(file or VARIABLE),
            fix=f"use at least {_LEAST_CHARACTERS}: `openssl rand -hex 32` makes one",
        )
    if not token and not _is_local(settings.host):
        raise UsageError(
            f"other machines can reach the control port on {settings.host}, and it has no token",
            fix=f"set {VARIABLE} or control.token_file, or listen on 127.0.0.1",
        )
    return ControlGate(token)


def _read(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(
            f"the control token cannot be read: {why}",
            where=str(file),
            fix="write the token into the file that control.token_file names",
        ) from None
    if not token:
        raise UsageError(
            "the file of the control token is empty", where=str(file), fix="write the token into it"
        )
    return token


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
