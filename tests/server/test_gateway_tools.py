"""Tool calls and reasoning through the gateway, over a real Triton."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from canitoolcall.results import Status

from support import triton
from support.gateways import serving, write_tokenizer
from support.published import TEMPLATE, judged, models


def test_published_outputs_over_a_real_server(tasks_server: triton.Triton, tmp_path: Path) -> None:
    named = models(write_tokenizer(tmp_path, TEMPLATE), upstream="played")

    async def run() -> Counter[Status]:
        async with serving(tasks_server.http, models=named) as served:
            return await judged(served)

    assert asyncio.run(run()) == {Status.PASS: 468, Status.SOFT_PASS: 1}
