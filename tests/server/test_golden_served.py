"""Recorded answers of a real model: over Triton's gRPC, and through the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from support import triton
from support.gateways import Served, run_as_served, serving
from support.smollm2 import CONTEXT
from trtbuild_measure.answers.golden import Outcome
from trtbuild_measure.answers.options import GoldenCheckOptions, GoldenRecordOptions
from trtbuild_measure.jobs import golden

TOKENS = 6
TEXTS = [{"prompt": "The capital of France is"}, {"prompt": "東京は日本の首都です。🙂"}]
CHAT = {"id": "chat", "messages": [{"role": "user", "content": "Name three colours."}]}
TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


def write(path: Path, *prompts: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in prompts))
    return path


def test_what_was_recorded_over_grpc_is_what_the_gateway_answers(
    vllm_server: triton.Triton, smollm2: Path, tmp_path: Path
) -> None:
    def in_front(test: Callable[[Served], Awaitable[None]], **more: Any) -> None:
        model = {"tokenizer": str(smollm2), "context_length": CONTEXT, **more}

        async def main() -> None:
            async with serving(vllm_server.http, models={"smollm2": model}) as served:
                await test(served)

        run_as_served(main())

    def record(name: str, target: str, *prompts: dict[str, Any]) -> float:
        file = write(tmp_path / "prompts.jsonl", *prompts)
        options = GoldenRecordOptions(
            target=target, prompts=file, out=tmp_path / name, max_tokens=TOKENS
        )
        return golden.record(options).noise

    def check(name: str, target: str) -> golden.Check:
        return golden.check(GoldenCheckOptions(target=target, recording=tmp_path / name))

    noise = record("grpc.jsonl", f"triton:grpc://{vllm_server.grpc}/smollm2", *TEXTS)
    assert noise < 0.01  # float32

    async def same(served: Served) -> None:
        target = f"openai:{served.url}/v1#smollm2"
        found = await asyncio.to_thread(check, "grpc.jsonl", target)
        assert not [one for one in found.verdicts if one.failed]
        assert found.shift < 0.01
        assert all(one.compared == TOKENS or one.at is not None for one in found.verdicts)
        await asyncio.to_thread(record, "gateway.jsonl", target, CHAT)

    async def changed(served: Served) -> None:
        found = await asyncio.to_thread(check, "gateway.jsonl", f"openai:{served.url}/v1#smollm2")
        assert [one.outcome for one in found.verdicts] == [Outcome.PROMPT]

    in_front(same)
    (tmp_path / "template.jinja").write_text(TEMPLATE)
    in_front(changed, chat_template=str(tmp_path / "template.jinja"))
