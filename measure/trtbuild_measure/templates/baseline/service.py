"""The naive service: FastAPI in front of transformers' ``generate``.

    python service.py --model DIRECTORY --port 9100 --batch 1

This is what a model is often first served with, and what everything else is compared with. Requests
wait in a queue; a thread takes up to ``--batch`` of them (one: one request at a time), pads them
to one tensor, and generates until the longest is done (static batching: nobody joins or leaves a
batch that runs). Tokens are streamed as they come, in the words of OpenAI's API, so that the
comparison is of the engines and not of streaming against waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import queue
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from tokenizers.decoders import DecodeStream
from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteria, StoppingCriteriaList


@dataclass
class Job:
    """One request on its way."""

    ids: list[int]
    max_tokens: int
    forced: bool
    temperature: float
    loop: asyncio.AbstractEventLoop
    out: asyncio.Queue = field(default_factory=asyncio.Queue)
    made: int = 0
    done: bool = False
    decoder: Any = field(default_factory=lambda: DecodeStream(skip_special_tokens=True))

    def put(self, item: dict | None) -> None:
        """To the request's own event loop; None ends it."""
        self.loop.call_soon_threadsafe(self.out.put_nowait, item)


class Rows(StoppingCriteria):
    """Hands each row's new token to its job; a row is done when its job is.

    ``generate`` asks its stopping criteria after every token, the last one too; its streamers take
    a single row.
    """

    def __init__(self, jobs: list[Job], tokenizer: Any, eos: set[int]) -> None:
        self.jobs = jobs
        self.tokenizer = tokenizer
        self.eos = eos

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Called after each token; ``scores`` are not looked at."""
        del scores
        for job, token in zip(self.jobs, input_ids[:, -1].tolist(), strict=True):
            if not job.done:
                self.token(job, token)
        done = [job.done for job in self.jobs]
        return torch.tensor(done, device=input_ids.device)

    def token(self, job: Job, token: int) -> None:
        """One more token of a job."""
        stop = token in self.eos and not job.forced
        job.made += 1
        text = "" if stop else job.decoder.step(self.tokenizer.backend_tokenizer, token)
        if text:
            job.put({"text": text})
        if stop or job.made >= job.max_tokens:
            job.done = True
            job.put({"text": "", "finish": "stop" if stop else "length"})


class Engine:
    """The model, and the thread that runs it."""

    def __init__(self, folder: str, dtype: str, batch: int, wait_ms: float) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        self.model.to(self.device).eval()
        eos = self.model.generation_config.eos_token_id
        self.eos = set(eos if isinstance(eos, list) else [eos]) - {None}
        self.model.generation_config.eos_token_id = None  # Rows decides what ends a row
        self.batch = batch
        self.wait = wait_ms / 1e3
        self.jobs: queue.Queue[Job] = queue.Queue()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """Batch after batch, until the process ends."""
        while True:
            jobs = self.take()
            try:
                self.generate(jobs)
            except Exception as error:
                for job in jobs:
                    job.put({"error": f"{type(error).__name__}: {error}"})
            for job in jobs:
                job.put(None)

    def take(self) -> list[Job]:
        """The next batch: whoever comes within the wait."""
        jobs = [self.jobs.get()]
        until = time.monotonic() + self.wait
        while len(jobs) < self.batch:
            try:
                jobs.append(self.jobs.get(timeout=max(0.001, until - time.monotonic())))
            except queue.Empty:
                break
        return jobs

    @torch.inference_mode()
    def generate(self, jobs: list[Job]) -> None:
        """One call of ``generate`` for all of them; sampling is the first one's."""
        padded = self.tokenizer.pad({"input_ids": [job.ids for job in jobs]}, return_tensors="pt")
        heat = jobs[0].temperature
        sampling = {"do_sample": True, "temperature": heat} if heat > 0 else {"do_sample": False}
        self.model.generate(
            **padded.to(self.device),
            max_new_tokens=max(job.max_tokens for job in jobs),
            pad_token_id=self.tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([Rows(jobs, self.tokenizer, self.eos)]),
            **sampling,
        )


async def events(job: Job, model: str, chat: bool) -> AsyncIterator[str]:
    """The answer as server-sent events."""
    while (item := await job.out.get()) is not None:
        if "error" in item:
            yield f"data: {json.dumps({'error': {'message': item['error']}})}\n\n"
            return
        choice = {"index": 0, "finish_reason": item.get("finish")}
        choice |= {"delta": {"content": item["text"]}} if chat else {"text": item["text"]}
        yield f"data: {json.dumps({'model': model, 'choices': [choice]})}\n\n"
    usage = {"prompt_tokens": len(job.ids), "completion_tokens": job.made}
    yield f"data: {json.dumps({'model': model, 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


def application(engine: Engine, name: str) -> FastAPI:
    """The routes."""
    app = FastAPI()

    @app.get("/v1/models")
    async def models() -> dict:
        return {"object": "list", "data": [{"id": name, "object": "model"}]}

    @app.post("/v1/completions")
    async def completions(request: Request) -> Any:
        return answer(await request.json(), chat=False)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Any:
        return answer(await request.json(), chat=True)

    def answer(asked: dict, chat: bool) -> Any:
        if asked.get("model") != name:
            return JSONResponse({"error": {"message": f"no model {asked.get('model')!r}"}}, 404)
        try:
            text = asked["messages"] if chat else asked["prompt"]
            ids = (
                engine.tokenizer.apply_chat_template(
                    text, add_generation_prompt=True, return_dict=True
                )["input_ids"]
                if chat
                else engine.tokenizer(text)["input_ids"]
            )
            job = Job(
                ids=list(ids),
                max_tokens=max(1, int(asked.get("max_tokens") or 16)),
                forced=bool(asked.get("ignore_eos", False)),
                temperature=float(asked.get("temperature") or 0),
                loop=asyncio.get_running_loop(),
            )
        except (KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": {"message": str(error)}}, 400)
        engine.jobs.put(job)
        return StreamingResponse(events(job, name, chat), media_type="text/event-stream")

    return app


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", required=True, help="directory of the checkpoint")
    parser.add_argument("--name", default="baseline")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--batch", type=int, default=1, help="requests in one call of generate")
    parser.add_argument("--wait-ms", type=float, default=20, help="for a batch to fill")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    found = parser.parse_args()
    if found.threads:
        torch.set_num_threads(found.threads)
    engine = Engine(found.model, found.dtype, found.batch, found.wait_ms)
    uvicorn.run(
        application(engine, found.name), host="127.0.0.1", port=found.port, log_level="warning"
    )


if __name__ == "__main__":
    main()
