"""How long a call of the probe that `trtbuild deploy` writes takes, in each state of a server.

    python benchmarks/bench_probe.py [--streams 24]

SmolLM2 on the embedded server with vLLM; the probe and its configuration are those of the target
compose, with the ports of this server. A stopped engine is asked three times, ten seconds apart as
Docker and Kubernetes do: the first call may still see work that was done before the stop.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

PERIOD = 10.0
TRTBUILD = Path(sys.executable).with_name("trtbuild")


def main() -> None:
    """Print a line for each call: state, exit code, seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=24, help="requests of a busy server")
    streams = parser.parse_args().streams
    print(f"load average {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        (engine,) = (one for one in children(server["pid"]) if "EngineCore" in one.name())
        for _ in range(3):
            call(Path(folder), "healthy")
        askers = [threading.Thread(target=ask, args=(server["http_port"],)) for _ in range(streams)]
        for asker in askers:
            asker.start()
        time.sleep(2)
        for _ in range(3):
            call(Path(folder), f"busy with {streams} streams")
        for asker in askers:
            asker.join()
        engine.suspend()
        for number in range(3):
            call(Path(folder), "engine stopped")
            time.sleep(PERIOD if number < 2 else 0)
        engine.resume()
        engine.kill()
        time.sleep(1)
        call(Path(folder), "engine killed")


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, Any]]:
    """A server, and beside it in ``folder`` the probe with a configuration for it."""
    os.environ["TRTBUILD_STATE_DIR"] = str(folder / "state")
    repository = folder / "repository"
    run("convert", "sample:smollm2", "--repo", repository)
    run("deploy", "compose", repository, "-o", folder / "compose")
    run("serve", repository, "--detach", "--port", "auto")
    try:
        (server,) = json.loads(run("status", "--json"))
        path, host = folder / "compose/probe.json", f"http://127.0.0.1:{server['http_port']}"
        metrics = f"http://127.0.0.1:{server['metrics_port']}/metrics"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "url": host, "metrics": metrics}))
        yield server
    finally:
        run("stop", "--all")


def run(*words: object) -> str:
    """What a command prints."""
    command = [TRTBUILD, *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def children(pid: int) -> list[psutil.Process]:
    """Every process below a server's."""
    return psutil.Process(pid).children(recursive=True)


def ask(port: int) -> None:
    """Take a long stream to its end."""
    sampling = json.dumps({"max_tokens": 400, "ignore_eos": True})
    body = {"text_input": "Once", "stream": True, "sampling_parameters": sampling}
    url = f"http://127.0.0.1:{port}/v2/models/smollm2/generate_stream"
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=600) as answer:
        answer.read()


def call(folder: Path, state: str) -> None:
    """Run the probe once."""
    probe, config = folder / "compose/probe.py", folder / "compose/probe.json"
    began = time.perf_counter()
    words = [sys.executable, probe, "live", "--config", config]
    done = subprocess.run(words, check=False, capture_output=True)
    print(
        f"{state:22} exit code {done.returncode}, {time.perf_counter() - began:5.2f} s", flush=True
    )


if __name__ == "__main__":
    main()
