"""The image's health check fails for a model that the server has given up."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.paths import ROOT

SCRIPT = ROOT / "scripts" / "container_healthcheck.py"


@contextmanager
def server(ready: set[str]) -> Iterator[str]:
    """Answers as Triton does, with ``ready`` as the paths that are."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in ready else 400)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def run(repository: Path, url: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), "--repository", str(repository), "--url", url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def repository(root: Path) -> Path:
    for name in ("one", "two"):
        (root / name / "1").mkdir(parents=True)
    (root / "trtbuild.lock").touch()
    return root


def test_all_models_ready(tmp_path: Path) -> None:
    paths = {"/v2/health/live", "/v2/models/one/ready", "/v2/models/two/ready"}
    with server(paths) as url:
        assert run(repository(tmp_path), url) == (0, "")


def test_an_unloaded_model_fails_although_the_server_is_ready(tmp_path: Path) -> None:
    paths = {"/v2/health/live", "/v2/health/ready", "/v2/models/one/ready"}
    with server(paths) as url:
        assert run(repository(tmp_path), url) == (1, "model two is not ready")


def test_no_server(tmp_path: Path) -> None:
    with server(set()) as url:
        pass
    code, said = run(repository(tmp_path), url)
    assert (code, said) == (1, f"no server answers at {url}")
