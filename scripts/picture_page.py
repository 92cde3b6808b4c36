"""Take the pictures of docs/guides/page.md with a gateway that runs.

    trtbuild up sample:smollm2 --detach
    TRTBUILD_CONTROL_TOKEN=… trtbuild gateway model_repository --control-port 9001 &
    TRTBUILD_CONTROL_TOKEN=… python scripts/picture_page.py

Needs `pip install --group browser`, and Chromium.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

DATA, CONTROL = "http://127.0.0.1:9000/ui", "http://127.0.0.1:9001/ui"
IMAGES = Path(__file__).parents[1] / "docs" / "images"
QUESTIONS = ("Name three rivers of Europe.", "Which is the longest?")
COLOURS = 48
ANSWER_MS = 120_000  # a CPU takes its time


def main() -> None:
    """Take all pictures."""
    with sync_playwright() as program:
        browser = program.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox"],
        )
        playground(browser)
        models(browser)


def playground(browser: Browser) -> None:
    """Ask two models twice, and look at the figures."""
    page = opened(browser, DATA, 760)
    expect(page.get_by_role("combobox").first).not_to_have_value("")
    page.get_by_label("Two models side by side").check()
    page.get_by_text("System prompt, sampling").click()
    page.get_by_label("Most tokens").fill("48")
    page.get_by_label("Temperature").fill("0.7")
    page.get_by_text("System prompt, sampling").click()
    for number, question in enumerate(QUESTIONS, 1):
        page.get_by_label("Message").fill(question)
        page.keyboard.press("Enter")
        expect(page.locator(".figures")).to_have_count(2 * number, timeout=ANSWER_MS)
    save(page, "gateway-playground", full_page=True)
    page.get_by_role("tab", name="Live").click()
    page.set_viewport_size({"width": 1000, "height": 260})
    save(page, "gateway-live")


def models(browser: Browser) -> None:
    """Look at the models, in the dark."""
    page = opened(browser, CONTROL, 520, color_scheme="dark")
    page.get_by_label("Control token").fill(os.environ["TRTBUILD_CONTROL_TOKEN"])
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("CPUs")).first).to_be_visible(timeout=20_000)
    page.get_by_text("trtbuild gateway").click()
    save(page, "gateway-models")


def opened(browser: Browser, url: str, height: int, **context: Any) -> Page:
    """Open a page."""
    page = browser.new_page(viewport={"width": 1000, "height": height}, **context)
    page.goto(url)
    return page


def save(page: Page, name: str, **options: Any) -> None:
    """Write a small picture."""
    picture = Image.open(io.BytesIO(page.screenshot(**options))).convert("RGB")
    picture.quantize(COLOURS).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
