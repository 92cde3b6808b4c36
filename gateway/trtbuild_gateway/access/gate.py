"""The gate of a gateway with access control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from trtbuild_gateway.access.keys import Key, fits, id_of, unknown_key
from trtbuild_gateway.access.ring import KeyRing
from trtbuild_gateway.access_settings import AccessSettings
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.seams import FREE, Admission, Call, Caller, Gate, OpenGate

_LISTING = "/v1/models"  # names only what the caller may use


@dataclass(frozen=True, slots=True)
class Known(Caller):
    """A caller with a key.

    Attributes:
        key: What it may do.
    """

    key: Key | None = None


def gate_for(settings: AccessSettings) -> Gate:
    """Return the gate that the settings ask for.

    Raises:
        RecipeError: A file of theirs cannot be read.
    """
    if settings.keys is None:
        return OpenGate()
    return AccessGate(settings, KeyRing(settings.keys))


class AccessGate:
    """Admits whoever has a key; a :class:`~trtbuild_gateway.seams.Gate`."""

    def __init__(self, settings: AccessSettings, keys: KeyRing) -> None:
        self._settings = settings
        self._keys = keys

    async def identify(self, headers: Mapping[str, str], call: Call) -> Caller:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if fits(call.endpoint, self._settings.public):
            return Caller()
        text = credential(headers)
        if not text:
            raise refused("there is no API key: send it as 'Authorization: Bearer KEY'")
        key = self._key(text)
        known = Known(key.id, key.admin, key)
        if not (fits(call.endpoint, key.endpoints) or call.endpoint.startswith(_LISTING)):
            raise ApiError(
                403,
                f"the API key {key.id} may not use {call.endpoint}, only: "
                f"{', '.join(key.endpoints)}",
                code="endpoint_not_allowed",
            )
        return known

    def _key(self, text: str) -> Key:
        key, now = self._keys.find(id_of(text)), datetime.now(UTC)
        if key is None:
            unknown_key(text)
            raise refused("the API key is not valid")
        if not key.opens(text, now):
            raise refused("the API key is not valid")
        if key.revoked is not None:
            raise refused(f"the API key {key.id} was revoked on {key.revoked:%Y-%m-%d}")
        if key.expires is not None and key.expires <= now:
            raise refused(f"the API key {key.id} expired on {key.expires:%Y-%m-%d}")
        return key

    def visible(self, caller: Caller, model: str) -> bool:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        key = caller.key if isinstance(caller, Known) else None
        return key is not None and fits(model, key.models)

    async def admit(self, call: Call) -> Admission:  # noqa: ARG002
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        return FREE

    async def open(self) -> None:
        """See :class:`~trtbuild_gateway.seams.Gate`."""

    async def close(self) -> None:
        """See :class:`~trtbuild_gateway.seams.Gate`."""


def credential(headers: Mapping[str, str]) -> str:
    """Return the key of a request: OpenAI's clients send a bearer token, Anthropic's x-api-key."""
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return text.strip()
    return headers.get("x-api-key", "").strip()


def refused(message: str) -> ApiError:
    """Return the answer to a request without a valid key."""
    headers = {"www-authenticate": "Bearer"}
    return ApiError(401, message, code="invalid_api_key", headers=headers)
