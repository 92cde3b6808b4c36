"""A relay as it is often written: ``usual_relay.py UPSTREAM_URL PORT``."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

client = httpx.AsyncClient(
    base_url=sys.argv[1], timeout=None, limits=httpx.Limits(max_connections=None)
)


async def relay(request: Request) -> StreamingResponse:
    """Ask the upstream for a stream and answer with OpenAI's events."""
    body = await request.json()

    async def events() -> AsyncIterator[str]:
        asked = {"text_input": body["prompt"], "stream": True}
        async with client.stream("POST", "/v2/models/m/generate_stream", json=asked) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    text = json.loads(line[6:])["text_output"]
                    choice = {"index": 0, "text": text, "finish_reason": None}
                    yield "data: " + json.dumps({"id": "x", "choices": [choice]}) + "\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/v1/completions", relay, methods=["POST"])])
    uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
