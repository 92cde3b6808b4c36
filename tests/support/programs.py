"""Programs to put on PATH: scripts that write down how they were called."""

from __future__ import annotations

import json
import sys
from pathlib import Path

# A server that opens its HTTP port and answers as Triton does, ends on SIGTERM like it, and
# does as the file ``behaviour.json`` beside it says.
_TRITONSERVER = """
import http.server, json, os, pathlib, signal, subprocess, sys, time

here = pathlib.Path(__file__).parent
(here / "argv.json").write_text(json.dumps(sys.argv[1:]))
try:
    behaviour = json.loads((here / "behaviour.json").read_text())
except FileNotFoundError:
    behaviour = {}
options = dict(arg[2:].partition("=")[::2] for arg in sys.argv[1:] if arg.startswith("--"))
for line in behaviour.get("says", []):
    print(line, flush=True)
if "exits" in behaviour:
    sys.exit(behaviour["exits"])
for name in behaviour.get("shm", []):
    prefix = next(a.rpartition("=")[2] for a in sys.argv if "shm-region-prefix-name" in a)
    pathlib.Path(os.environ["TRTBUILD_TEST_SHM"], prefix + name).write_bytes(b"x")
if behaviour.get("child"):
    code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code])
if behaviour.get("detached_child"):
    code = "import os, time; os.setsid(); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code])
if behaviour.get("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if behaviour.get("never_ready") else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


address = options.get("http-address", "127.0.0.1"), int(options["http-port"])
http.server.HTTPServer(address, Handler).serve_forever()
"""


def write_program(folder: Path, name: str, body: str) -> Path:
    """A Python program ``name`` in ``folder``, to be put on PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def write_tritonserver(folder: Path, **behaviour: object) -> Path:
    """A ``tritonserver`` that behaves as told; see the script above."""
    program = write_program(folder, "tritonserver", _TRITONSERVER)
    (folder / "behaviour.json").write_text(json.dumps(behaviour), encoding="utf-8")
    return program


def write_docker(folder: Path, name: str = "docker", *, answers: bool = True) -> Path:
    """A ``docker`` that writes its arguments down, one call a line, and runs nothing."""
    body = (
        "import json, pathlib, sys\n"
        "calls = pathlib.Path(__file__).parent / 'calls.jsonl'\n"
        "with calls.open('a') as log:\n"
        "    log.write(json.dumps(sys.argv[1:]) + '\\n')\n"
        f"sys.exit({0 if answers else 1} if sys.argv[1] == 'info' else 0)\n"
    )
    return write_program(folder, name, body)


def argv_of(folder: Path) -> list[str]:
    """How the fake ``tritonserver`` was called."""
    found: list[str] = json.loads((folder / "argv.json").read_text(encoding="utf-8"))
    return found
