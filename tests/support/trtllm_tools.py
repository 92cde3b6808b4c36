"""NVIDIA's tools as scripts: a ``trtllm-build`` that writes what the real one would, a ``docker``
that runs what is to run in the image on this machine, an ``nvidia-smi`` with GPUs.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from support.programs import write_program

# Does as `behaviour.json` beside it says; without, it writes a config.json and the rank files.
_BUILD = """
import json, os, pathlib, signal, sys, time

here = pathlib.Path(__file__).resolve().parent
with (here / "builds.jsonl").open("a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
try:
    behaviour = json.loads((here / "behaviour.json").read_text())
except FileNotFoundError:
    behaviour = {}
options, words = {}, sys.argv[1:]
for at, word in enumerate(words):
    if word.startswith("--"):
        value = words[at + 1] if at + 1 < len(words) else "--"
        options[word[2:]] = True if value.startswith("--") else value
out = pathlib.Path(options["output_dir"])
model = json.loads((pathlib.Path(options["checkpoint_dir"]) / "config.json").read_text())
print("[TRT-LLM] [I] Building", flush=True)
if "fills_disk" in behaviour:
    (out / "rank0.engine").write_bytes(b"half")
    print("OSError: [Errno 28] No space left on device", flush=True)
    sys.exit(1)
if "signal" in behaviour:
    os.kill(os.getpid(), behaviour["signal"])
if "signals_trtbuild" in behaviour:
    (here / "pid").write_text(str(os.getpid()))
    script = pathlib.Path(f"/proc/{os.getppid()}/stat").read_text()  # in_container.py
    os.kill(int(script.rpartition(")")[2].split()[1]), behaviour["signals_trtbuild"])
    time.sleep(600)
if "exits" in behaviour:
    print("RuntimeError: TensorRT found no kernel", flush=True)
    sys.exit(behaviour["exits"])
if "sleeps" in behaviour:
    time.sleep(behaviour["sleeps"])
world = behaviour.get("ranks", model["mapping"]["world_size"])
for rank in range(world):
    (out / f"rank{rank}.engine").write_bytes(b"engine of rank %d" % rank)
    print(f"[TRT-LLM] [I] Serializing engine to {out}/rank{rank}.engine...", flush=True)
switch = lambda name: options.get(name, "enable") == "enable"
document = {
    "version": behaviour.get("version", "1.2.1"),
    "pretrained_config": model,
    "build_config": {
        **{name: int(options[name]) for name in (
            "max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens", "max_beam_width"
        ) if name in options},
        "kv_cache_type": "PAGED",
        "plugin_config": {
            "remove_input_padding": switch("remove_input_padding"),
            "use_paged_context_fmha": switch("use_paged_context_fmha"),
        },
    },
}
if not behaviour.get("no_config"):
    (out / "config.json").write_text(json.dumps(document))
"""

# Mounts become paths of this machine, and the image's python this one's.
_DOCKER = """
import json, os, pathlib, subprocess, sys

here = pathlib.Path(__file__).resolve().parent
with (here / "calls.jsonl").open("a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
try:
    behaviour = json.loads((here / "engine.json").read_text())
except FileNotFoundError:
    behaviour = {}
command, words = sys.argv[1], sys.argv[2:]
if command == "info":
    sys.exit(0 if behaviour.get("answers", True) else 1)
if command == "inspect":
    print("true" if behaviour.get("oom") else "false")
if command != "run":
    sys.exit(0)
mounts = [words[at + 1] for at, word in enumerate(words) if word == "-v"]
inside = words[words.index("python3") + 1:]
pairs = [mount.removesuffix(":ro").rpartition(":")[::2] for mount in mounts]
for host, path in sorted(pairs, key=lambda pair: -len(pair[1])):
    inside = [word.replace(path, host) if word == path else word for word in inside]
env = {**os.environ, "PATH": f"{here / 'inside'}:{os.environ['PATH']}"}
env["TRTLLM_EXAMPLES"] = str(here / "inside" / "examples")
code = subprocess.run([sys.executable, *inside], env=env).returncode
sys.exit(137 if behaviour.get("oom") else code)
"""

_CONVERTER = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
for name in ("model_dir", "output_dir", "dtype", "tp_size", "pp_size"):
    parser.add_argument("--" + name)
given = parser.parse_args()
out = pathlib.Path(given.output_dir)
tp, pp = int(given.tp_size), int(given.pp_size)
mapping = {"world_size": tp * pp, "tp_size": tp, "pp_size": pp}
config = {"architecture": "OPTForCausalLM", "dtype": given.dtype, "mapping": mapping}
(out / "config.json").write_text(json.dumps(config))
(out / "rank0.safetensors").write_bytes(b"x")
"""


def write_nvidia_smi(folder: Path, *gpus: str) -> Path:
    """An ``nvidia-smi`` that lists ``gpus``, lines such as ``NVIDIA L4, 23034, 8.9``."""
    lines = "\n".join(f"{at}, {gpu}" for at, gpu in enumerate(gpus))
    # In sh, because each conversion asks it twice, and Python takes as long to start as all else.
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nvidia-smi"
    path.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "*driver_version*) echo 580.65.06 ;;\n"
        f"*) echo {shlex.quote(lines)} ;;\n"
        "esac\n",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def write_build(folder: Path, **behaviour: Any) -> Path:
    """A ``trtllm-build`` that behaves as told."""
    program = write_program(folder, "trtllm-build", _BUILD)
    (folder / "behaviour.json").write_text(json.dumps(behaviour), encoding="utf-8")
    return program


def write_image(folder: Path, tool: str = "docker", **engine: Any) -> Path:
    """A ``docker`` whose image has the fake ``trtllm-build`` and a converter of OPT."""
    program = write_program(folder, tool, _DOCKER)
    (folder / "engine.json").write_text(json.dumps(engine), encoding="utf-8")
    write_build(folder / "inside")
    script = folder / "inside" / "examples" / "models" / "opt" / "convert_checkpoint.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(_CONVERTER, encoding="utf-8")
    return program


def builds(folder: Path) -> list[list[str]]:
    """How the fake ``trtllm-build`` was called, call by call."""
    path = folder / "builds.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def calls(folder: Path) -> list[list[str]]:
    """How the fake container engine was called."""
    lines = (folder / "calls.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
