"""The gate of a gateway with access control."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from trtbuild.errors import RecipeError
from trtbuild_gateway.access.audit import AuditLog
from trtbuild_gateway.access.callers import Callers, credential
from trtbuild_gateway.access.counting import LocalStore
from trtbuild_gateway.access.keys import Key, fits
from trtbuild_gateway.access.limiting import Limiter
from trtbuild_gateway.access.logs import LogFilter
from trtbuild_gateway.access.masking import CheckedTexts, RuleSet
from trtbuild_gateway.access.redis_store import RedisStore
from trtbuild_gateway.access.ring import KeyRing
from trtbuild_gateway.access.tokens import Tokens, refused
from trtbuild_gateway.access_settings import AccessSettings, AuditSettings, JwtSettings
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.seams import (
    FREE,
    PLAIN,
    Admission,
    Call,
    Caller,
    Gate,
    OpenGate,
    Outcome,
    Texts,
)
from trtbuild_gateway.settings import Settings

_DEFAULT_MASKING, _NO_MASKING = "default", "none"
_LEASE_MARGIN = 60  # seconds beyond the longest answer
_CONTROL = ("/v1/model/", "/v1/key/")  # what is on the control port
_LISTING = "/v1/models"  # names only what the caller may use


@dataclass(frozen=True, slots=True)
class Known(Caller):
    """A caller with a key.

    Attributes:
        key: What it may do.
    """

    key: Key | None = None


def gate_for(settings: Settings, before: Gate | None = None) -> Gate:
    """Return the gate that the settings ask for.

    Args:
        settings: The whole file.
        before: The gate until now, whose counts and audit log are continued.

    Raises:
        RecipeError: A file of theirs cannot be read, or a pattern cannot be used.
        UsageError: A library is missing, or the audit log cannot be written.
    """
    access = settings.access
    if not (access.keys or access.jwt or access.audit or access.masking):
        return OpenGate()
    old = before if isinstance(before, AccessGate) else None
    masking = {name: RuleSet.of(rules) for name, rules in access.masking.items()}
    keys = None if access.keys is None else KeyRing(access.keys)
    tokens = None if access.jwt is None else Tokens(access.jwt)
    _check_sets(masking, access.jwt, keys)
    same = old is not None and old.settings.redis == access.redis
    limiter = old.limiter if old is not None and same else _limiter(settings)
    callers = Callers(keys, tokens)
    return AccessGate(access, callers, limiter, masking, _audit(access.audit, old))


async def abandon(gate: Gate, kept: Gate) -> None:
    """Close what only ``gate`` has, which is not used after all."""
    if not isinstance(gate, AccessGate):
        return
    other = kept if isinstance(kept, AccessGate) else None
    if other is None or gate.limiter is not other.limiter:
        await gate.limiter.close()
    if gate.audit is not None and (other is None or gate.audit is not other.audit):
        await gate.audit.close()


def _audit(settings: AuditSettings | None, old: AccessGate | None) -> AuditLog | None:
    if settings is None:
        return None
    if old is not None and old.audit is not None and old.audit.path == settings.path:
        old.audit.adopt(settings)
        return old.audit
    return AuditLog(settings)


def _check_sets(
    masking: Mapping[str, RuleSet], jwt: JwtSettings | None, keys: KeyRing | None
) -> None:
    """Raise RecipeError for a caller whose set of masking rules does not exist."""
    known = {"", _NO_MASKING, *masking}
    if jwt is not None and jwt.masking not in known:
        raise RecipeError(
            f"the masking rules {jwt.masking!r} of access.jwt do not exist",
            where="access.masking",
            fix=f"add `{jwt.masking}:` there",
        )
    for key in () if keys is None else keys.all():
        if key.revoked is None and key.masking not in known:
            raise RecipeError(
                f"the key {key.id} ({key.name}) has the masking rules {key.masking!r}, which do "
                "not exist",
                where="access.masking",
                fix=f"add `{key.masking}:` there, or revoke the key",
            )


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
        callers: Who is admitted.
        limiter: Keeps the limits.
        masking: Sets of masking rules by name.
        audit: Notes every call.

    Attributes:
        found: How often masking rules found something, by name.
    """

    def __init__(
        self,
        settings: AccessSettings,
        callers: Callers,
        limiter: Limiter,
        masking: Mapping[str, RuleSet],
        audit: AuditLog | None,
    ) -> None:
        self.settings = settings
        self.limiter = limiter
        self.audit = audit
        self.found = Counter[str]()
        self._callers = callers
        self._masking = masking
        self._logs = LogFilter([rule for one in masking.values() for rule in one.logs])

    @property
    def keys(self) -> Iterable[Key] | None:
        """Every API key; None if there is no file of them."""
        return None if self._callers.keys is None else self._callers.keys.all()

    async def identify(self, headers: Mapping[str, str], call: Call) -> Caller:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self._callers.unknown or self._public(call.endpoint):
            call.texts = self._texts("")
            return Caller()
        text = credential(headers)
        if not text:
            raise refused("there is no API key: send it as 'Authorization: Bearer KEY'")
        return self._known(await self._callers.key_of(text, call), call)

    async def again(self, caller: str, call: Call, grant: bytes = b"") -> Caller:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self._callers.unknown or not caller:
            call.texts = self._texts("")
            if not (self._callers.unknown or self._public(call.endpoint)):
                raise refused("nobody is known to have asked for this")
            return Caller()
        return self._known(self._callers.key_again(caller, grant), call)

    def grant(self, caller: Caller) -> bytes:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        key = caller.key if isinstance(caller, Known) else None
        return b"" if key is None or key.secrets else msgspec.json.encode(key)

    def _public(self, endpoint: str) -> bool:
        """Whether an endpoint needs no key; those that control models always do."""
        return not endpoint.startswith(_CONTROL) and fits(endpoint, self.settings.public)

    def _known(self, key: Key, call: Call) -> Caller:
        """Return the caller with a key; ApiError 403 unless it may use the endpoint."""
        known = call.caller = Known(key.id, key.admin, key)
        if not (fits(call.endpoint, key.endpoints) or call.endpoint.startswith(_LISTING)):
            raise ApiError(
                403,
                f"the API key {key.id} may not use {call.endpoint}, only: "
                f"{', '.join(key.endpoints)}",
                code="endpoint_not_allowed",
            )
        call.texts = self._texts(key.masking)
        return known

    def _texts(self, name: str) -> Texts:
        """Return what happens to the texts of whoever has a set of rules."""
        keep = self.audit is not None and self.audit.keeps_prompts
        rules = self._masking.get(name or _DEFAULT_MASKING)
        if rules is None and name not in ("", _NO_MASKING):
            # The keys file was changed; without the rules nothing may pass.
            raise ApiError(
                500,
                f"the masking rules {name!r} of the API key do not exist in the gateway's settings",
                code="unknown_masking",
            )
        if rules is None:
            return CheckedTexts(RuleSet(), keep) if keep else PLAIN
        return CheckedTexts(rules, keep)

    def visible(self, caller: Caller, model: str) -> bool:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self._callers.unknown:
            return True
        key = caller.key if isinstance(caller, Known) else None
        return key is not None and fits(model, key.models)

    async def admit(self, call: Call) -> Admission:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self.audit is not None:
            self.audit.require()
        key = call.caller.key if isinstance(call.caller, Known) else None
        if self._callers.unknown:
            return FREE
        limits = self.settings.limits if key is None or key.limits is None else key.limits
        tokens = call.prompt_tokens + call.max_tokens
        return await self.limiter.admit(call.caller.id, limits, tokens)

    def ended(self, call: Call, outcome: Outcome) -> None:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        texts = call.texts
        if isinstance(texts, CheckedTexts):
            self.found += texts.counts
        if self.audit is None:
            return
        if not isinstance(texts, CheckedTexts):
            self.audit.note(call, outcome)
            return
        more = {"found": dict(texts.counts)} if texts.counts else {}
        self.audit.note(call, outcome, **more, **({"prompts": texts.kept} if texts.keep else {}))

    def reopen(self) -> None:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        if self.audit is not None:
            self.audit.reopen()

    async def open(self) -> None:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        self._logs.install()
        if self._callers.tokens is not None:
            await self._callers.tokens.open()
        if self.audit is not None:
            await self.audit.open()

    async def close(self) -> None:
        """See :class:`~trtbuild_gateway.seams.Gate`."""
        self._logs.remove()
        await self.limiter.close()
        if self.audit is not None:
            await self.audit.close()
