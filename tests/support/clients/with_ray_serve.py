"""examples/ray_serve.py on a Ray of this machine: it answers, streams, and replaces what died.

python with_ray_serve.py PATH_OF_THE_EXAMPLE REPOSITORY PORT
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

example, repository, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.path.insert(0, str(example.parent))
inherited = os.environ.get("PYTHONPATH")
os.environ |= {
    "PYTHONPATH": os.pathsep.join(filter(None, (str(example.parent), inherited))),
    "RAY_AUTH_MODE": "disabled",  # else it writes a token into the home directory
    "RAY_USAGE_STATS_ENABLED": "0",
}

import ray  # noqa: E402 - it reads the environment
import ray_serve  # noqa: E402
from ray import serve  # noqa: E402

CHAT = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": "Say hello."}],
    "max_tokens": 8,
    "temperature": 0,
}


def servers() -> list[psutil.Process]:
    """Every server of the repository."""
    found = psutil.process_iter(["name", "cmdline"])
    argument = f"--model-repository={repository}"
    return [
        one
        for one in found
        if "tritonserver" in (one.info["name"] or "") and argument in (one.info["cmdline"] or ())
    ]


def until(what: str, seconds: float, done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.5)


def answered(client: httpx.Client) -> str:
    """The answer to the chat; empty if there is none now."""
    try:
        answer = client.post("/v1/chat/completions", json=CHAT)
        answer.raise_for_status()
    except httpx.HTTPError:
        return ""
    return answer.json()["choices"][0]["message"]["content"]


def streamed(client: httpx.Client) -> list[str]:
    """The pieces of the same answer as a stream."""
    with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as stream:
        lines = [line[6:] for line in stream.iter_lines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
    return [delta["content"] for delta in deltas if delta.get("content")]


ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20)
serve.start(http_options={"host": "127.0.0.1", "port": port})
application = ray_serve.Repository.options(health_check_period_s=1).bind(repository)
serve.run(application)
with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
    first = answered(client)
    assert first
    pieces = streamed(client)
    assert "".join(pieces) == first
    assert len(pieces) > 1
    (server,) = servers()
    server.kill()
    until("a new replica answers", 180, lambda: answered(client) == first)
    (server,) = servers()
    replica = next(one for one in server.parents() if "ray::" in one.name())
    replica.kill()
    until("its server ends with a killed replica", 90, lambda: not server.is_running())
    until("another replica answers", 180, lambda: answered(client) == first)
serve.shutdown()
until("no server is left", 90, lambda: not servers())
ray.shutdown()
print("a stream, two new replicas, and no server left")
