"""The section ``access`` of ``gateway.yaml``: who may ask for what, and how much."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_HERE = ("http://127.0.0.1:", "http://127.0.0.1/", "http://localhost:", "http://localhost/")

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


Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]


class JwtSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens of an identity provider (OpenID Connect).

    Attributes:
        issuer, audience: What ``iss`` and ``aud`` must be.
        jwks: The provider's keys, a file or an https address.
        algorithms: Of signatures; a shared secret is not possible.
        leeway_seconds: How far the clocks may be apart.
        models, endpoints: Globs of what a token without scopes for them allows.
        scope_claim, scope_prefix: Where scopes are, and what ours begin with: ``models:GLOB``,
            ``endpoints:GLOB`` and ``admin``.
        masking: The set of masking rules.
    """

    issuer: str
    audience: str
    jwks: str
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")
    leeway_seconds: Annotated[float, Meta(ge=0, le=300)] = 30.0
    models: tuple[str, ...] = ("*",)
    endpoints: tuple[str, ...] = ("*",)
    scope_claim: str = "scope"
    scope_prefix: str = ""
    masking: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for keys that would come unprotected."""
        if self.jwks.startswith("http:") and not self.jwks.startswith(_HERE):
            raise ValueError("`jwks` must be a file or an https address")


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The audit log.

    Attributes:
        path: The file.
        key_file: A key that the hashes depend on; without it they only show accidents.
        on_failure: ``refuse`` requests while it cannot be written, or ``continue``.
        prompts: Whether prompts are in it, masked as in logs.
    """

    path: Path
    key_file: Path | None = None
    on_failure: Literal["refuse", "continue"] = "refuse"
    prompts: bool = False


Place = Literal["prompts", "answers", "logs"]
Kind = Literal["email", "iban", "card", "ssn", "ip", "phone"]


class MaskingRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to look for in texts, and what to do about it.

    Attributes:
        find: Kinds of data that the gateway knows.
        name, pattern: One of your own, as a regular expression with bounded repeats.
        do: ``mask`` it, ``refuse`` the request or the answer, or only ``log`` how often there was
            one.
        where: In which texts. In logs it is always masked.
    """

    find: tuple[Kind, ...] = ()
    name: Annotated[str, Meta(pattern="^([a-z][a-z0-9_-]{0,30})?$")] = ""
    pattern: str = ""
    do: Literal["mask", "refuse", "log"] = "mask"
    where: tuple[Place, ...] = ("prompts", "answers", "logs")

    def __post_init__(self) -> None:
        """Raise ValueError for a rule that finds nothing or has half a pattern."""
        if not (self.find or self.pattern) or bool(self.name) != bool(self.pattern):
            raise ValueError("a masking rule needs `find`, or `name` and `pattern`")


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
        jwt: Tokens of an identity provider that are accepted as keys.
        public: Paths that need no key; never those that control models.
        limits: Of each key that has none of its own.
        redis: Where several gateways count together; without, each counts alone.
        cors: Pages that may call the gateway from a browser.
        audit: What is noted about each call; None: nothing.
        masking: Sets of rules by name. Whoever has no key, or one that names no set, gets
            ``default``; a key with the set ``none`` gets none.
    """

    keys: Path | None = None
    jwt: JwtSettings | None = None
    public: tuple[str, ...] = ("/health*",)
    limits: Limits = Limits()
    redis: RedisSettings | None = None
    cors: CorsSettings = CorsSettings()
    audit: AuditSettings | None = None
    masking: dict[str, tuple[MaskingRule, ...]] = {}

    @property
    def names_callers(self) -> bool:
        """Whether callers must say who they are."""
        return self.keys is not None or self.jwt is not None

    def placed(self, base: Path) -> AccessSettings:
        """Return the settings with relative paths below ``base``."""

        def below(path: Path | None) -> Path | None:
            return None if path is None else base / path

        audit = self.audit
        if audit is not None:
            audit = msgspec.structs.replace(
                audit, path=base / audit.path, key_file=below(audit.key_file)
            )
        jwt = self.jwt
        if jwt is not None and not jwt.jwks.startswith(("http:", "https:")):
            jwt = msgspec.structs.replace(jwt, jwks=str(base / jwt.jwks))
        return msgspec.structs.replace(self, keys=below(self.keys), audit=audit, jwt=jwt)
