"""The page in a real Chromium, in front of a scripted server."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.access import add_key
from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import Served, in_front, run_as_served, serving, tokenizer
from support.scripted_http import END, STREAM, answer

playwright = pytest.importorskip("playwright.async_api", reason="Playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
PICTURES = os.environ.get("TRTBUILD_PICTURES")  # a directory: screenshots for the guide

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium"),
]


@dataclass
class Tab:
    """A page, and what its console complained about."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    def see(self, text: str | re.Pattern[str]) -> Any:
        """Wait until a text is seen."""
        return playwright.expect(self.page.get_by_text(text).first).to_be_visible(timeout=15_000)

    async def picture(self, name: str) -> None:
        if PICTURES:
            await self.page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


@contextlib.asynccontextmanager
async def opened(url: Any, **context: Any) -> AsyncIterator[Tab]:
    """Open the page of a port."""
    async with playwright.async_playwright() as program:
        # Chromium's own sandbox needs what containers rarely have.
        browser = await program.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = Tab(await browser.new_page(**context))
        tab.page.on("console", lambda one: tab.complaints.append(f"{one.type}: {one.text}"))
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        await tab.page.goto(f"{url}/ui")
        yield tab
        await browser.close()


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
                seen = playwright.expect
                await seen(left.locator(".answered .text")).to_have_text("Hello!")
                await seen(right.locator(".answered .text")).to_have_text("Good morning!")
                await seen(right.get_by_text("first token")).to_be_visible()
                await page.get_by_label("Message").fill("And now?")
                await page.get_by_role("button", name="Send").click()
                await seen(right.locator(".figures")).to_have_count(2)
                prompts = [body["text_input"] for body in triton.bodies]
                assert any("Good morning!" in text and "And now?" in text for text in prompts)
                await tab.picture("page-playground")
                # The tabs are walked with the arrow keys.
                await page.get_by_role("tab", name="Playground").focus()
                await page.keyboard.press("ArrowRight")
                row = page.get_by_role("row", name=re.compile("other"))
                await seen(row).to_be_visible()
                await tab.picture("page-live")
                await page.keyboard.press("ArrowLeft")
                await seen(left.locator(".answered")).to_have_count(2)
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
            await playwright.expect(page.get_by_role("combobox")).to_have_value("m")
            for number in (1, 2):
                await page.get_by_label("Message").fill("Hello")
                await page.keyboard.press("Enter")
                await playwright.expect(page.locator(".figures")).to_have_count(number)
            await tab.see("0 of 1 requests left")
            await tab.see(re.compile("limit"))
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= 360
            ground = "getComputedStyle(document.body).backgroundColor"
            assert await page.evaluate(ground) == "rgb(20, 23, 26)"
            await tab.picture("page-phone")
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
            await playwright.expect(card.locator(".state")).to_have_text("unloaded")
            await card.get_by_role("button", name="Load", exact=True).click()
            await tab.see("load: warming up")
            await tab.picture("page-models")
            await playwright.expect(card.locator(".state")).to_have_text("ready")
            await tab.see(re.compile("load done in"))
            await card.get_by_role("button", name="Unload").click()
            await playwright.expect(card.locator(".state")).to_have_text("unloaded")

    in_front(test, script=[STREAM, 1.0, said("a", "stop"), END])
