"""A real TorchServe 0.12, on the runtime's PyTorch and Debian's Java."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from support import debian, triton
from support.waiting import wait_for
from trtbuild.process import free_ports
from trtbuild.resources import cache_dir

_PACKAGES = ("torchserve==0.12.0", "onnxruntime>=1.23", "flatbuffers>=25")
# The handlers of images import it to explain answers, which nobody asks for here.
_CAPTUM = "class IntegratedGradients:\n    def __init__(self, model):\n        pass\n"
_STAND_IN = {"captum/__init__.py": "", "captum/attr.py": _CAPTUM}
_JAVA = "usr/lib/jvm/java-17-openjdk-amd64"


@contextlib.contextmanager
def torchserve(store: Path, names: Sequence[str], work: Path) -> Iterator[str]:
    """Serve the archives ``NAME.mar`` of a directory; yields the URL of ``/predictions``."""
    ports = free_ports(5)
    keys = ("inference_address", "management_address", "metrics_address")
    lines = [f"{key}=http://127.0.0.1:{port}" for key, port in zip(keys, ports, strict=False)]
    lines += [f"grpc_inference_port={ports[3]}", f"grpc_management_port={ports[4]}"]
    lines += ["default_workers_per_model=1", "disable_token_authorization=true"]
    work.mkdir()
    (work / "config.properties").write_text("\n".join(lines))
    for name, text in _STAND_IN.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(text)
    command = [
        str(triton.runtime_python()), "-m", "ts.model_server", "--start", "--foreground", "--ncs",
        "--model-store", str(store), "--ts-config", "config.properties", "--disable-token-auth",
        "--models", *(f"{name}={name}.mar" for name in names),
    ]  # fmt: skip
    with (
        (work / "log").open("wb") as log,
        subprocess.Popen(
            command, cwd=work, env=_environment(work), stdout=log, stderr=log,
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            for name in names:
                address = f"http://127.0.0.1:{ports[1]}/models/{name}"
                wait_for(lambda at=address: _ready(at, process), 300)
            yield f"http://127.0.0.1:{ports[0]}/predictions"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


def _ready(address: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "TorchServe has ended"
    with contextlib.suppress(httpx.HTTPError):
        return '"READY"' in httpx.get(address, timeout=5).text
    return False


def _environment(work: Path) -> dict[str, str]:
    java = debian.program("java", "openjdk-17-jre-headless")
    home = java.parents[1] if java.parent.name == "bin" else java
    if not java.is_file():  # Debian's package has it elsewhere
        home = java.parents[2] / _JAVA
    paths = [work, _installed(), triton.torchvision()]
    return {
        **os.environ,
        "JAVA_HOME": str(home),
        "PATH": f"{triton.runtime_python().parent}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(map(str, paths)),
        "TEMP": str(work),
    }


def _installed() -> Path:
    """The packages, installed once; PyTorch and the rest are the runtime's."""
    folder = cache_dir("test-tools", "torchserve-0.12.0")
    if not (folder / "ts").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(folder), *_PACKAGES], check=True)
    return folder
