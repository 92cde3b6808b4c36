"""A language model of a few numbers behind OpenAI's API, whose weights a test may change."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

WORDS = [f" w{at}" for at in range(40)]
_EXTENSIONS = ("return_tokens_as_token_ids", "repetition_penalty")


@dataclass
class SmallLm:
    """Its logits follow from the last two tokens.

    Attributes:
        seed: Of its weights: another seed is another model.
        jitter: Standard deviation of what each request adds to the logits, as batches do.
        grid: Logits are rounded to multiples of this; 0 leaves them.
        template: The text before a chat's messages.
        extended: Knows vLLM's parameters and ``/tokenize``.
        logprobs: Sends log probabilities.
        alternatives: Sends the most probable tokens beside the generated one.
        values: Fills the lists of a completion's log probabilities; otherwise they are null.
        echoes: Takes ``echo``; otherwise it answers as if it were not there.
        adds: Tokens that it puts before a text.
        answers: What it says whatever its weights are, by a text that the prompt contains.
    """

    port: int = 0
    seed: int = 0
    jitter: float = 0.0
    grid: float = 0.0
    template: str = "user:"
    extended: bool = True
    logprobs: bool = True
    values: bool = True
    alternatives: bool = True
    echoes: bool = False
    adds: int = 0
    key: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    _requests: int = 0

    @property
    def target(self) -> str:
        return f"openai:http://127.0.0.1:{self.port}/v1#m"

    def reply(self, path: str, body: dict[str, Any], key: str) -> tuple[int, Any]:
        if self.key and key != f"Bearer {self.key}":
            return 401, {"error": {"message": "a key is needed"}}
        if path == "/v1/models":
            return 200, {"data": [{"id": "m"}]}
        if path == "/tokenizer_info" and self.extended:
            return 200, {"eos_token": WORDS[0]}
        self.bodies.append(body)
        prompt = self._prompt(body)
        if path == "/tokenize" and self.extended:
            before = [0] * self.adds if body.get("add_special_tokens", True) else []
            return 200, {"tokens": before + prompt, "max_model_len": 512}
        if not path.endswith("/completions"):
            return 404, {"error": "no such path"}
        unknown = [name for name in _EXTENSIONS if name in body]
        if unknown and not self.extended:
            return 400, {"error": {"message": f"unknown parameter {unknown[0]}"}}
        return 200, self._completion(body, prompt)

    def _prompt(self, body: dict[str, Any]) -> list[int]:
        text = str(body.get("prompt", ""))
        if "messages" in body:
            said = "".join(str(one["content"]) for one in body["messages"])
            text = self.template + said + "".join((body.get("chat_template_kwargs") or {}).values())
        return [ord(letter) % len(WORDS) for letter in text]

    def _completion(self, body: dict[str, Any], prompt: list[int]) -> dict[str, Any]:
        chat = "messages" in body
        asked = json.dumps(body.get("messages") or body["prompt"], ensure_ascii=False)
        known = next((said for part, said in self.answers.items() if part in asked), None)
        steps = self._generate([*prompt], int(body["max_tokens"]))
        text = "".join(WORDS[token] for token, _ in steps) if known is None else known
        if body.get("echo") and self.echoes:
            text = str(body["prompt"]) + text
            echoed = [0] * self.adds + prompt
            steps = [(token, np.zeros(len(WORDS))) for token in echoed] + steps
        choice: dict[str, Any] = {"finish_reason": "length"}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        if body.get("logprobs") and self.logprobs:
            ids = bool(body.get("return_tokens_as_token_ids"))
            choice["logprobs"] = _chat(steps, ids) if chat else _completion(steps, ids)
            if not self.alternatives:
                for row in choice["logprobs"].get("content", ()):
                    row["top_logprobs"] = []
                if not chat:
                    choice["logprobs"] |= {"top_logprobs": [{}] * len(steps)}
            if not self.values:
                choice["logprobs"] |= {"token_logprobs": None}
        return {"choices": [choice], "usage": {"prompt_tokens": len(prompt)}}

    def _generate(self, tokens: list[int], count: int) -> list[tuple[int, Any]]:
        weights = _weights(self.seed)
        self._requests += 1
        noise = np.random.default_rng(self._requests)
        steps = []
        for _ in range(count):
            row = (tokens[-1] * 31 + tokens[-2] * 7 + len(tokens)) % 97
            logits = weights[row] + noise.normal(0, self.jitter, len(WORDS))
            if self.grid:
                logits = np.round(logits / self.grid) * self.grid
            logprobs = logits - np.log(np.exp(logits).sum())
            tokens.append(int(logits.argmax()))
            steps.append((tokens[-1], logprobs))
        return steps


@cache
def _weights(seed: int) -> Any:
    return np.random.default_rng(seed).normal(0, 2.5, (97, len(WORDS)))


def _name(token: int, ids: bool) -> str:
    return f"token_id:{token}" if ids else WORDS[token]


def _best(logprobs: Any) -> list[int]:
    return [int(token) for token in np.argsort(-logprobs, kind="stable")[:5]]


def _chat(steps: list[tuple[int, Any]], ids: bool) -> dict[str, Any]:
    def entry(token: int, logprobs: Any) -> dict[str, Any]:
        text = list(WORDS[token].encode())
        return {"token": _name(token, ids), "logprob": float(logprobs[token]), "bytes": text}

    rows = [
        {**entry(token, values), "top_logprobs": [entry(one, values) for one in _best(values)]}
        for token, values in steps
    ]
    return {"content": rows}


def _completion(steps: list[tuple[int, Any]], ids: bool) -> dict[str, Any]:
    return {
        "tokens": [_name(token, ids) for token, _ in steps],
        "token_logprobs": [float(values[token]) for token, values in steps],
        "top_logprobs": [
            {_name(one, ids): float(values[one]) for one in _best(values)} for _, values in steps
        ],
    }


@contextlib.contextmanager
def small_lm(**settings: Any) -> Iterator[SmallLm]:
    """Serve one on a free port."""
    model = SmallLm(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: the kernel delays the second
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            status, found = model.reply(self.path, body, self.headers.get("Authorization", ""))
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        model.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield model
        finally:
            server.shutdown()
            thread.join()
