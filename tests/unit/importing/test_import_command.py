"""``trtbuild import``: what becomes of an archive, and which ones are refused."""

from __future__ import annotations

import io
import json
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support.archives import (
    contents,
    function_archive,
    graph_archive,
    write_archive,
)
from support.checkpoints import make_tiny
from trtbuild import lockfile, pbtxt
from trtbuild.check import validate
from trtbuild.cli.app import app
from trtbuild.errors import TrtbuildError
from trtbuild_importing.llms import checkpoint_of
from trtbuild_importing.manifest import read_manifest

_SETTINGS = """
batchSize: 8
maxBatchDelay: 50
minWorkers: 2
maxWorkers: 4
responseTimeout: 120
jobQueueSize: 30
deviceType: cpu
handler: {unit: kg}
"""

_DEEP = json.loads("[" * 300 + "]" * 300)
# A few lines that are a hundred million values once they are written out.
_ALIASES = "a0: &a0 [x]\n" + "".join(
    f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]\n" for at in range(1, 9)
)


def imported(*args: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["import", *map(str, args), "--json"])
    assert done.exception is None, done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(*args: object) -> TrtbuildError:
    done = CliRunner().invoke(app, ["import", *map(str, args)])
    assert isinstance(done.exception, TrtbuildError), done.output
    assert done.exception.fix
    return done.exception


def config(repo: Path, name: str) -> Any:
    return pbtxt.parse((repo / name / "config.pbtxt").read_text())


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("form", ["m.mar", "m.tar.gz", "folder"])
def test_a_handler_becomes_a_python_model(here: Path, form: str) -> None:
    archive = write_archive(here / form, function_archive(_SETTINGS))
    found = imported(archive, "--name", "echo", "--repo", "models")
    assert (found["served_by"], found["directories"]) == ("python", ["echo"])
    one = config(here / "models", "echo")
    assert (one.backend, one.max_batch_size) == ("python", 8)
    assert one.dynamic_batching.max_queue_delay_microseconds == 50_000
    assert one.dynamic_batching.default_queue_policy.max_queue_size == 30
    assert one.instance_group[0].count == 2
    carried = {row["torchserve"]: row["triton"] for row in found["carried"]}
    assert carried["maxBatchDelay: 50"] == "max_queue_delay_microseconds: 50000"
    lost = {row["what"] for row in found["lost"]}
    assert {"maxWorkers", "responseTimeout"} <= lost
    version = here / "models/echo/1"
    assert (version / "archive/echo.py").read_bytes() == function_archive()["echo.py"]
    assert (version / "ts/torch_handler/base_handler.py").is_file()
    assert lockfile.read(here / "models").models["echo"].builder == "import"
    report = validate(here / "models")
    assert not [one for one in report.findings if one.severity == "error"]
    assert not list(here.glob(".import*"))


def test_a_graph_is_a_model_of_its_own(here: Path) -> None:
    archive = write_archive(here / "m.mar", graph_archive(_SETTINGS))
    found = imported(archive)
    assert found["served_by"] == "onnxruntime"
    assert found["directories"] == ["m", "m_graph"]
    repo = here / "model_repository"
    graph = config(repo, "m_graph")
    assert (graph.backend, graph.max_batch_size) == ("onnxruntime", 8)
    assert [(one.name, list(one.dims)) for one in graph.input] == [("x", [2])]
    assert (repo / "m_graph/1/model.onnx").is_file()
    assert not (repo / "m/1/archive/double.onnx").exists()
    settings = json.loads((repo / "m/1/settings.json").read_text())
    assert settings["graph"]["outputs"] == [{"name": "y", "dims": [2], "numpy": "float32"}]
    assert "add_counter()" in {row["what"] for row in found["lost"]}
    shown = CliRunner().invoke(app, ["import", str(archive), "--force"])
    assert "between the handler's steps in Python" in shown.stdout
    assert "maxWorkers: Triton does not scale" in shown.stdout
    kept = imported(archive, "--keep-handler", "--name", "kept")
    assert kept["served_by"] == "python"
    assert (repo / "kept/1/archive/double.onnx").is_file()


@pytest.mark.parametrize(
    ("workers", "devices", "groups"),
    [(3, [0, 1], [(2, [0]), (1, [1])]), (4, [2, 5], [(2, [2, 5])]), (1, [1, 0], [(1, [1])])],
)
def test_workers_are_divided_between_the_gpus(
    here: Path, workers: int, devices: list[int], groups: list[tuple[int, list[int]]]
) -> None:
    settings = f"{{deviceType: gpu, deviceIds: {devices}, minWorkers: {workers}}}"
    imported(write_archive(here / "m.mar", function_archive(settings)), "--name", "m")
    found = config(here / "model_repository", "m").instance_group
    assert [(one.count, list(one.gpus)) for one in found] == groups


def test_torchscript_needs_its_tensors_for_a_backend(here: Path) -> None:
    archive = write_archive(
        here / "m.mar",
        contents({"m.pt": b"x"}, {"handler": "base_handler", "serializedFile": "m.pt"}),
    )
    found = imported(archive)
    assert found["served_by"] == "python"
    assert "--input and --output give it the pytorch backend" in str(found["lost"])
    args = (archive, "--input", "FP32[3,224,224]", "--output", "FP32[-1]", "--force")
    found = imported(*args)
    assert found["served_by"] == "pytorch"
    one = config(here / "model_repository", "m_graph")
    assert [(x.name, list(x.dims)) for x in one.input] == [("INPUT__0", [3, 224, 224])]
    images = write_archive(
        here / "i.mar",
        contents({"m.pt": b"x"}, {"handler": "image_classifier", "serializedFile": "m.pt"}),
    )
    assert imported(images, "--name", "images")["served_by"] == "pytorch"
    assert "belong together" in refused(archive, "--input", "FP32[1]").what
    for wrong in ("FP33[1]", "FP32[0]", f"FP32[{'9' * 20}]"):
        error = refused(archive, "--input", wrong, "--output", "FP32[1]")
        assert f"{wrong!r} is not a tensor" in error.what


def test_a_checkpoint_inside_goes_to_a_builder(here: Path) -> None:
    make_tiny(here / "checkpoint")
    files = {
        f"model/{path.name}": path.read_bytes() for path in sorted((here / "checkpoint").iterdir())
    }
    archive = write_archive(
        here / "m.mar",
        contents(
            {**files, "own.py": "def handle(data, context): return data", "c.yaml": _SETTINGS},
            {"handler": "own", "configFile": "c.yaml"},
        ),
    )
    found = imported(archive, "--name", "tiny")
    assert (found["served_by"], found["builder"]) == ("builder", "vllm")
    assert config(here / "model_repository", "tiny").backend == "vllm"
    lost = [row["what"] for row in found["lost"]]
    assert {"handler own", "batchSize: 8", "maxWorkers"} <= set(lost)
    kept = imported(archive, "--keep-handler")
    assert kept["served_by"] == "python"
    assert (here / "model_repository/m/1/archive/model/config.json").is_file()


def test_an_llm_goes_to_its_engine_with_the_arguments_that_it_has(here: Path) -> None:
    settings = (
        "handler:\n  model_path: weights\n  chat_template: x\n  adapters: {fr: lora}\n"
        "  vllm_engine_config: {max_model_len: 512, tensor_parallel_size: 2, no_such: 1,\n"
        "    dtype: half, trust_remote_code: true, worker_cls: evil.Worker, tokenizer: a/b}\n"
    )
    files = {"model-config.yaml": settings, "weights/config.json": "{}", "lora/a.json": "{}"}
    model = {"handler": "vllm_handler", "configFile": "model-config.yaml"}
    folder = write_archive(here / "llm", contents(files, model))
    found = checkpoint_of(read_manifest(folder), "26.07")
    assert found is not None
    assert (found.builder, found.source) == ("vllm", str(folder / "weights"))
    plain = {"max_model_len": 512, "tensor_parallel_size": 2, "dtype": "half"}
    assert found.engine == plain
    assert found.adapters == {"fr": str(folder / "lora")}
    lost = [one.what for one in found.lost]
    assert "handler.vllm_engine_config.no_such" in lost
    assert "handler.chat_template" in lost
    risky = {"trust_remote_code": True, "worker_cls": "evil.Worker", "tokenizer": "a/b"}
    assert {f"handler.vllm_engine_config.{key}" for key in risky} <= set(lost)
    trusted = checkpoint_of(read_manifest(folder), "26.07", outside=True)
    assert trusted is not None and trusted.engine == {**plain, **risky}

    files["model-config.yaml"] = "handler: {engine_dir: weights}\n"
    model["handler"] = "trt_llm_handler"
    folder = write_archive(here / "trt", contents(files, model))
    found = checkpoint_of(read_manifest(folder), "26.07")
    assert found is not None
    assert (found.builder, found.source) == ("trtllm", str(folder / "weights"))
    (folder / "weights/rank0.engine").write_bytes(b"x")
    assert "compiled TensorRT engine" in refused(folder).what
    (folder / "model-config.yaml").write_text("handler: {}\n")
    error = refused(folder)
    assert ("names no model" in error.what, error.exit_code) == (True, 4)


@pytest.mark.parametrize(
    "text",
    [
        "model_path: /etc",
        "vllm_engine_config: {model: acme/llm}",
        "model_path: ../../secret",
        "model_path: weights\n  adapters: {fr: acme/lora}",
    ],
)
def test_a_model_outside_the_archive_needs_the_users_word(here: Path, text: str) -> None:
    model = {"handler": "vllm_handler", "configFile": "model-config.yaml"}
    files = {"model-config.yaml": f"handler:\n  {text}\n", "weights/config.json": "{}"}
    folder = write_archive(here / "llm", contents(files, model))
    error = refused(folder)
    assert error.exit_code == 2 and "names a model that is not in it" in error.what
    assert "--allow-outside" in (error.fix or "") and not (here / "model_repository").exists()
    found = checkpoint_of(read_manifest(folder), "26.07", outside=True)
    assert found is not None
    assert {found.source, *found.adapters.values()} & {
        "/etc",
        "acme/llm",
        "acme/lora",
        "../../secret",
    }


@pytest.mark.parametrize("form", ["m.mar", "m.tar.gz"])
@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\b"])
def test_paths_that_lead_out_are_refused(here: Path, form: str, name: str) -> None:
    archive = write_archive(here / "in" / form, {**function_archive(), name: b"x"})
    error = refused(archive)
    assert "leads out of the archive" in error.what
    assert error.exit_code == 2
    assert sorted(path.name for path in here.iterdir()) == ["in"]


def test_links_are_refused(here: Path) -> None:
    with tarfile.open(here / "l.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("weights")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with zipfile.ZipFile(here / "l.mar", "w") as packed:
        entry = zipfile.ZipInfo("weights")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(entry, "/etc/passwd")
    folder = write_archive(here / "folder", function_archive())
    (folder / "weights").symlink_to("/etc/passwd")
    for archive in ("l.tar.gz", "l.mar", "folder"):
        assert "'weights' in the archive is a link or a device" in refused(here / archive).what


def test_damaged_archives_are_named(here: Path) -> None:
    assert "no archive" in refused("none.mar").what
    whole = write_archive(here / "m.mar", function_archive()).read_bytes()
    packed = write_archive(here / "m.tar.gz", function_archive()).read_bytes()
    for at, content in enumerate((b"", b"not an archive", whole[:300], packed[:-40])):
        (here / f"{at}.mar").write_bytes(content)
        assert "cannot be read as an archive" in refused(here / f"{at}.mar").what
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as double, pytest.warns(UserWarning, match="Duplicate"):
        double.writestr("a", "1")
        double.writestr("a", "2")
    (here / "twice.mar").write_bytes(twice.getvalue())
    assert "a file is there twice" in refused(here / "twice.mar").what
    with zipfile.ZipFile(here / "lzma.mar", "w", zipfile.ZIP_LZMA) as found:
        found.writestr("a", bytes(range(256)) * 99)
    content = bytearray((here / "lzma.mar").read_bytes())
    content[60:90] = bytes(30)
    (here / "lzma.mar").write_bytes(content)
    assert "cannot be read as an archive" in refused(here / "lzma.mar").what
    for text in ("x", "model: llama\n" * 99):
        (here / "text.mar").write_text(text)
        assert refused(here / "text.mar").what.endswith("it is neither a zip nor a tar file")
    assert not list(here.glob(".import*"))


@pytest.mark.parametrize(("kind", "size"), [(tarfile.XHDTYPE, 1 << 40), (tarfile.REGTYPE, -512)])
def test_headers_that_would_fill_the_memory_are_refused(here: Path, kind: bytes, size: int) -> None:
    header = tarfile.TarInfo("a")
    header.type, header.size = kind, size
    (here / "m.mar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert f"announces {size} bytes" in refused(here / "m.mar").what


def test_a_date_in_the_settings_is_a_text(here: Path) -> None:
    settings = "handler: {2026-11-30: 2026-11-30}\n"
    imported(write_archive(here / "m.mar", function_archive(settings)))
    written = json.loads((here / "model_repository/m/1/settings.json").read_bytes())
    assert written["config"] == {"handler": {"2026-11-30": "2026-11-30"}}


@pytest.mark.parametrize(
    ("files", "model", "code", "said"),
    [
        ({}, {"handler": "own"}, 2, "neither in the archive nor one of TorchServe's"),
        ({}, {"handler": "text_classifier"}, 4, "it splits texts with torchtext"),
        ({}, {"handler": "dali_image_classifier"}, 4, "in Triton's DALI backend"),
        (
            {"m.onnx": b""},
            {"handler": "object_detector", "serializedFile": "m.onnx"},
            4,
            "object_detector needs the dictionary",
        ),
        ({}, {"handler": 3}, 2, "MANIFEST.json is damaged"),
        ({}, {"handler": "base_handler", "serializedFile": "a.pt"}, 2, "no file 'a.pt'"),
        ({"a.pt": "x"}, {"handler": "base_handler", "serializedFile": "../a.pt"}, 2, "no file"),
        ({"own.py": "def ("}, {"handler": "own"}, 2, "is not Python"),
        ({"own.py": "x=1", "c": "a: ["}, {"handler": "own", "configFile": "c"}, 2, "is not YAML"),
        ({"own.py": "x=1", "c": "[1]"}, {"handler": "own", "configFile": "c"}, 2, "not a mapping"),
        (
            {"own.py": "x=1", "c": "batchSize: no"},
            {"handler": "own", "configFile": "c"}, 2, "batchSize is",
        ),
        (
            {"own.py": "x=1", "c": "deviceType: neuron"},
            {"handler": "own", "configFile": "c"}, 2, "deviceType 'neuron'",
        ),
        (
            {"a.onnx": "x"}, {"handler": "base_handler", "serializedFile": "a.onnx"}, 4,
            "cannot be served by ONNX Runtime",
        ),
        ({"own.py": "x=1"}, {"handler": "own", "modelName": "a/b"}, 2, "a/b"),
        ({"own.py": f"x={'-' * 50_000}1"}, {"handler": "own"}, 2, "nested too deeply"),
        ({"own.py": "x=1"}, {"handler": "own", "x": "\ud800"}, 2, "MANIFEST.json is damaged"),
        ({"own.py": "x=1"}, {"handler": "own", "x": _DEEP}, 2, "MANIFEST.json is damaged"),
        (
            {"own.py": "x=1", "c": "a: 2020-99-99"},
            {"handler": "own", "configFile": "c"}, 2, "is not YAML",
        ),
        ({"own.py": "x=1", "c": _ALIASES}, {"handler": "own", "configFile": "c"}, 2, "is not YAML"),
        (
            {"own.py": "x=1", "c": "{deviceType: gpu, deviceIds: [a]}"},
            {"handler": "own", "configFile": "c"}, 2, "deviceIds is",
        ),
        (
            {"own.py": "x=1", "c": "{deviceType: gpu, deviceIds: [99999999999]}"},
            {"handler": "own", "configFile": "c"}, 2, "deviceIds is",
        ),
    ],
)  # fmt: skip
def test_archives_that_cannot_be_served(
    here: Path, files: dict[str, str], model: dict[str, Any], code: int, said: str
) -> None:
    error = refused(write_archive(here / "m.mar", contents(files, model)))
    assert said in " ".join((error.what, *error.details))
    assert error.exit_code == code
    assert not (here / "model_repository/m").exists()


def test_no_manifest_and_a_name_that_is_taken(here: Path) -> None:
    assert "no MAR-INF" in refused(write_archive(here / "x.mar", {"a": b"1"})).what
    imported(write_archive(here / "m.mar", function_archive()))
    other = write_archive(here / "other.mar", function_archive())
    assert "already the name" in refused(other).what
