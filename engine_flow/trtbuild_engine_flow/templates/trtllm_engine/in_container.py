"""Runs TensorRT-LLM's tools, in NVIDIA's container or where they are installed.

It imports nothing but the standard library, passes on what the tools print, ends with their
exit code, and says on lines that begin with ``@trtbuild`` what a program wants to know::

    python3 in_container.py build --checkpoint DIR --out DIR -- OPTIONS OF trtllm-build
    python3 in_container.py convert --family llama --model DIR --out DIR --dtype float16
"""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Where the images of the releases keep TensorRT-LLM's examples.
EXAMPLES = ("/app/examples", "/app/tensorrt_llm/examples", "/opt/tensorrt_llm/examples")
_DONE = re.compile(r"Serializing engine to .*rank\d+\.engine|Engine serialized")


def say(**facts):
    """Tell the program that started us."""
    print("@trtbuild " + json.dumps(facts), flush=True)


def versions():
    """What compiles: versions of the packages and of the driver, as far as they can be found."""
    found = {}
    for package in ("tensorrt_llm", "tensorrt"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        shown = subprocess.run(query, capture_output=True, text=True, timeout=15, check=False)
        found["driver"] = shown.stdout.split("\n")[0].strip()
    except (OSError, subprocess.TimeoutExpired):
        pass
    return {name: version for name, version in found.items() if version}


def run(command, on_line=lambda _line: None):
    """Run a tool, pass on its lines, give its exit code as a shell does."""
    try:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
        return 127
    for line in child.stdout:
        print(line, end="", flush=True)
        on_line(line)
    code = child.wait()
    return 128 - code if code < 0 else code


def build(arguments):
    """``trtllm-build``; says how many ranks are done."""
    tool = shutil.which("trtllm-build")
    if tool is None:
        print("trtllm-build is not in this image", flush=True)
        return 127
    say(versions=versions())
    done = 0

    def count(line):
        nonlocal done
        if _DONE.search(line):
            done += 1
            say(done=done)

    folders = ["--checkpoint_dir", arguments.checkpoint, "--output_dir", arguments.out]
    return run([tool, *folders, *arguments.options], count)


def converter(family):
    """The ``convert_checkpoint.py`` of a family in this image, empty if there is none."""
    roots = [os.environ.get("TRTLLM_EXAMPLES", ""), *EXAMPLES]
    for root in filter(None, roots):
        found = sorted(map(str, Path(root).glob(f"**/{family}/convert_checkpoint.py")), key=len)
        if found:
            return found[0]
    return ""


def convert(arguments):
    """TensorRT-LLM's own converter of a family."""
    script = converter(arguments.family)
    if not script:
        print(f"this image has no convert_checkpoint.py of {arguments.family!r}", flush=True)
        return 127
    say(versions=versions())
    sizes = ["--tp_size", arguments.tp, "--pp_size", arguments.pp]
    folders = ["--model_dir", arguments.model, "--output_dir", arguments.out]
    return run([sys.executable, script, *folders, "--dtype", arguments.dtype, *sizes])


def parser():
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    one = commands.add_parser("build")
    one.add_argument("--checkpoint", required=True)
    one.add_argument("--out", required=True)
    one.add_argument("options", nargs="*")
    one.set_defaults(run=build)
    other = commands.add_parser("convert")
    for option in ("--family", "--model", "--out", "--dtype"):
        other.add_argument(option, required=True)
    other.add_argument("--tp", default="1")
    other.add_argument("--pp", default="1")
    other.set_defaults(run=convert)
    return made


if __name__ == "__main__":
    chosen = parser().parse_args()
    sys.exit(chosen.run(chosen))
