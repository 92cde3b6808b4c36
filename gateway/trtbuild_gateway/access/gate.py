"""The gate of a gateway with access control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from trtbuild_gateway.access.audit import AuditLog
from trtbuild_gateway.access.counting import LocalStore
from trtbuild_gateway.access.keys import Key, fits, id_of, unknown_key
from trtbuild_gateway.access.limiting import Limiter
from trtbuild_gateway.access.redis_store import RedisStore
from trtbuild_gateway.access.ring import KeyRing
from trtbuild_gateway.access_settings import AccessSettings
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.seams import FREE, Admission, Call, Caller, Gate, OpenGate, Outcome
from trtbuild_gateway.settings import Settings

_LEASE_MARGIN = 60  # seconds beyond the longest answer
_LISTING = "/v1/models"  # names only what the caller may use


@dataclass(frozen=True, slots=True)
class Known(Caller):
    """A caller with a key.

    Attributes:
        key: What it may do.
    """

    key: Key | None = None


def gate_for(settings: Settings) -> Gate:
    """Return the gate that the settings ask for.

    Raises:
        RecipeError: A file of theirs cannot be read.
        UsageError: A library is missing.
    """
    access = settings.access
    if access.keys is None and access.audit is None:
        return OpenGate()
    keys = None if access.keys is None else KeyRing(access.keys)
    limiter = _limiter(settings)
    audit = None if access.audit is None else AuditLog(access.audit, access.audit.path)
    return AccessGate(access, keys, limiter, audit)


def _limiter(settings: Settings) -> Limiter:
    redis = settings.access.redis
    if redis is None:
        return Limiter(LocalStore())
    longest = max([settings.seconds, *(model.seconds or 0 for model in settings.models.values())])
    store = RedisStore(redis, lease_seconds=longest + _LEASE_MARGIN)
    return Limiter(store, admit_uncounted=redis.on_failure == "admit")


class AccessGate:
    """Admits whoever has a key, within limits; a :class:`~trtbuild_gateway.seams.Gate`.

    Args:
        settings: The section ``access``.
        keys: The keys; None: everybody is admitted.
        limiter: Keeps the limits.
        audit: Notes every call.
    """

    def __init__(
        self,
        settings: AccessSettings,
        keys: KeyRing | None,
        limiter: Limiter,
        audit: AuditLog | None = None,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._limiter = limiter
        self._audit = audit

    async def identify(self, headers: Mapping[str, str], call: Call) -> Caller:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self._keys is None or fits(call.endpoint, self._settings.public):
            return Caller()
        text = credential(headers)
        if not text:
            raise refused("there is no API key: send it as 'Authorization: Bearer KEY'")
        key = _valid(self._keys, text, call)
        known = call.caller = Known(key.id, key.admin, key)
        if not (fits(call.endpoint, key.endpoints) or call.endpoint.startswith(_LISTING)):
            raise ApiError(
                403,
                f"the API key {key.id} may not use {call.endpoint}, only: "
                f"{', '.join(key.endpoints)}",
                code="endpoint_not_allowed",
            )
        return known

    def visible(self, caller: Caller, model: str) -> bool:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self._keys is None:
            return True
        key = caller.key if isinstance(caller, Known) else None
        return key is not None and fits(model, key.models)

    async def admit(self, call: Call) -> Admission:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self._audit is not None:
            self._audit.require()
        key = call.caller.key if isinstance(call.caller, Known) else None
        if self._keys is None:
            return FREE
        limits = self._settings.limits if key is None or key.limits is None else key.limits
        tokens = call.prompt_tokens + call.max_tokens
        return await self._limiter.admit(call.caller.id, limits, tokens)

    def ended(self, call: Call, outcome: Outcome) -> None:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self._audit is not None:
            self._audit.note(call, outcome)

    async def open(self) -> None:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self._audit is not None:
            await self._audit.open()

    async def close(self) -> None:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        await self._limiter.close()
        if self._audit is not None:
            await self._audit.close()


def _valid(keys: KeyRing, text: str, call: Call) -> Key:
    """Return a key, and note who asks; ApiError 401."""
    key, now = keys.find(id_of(text)), datetime.now(UTC)
    if key is None:
        unknown_key(text)
        raise refused("the API key is not valid")
    if not key.opens(text, now):
        raise refused("the API key is not valid")
    call.caller = Caller(key.id)
    if key.revoked is not None:
        raise refused(f"the API key {key.id} was revoked on {key.revoked:%Y-%m-%d}")
    if key.expires is not None and key.expires <= now:
        raise refused(f"the API key {key.id} expired on {key.expires:%Y-%m-%d}")
    return key


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
