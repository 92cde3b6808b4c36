"""The page in a real Chromium, in front of a scripted server."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.access import add_key
from support.browser import expect, in_browser, opened
from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import (
    TEMPLATE,
    Served,
    in_front,
    run_as_served,
    serving,
    tokenizer,
    write_tokenizer,
)
from support.scripted_http import END, STREAM, answer

pytestmark = in_browser

IMAGES = TEMPLATE.replace(
    "{{ message.content }}",
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{{ part.text or '<image>' }}{% endfor %}{% endif %}",
)
FORM = '<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call>'
CALLS = TEMPLATE.replace("tools: {{ tools | tojson }}", f"tools: {{{{ tools | tojson }}}} {FORM}")
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def test_two_models_answer_side_by_side() -> None:
    async def run() -> None:
        slow = [STREAM, said("Good "), 0.3, said("morning"), said("!", "stop"), END]
        async with fake_triton(m=words("Hel", "lo", "!"), other=slow) as triton:
            own = {name: {"tokenizer": str(tokenizer()), "context_length": 256}
                   for name in ("m", "other")}  # fmt: skip
            async with serving(triton.url, models=own) as served, opened(served.url) as tab:
                page = tab.page
                await page.get_by_label("Two models side by side").check()
                await page.get_by_text("System prompt, sampling").click()
                await page.get_by_label("Temperature").fill("0.5")
                await page.get_by_label("Message").fill("Hello")
                await page.keyboard.press("Enter")
                left, right = page.get_by_label("Model 1"), page.get_by_label("Model 2")
                await expect(left.locator(".answered .text")).to_have_text("Hello!")
                await expect(right.locator(".answered .text")).to_have_text("Good morning!")
                await expect(right.get_by_text("first token")).to_be_visible()
                await page.get_by_label("Message").fill("And now?")
                await page.get_by_role("button", name="Send").click()
                await expect(right.locator(".figures")).to_have_count(2)
                prompts = [body["text_input"] for body in triton.bodies]
                assert any("Good morning!" in text and "And now?" in text for text in prompts)
                # The tabs are walked with the arrow keys.
                await page.get_by_role("tab", name="Playground").focus()
                await page.keyboard.press("ArrowRight")
                row = page.get_by_role("row", name=re.compile("other"))
                await expect(row).to_be_visible()
                await page.keyboard.press("ArrowLeft")
                await expect(left.locator(".answered")).to_have_count(2)
                assert tab.complaints == []

    run_as_served(run())


def test_an_error_a_limit_and_a_narrow_dark_window(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json")

    async def test(_: FakeTriton, served: Served) -> None:
        small = {"width": 360, "height": 740}
        async with opened(served.url, viewport=small, color_scheme="dark") as tab:
            page = tab.page
            await tab.see("there is no API key")
            await page.get_by_label("API key").fill(key)
            await page.get_by_role("button", name="Use").click()
            await expect(page.get_by_role("combobox")).to_have_value("m")
            for number in (1, 2):
                await page.get_by_label("Message").fill("Hello")
                await page.keyboard.press("Enter")
                await expect(page.locator(".figures")).to_have_count(number)
            await tab.see("0 of 1 requests left")
            await tab.see(re.compile("limit"))
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= 360
            ground = "getComputedStyle(document.body).backgroundColor"
            assert await page.evaluate(ground) == "rgb(20, 23, 26)"
            assert key not in await page.content()

    access = {"keys": str(tmp_path / "keys.json"), "limits": {"requests_per_minute": 1}}
    in_front(test, access=access)


def test_models_are_loaded_and_unloaded_with_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTBUILD_CONTROL_TOKEN", "0123456789abcdef")

    async def test(triton: FakeTriton, served: Served) -> None:
        unloaded = {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
        ready = {"name": "m", "version": "1", "state": "READY"}

        def control(action: str, _: str) -> Any:
            triton.index = [ready if action == "load" else unloaded]
            return [answer(b"")]

        triton.index, triton.control = [unloaded], control
        async with opened(served.control.base_url) as tab:
            page = tab.page
            await tab.see("the control token is missing or wrong")
            await page.get_by_label("Control token").fill("0123456789abcdef")
            await page.keyboard.press("Enter")
            card = page.get_by_role("article", name="m")
            await expect(card.locator(".state")).to_have_text("unloaded")
            await card.get_by_role("button", name="Load", exact=True).click()
            await tab.see("load: warming up")
            await expect(card.locator(".state")).to_have_text("ready")
            await tab.see(re.compile("load done in"))
            await card.get_by_role("button", name="Unload").click()
            await expect(card.locator(".state")).to_have_text("unloaded")

    in_front(test, script=[STREAM, 1.0, said("a", "stop"), END])


def test_an_admin_sees_the_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    admin = add_key(file, "boss", admin=True)
    add_key(file, "old", models=("m", "n"), revoked=datetime(2026, 2, 1, tzinfo=UTC))

    async def test(_: FakeTriton, served: Served) -> None:
        async with opened(served.control.base_url) as tab:
            page = tab.page
            await page.get_by_role("tab", name="Keys").click()
            await expect(page.get_by_role("alert").last).to_contain_text("there is no API key")
            await page.get_by_label("Control token").fill(admin)
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("row", name=re.compile("boss admin"))).to_contain_text(
                "all"
            )
            row = page.get_by_role("row", name=re.compile("old"))
            await expect(row).to_contain_text("revoked")
            await expect(row).to_contain_text("m, n")

    in_front(test, access={"keys": str(file)})


def test_experiments_are_shown_with_what_was_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTBUILD_CONTROL_TOKEN", "0123456789abcdef")
    variants = {"now": {"model": "m", "weight": 3}, "new": {"model": "m", "weight": 1}}

    async def test(_: FakeTriton, served: Served) -> None:
        for _ in range(2):
            await served.post("/v1/completions", model="m", prompt="x", user="u1")
        async with opened(served.control.base_url) as tab:
            page = tab.page
            await page.get_by_label("Control token").fill("0123456789abcdef")
            await page.keyboard.press("Enter")
            await page.get_by_role("tab", name="Experiments").click()
            table = page.get_by_role("table", name="sizes")
            await expect(table).to_contain_text("requests for m, by user, 100 % of the users")
            await expect(table.get_by_role("row", name=re.compile("now m 3"))).to_contain_text(
                "75 %"
            )
            cells = await table.locator("td:nth-of-type(4)").all_inner_texts()
            assert sorted(cells) == ["0", "2"]

    in_front(
        test,
        experiments=[{"name": "sizes", "unit": "user", "variants": variants}],
        exposures={"directory": str(tmp_path / "exposures")},
    )


def test_a_call_gets_its_result(tmp_path: Path) -> None:
    async def run() -> None:
        def script(body: dict[str, Any]) -> Any:
            return words("It is ", "cold.") if "minus 4" in body["text_input"] else words(CALL)

        async with fake_triton(m=script) as triton:
            folder = write_tokenizer(tmp_path / "tokenizer", CALLS)
            own = {"m": {"tokenizer": str(folder), "context_length": 1000}}
            async with serving(triton.url, models=own) as served, opened(served.url) as tab:
                page = tab.page
                await page.get_by_text("System prompt, sampling").click()
                await page.get_by_label("Tools").fill("{}")
                await page.get_by_label("Message").fill("Is it cold in Oslo?")
                await page.get_by_role("button", name="Send", exact=True).click()
                await tab.see("the tools are not a list")
                await page.get_by_role("button", name="Example of a tool").click()
                await page.get_by_role("button", name="Send", exact=True).click()
                await tab.see("get_weather(")
                await page.get_by_label("Result of get_weather").fill("minus 4")
                await page.get_by_role("button", name="Send results").click()
                await tab.see("It is cold.")
                assert "Oslo" in triton.bodies[1]["text_input"]
                await page.get_by_text("As curl").last.click()
                await tab.see(re.compile(r'"tool_call_id".*minus 4'))

    run_as_served(run())


def test_an_image_is_sent_and_esc_stops_an_answer(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "tokenizer", IMAGES)

    async def test(triton: FakeTriton, served: Served) -> None:
        async with opened(served.url) as tab:
            page = tab.page
            picture = {"name": "a.png", "mimeType": "image/png", "buffer": PNG}
            await page.get_by_label("Images").set_input_files([picture])
            await expect(page.get_by_label("Remove image 1")).to_be_visible()
            await page.get_by_label("Message").fill("What is it?")
            await page.keyboard.press("Enter")
            await tab.see("A dog")
            await page.keyboard.press("Escape")
            await tab.see("ended: stopped")
            (body,) = triton.bodies
            assert "<image>What is it?" in body["text_input"]
            assert base64.b64decode(body["image"]) == PNG

    slow = [STREAM, said("A dog"), 20.0, said("!", "stop"), END]
    in_front(test, script=slow, models={"m": {"tokenizer": str(folder)}})
