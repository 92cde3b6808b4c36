"""openai-python's own tests of the routes that the gateway has, from its source distribution.

`make nightly` downloads it. The models, files and batches have the names that the tests ask for.
"""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support import triton
from support.gateways import run_as_served
from support.others_clients import ENVIRONMENT, PYTHON, SCRIPTS
from support.scripted_model import scripted
from trtbuild_dialects.samples import silent_wav
from trtbuild_gateway.batches.store import Store
from trtbuild_gateway.seams import Caller

pytestmark = pytest.mark.nightly

# The tests of ``path_params`` send nothing, and those of a file's content answer themselves.
ROUTES = {
    "chat/test_completions.py": "create",
    "test_completions.py": "create",
    "test_embeddings.py": "create",
    "test_models.py": "list or retrieve",
    "test_responses.py": "create",
    "audio/test_transcriptions.py": "create",
    "audio/test_translations.py": "create",
    "test_files.py": "(create or list or retrieve or delete) and not content",
    "test_batches.py": "create or list or retrieve or cancel",
}
GENERATORS = ("gpt-6-astra", "gpt-3.5-turbo-instruct")
ALIASES = {
    "embedder": {"aliases": ["text-embedding-3-small"]},
    "speech": {"aliases": ["whisper-1", "gpt-4o-transcribe"]},
}
# Words of the answer by a part of the test's name. The tests of all parameters send values that
# belong to no request, such as no tokens at all; a strict client refuses the base64 that it has
# itself asked for.
REFUSED = {
    "chat/test_completions.py": {"with_all_params": "'max_completion_tokens'"},
    "test_completions.py": {
        "with_all_params_overload_1": "the keys of 'logit_bias' must be token ids",
        "with_all_params_overload_2": "'echo' cannot be streamed",
    },
    "test_embeddings.py": dict.fromkeys(
        ("strict", "aiohttp"), "Data returned by API invalid for expected schema"
    ),
    "test_responses.py": {
        "with_all_params": "'tools[0].defer_loading' is not supported",
        "create": "the parameter 'input' is missing",
    },
    "audio/test_transcriptions.py": {"with_all_params": "Invalid enum value 'word'"},
    "test_files.py": {"create": "'purpose' must be 'batch'", "list": "'limit' must be 1 to 10,000"},
    "test_batches.py": {"list": "'limit' must be 1 to 100"},
}


@pytest.fixture(scope="module")
def results(
    tasks_server: triton.Triton, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """Why each test failed, by route and test; an empty text if it did not."""
    work = tmp_path_factory.mktemp("openai")
    [archive] = (ENVIRONMENT / "suites").glob("openai-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(work, filter="data")
    suite = work / archive.name.removesuffix(".tar.gz")
    (suite / "openai_suite.py").write_bytes((SCRIPTS / "openai_suite.py").read_bytes())
    for test in (suite / "tests/api_resources/audio").glob("*.py"):
        recording = repr(base64.b64decode(silent_wav()))
        test.write_text(test.read_text().replace('b"Example data"', recording))
    found: dict[str, dict[str, str]] = {}

    async def run() -> None:
        async with scripted(
            work, tasks_server.http, GENERATORS, models=ALIASES, on_unsupported="drop",
            batches={"directory": str(work / "store")},
        ) as served:  # fmt: skip
            keep(work / "kept")
            for route, chosen in ROUTES.items():
                found[route] = await asyncio.to_thread(outcomes, served.url, suite, route, chosen)

    run_as_served(run())
    return found


def keep(folder: Path) -> None:
    """Make the directory that the plug-in lays down before each test."""
    store, owner = Store(folder), Caller().id
    made = store.add_file((b"{}\n",), "rows.jsonl", "batch", owner)["id"]
    for name in ("file_id", "input_file_id"):
        for path in folder.glob(f"files/{made}.*"):
            content = path.read_text().replace(made, name)
            path.with_name(f"{name}{path.suffix}").write_text(content)
    batch = {"id": "batch_id", "object": "batch", "endpoint": "/v1/responses", "created_at": 1}
    batch |= {"completion_window": "24h", "input_file_id": "input_file_id", "status": "finalizing"}
    store.save_batch(batch, owner)


def outcomes(url: str, suite: Path, route: str, chosen: str) -> dict[str, str]:
    """Run the tests of a route, and return why each failed."""
    report = suite / "report.xml"
    done = subprocess.run(
        [
            PYTHON, "-m", "pytest", "-q", "-p", "openai_suite", "-o", "addopts=", "--tb=short",
            "-k", f"({chosen}) and not path_params", f"--junitxml={report}",
            f"tests/api_resources/{route}",
        ],
        cwd=suite, capture_output=True, text=True, timeout=500, check=False,
        env={
            **os.environ, "TEST_API_BASE_URL": f"{url}/v1",
            "KEPT": str(suite.parent / "kept"), "STORE": str(suite.parent / "store"),
        },
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        failed = [one for kind in ("failure", "error") for one in case.iter(kind)]
        found[f"{case.get('classname')}::{case.get('name')}"] = " ".join(
            one.get("message", "") for one in failed
        )
    return found


def test_only_what_no_model_server_could_answer_fails(results: dict[str, dict[str, str]]) -> None:
    for route, found in results.items():
        failed = {name: why for name, why in found.items() if why}
        print(f"{route}: {len(found) - len(failed)} of {len(found)}")
        expected = REFUSED.get(route, {})
        reasons = {name: reason_of(name, expected) for name in failed}
        wrong = {name: why for name, why in failed.items() if reasons[name] not in why}
        assert found and not wrong, route
        assert set(reasons.values()) == set(expected.values()), route


def reason_of(test: str, expected: Mapping[str, str]) -> str:
    """Why a test may fail: that of the first part of its name."""
    return next((why for part, why in expected.items() if part in test), "nothing may fail")
