"""Published outputs of real models, of ``canitoolcall``, through the parsers and the gateway."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from canitoolcall.results import Status

from support.fake_triton import fake_triton, words
from support.gateways import serving, write_tokenizer
from support.published import FIXTURES, TEMPLATE, judged, judging, models, played
from support.scripted_http import Step

pytestmark = pytest.mark.slow
PARSED = {Status.PASS: 468, Status.SOFT_PASS: 1}


def test_all_published_outputs_are_parsed_in_any_pieces() -> None:
    found = Counter[Status]()
    for fixture in FIXTURES:
        status, reasons, streams, cuts = judging().judge(fixture, step=23)
        assert (streams, cuts) == (0, 0), fixture.id
        assert status in PARSED, (fixture.id, reasons)
        found[status] += 1
    assert found == PARSED


def test_all_published_outputs_pass_through_the_gateway(tmp_path: Path) -> None:
    named = models(write_tokenizer(tmp_path, TEMPLATE))

    def script(body: dict[str, Any]) -> Sequence[Step]:
        pieces, reason = played(body["text_input"])
        return words(*pieces, reason=reason)

    async def run() -> Counter[Status]:
        async with (
            fake_triton(**dict.fromkeys(named, script)) as triton,
            serving(triton.url, models=named) as served,
        ):
            return await judged(served)

    assert asyncio.run(run()) == PARSED
