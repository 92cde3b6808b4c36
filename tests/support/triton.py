"""The raw server of the runtime, for tests of the backend alone: no launcher in between.

``TRTBUILD_TEST_RUNTIME`` names a virtual environment to use instead of the installed runtime,
``TRTBUILD_TEST_SMOLLM2`` a converted checkpoint, ``TRTBUILD_TEST_LOCK`` a lock file for machines
on which several people test.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from trtbuild.process import free_ports
from trtbuild.resources import template_dir
from trtbuild.server.spinning import spin_count

ROOT = Path(__file__).resolve().parents[2]


def runtime_python() -> Path:
    """The Python that has the server, vLLM and transformers."""
    named = os.environ.get("TRTBUILD_TEST_RUNTIME")
    if named:
        return Path(named) / "bin" / "python"
    from trtbuild.server import runtime

    return runtime.ensure().python


def torchvision() -> Path:
    """Where torchvision for the runtime is, installed first if it is missing."""
    from trtbuild.progress import SILENT
    from trtbuild.server import runtime

    return runtime.ensure_torchvision(runtime.ensure(), SILENT)


def smollm2(folder: Path) -> Path:
    """The SmolLM2 sample in fp32 as a Hugging Face directory."""
    named = os.environ.get("TRTBUILD_TEST_SMOLLM2")
    if named:
        return Path(named)
    from trtbuild import checkpoint
    from trtbuild.progress import SILENT

    files = checkpoint.materialize(
        checkpoint.open_checkpoint("sample:smollm2", dtype="float32"), SILENT
    )
    for file in files:
        assert file.path is not None
        (folder / file.name).symlink_to(file.path)
    return folder


def backend_config(**parameters: str) -> str:
    """A config.pbtxt with every tensor of the vLLM backend."""
    import sys

    sys.path.insert(0, str(template_dir("backends", "vllm")))
    try:
        import backend_tensors
    finally:
        sys.path.pop(0)
    lines = ['backend: "vllm"', "max_batch_size: 0", "model_transaction_policy { decoupled: true }"]
    lines.append("instance_group [ { count: 1 kind: KIND_MODEL } ]")
    for name, data_type, dims, optional in backend_tensors.INPUTS:
        more = " optional: true" if optional else ""
        lines.append(f'input {{ name: "{name}" data_type: {data_type} dims: {dims}{more} }}')
    for name, data_type, dims in backend_tensors.OUTPUTS:
        lines.append(f'output {{ name: "{name}" data_type: {data_type} dims: {dims} }}')
    for key, value in parameters.items():
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}')
    return "\n".join(lines) + "\n"


def write_model(repo: Path, name: str, weights: Path, arguments: Mapping[str, Any]) -> Path:
    """A model directory the way a container would see it, under ``/models``."""
    version = repo / name / "1"
    version.mkdir(parents=True)
    (version / "weights").symlink_to(weights, target_is_directory=True)
    (version / "model.json").write_text(
        json.dumps({"model": f"/models/{name}/1/weights", **arguments})
    )
    flags = {"REPORT_CUSTOM_METRICS": "true", "ENABLE_VLLM_HEALTH_CHECK": "true"}
    (repo / name / "config.pbtxt").write_text(backend_config(**flags))
    return repo / name


@dataclass
class Triton:
    """A running server, in a session of its own."""

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    metrics_port: int
    log: Path
    prefix: str
    repo: Path

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def metrics(self) -> dict[str, float]:
        """Counters and gauges of ``vllm:*``, without labels."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
        samples = (s for f in text_string_to_metric_families(text) for s in f.samples)
        own = (s for s in samples if s.name.startswith("vllm:") and "le" not in s.labels)
        return {sample.name.removeprefix("vllm:"): sample.value for sample in own}

    def settled(self) -> dict[str, float]:
        """The metrics once two reads a second apart agree and nothing runs."""
        before = self.metrics()
        for _ in range(60):
            time.sleep(1)
            after = self.metrics()
            if after == before and not after.get("num_requests_running"):
                return after
            before = after
        raise AssertionError(f"the engine does not come to rest: {before}")

    def children(self) -> list[psutil.Process]:
        """Every process of the server's session, but the server itself."""
        return [p for p in session(self.process.pid) if p.pid != self.process.pid]

    def shm(self) -> list[str]:
        """Shared memory of this server that exists now."""
        return [p.name for p in Path("/dev/shm").glob(f"{self.prefix}*")]

    def ready(self, model: str) -> bool:
        try:
            url = f"http://{self.http}/v2/models/{model}/ready"
            with urllib.request.urlopen(url, timeout=60) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def control(self, action: str, model: str) -> tuple[int, str]:
        """``load`` or ``unload`` a model; status and text of the answer."""
        url = f"http://{self.http}/v2/repository/models/{model}/{action}"
        answer = httpx.post(url, timeout=480)
        return answer.status_code, answer.text

    def stop(self) -> int:
        """SIGTERM, then the group; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait(60)


def session(sid: int) -> list[psutil.Process]:
    """Processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == sid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def title(process: psutil.Process) -> str:
    """Its name and arguments; empty once it has ended."""
    try:
        return " ".join([process.name(), *process.cmdline()])
    except psutil.Error:
        return ""


def site_packages() -> Path:
    """Where the runtime's packages are."""
    return next(runtime_python().parents[1].glob("lib/python3.*/site-packages"))


def copy_backends(site: Path, folder: Path) -> Path:
    """The Python backend and ours for vLLM, in a directory that may hold others."""
    home = site / "pytriton" / "tritonserver"
    python = folder / "python"
    python.mkdir(parents=True)
    version = "python_backend_stubs/" + _version(site)
    for source in (home / "backends" / "python", home / version):
        for file in source.iterdir():
            if file.is_file():
                shutil.copy(file, python / file.name)
    shutil.copytree(template_dir("backends", "vllm"), folder / "vllm")
    shutil.copy(template_dir("shared", "request_images.py"), folder / "vllm")
    return folder


def _version(site: Path) -> str:
    return site.parent.name.removeprefix("python")


@contextlib.contextmanager
def serving(
    repo: Path,
    work: Path,
    *arguments: str,
    wait: float = 480,
    complete: bool = False,
    vision: bool = False,
    ports: Sequence[int] = (),
) -> Iterator[Triton]:
    """The server over ``repo``, ready; stopped, and its whole session killed, at the end.

    ``complete`` lets it complete configurations, ``vision`` has vLLM find torchvision; ``ports``
    are those of HTTP, gRPC and metrics.
    """
    python = runtime_python()
    site = site_packages()
    home = site / "pytriton" / "tritonserver"
    http, grpc, metrics = ports or free_ports(3)
    prefix = f"trttest_{os.getpid()}_{http}"
    environment = {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{sysconfig.get_config_var('LIBDIR')}:{site}/nvidia_pytriton.libs",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "GOMP_SPINCOUNT": str(spin_count()),
        "TRTBUILD_ENFORCE_EAGER": "1",  # three reloads at a minute each would compile
        "VLLM_NO_USAGE_STATS": "1",
        **({"TRTBUILD_TORCHVISION": str(torchvision())} if vision else {}),
    }
    command = [
        f"{home}/bin/tritonserver", f"--model-repository={repo}",
        f"--backend-directory={copy_backends(site, work / 'backends')}",
        f"--cache-directory={home}/caches", "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1", f"--http-port={http}",
        f"--grpc-port={grpc}", f"--metrics-port={metrics}", "--exit-timeout-secs=30",
        "--model-control-mode=explicit", "--load-model=*",
        *(() if complete else ("--disable-auto-complete-config",)),
        f"--backend-config=python,shm-region-prefix-name={prefix}", *arguments,
    ]  # fmt: skip
    log = work / "server.log"
    with _machine_lock(), log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        server = Triton(process, http, grpc, metrics, log, prefix, repo)
        try:
            _await(server, wait)
            yield server
        finally:
            if process.poll() is None:
                server.stop()
            for left in session(process.pid):
                left.kill()
            for name in server.shm():
                (Path("/dev/shm") / name).unlink(missing_ok=True)


def _await(server: Triton, seconds: float) -> None:
    """Wait until it answers; the port of the metrics is the last that Triton opens."""
    urls = [f"http://{server.http}/v2/health/live"]
    urls.append(f"http://127.0.0.1:{server.metrics_port}/metrics")
    until = time.monotonic() + seconds
    while urls and time.monotonic() < until and server.process.poll() is None:
        try:
            with urllib.request.urlopen(urls[0], timeout=10):
                urls.pop(0)
        except OSError:
            time.sleep(0.2)
    if not urls:
        return
    raise AssertionError(f"the server did not start:\n{server.log.read_text()[-4000:]}")


@contextlib.contextmanager
def _machine_lock() -> Iterator[None]:
    name = os.environ.get("TRTBUILD_TEST_LOCK")
    if not name:
        yield
        return
    with Path(name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
