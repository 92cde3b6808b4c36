"""API keys and the file that holds them: no secret, only the SHA-256 of each.

A key is ``sk-ID-SECRET``: the id finds its entry, the secret has 256 random bits. So many cannot be
guessed from their digest, and a slow password hash would add nothing but time to every request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from trtbuild.errors import RecipeError, UsageError
from trtbuild.files import atomic_write
from trtbuild_gateway.access_settings import Limits

_VERSION = 1
_ID_BYTES = 6
_SECRET_BYTES = 32
_MOST_SECRETS = 2  # the new one and the one before it, during a rotation
_UNKNOWN = hashlib.sha256(b"").hexdigest()
_PRIVATE = 0o600


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One secret of a key.

    Attributes:
        sha256: Of the whole key, in hexadecimal digits.
        created: When it was made.
        expires: When it stops being valid; None: with the key.
    """

    sha256: str
    created: datetime
    expires: datetime | None = None


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key.

    Attributes:
        id: Its public part, also in logs.
        name: What people call it.
        created: When it was made.
        secrets: One, or two while it is being rotated; the newest first.
        models: Globs of the models that it may use.
        endpoints: Globs of the paths that it may ask.
        admin: Whether it may load and unload models.
        expires: When it stops being valid.
        revoked: Since when it is not valid any more.
        limits: Its own limits instead of the common ones.
        masking: Its set of masking rules instead of ``default``.
    """

    id: str
    name: str
    created: datetime
    secrets: tuple[Secret, ...]
    models: tuple[str, ...] = ("*",)
    endpoints: tuple[str, ...] = ("*",)
    admin: bool = False
    expires: datetime | None = None
    revoked: datetime | None = None
    limits: Limits | None = None
    masking: str = ""

    def state(self, now: datetime) -> str:
        """Return ``valid``, ``expired`` or ``revoked``."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"

    def described(self, now: datetime) -> dict[str, Any]:
        """Return everything but the secrets, for JSON."""
        own = {} if self.limits is None else msgspec.structs.asdict(self.limits)
        valid = [one for one in self.secrets if one.expires is None or one.expires > now]
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state(now),
            "created": self.created.isoformat(),
            "expires": self.expires.isoformat() if self.expires else None,
            "revoked": self.revoked.isoformat() if self.revoked else None,
            "secrets": len(valid),
            "models": list(self.models),
            "endpoints": list(self.endpoints),
            "admin": self.admin,
            "limits": {name: value for name, value in own.items() if value is not None},
            "masking": self.masking or "default",
        }

    def opens(self, text: str, now: datetime) -> bool:
        """Whether ``text`` is this key; the time it takes does not depend on the secret."""
        digest = digest_of(text)
        return any(
            hmac.compare_digest(digest, secret.sha256)
            and (secret.expires is None or secret.expires > now)
            for secret in self.secrets
        )


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    keys: list[Key]


def digest_of(text: str) -> str:
    """Return what the file keeps of a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def id_of(text: str) -> str:
    """Return the id in a key; empty if it is none of ours."""
    start, _, rest = text.partition("-")
    id, dash, _ = rest.partition("-")
    return id if start == "sk" and dash else ""


def fits(name: str, globs: Sequence[str]) -> bool:
    """Whether a name matches one of the globs."""
    return any(fnmatchcase(name, glob) for glob in globs)


def unknown_key(text: str) -> None:
    """Do the work of :meth:`Key.opens` for an id that does not exist."""
    hmac.compare_digest(digest_of(text), _UNKNOWN)


def new_key(key_id: str = "") -> tuple[str, str]:
    """Return the id and the text of a new key, or of a new secret for an old id."""
    id = key_id or secrets.token_hex(_ID_BYTES)
    return id, f"sk-{id}-{secrets.token_urlsafe(_SECRET_BYTES)}"


def rotated(key: Key, text: str, now: datetime, grace: timedelta) -> Key:
    """Return the key with a new secret; the one before it stays valid for ``grace``."""
    before = [secret for secret in key.secrets if secret.expires is None or secret.expires > now]
    until = now + grace
    kept = [
        secret
        if secret.expires is not None and secret.expires < until
        else msgspec.structs.replace(secret, expires=until)
        for secret in before[: _MOST_SECRETS - 1]
    ]
    made = (Secret(digest_of(text), now), *kept)
    return msgspec.structs.replace(key, secrets=made)


def read_keys(path: Path) -> dict[str, Key]:
    """Return the keys of a file by id.

    Raises:
        RecipeError: The file cannot be read or has another form.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise RecipeError(
            f"the keys file {path} cannot be read: {error.strerror}",
            fix=f"make it with `trtbuild keys add --file {path} NAME`",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(
            f"the keys file {path} is invalid: {error}",
            fix="restore it from a copy; only `trtbuild keys` should change it",
        ) from None
    if found.version != _VERSION:
        raise RecipeError(
            f"the keys file {path} has version {found.version}, this gateway knows {_VERSION}",
            fix="update trtbuild-gateway",
        )
    for key in found.keys:
        _check_times(path, key)
    return {key.id: key for key in found.keys}


def _check_times(path: Path, key: Key) -> None:
    times = [key.created, key.expires, key.revoked]
    times += [time for secret in key.secrets for time in (secret.created, secret.expires)]
    if any(time is not None and time.tzinfo is None for time in times):
        raise RecipeError(
            f"a time of the key {key.id!r} in {path} has no time zone",
            fix="write times as 2026-01-31T00:00:00Z",
        )


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Write the file, atomically and for its owner only.

    Raises:
        UsageError: It cannot be written.
    """
    content = msgspec.json.format(msgspec.json.encode(_File(_VERSION, list(keys))), indent=2)
    try:
        atomic_write(path.resolve(), content + b"\n", mode=_PRIVATE)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", fix="name another file with --file"
        ) from None
