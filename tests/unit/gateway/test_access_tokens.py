"""Tokens of an identity provider as keys."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support.access import USER, add_key, bearer
from support.command_line import trtbuild
from support.fake_triton import FakeTriton, fake_triton, words
from support.gateways import Served, client, in_front, run_as_served, serving, tokenizer
from support.scripted_http import answer, scripted
from trtbuild_gateway.access import patterns, tokens
from trtbuild_gateway.access_settings import JwtSettings
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.seams import Call

ABSENT: Any = object()
ISSUER, AUDIENCE = "https://id.example.com", "gateway"
CHAT: dict[str, Any] = {"model": "m", "messages": [USER]}


@cache
def private(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def jwks(*names: str) -> dict[str, Any]:
    made = []
    for name in names:
        value = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private(name).public_key()))
        made.append({**value, "kid": name, "alg": "ES256", "use": "sig"})
    return {"keys": made}


def token(kid: str = "one", signed: str = "", **more: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-1", "iat": now, "exp": now + 600, **more}
    claims = {name: value for name, value in claims.items() if value is not ABSENT}
    key = private(signed or kid)
    return jwt.encode(claims, key, "ES256", headers={"kid": kid})


def hmac_token() -> str:
    """A token signed with what everybody knows of the public key."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u", "exp": now + 600}
    secret = jwks("one")["keys"][0]["x"] * 2
    return jwt.encode(claims, secret, "HS256", headers={"kid": "one"})


def unsigned() -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u", "exp": int(time.time()) + 600}
    return jwt.encode(claims, None, "none", headers={"kid": "one"})


def settings(path: Path, **more: Any) -> dict[str, Any]:
    file = path / "jwks.json"
    file.write_text(json.dumps(jwks("one")))
    return {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(file), **more}


REFUSED: list[tuple[Callable[[], str], str]] = [
    (lambda: token(exp=int(time.time()) - 60), "has expired"),
    (lambda: token(nbf=int(time.time()) + 90), "not valid yet; compare the clocks"),
    (lambda: token(iss="https://evil.example"), "not valid"),
    (lambda: token(aud="other"), "not valid"),
    (lambda: token(exp=ABSENT), "not valid"),
    (lambda: token(sub=ABSENT), "not valid"),
    (lambda: token(scope=None), "its claim 'scope' is neither a text nor a list"),
    (lambda: token(scope=7), "its claim 'scope' is neither a text nor a list"),
    (lambda: token(scope={"admin": True}), "neither a text nor a list"),
    (lambda: token(signed="two"), "not valid"),
    (lambda: token("two"), "a key that the identity provider does not have"),
    (hmac_token, "signed with 'HS256'"),
    (unsigned, "signed with 'none'"),
    (lambda: token()[:-8], "not valid"),
    (lambda: "a.b.c", "not valid"),
    (lambda: "none", "not valid"),
]


def test_only_valid_tokens_pass(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file)

    async def test(triton: FakeTriton, served: Served) -> None:
        for make, says in REFUSED:
            found = await served.client.get("/v1/models", headers=bearer(make()))
            error = found.json()["error"]
            assert (found.status_code, error["code"]) == (401, "invalid_api_key"), says
            assert says in error["message"], error
        late = token(exp=int(time.time()) - 5), token(nbf=int(time.time()) + 10)  # clock skew
        for good in (token(), key, *late):
            found = await served.client.post(
                "/v1/chat/completions", json=CHAT, headers=bearer(good)
            )
            assert found.status_code == 200

    in_front(test, access={"keys": str(file), "jwt": settings(tmp_path)})


def test_scopes_and_limits_of_a_token(tmp_path: Path) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        async def ask(scope: Any, path: str = "/v1/chat/completions", **more: Any) -> int:
            headers = bearer(token(scope=scope, **more))
            return (await served.client.post(path, json=CHAT, headers=headers)).status_code

        assert await ask("openid gw/models:other") == 404
        assert await ask(["gw/models:m", "gw/endpoints:/v1/messages*"]) == 403
        assert await ask("models:other") == 200  # it is not ours
        assert await ask("gw/models:m") == 200
        assert await ask("gw/models:m") == 429
        assert await ask("gw/models:m", sub="u-2") == 200

    jwt_settings = settings(tmp_path, scope_prefix="gw/")
    in_front(test, access={"jwt": jwt_settings, "limits": {"requests_per_minute": 2}})


def test_a_batch_belongs_to_the_subject_of_a_token_and_keeps_its_scopes(tmp_path: Path) -> None:
    import openai

    rows = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": CHAT | more}
        for name, more in (("a", {}), ("b", {}), ("c", {"model": "other"}))
    ]
    content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()

    async def test(_: FakeTriton, served: Served) -> None:
        mine = client(served, token(scope="models:m"))
        file = await mine.files.create(file=("rows.jsonl", content), purpose="batch")
        given: Any = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = await mine.batches.create(input_file_id=file.id, **given)
        async with asyncio.timeout(60):
            while (batch := await mine.batches.retrieve(batch.id)).status != "completed":
                await asyncio.sleep(0.02)
        assert batch.request_counts is not None
        assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 1)
        assert not list(tmp_path.glob("batches/*/*.grant"))
        # Its lines count: of six requests, the upload, the batch and both lines are four.
        statuses = [
            (await served.client.post("/v1/chat/completions", json=CHAT, headers=bearer(one)))
            for one in (*[token()] * 3, token(sub="u-2"))
        ]
        assert [one.status_code for one in statuses] == [200, 200, 429, 200]
        with pytest.raises(openai.NotFoundError):
            await client(served, token(sub="u-2")).batches.retrieve(batch.id)

        gate = served.gateway.gate
        call = Call("r", "/v1/chat/completions")
        for grant in (b"", b"{}"):  # the provider is not asked any more, or the file is damaged
            with pytest.raises(ApiError) as caught:
                await gate.again("sub:u-1", call, grant)
            assert caught.value.status == 401

    access = {"jwt": settings(tmp_path), "limits": {"requests_per_minute": 6}}
    in_front(test, access=access, batches={"directory": str(tmp_path)})


@pytest.mark.parametrize(
    ("scope", "admin"),
    [("admin", False), ("gw/admin:read", False), ("gw/admin:", False), ("openid gw/admin", True)],
)
def test_only_the_whole_scope_makes_an_admin(tmp_path: Path, scope: str, admin: bool) -> None:
    given = msgspec.convert(settings(tmp_path, scope_prefix="gw/"), JwtSettings)
    found = asyncio.run(tokens.Tokens(given).key_of(token(scope=scope)))
    assert found.admin is admin


def test_a_new_key_of_the_provider_is_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pages = [
            [answer(json.dumps(jwks(*names)).encode())] for names in (("one",), ("one", "two"))
        ]
        async with contextlib.AsyncExitStack() as stack:
            provider = await stack.enter_async_context(scripted(*pages))
            triton = await stack.enter_async_context(fake_triton(m=words("a")))
            access = {
                "jwt": {
                    "issuer": ISSUER,
                    "audience": AUDIENCE,
                    "jwks": f"http://{provider.url}/jwks",
                }
            }
            models = {"m": {"tokenizer": str(tokenizer())}}
            served = await stack.enter_async_context(
                serving(triton.url, models=models, access=access)
            )

            async def status(text: str) -> int:
                return (await served.client.get("/v1/models", headers=bearer(text))).status_code

            assert await status(token()) == 200
            assert len(provider.heads) == 1
            for name in ("two", "three"):  # clients cannot make the gateway ask and ask
                assert await status(token(name)) == 401
            assert len(provider.heads) == 1
            monkeypatch.setattr(tokens, "_AGAIN_SECONDS", 0.0)
            assert await status(token("two")) == 200
            assert await status(token("three")) == 401

    run_as_served(run())


def test_a_key_that_the_provider_withdraws_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pages = [[answer(json.dumps(jwks(name)).encode())] for name in ("one", "two")]
        async with scripted(*pages, ["reset"]) as provider:
            given = JwtSettings(ISSUER, AUDIENCE, f"http://{provider.url}/jwks")
            found = tokens.Tokens(given)
            await found.open()
            assert (await found.key_of(token())).id == "sub:u-1"
            for name in ("_OLDEST_SECONDS", "_FAILED_SECONDS", "_AGAIN_SECONDS"):
                monkeypatch.setattr(tokens, name, 0.0)
            await found.key_of(token())  # it is not old yet
            assert len(provider.heads) == 1
            monkeypatch.setattr(found, "_due", 0.0)
            with pytest.raises(ApiError, match="a key that the identity provider does not have"):
                await found.key_of(token())
            for asked in (3, 4):  # without the provider, what is known stays
                await found.key_of(token("two"))
                assert len(provider.heads) == asked

    asyncio.run(run())


def test_a_provider_that_cannot_be_reached(caplog: pytest.LogCaptureFixture) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        found = await served.client.get("/v1/models", headers=bearer(token()))
        assert (found.status_code, found.json()["error"]["code"]) == (503, "keys_unavailable")
        assert "retry-after" in found.headers
        assert "the keys of http://127.0.0.1:1/jwks are not known" in caplog.text

    access = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": "http://127.0.0.1:1/jwks"}
    in_front(test, access={"jwt": access})


@pytest.mark.parametrize(
    ("library", "access"),
    [
        ("jwt", {"jwt": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": "jwks.json"}}),
        ("redis", {"keys": "keys.json", "redis": {"url": "redis://127.0.0.1/0"}}),
        ("masking", {"masking": {"default": [{"find": ["email"]}]}}),
    ],
)
def test_what_needs_a_library_says_how_to_install_it(
    library: str, access: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_key(tmp_path / "keys.json")
    settings(tmp_path)
    (tmp_path / "gateway.yaml").write_text(json.dumps({"port": 0, "access": access}))
    for name in ("jwt", "redis", "redis.asyncio", "regex"):
        monkeypatch.setitem(sys.modules, name, None)
    patterns.built_in.cache_clear()
    done = trtbuild("gateway", "-f", "gateway.yaml")
    assert (done.returncode, f"trtbuild-gateway[{library}]" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"jwks": "none.json"}, "No such file"),
        ({"jwks": "empty.json"}, "cannot be used"),
        ({"jwks": "http://id.example.com/jwks"}, "https address"),
        ({"algorithms": ["HS256"]}, "HS256"),
        ({"masking": "strict"}, "'strict' of access.jwt do not exist"),
    ],
)
def test_settings_that_cannot_be(more: dict[str, Any], says: str, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}")
    value = {"port": 0, "access": {"jwt": settings(tmp_path, **more)}}
    (tmp_path / "gateway.yaml").write_text(json.dumps(value))
    done = trtbuild("gateway", "-f", "gateway.yaml")
    assert (done.returncode, says in done.stderr) == (3, True), done.stderr
