"""The gateway's page in a real Chromium."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.async_api", reason="Playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
expect = playwright.expect

in_browser = [
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
        return expect(self.page.get_by_text(text).first).to_be_visible(timeout=60_000)


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
