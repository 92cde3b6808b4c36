"""Who may control models: whoever knows the token, or has the API key of an admin."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from trtbuild.errors import UsageError
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.seams import Call, Caller, Gate, OpenGate
from trtbuild_gateway.settings import Settings

VARIABLE = "TRTBUILD_CONTROL_TOKEN"
_LEAST_CHARACTERS = 16
_TOKEN = Caller("control-token", admin=True)


class ControlGate(OpenGate):
    """Admits callers with the token or an admin's API key; without both, programs of this machine.

    A browser on this machine can be made to send requests by any page, so that without a token a
    browser's request, or one for another host than this machine, is refused.

    Args:
        token: The token; empty for none. Only its digest is kept.
        keys: Returns the access control of the data plane, which knows the API keys.
        local: Whether only programs of this machine reach the port. If not, nobody is admitted
            without a token or key, also when new settings have taken the keys away.
    """

    def __init__(self, token: str, keys: Callable[[], Gate], *, local: bool) -> None:
        self._digest = _digest(token)
        self._keys = keys
        self._local = local

    async def identify(self, headers: Mapping[str, str], call: Call) -> Caller:
        """Return the caller.

        Raises:
            ApiError: The token or key is missing or wrong (401), the key is not an admin's (403),
                or there is neither token nor key, and a browser or another machine may ask (403).
        """
        kind, _, given = headers.get("authorization", "").partition(" ")
        bearer = given if kind.lower() == "bearer" else ""
        if self._digest and hmac.compare_digest(_digest(bearer), self._digest):
            return _TOKEN
        caller = await self._keys().identify(headers, call)
        if caller.admin:
            return caller
        if caller.id:
            raise ApiError(
                403,
                f"the API key {caller.id} cannot control models; `trtbuild keys add --admin` "
                "creates one that can",
                code="not_admin",
            )
        if self._digest:
            raise ApiError(
                401,
                "the control token is missing or wrong; send it as `Authorization: Bearer TOKEN`",
                code="invalid_control_token",
                headers={"www-authenticate": "Bearer"},
            )
        if not self._local:
            raise ApiError(
                403,
                "other machines can reach this port, and there is neither a token nor a key for "
                f"it; set {VARIABLE} or access.keys, and restart the gateway",
                code="no_control_token",
            )
        browser = {"origin", "sec-fetch-site"} & headers.keys()
        if browser or not _is_local(_hostname(headers.get("host", ""))):
            raise ApiError(
                403,
                f"without a token only programs of this machine are answered; set {VARIABLE}",
                code="no_control_token",
            )
        return caller

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Return what begins to use the token of new settings; UsageError if it cannot be used."""
        digest = _digest(_token(settings, local=self._local))

        def use() -> None:
            self._digest = digest

        return use

    def visible(self, caller: Caller, model: str) -> bool:
        """Whether a caller may control a model: those of its key, or all."""
        return not caller.admin or caller is _TOKEN or self._keys().visible(caller, model)


def gate_of(settings: Settings, keys: Callable[[], Gate] = OpenGate) -> ControlGate:
    """Return the gate of a control plane.

    Args:
        settings: Of the gateway.
        keys: Returns the access control of the data plane.

    Raises:
        UsageError: The token cannot be read or is too short, or there is neither a token nor a key
            although other machines can reach the port.
    """
    local = _is_local(settings.control.host)
    return ControlGate(_token(settings, local=local), keys, local=local)


def _token(settings: Settings, *, local: bool) -> str:
    """Return the token of the control port; UsageError if it cannot be used, or none protects it.

    Args:
        settings: Of the gateway.
        local: Whether only programs of this machine reach the port.
    """
    file = settings.control.token_file
    token = os.environ.get(VARIABLE, "") if file is None else _read(file)
    if token and len(token) < _LEAST_CHARACTERS:
        raise UsageError(
            f"the control token has {len(token)} characters",
            where=str(file or VARIABLE),
            fix=f"use at least {_LEAST_CHARACTERS}: `openssl rand -hex 32` makes one",
        )
    if not token and not settings.access.names_callers and not local:
        raise UsageError(
            f"other machines can reach the control port on {settings.control.host}, and it has no "
            "token",
            fix=f"set {VARIABLE} or control.token_file, or listen on 127.0.0.1",
        )
    return token


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
    """Return what is kept of a token; empty for none."""
    if not token:
        return b""
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
