"""A model repository as an application of Ray Serve; each replica has a server of its own.

pip install trtbuild trtbuild-gateway 'ray[serve]'
MODEL_REPOSITORY=/srv/model_repository serve run ray_serve:application
"""

import asyncio
import collections
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from ray import serve
from starlette.types import ASGIApp

from trtbuild.client import wait_ready
from trtbuild_gateway.access.gate import gate_for
from trtbuild_gateway.app import create_app
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.settings_file import read_settings
from trtbuild_gateway.upstream.catalog import Catalog

# The kernel ends the server if the replica is killed. Else it would hold the GPU's memory.
WITH_REPLICA = ["setpriv", "--pdeathsig", "SIGTERM"] if sys.platform == "linux" else []
GPUS = float(os.environ.get("GPUS_PER_REPLICA", "0"))


@serve.deployment(
    ray_actor_options={"num_cpus": 1, "num_gpus": GPUS},
    max_ongoing_requests=256,
    health_check_period_s=10,
    health_check_timeout_s=60,
    graceful_shutdown_timeout_s=60,
)
@serve.ingress()
class Repository:
    """``trtbuild serve`` as a child process, and the gateway in front of it in this one."""

    def __init__(self, repository: str) -> None:
        self.repository = Path(repository)
        command = [sys.executable, "-m", "trtbuild", "serve", repository, "--port", "auto"]
        self.child = subprocess.Popen(
            [*WITH_REPLICA, *command, "--json"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ray kills the group of a dead replica before it can clean up
        )
        for line in self.child.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                self.server = event["server"]
                break
        else:
            raise RuntimeError(f"trtbuild serve ended with exit code {self.child.wait()}")

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The gateway's application; Ray asks for it after ``__init__``."""
        settings = read_settings(None, url=self.address("http"), repository=self.repository)
        return create_app(Gateway(settings, Catalog(settings), gate_for(settings)), self.running)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Drop the server's log, which `trtbuild logs` prints, and end the server at the end."""
        reading = asyncio.create_task(asyncio.to_thread(collections.deque, self.child.stdout, 0))
        try:
            yield
        finally:
            self.child.terminate()
            await reading
            await asyncio.to_thread(self.child.wait)

    async def check_health(self) -> None:
        """Ask each model for a token; the server says that it is ready even if one is dead."""
        models = self.server["models"]
        await asyncio.to_thread(wait_ready, self.address("grpc"), models, 50, watch=self.watch)

    def watch(self) -> None:
        """Raise at once if the server has ended: waiting for it is in vain."""
        if (code := self.child.poll()) is not None:
            raise RuntimeError(f"trtbuild serve ended with exit code {code}")

    def address(self, protocol: str) -> str:
        """HOST:PORT of this replica's own server."""
        return f"127.0.0.1:{self.server[f'{protocol}_port']}"


application = Repository.bind(os.environ.get("MODEL_REPOSITORY", "model_repository"))
