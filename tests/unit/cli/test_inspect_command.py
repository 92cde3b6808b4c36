"""``trtbuild inspect`` as people and machines run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkpoints import make_headers_only, make_llama
from support.command_line import trtbuild


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return trtbuild("inspect", *arguments, env=env)


def test_people_see_the_facts(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny")
    done = run(str(folder))
    assert done.returncode == 0
    for fact in ("LlamaForCausalLM", "generate", "GQA: 4 heads of 16, 2 for keys and values",
                 "512 tokens", "fast, PreTrainedTokenizerFast"):  # fmt: skip
        assert fact in done.stdout
    assert str(tmp_path) not in done.stdout


def test_machines_get_json_and_nothing_else(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "tiny", sharded=True, dtype="bfloat16")
    done = run(str(folder), "--json")
    spec = json.loads(done.stdout)
    assert spec["source"] == {"kind": "local", "text": "tiny", "revision": "", "commit": ""}
    assert spec["weight_bytes"] == 2 * spec["parameters"] == sum(spec["bytes_by_dtype"].values())
    assert spec["kv_cache"]["bytes_per_token"] == 2 * 2 * 16 * 2 * 2
    assert spec["kv_cache"]["bytes_per_token_beyond_windows"] == 2 * 2 * 16 * 2 * 2
    assert spec["default_name"] == "tiny"
    assert {file["name"] for file in spec["files"]} >= {"config.json", "tokenizer.json"}
    assert str(tmp_path) not in done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_70b_within_200_mb(tmp_path: Path) -> None:
    folder = make_headers_only(tmp_path / "big")
    program = (
        "import sys\nfrom trtbuild.cli.app import app\n"
        "try:\n    app(['inspect', sys.argv[1], '--json'])\nexcept SystemExit:\n    pass\n"
        # not ru_maxrss, which begins with the parent's
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["parameters"] == 70_553_706_496
    assert int(done.stderr.split()[-1]) < 200 * 1024


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("no/such/thing/at/all",), 2, "no such source"),
        (("sample:nothing",), 2, "no such sample"),
        (("EMPTY",), 4, "config.json is missing"),
        (("EMPTY", "--dtype", "int8"), 2, "unknown dtype 'int8'"),
    ],
)
def test_errors_have_their_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    given = [str(tmp_path / "empty") if a == "EMPTY" else a for a in arguments]
    done = run(*given)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr
    as_json = run(*given, "--json")
    assert as_json.returncode == code
    assert json.loads(as_json.stdout)["exit_code"] == code


def test_help_has_examples() -> None:
    done = run("--help")
    assert "Examples" in done.stdout
    assert "sample:smollm2" in done.stdout
