"""Record what a real server and a real gateway show through faults: tests/data/expositions/faults.

    python scripts/record_expositions.py

The tests of the alerts replay the pages. They keep only what a rule asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import triton
from support.deployments import deployable
from support.expositions import FOLDER, SECONDS, written
from support.live_models import write_llm
from support.observing import rules_of
from support.prometheus import selectors
from trtbuild.process import free_ports

_SETTLE = 5.0  # seconds of a state before its first page
_ERROR = """\
        error = pb_utils.TritonError("the lookup table is missing")
        flag = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        request.get_response_sender().send(pb_utils.InferenceResponse(error=error), flags=flag)
        return
"""


def write_models(repo: Path, weights: Path) -> None:
    """A small model in vLLM, which answers four requests at a time, and one that always fails."""
    arguments = {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 4}
    triton.write_model(repo, "smollm2", weights, arguments)
    write_llm(repo, "broken")
    code = repo / "broken/1/model.py"
    head = "    def answer(self, request):\n"
    code.write_text(code.read_text().replace(head, head + _ERROR))


@contextlib.contextmanager
def gateway(server: triton.Triton, weights: Path, folder: Path) -> Iterator[str]:
    """A gateway's process; its address."""
    port = free_ports(1)[0]
    models = {name: {"tokenizer": str(weights)} for name in ("smollm2", "broken")}
    settings = {"port": port, "url": server.http, "models": models}
    (folder / "gateway.yaml").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "trtbuild", "gateway", "-f", str(folder / "gateway.yaml")]
    with subprocess.Popen(command) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


async def stream(client: httpx.AsyncClient, model: str, tokens: int) -> None:
    """Ask for one stream after another, whatever becomes of them."""
    body = {"model": model, "prompt": "Once", "max_tokens": tokens, "stream": True}
    while True:
        with contextlib.suppress(httpx.HTTPError):
            answer = await client.post("/v1/completions", json=body, timeout=300)
            if answer.is_success:
                continue
        await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def load(
    url: str, count: int, model: str = "smollm2", tokens: int = 16
) -> AsyncIterator[None]:
    """So many streams at a time."""
    async with httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=None)) as client:
        tasks = [asyncio.create_task(stream(client, model, tokens)) for _ in range(count)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def record(state: str, pages: dict[str, str], names: set[str]) -> None:
    """Write the two files of a state."""
    await asyncio.sleep(_SETTLE)
    async with httpx.AsyncClient() as client:
        for seconds in (0, SECONDS):
            found = {}
            for job, url in pages.items():
                with contextlib.suppress(httpx.HTTPError):
                    found[job] = trimmed((await client.get(url, timeout=10)).text, names)
            (FOLDER / f"{state}-{seconds}.prom").write_text(written(found), encoding="utf-8")
            await asyncio.sleep(0 if seconds else SECONDS)
    print(f"recorded {state}", file=sys.stderr)


def trimmed(page: str, names: set[str]) -> str:
    """The lines of a page about the series ``names``."""
    kept = []
    for line in page.splitlines():
        name = (
            line.split()[2] if line.startswith("# TYPE ") else line.partition("{")[0].split(" ")[0]
        )
        kinds = {name, f"{name}_bucket", f"{name}_count"} if line.startswith("# TYPE ") else {name}
        if kinds & names:
            kept.append(f"{line}\n")
    return "".join(kept)


async def through_faults(server: triton.Triton, url: str) -> None:
    """Every state in turn; the last ones end the engine and the server."""
    pages = {
        "triton": f"http://127.0.0.1:{server.metrics_port}/metrics",
        "gateway": f"{url}/metrics",
    }
    with tempfile.TemporaryDirectory() as folder:
        rules = rules_of(deployable(Path(folder)), Path(folder))
    names = {name for rule in rules for name, _ in selectors(rule["expr"])}
    async with load(url, 1), load(url, 1, "broken"):  # the series of both begin
        await asyncio.sleep(2 * _SETTLE)
    async with load(url, 2):
        await record("healthy", pages, names)
    await record("idle", pages, names)
    async with load(url, 2), load(url, 2, "broken"):
        await record("failing", pages, names)
    async with load(url, 40, tokens=64):
        await record("overload", pages, names)
    async with load(url, 2):
        (stub,) = (one for one in server.children() if "smollm2" in triton.title(one))
        stub.send_signal(signal.SIGSTOP)
        await record("stalled", pages, names)
        stub.kill()
        await record("killed", pages, names)
        server.process.kill()
        await record("gone", pages, names)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        (folder / "weights").mkdir()
        weights = triton.smollm2(folder / "weights")
        write_models(folder / "repository", weights)
        with (
            triton.serving(folder / "repository", folder, vision=True) as server,
            gateway(server, weights, folder) as url,
        ):
            until_ready(url)
            asyncio.run(through_faults(server, url))


def until_ready(url: str) -> None:
    """Wait for the gateway."""
    with httpx.Client(transport=httpx.HTTPTransport(retries=20)) as client:
        client.get(f"{url}/health/live", timeout=60)


if __name__ == "__main__":
    main()
