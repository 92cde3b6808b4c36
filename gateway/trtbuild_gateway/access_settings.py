"""The section ``access`` of ``gateway.yaml``: who may ask for what, and how much."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a key may use; None: as much as it likes.

    Attributes:
        requests_per_minute, requests_per_day: Admitted requests.
        tokens_per_minute, tokens_per_day: Of prompts and answers.
        concurrent: Requests that are open at the same time.
    """

    requests_per_minute: Count | None = None
    requests_per_day: Count | None = None
    tokens_per_minute: Count | None = None
    tokens_per_day: Count | None = None
    concurrent: Count | None = None


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Redis that several gateways count in.

    Attributes:
        url: ``redis://HOST:PORT/DB``, or ``rediss://`` with TLS. The password is better given in
            the environment, as ``TRTBUILD_REDIS_PASSWORD``.
        prefix: What its keys begin with.
        on_failure: ``refuse`` requests while it cannot be reached, or ``admit`` them uncounted.
        seconds: How long to wait for its answer.
    """

    url: str
    prefix: str = "trtbuild"
    on_failure: Literal["refuse", "admit"] = "refuse"
    seconds: Seconds = 0.5


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The audit log.

    Attributes:
        path: The file.
        key_file: A key that the hashes depend on; without it they only show accidents.
        on_failure: ``refuse`` requests while it cannot be written, or ``continue``.
    """

    path: Path
    key_file: Path | None = None
    on_failure: Literal["refuse", "continue"] = "refuse"


class CorsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pages of other origins that may call the gateway from a browser.

    Attributes:
        origins: Such as ``https://app.example.com``; ``*`` for all.
        max_age: Seconds for which a browser may remember the answer.
    """

    origins: tuple[str, ...] = ()
    max_age: Count = 600


class AccessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Access control; without keys everybody may ask for everything.

    Attributes:
        keys: The file that ``trtbuild keys`` writes.
        public: Paths that need no key.
        limits: Of each key that has none of its own.
        redis: Where several gateways count together; without, each counts alone.
        cors: Pages that may call the gateway from a browser.
        audit: What is noted about each call; None: nothing.
    """

    keys: Path | None = None
    public: tuple[str, ...] = ("/health*",)
    limits: Limits = Limits()
    redis: RedisSettings | None = None
    cors: CorsSettings = CorsSettings()
    audit: AuditSettings | None = None

    def placed(self, base: Path) -> AccessSettings:
        """Return the settings with relative paths below ``base``."""

        def below(path: Path | None) -> Path | None:
            return None if path is None else base / path

        audit = self.audit
        if audit is not None:
            audit = msgspec.structs.replace(
                audit, path=base / audit.path, key_file=below(audit.key_file)
            )
        return msgspec.structs.replace(self, keys=below(self.keys), audit=audit)
