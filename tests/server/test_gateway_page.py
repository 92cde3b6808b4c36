"""The gateway's page in a browser, on a real Triton."""

from __future__ import annotations

import re
from pathlib import Path

from support import triton
from support.browser import expect, in_browser, opened
from support.gateways import run_as_served, serving, tokenizer

pytestmark = in_browser

TOKEN = "0123456789abcdef"


def test_vectors_text_and_models(tasks_server: triton.Triton, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    models = {"letters": {"tokenizer": str(tokenizer()), "context_length": 256}}
    control = {"token_file": str(token)}

    async def run() -> None:
        async with serving(tasks_server.http, models=models, control=control) as served:
            async with opened(served.url) as tab:
                page = tab.page
                await page.get_by_role("combobox").select_option("embedder")
                await page.get_by_label("Message").fill("a\nbb")
                await page.get_by_role("button", name="Send", exact=True).click()
                await tab.see(re.compile("3 numbers each"))
                await expect(page.get_by_role("row", name=re.compile("2. bb"))).to_contain_text(
                    "1.000"
                )
                await page.get_by_role("combobox").select_option("letters")
                await page.get_by_text("System prompt, sampling").click()
                await page.get_by_label("Maximum tokens").fill("40")
                await page.get_by_label("Message").fill("Hello")
                await page.keyboard.press("Control+End")
                await page.keyboard.press("Enter")
                await expect(page.locator(".answered .text")).to_have_text("a" * 40)
                await page.get_by_role("tab", name="Live").click()
                row = page.get_by_role("row", name=re.compile("letters"))
                await expect(row).to_contain_text(re.compile(r"\d ms"), timeout=15_000)
                assert tab.complaints == []
            async with opened(served.control.base_url) as tab:
                page = tab.page
                await page.get_by_label("Control token").fill(TOKEN)
                await page.keyboard.press("Enter")
                card = page.get_by_role("article", name="letters")
                await card.get_by_role("button", name="Reload").click()
                await tab.see(re.compile("load done in"))
                server = page.get_by_label(f"Server {tasks_server.http}")
                await expect(server).to_contain_text("answers")
                await expect(card.locator(".state")).to_have_text("ready")

    run_as_served(run())
