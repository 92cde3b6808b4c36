"""Tokens of an identity provider: JWTs, checked with PyJWT against the provider's public keys."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trtbuild.errors import RecipeError, UsageError
from trtbuild.wire.failures import UNREADABLE
from trtbuild_gateway.access.keys import Key
from trtbuild_gateway.access_settings import JwtSettings
from trtbuild_gateway.failures import ApiError, unavailable

if TYPE_CHECKING:
    from jwt import PyJWK

_log = logging.getLogger("trtbuild.gateway")
_FETCH_SECONDS = 5
_AGAIN_SECONDS = 10.0  # between two fetches, whatever key ids clients make up
_OLDEST_SECONDS = 600.0  # a key that the provider has withdrawn is trusted no longer than this
_FAILED_SECONDS = 60.0  # until the next try while the provider does not answer
_REQUIRED = ("exp", "iss", "aud", "sub")


class Tokens:
    """Checks tokens, and returns what they allow.

    Raises:
        UsageError: The library is not installed.
        RecipeError: The file of the keys cannot be used.
    """

    def __init__(self, settings: JwtSettings) -> None:
        try:
            import jwt
        except ImportError:
            raise UsageError(
                "access.jwt needs the library PyJWT",
                fix="pip install 'trtbuild-gateway[jwt]', or leave out access.jwt",
            ) from None
        self._jwt = jwt
        self._settings = settings
        self._remote = settings.jwks.startswith(("https:", "http:"))
        self._fetching = asyncio.Lock()
        self._fetched = -math.inf
        self._due = math.inf
        self._keys: Mapping[str, PyJWK] = {}
        if not self._remote:
            self._keys = self._of_file(Path(settings.jwks))

    async def open(self) -> None:
        """Fetch the provider's keys; without them tokens are refused until it can be reached."""
        if self._remote:
            await self._fetch()

    async def key_of(self, token: str) -> Key:
        """Return what a token allows, as a key.

        Raises:
            ApiError: It is not valid (401), or the provider's keys are not known (503).
        """
        public = await self._public_key(token)
        settings = self._settings
        try:
            claims = self._jwt.decode(
                token,
                public,
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": list(_REQUIRED)},
            )
        except self._jwt.ExpiredSignatureError:
            raise refused("the token has expired") from None
        except self._jwt.ImmatureSignatureError:
            raise refused("the token is not valid yet; compare the clocks") from None
        except self._jwt.PyJWTError as error:
            raise refused(f"the token is not valid: {error}") from None
        return self._granted(claims)

    def _granted(self, claims: Mapping[str, Any]) -> Key:
        scope, prefix = claims.get(self._settings.scope_claim, ""), self._settings.scope_prefix
        if not isinstance(scope, str | list):
            raise refused(
                f"the token is not valid: its claim {self._settings.scope_claim!r} is neither a "
                "text nor a list"
            )
        words = scope.split() if isinstance(scope, str) else list(map(str, scope))
        found: dict[str, list[str]] = {"models": [], "endpoints": []}
        for word in words:
            name, _, glob = word.removeprefix(prefix).partition(":")
            if word.startswith(prefix) and name in found:
                found[name].append(glob)
        return Key(
            f"sub:{claims['sub']}",
            str(claims["sub"]),
            datetime.now(UTC),
            (),
            models=tuple(found["models"]) or self._settings.models,
            endpoints=tuple(found["endpoints"]) or self._settings.endpoints,
            admin=f"{prefix}admin" in words,
            masking=self._settings.masking,
        )

    def again(self, grant: bytes) -> Key:
        """Return what a token allowed, under the masking rules of now; ApiError 401."""
        try:
            key = msgspec.json.decode(grant, type=Key)
        except msgspec.DecodeError:
            raise refused("what the token allowed cannot be read any more") from None
        return msgspec.structs.replace(key, masking=self._settings.masking)

    async def _public_key(self, token: str) -> PyJWK:
        try:
            head = self._jwt.get_unverified_header(token)
        except self._jwt.PyJWTError:
            raise refused("the API key is not valid") from None
        if head.get("alg") not in self._settings.algorithms:
            raise refused(f"the token is signed with {head.get('alg')!r}, which is not accepted")
        id = str(head.get("kid", ""))
        if self._remote and (id not in self._keys or time.monotonic() >= self._due):
            await self._fetch()
        if not self._keys:
            raise unavailable("the keys of the identity provider are not known", "keys_unavailable")
        if id not in self._keys:
            raise refused("the token is signed with a key that the identity provider does not have")
        return self._keys[id]

    async def _fetch(self) -> None:
        """Ask the provider for its keys, which replace those that are known."""
        async with self._fetching:
            if time.monotonic() - self._fetched < _AGAIN_SECONDS:
                return
            self._fetched = time.monotonic()
            client = self._jwt.PyJWKClient(self._settings.jwks, timeout=_FETCH_SECONDS)
            try:
                self._keys = self._of_value(await asyncio.to_thread(client.fetch_data))
                self._due = time.monotonic() + _OLDEST_SECONDS
            except (self._jwt.PyJWTError, OSError, HTTPException, *UNREADABLE) as error:
                self._due = time.monotonic() + _FAILED_SECONDS  # the old keys stay
                _log.error("the keys of %s are not known: %s", self._settings.jwks, error)

    def _of_file(self, path: Path) -> Mapping[str, PyJWK]:
        try:
            return self._of_value(msgspec.json.decode(path.read_bytes()))
        except OSError as error:
            problem = str(error.strerror)
        except (self._jwt.PyJWTError, *UNREADABLE) as error:
            problem = str(error)
        raise RecipeError(
            f"the JWKS {path} cannot be used: {problem}",
            fix="name a file or an https address with the provider's keys in access.jwt.jwks",
        )

    def _of_value(self, value: Any) -> Mapping[str, PyJWK]:
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object with `keys`")
        found = self._jwt.PyJWKSet.from_dict(value)
        return {key.key_id or "": key for key in found.keys if key.key_type != "oct"}


def refused(message: str) -> ApiError:
    """Return the answer to a request without a valid key."""
    headers = {"www-authenticate": "Bearer"}
    return ApiError(401, message, code="invalid_api_key", headers=headers)
