"""What the gateway serves at ``/ui/``. A browser reads it in test_gateway_browser.py."""

from __future__ import annotations

import gzip
from pathlib import Path

from support.access import add_key
from support.fake_triton import FakeTriton
from support.gateways import Served, in_front

FILES = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}


def test_each_port_serves_its_page_under_a_strict_policy() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        size = 0
        for client, port in ((served.client, "data"), (served.control, "control")):
            for name, kind in FILES.items():
                answer = await client.get(f"/ui/{name}")
                assert answer.status_code == 200
                assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
                policy = answer.headers["content-security-policy"].split("; ")
                assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'"} <= {
                    *policy
                }
                assert "unsafe" not in answer.headers["content-security-policy"]
                assert answer.headers["x-content-type-options"] == "nosniff"
                seen = {"if-none-match": answer.headers["etag"]}
                again = await client.get(f"/ui/{name}", headers=seen)
                assert (again.status_code, again.content) == (304, b"")
                size += len(gzip.compress(answer.content))
            assert f'data-port="{port}"' in (await client.get("/ui/")).text
            moved = await client.get("/ui")
            assert (moved.status_code, moved.headers["location"]) == (307, "ui/")
            assert (await client.get("/ui/..%2fapp.py")).status_code == 404
        assert size / 2 < 150_000

    in_front(test)


def test_the_page_needs_no_key_but_what_it_asks_does(tmp_path: Path) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        for client in (served.client, served.control):
            assert (await client.get("/ui/page.js")).status_code == 200
        assert (await served.client.get("/v1/models")).status_code == 401

    add_key(tmp_path / "keys.json")
    in_front(test, access={"keys": str(tmp_path / "keys.json")})


def test_the_page_can_be_left_out() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        for client in (served.client, served.control):
            assert (await client.get("/ui/")).status_code == 404

    in_front(test, page=False)
