"""Who asks: the key or token of a request, and whether it is valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from trtbuild_gateway.access.keys import Key, id_of, unknown_key
from trtbuild_gateway.access.ring import KeyRing
from trtbuild_gateway.access.tokens import Tokens, refused
from trtbuild_gateway.seams import Call, Caller


@dataclass(frozen=True, slots=True)
class Callers:
    """Who is admitted; without both everybody.

    Attributes:
        keys: API keys.
        tokens: Tokens of an identity provider.
    """

    keys: KeyRing | None = None
    tokens: Tokens | None = None

    @property
    def unknown(self) -> bool:
        """Whether nobody has to say who they are."""
        return self.keys is None and self.tokens is None

    async def key_of(self, text: str, call: Call) -> Key:
        """Return what a key or token allows, and note who asks; ApiError 401 or 503."""
        id = id_of(text)
        if self.keys is not None and (id or self.tokens is None):
            return _valid(self.keys, text, call)
        if self.tokens is None or id:
            raise refused("the API key is not valid")
        return await self.tokens.key_of(text)

    def key_again(self, id: str, grant: bytes) -> Key:
        """Return what an earlier caller may do now.

        A key is looked up; what a token allowed is in ``grant``, which is kept no longer than the
        work that it is for.

        Raises:
            ApiError: The caller is not known any more, or not admitted (401).
        """
        if grant and self.tokens is not None:
            return self.tokens.again(grant)
        key = None if self.keys is None else self.keys.find(id)
        if key is None:
            raise refused(f"{id!r} is not admitted any more")
        _require_valid(key)
        return key


def _valid(keys: KeyRing, text: str, call: Call) -> Key:
    """Return a key, and note who asks; ApiError 401."""
    key, now = keys.find(id_of(text)), datetime.now(UTC)
    if key is None:
        unknown_key(text)
        raise refused("the API key is not valid")
    if not key.opens(text, now):
        raise refused("the API key is not valid")
    call.caller = Caller(key.id)
    _require_valid(key)
    return key


def _require_valid(key: Key) -> None:
    """Raise ApiError 401 for a key that is revoked or has expired."""
    if key.revoked is not None:
        raise refused(f"the API key {key.id} was revoked on {key.revoked:%Y-%m-%d}")
    if key.expires is not None and key.expires <= datetime.now(UTC):
        raise refused(f"the API key {key.id} expired on {key.expires:%Y-%m-%d}")


def credential(headers: Mapping[str, str]) -> str:
    """Return the key of a request: OpenAI's clients send a bearer token, Anthropic's x-api-key."""
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return text.strip()
    return headers.get("x-api-key", "").strip()
