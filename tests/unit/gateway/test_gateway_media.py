"""Images of requests: what is one, what is too large, and which addresses are never fetched."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from support.fake_triton import FakeTriton, words
from support.gateways import TEMPLATE, Served, in_front
from support.scripted_http import Scripted, answer, scripted
from support.vision import make_published
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.prompts import fetching
from trtbuild_gateway.prompts.fetching import fetch, public
from trtbuild_gateway.settings import MediaSettings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
IMAGES = TEMPLATE.replace(
    "{{ message.content }}",
    "{% for part in message.content %}{{ '<image>' if part.type == 'image' else part.text }}"
    "{% endfor %}",
)


def chat(url: str) -> dict[str, Any]:
    """A chat about one image."""
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    return {"model": "m", "messages": [{"role": "user", "content": parts}], "max_tokens": 4}


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def test_an_image_reaches_the_model(tmp_path: Any) -> None:
    template = tmp_path / "images.jinja"
    template.write_text(IMAGES)

    async def test(triton: FakeTriton, served: Served) -> None:
        done = await served.post("/v1/chat/completions", **chat(data_url(PNG)))
        assert done.status_code == 200, done.text
        (body,) = triton.bodies
        assert base64.b64decode(body["image"]) == PNG
        assert "What is it?<image>" in body["text_input"]
        asked = chat(data_url(PNG))
        asked["messages"][0]["content"][1]["image_url"]["detail"] = "sharp"
        refused = await served.post("/v1/chat/completions", **asked)
        assert refused.status_code == 400 and "'sharp' is not one of low" in refused.text

    in_front(test, models={"m": {"chat_template": str(template)}})


def test_a_model_of_the_repository_has_its_boxes_listed(tmp_path: Path) -> None:
    checkpoint = make_published(tmp_path / "ocr", "DeepseekOCRForCausalLM")
    made = trtbuild("convert", checkpoint, "--repo", tmp_path / "made", "--name", "m")
    assert made.returncode == 0, made.stderr
    template = tmp_path / "images.jinja"
    template.write_text(IMAGES)

    async def test(triton: FakeTriton, served: Served) -> None:
        done = await served.post("/v1/chat/completions", **chat(data_url(PNG)))
        message = done.json()["choices"][0]["message"]
        assert [box["label"] for box in message["boxes"]] == ["cat", "cat"], done.text
        asked = json.loads(triton.bodies[0]["sampling_parameters"])
        assert asked["skip_special_tokens"] is False  # the marks are special tokens

    settings = {"repository": str(tmp_path / "made")}
    marked = words("<|ref|>cat<|/r", "ef|><|det|>[[1, 2, 3, 4], ", "[5, 6, 7, 8]]<|/det|>")
    in_front(test, script=marked, models={"m": {"chat_template": str(template)}}, **settings)


@pytest.mark.parametrize(
    ("url", "status", "says"),
    [
        (data_url(b"<svg/>"), 400, "not an image"),
        (data_url(PNG + bytes(2000)), 413, "larger than 1,000 bytes"),
        ("data:image/png;base64,@@@", 400, "not valid base64"),
        ("data:image/png,abc", 400, "must be base64"),
        ("http://example.com/a.png", 400, "https"),
        ("file:///etc/passwd", 400, "https"),
        ("https://user:pw@example.com/a.png", 400, "password"),
        ("https://127.0.0.1/a.png", 400, "private network"),
        ("https://2130706433/a.png", 400, "private network"),
        ("https://0x7f.1/a.png", 400, "private network"),
        ("https://[::ffff:10.0.0.1]/a.png", 400, "private network"),
        ("https://169.254.169.254/latest/meta-data", 400, "private network"),
        ("https://localhost/a.png", 400, "private network"),
        ("https://example.com:8000/a.png", 400, "only port 443"),
        ("https://a b/", 400, "space"),
        ("https://[", 400, "not a URL"),
    ],
)
def test_an_image_that_cannot_be_taken(url: str, status: int, says: str) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        refused = await served.post("/v1/chat/completions", **chat(url))
        assert refused.status_code == status, refused.text
        error = refused.json()["error"]
        assert says in error["message"]
        assert error["param"].startswith("messages[0].content[1]")
        assert not triton.bodies

    in_front(test, media={"most_bytes": 1000})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("10.1.2.3", False),
        ("172.16.0.1", False), ("192.168.0.1", False), ("127.8.9.1", False), ("0.0.0.0", False),
        ("100.64.0.1", False), ("169.254.1.1", False), ("224.0.0.1", False), ("::1", False),
        ("fe80::1%eth0", False), ("fc00::1", False), ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False), ("64:ff9b::a00:1", False), ("255.255.255.255", False),
        ("64:ff9b:1::a00:1", False), ("::a00:1", False), ("::ffff:0:a00:1", False),
        ("fec0::1", False), ("5f00::1", False), ("3fff::1", False), ("2001:db8::1", False),
    ],
)  # fmt: skip
def test_public_addresses(address: str, expected: bool) -> None:
    assert public(address) is expected


HOSTS = {"good.example": "93.184.216.34", "evil.example": "10.0.0.5"}


def fetched(url: str, monkeypatch: pytest.MonkeyPatch, *scripts: Any, **settings: Any) -> bytes:
    """Fetch with a resolver and a network of two hosts."""
    connect = asyncio.open_connection

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host not in HOSTS:
            raise socket.gaierror(-2, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOSTS[host], port))]

    async def run() -> bytes:
        async with scripted(*scripts) as server:
            monkeypatch.setattr(fetching.asyncio, "open_connection", to(server))
            return await fetch(url, "url", MediaSettings(**settings))

    def to(server: Scripted) -> Any:
        async def open_connection(address: str, port: int, **_: Any) -> Any:
            assert (address, port) == ("93.184.216.34", 443)
            return await connect("127.0.0.1", server.port)

        return open_connection

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        return asyncio.run(run())
    finally:
        monkeypatch.undo()


def test_a_public_file_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = answer(b"", 302, location="/there")
    found = fetched("https://good.example/a", monkeypatch, [moved], [answer(PNG)])
    assert found == PNG


@pytest.mark.parametrize(
    ("url", "script", "settings", "says"),
    [
        ("https://evil.example/", b"", {}, "private network"),
        (
            "https://good.example/",
            answer(b"", 302, location="https://evil.example/"),
            {},
            "private",
        ),
        ("https://good.example/", answer(b"", 302, location="http://good.example/"), {}, "https"),
        ("https://good.example/", answer(b"", 302, location="/"), {}, "more than 3 times"),
        ("https://good.example/", answer(b"", 302, location="https://["), {}, "not a URL"),
        ("https://good.example/", answer(b"", 302, location="//evil.example/"), {}, "private"),
        ("https://good.example/", answer(bytes(100)), {"most_bytes": 10}, "larger than 10 bytes"),
        ("https://good.example/", answer(b"", 404), {}, "status 404"),
        ("https://good.example/", b"", {"seconds": 0.05}, "longer than"),
        ("https://good.example/", answer(PNG), {"hosts": ("other.example",)}, "allows"),
        ("https://good.example/", answer(PNG), {"fetch": False}, "data URL"),
        ("https://nowhere.example/", b"", {}, "no such host"),
    ],
)
def test_a_file_that_may_not_be_fetched(
    url: str, script: bytes, settings: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ApiError, match=says):
        fetched(url, monkeypatch, [script], **settings)


def test_audio_is_refused_by_name() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        part = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
        messages = [{"role": "user", "content": [part]}]
        refused = await served.post("/v1/chat/completions", model="m", messages=messages)
        assert refused.status_code == 400
        assert "takes audio: send its text" in refused.json()["error"]["message"]

    in_front(test)
