"""Cancel gRPC streams until a Triton cannot unload their model any more.

    python scripts/cancel_streams.py [--cancels 30000] [--each 600]

A model that does nothing but stream is asked by four clients, each of which leaves after a few
responses. After every ``--each`` streams the model is unloaded, which must end, and loaded again.
The first unload that does not end is told, with the number of streams that were cancelled by then
and whether the server answers a stream still; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton_grpc

from trtbuild import process, server
from trtbuild.client import wait_ready
from trtbuild.server import LaunchOptions, Ports

NAME = "streaming"
CLIENTS = 4
CONFIG = f"""name: "{NAME}"
backend: "python"
max_batch_size: 0
model_transaction_policy {{ decoupled: true }}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
input {{ name: "COUNT" data_type: TYPE_INT32 dims: 1 }}
output {{ name: "LEFT" data_type: TYPE_INT32 dims: 1 }}
"""


def write(repo: Path) -> None:
    """The repository with the one model."""
    version = repo / NAME / "1"
    version.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("streaming_model.py"), version / "model.py")
    (repo / NAME / "config.pbtxt").write_text(CONFIG)


def leave(url: str, wanted: int, patience: float) -> int:
    """Open a stream, wait for ``wanted`` responses and cancel it; how many came."""
    seen = threading.Semaphore(0)
    count = triton_grpc.InferInput("COUNT", [1], "INT32")
    count.set_data_from_numpy(np.array([4000], dtype=np.int32))
    with triton_grpc.InferenceServerClient(url) as client:
        client.start_stream(lambda **told: told["error"] or seen.release())
        client.async_stream_infer(NAME, [count])
        came = sum(seen.acquire(timeout=patience) for _ in range(wanted))
        client.stop_stream(cancel_requests=True)
    return came


def many(url: str, streams: int) -> None:
    """Cancel ``streams`` streams, of several clients at a time."""

    def run() -> None:
        for _ in range(streams // CLIENTS):
            leave(url, random.choice([1, 2, 3, 4, 5, 8]), 0.15)

    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def reloaded(url: str) -> bool:
    """Unload the model and load it again; False when the first does not end in 10 seconds."""
    with triton_grpc.InferenceServerClient(url) as client:
        client.unload_model(NAME)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            (model,) = client.get_model_repository_index(as_json=True)["models"]
            if model.get("reason") == "unloaded":
                client.load_model(NAME)
                return True
            time.sleep(0.1)
        client.load_model(NAME)
        return False


def main() -> int:
    """Cancel, unload, load, and so on; 1 when an unload does not end."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cancels", type=int, default=30_000, help="streams at most")
    parser.add_argument("--each", type=int, default=600, help="streams between two unloads")
    options = parser.parse_args()
    repo = Path(tempfile.mkdtemp(prefix="trtbuild-cancel-"))
    write(repo)
    explicit = ("--model-control-mode=explicit", "--load-model=*")
    ports = Ports(*process.free_ports(3, "127.0.0.1"))
    launch = LaunchOptions(ports=ports, arguments=explicit, exit_seconds=1)
    handle = server.launch(server.read_contents(repo), "embedded", launch)
    try:
        wait_ready(handle.grpc_url, [NAME], 60)
        for done in range(options.each, options.cancels + 1, options.each):
            many(handle.grpc_url, options.each)
            if not reloaded(handle.grpc_url):
                answers = leave(handle.grpc_url, 1, 10)
                print(f"{done} streams cancelled: the unload does not end")
                print(f"gRPC streams are answered {'still' if answers else 'no more'}")
                return 1
            print(f"{done} streams cancelled: the model can be unloaded", flush=True)
    finally:
        server.stop(handle)
        shutil.rmtree(repo)
    return 0


if __name__ == "__main__":
    sys.exit(main())
