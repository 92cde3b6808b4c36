"""The recorded sizes of KV caches are what the running vLLM says."""

from __future__ import annotations

import json
import subprocess

from support import triton
from support.sizes import asked

# One of each kind of cache, all without a vision tower.
AGAIN = (
    "Qwen3-32B",
    "gemma-3-1b",
    "mistral-7b-v0.1",
    "deepseek-v2",
    "GLM-5.2",
    "MiMo-V2-Flash",
    "Zamba2-2.7B",
    "Nemotron-3-Ultra",
    "longcat-flash",
    "kv-ct-fp8",
    "all-MiniLM-L6",
    "kv-ct-int4",
)


def test_the_recorded_answers_hold() -> None:
    cases = {case.name: case for case in asked() if case.name in AGAIN}
    assert set(cases) == set(AGAIN)
    lines = [
        json.dumps({"name": case.name, "config": case.config, "files": dict(case.files)})
        for case in cases.values()
    ]
    script = triton.ROOT / "scripts" / "vllm_sizes.py"
    done = subprocess.run(
        [str(triton.runtime_python()), str(script)],
        input="\n".join(lines),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    said = {}
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        assert answer.pop("vllm") == "0.32.0"
        said[answer["name"]] = answer
    assert said == {name: dict(case.answer) for name, case in cases.items()}
