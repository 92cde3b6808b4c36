"""``scripts/add_release.py``: no table is missing, and the row is what the matrix says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "src/trtbuild/data"
ROWS = tomllib.loads((DATA / "toolchains.toml").read_text(encoding="utf-8"))["release"]
MATRIX = """\
## Container Name: trtllm-python-py3

| Triton release version | NGC Tag | Python version | Torch | TensorRT | TensorRT-LLM | CUDA | Driver | Size |
| 27.02 | org/server:27.02-trtllm-python-py3 | Python 3.12.3  | 9 | 10.1.2 | 1.3.0 | 13.1.0.036 | 590.1 | 14.2 GB |

## Container Name: vllm-python-py3

| Triton release version | NGC Tag | Python version | vLLM version | CUDA | Driver | Size |
| 27.02 | org/server:27.02-vllm-python-py3 | Python 3.12.3  | 0.40.0+abc.nv27.2| 13.5.1.012 | 620.1 | 9.5G |

## ONNX Runtime Versions

| 27.02 | 1.30.0 |
"""  # noqa: E501


TABLES = (
    "toolchains.toml", "onnxruntime.toml", "vllm_lora.json", "transformers.json",
    "architectures.toml", "advisories.toml",
)  # fmt: skip


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("add_release", ROOT / "scripts/add_release.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The script on a copy of its tables; the other scripts are only listed."""
    for name in TABLES:
        (tmp_path / name).write_bytes((DATA / name).read_bytes())
    (tmp_path / "changelog.d").mkdir()
    monkeypatch.setattr(script, "DATA", tmp_path)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    for name in ("GITHUB", "PYPI"):
        monkeypatch.setattr(script.upstream, name, tmp_path.as_uri())
    called: list[Any] = []
    monkeypatch.setattr(script, "run", lambda *words: called.append(words))
    monkeypatch.setitem(script.FILLERS, "vllm_engine_args", lambda row: called.append("wheel"))
    monkeypatch.setattr(script, "server_version", lambda release, known: ("2.78.0", True))
    return called


def add(script: ModuleType, *words: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["add_release.py", *map(str, words)])
    code: int = script.main()
    return code


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["triton"])
def test_no_release_lacks_a_table(script: ModuleType, row: dict[str, Any]) -> None:
    lacking = ", ".join(script.missing(row))
    assert not lacking, f"missing: {lacking}; run: python scripts/add_release.py {row['triton']}"


def test_writing_the_rows_again_changes_nothing(script: ModuleType) -> None:
    text = (DATA / "toolchains.toml").read_text(encoding="utf-8")
    for row in ROWS:
        assert tomllib.loads(script.with_row(text, row)) == tomllib.loads(text)


def test_a_release_of_the_matrix_gets_its_row_and_tables(
    script: ModuleType,
    copy: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "matrix.md").write_text(MATRIX)
    matrix = tmp_path / "matrix.md"
    assert add(script, "27.02", "--matrix", matrix, monkeypatch=monkeypatch) == 0
    rows = tomllib.loads((tmp_path / "toolchains.toml").read_text())["release"]
    assert [row["triton"] for row in rows[1:]] == [row["triton"] for row in ROWS]
    assert rows[0] == {
        "triton": "27.02",
        "server_version": "2.78.0",
        "vllm": "0.40.0",
        "vllm_image": "nvcr.io/nvidia/tritonserver:27.02-vllm-python-py3",
        "vllm_cuda": "13.5.1",
        "vllm_driver": "620.1",
        "vllm_image_gb": 9.5,
        "trtllm": "1.3.0",
        "trtllm_image": "nvcr.io/nvidia/tritonserver:27.02-trtllm-python-py3",
        "tensorrt": "10.1.2",
        "cuda": "13.1.0",
        "driver": "590.1",
        "image_gb": 14.2,
        "python": "3.12",
        "engine_flow": False,
    }
    assert '"27.02" = "1.30.0"' in (tmp_path / "onnxruntime.toml").read_text()
    assert copy[0] == "wheel"
    assert ("add_lora_support.py", "0.40.0") in copy
    assert ("add_transformers.py",) in copy
    assert ("document_support.py",) in copy
    tasks = capsys.readouterr().out.partition("Left to do by hand")[2]
    assert "Measure what ONNX Runtime 1.30.0 reads" in tasks
    assert "add_trtllm_llm_args.py 1.3.0" in tasks
    assert "add_transformers.py --trtllm 1.3.0=VERSION" in tasks
    assert "PyPI was not asked for those of vLLM 0.40.0" in tasks
    assert "multimodal" not in tasks
    assert "Confirm" not in tasks


def test_what_the_sources_of_its_parts_say_is_not_left_to_do(
    script: ModuleType,
    copy: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(name: str, *words: str) -> None:
        if name == "add_trtllm_llm_args.py":
            (tmp_path / "trtllm_llm_args").mkdir()
            made = [Path(word).read_text() for word in words[1:] if Path(word).is_file()]
            (tmp_path / "trtllm_llm_args/1.3.0.json").write_text("".join(made))
        elif name == "add_transformers.py" and words:
            table = json.loads((tmp_path / "transformers.json").read_text())
            table["tensorrt-llm"].update([words[1].split("=")])
            (tmp_path / "transformers.json").write_text(json.dumps(table))
        elif name == "measure_onnxruntime.py":
            raise subprocess.CalledProcessError(1, name)

    def new_architecture(row: Any) -> None:
        path = tmp_path / "architectures.toml"
        path.write_text(
            path.read_text().replace("vision-language = [", 'vision-language = [\n"HeardNew",', 1)
        )

    monkeypatch.setattr(script, "run", run)
    monkeypatch.setitem(script.FILLERS, "vllm_engine_args", new_architecture)
    sources = tmp_path / "NVIDIA/TensorRT-LLM/v1.3.0"
    files = {
        "tensorrt_llm/llmapi/llm_args.py": "arguments ",
        "tensorrt_llm/lora_helper.py": "adapters ",
        "docs/source/models/supported-models.md": "models",
        "requirements.txt": "torch>=2\ntransformers==4.99.1  # pinned\n",
    }
    for name, text in files.items():
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_text(text)
    pypi = tmp_path / "pypi/vllm/0.40.0/json"
    pypi.parent.mkdir(parents=True)
    rows = [
        {"id": "PYSEC-1", "aliases": ["GHSA-a", "CVE-2027-1"]},
        {"id": "GHSA-94f4-hr76-p5j6", "aliases": []},
        {"id": "GHSA-b", "aliases": [], "withdrawn": "2027-01-01"},
        {"id": "GHSA-c"},
    ]
    pypi.write_text(json.dumps({"vulnerabilities": rows}))
    (tmp_path / "matrix.md").write_text(MATRIX)
    words = ("27.02", "--matrix", tmp_path / "matrix.md")
    assert add(script, *words, monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr()
    tasks = printed.out.partition("Left to do by hand")[2]
    made = (tmp_path / "trtllm_llm_args/1.3.0.json").read_text()
    assert made == "arguments adapters models"
    pins = json.loads((tmp_path / "transformers.json").read_text())["tensorrt-llm"]
    assert pins["1.3.0"] == "4.99.1"
    assert "TensorRT-LLM 1.3.0" not in tasks
    assert "add_trtllm_llm_args" not in tasks
    assert "architectures.toml: HeardNew." in tasks
    assert "0.40.0 on PyPI without a row: CVE-2027-1, GHSA-c." in tasks
    assert "onnxruntime.toml was not written" in printed.err
    assert "Measure what ONNX Runtime 1.30.0 reads" in tasks


def test_a_version_given_by_hand_is_unconfirmed(
    script: ModuleType,
    copy: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("27.02", "--matrix", tmp_path / "none.md", "--vllm", "0.40.0")
    assert add(script, *words, monkeypatch=monkeypatch) == 0
    rows = tomllib.loads((tmp_path / "toolchains.toml").read_text())["release"]
    assert rows[0]["unconfirmed"] == ["vllm"]
    printed = capsys.readouterr()
    assert "none.md cannot be read" in printed.err
    assert "Confirm vllm = '0.40.0'" in printed.out


def test_a_release_that_nobody_knows_is_an_error_with_its_fix(
    script: ModuleType,
    copy: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (tmp_path / "toolchains.toml").read_bytes()
    assert add(script, "27.02", "--matrix", tmp_path / "none", monkeypatch=monkeypatch) == 2
    assert "fix: wait for it" in capsys.readouterr().err
    assert (tmp_path / "toolchains.toml").read_bytes() == before
    assert not copy
