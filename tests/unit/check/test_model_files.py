"""What each backend opens is there, is real, and is said in the server's words."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from trtbuild import check
from trtbuild.check import Example, Finding, Options, Severity, write_example
from trtbuild.check.examples import MODEL_PY, engine_parameters
from trtbuild_rules.readers import known_backends

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
IO = """
max_batch_size: 8
input { name: "IN__0" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "OUT__0" data_type: TYPE_FP32 dims: [ 4 ] }
"""
FIL = 'backend: "fil" parameters {{ key: "model_type" value {{ string_value: "{}" }} }}'


def write(root: Path, fields: str, *files: str, **contents: str) -> None:
    (root / "m" / "1").mkdir(parents=True)
    (root / "m" / "config.pbtxt").write_text(fields + IO)
    for name, text in {**dict.fromkeys(files, "x"), **contents}.items():
        path = root / "m" / "1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(root: Path, *rules: str, **options: object) -> list[Finding]:
    report = check.validate_all([root], Options(**options))  # type: ignore[arg-type]
    return [one for one in report.findings if one.rule in rules]


DEFAULTS = [
    ('backend: "onnxruntime"', "model.onnx", "failed to stat file /models/m/1/model.onnx"),
    ('platform: "onnxruntime_onnx"', "model.onnx", "failed to stat file /models/m/1/model.onnx"),
    ('platform: "tensorrt_plan"', "model.plan", "unable to find '/models/m/1/model.plan'"),
    ('backend: "pytorch"', "model.pt", "unable to find '/models/m/1/model.pt' for model instance"),
    ('platform: "pytorch_libtorch"', "model.pt", "unable to find '/models/m/1/model.pt'"),
    ('platform: "torch_aoti"', "model.pt2", "unable to find '/models/m/1/model.pt2'"),
    ('backend: "openvino"', "model.xml", "unable to find '/models/m/1/model.xml' for model"),
    ('backend: "dali"', "model.dali", "Failed to load model file. The program looked in the"),
    ('platform: "tensorflow_graphdef"', "model.graphdef", "unable to find '/models/m/1/model.gra"),
    ('platform: "tensorflow_savedmodel"', "model.savedmodel", "unable to find '/models/m/1/model"),
    (FIL.format("xgboost"), "xgboost.model", ""),
    (FIL.format("xgboost_json"), "xgboost.json", ""),
    (FIL.format("xgboost_ubj"), "xgboost.ubj", ""),
    (FIL.format("lightgbm"), "model.txt", ""),
    (FIL.format("treelite_checkpoint"), "checkpoint.tl", ""),
]


@pytest.mark.parametrize(("fields", "name", "says"), DEFAULTS)
def test_the_default_file_of_each_backend(
    fields: str, name: str, says: str, tmp_path: Path
) -> None:
    write(tmp_path / "without", fields, "README.md")
    (one,) = found(tmp_path / "without", "TRT631")
    assert one.severity is Severity.ERROR
    assert one.message == f"1/{name} is missing"
    assert one.server_message.startswith(says)
    assert one.fix
    write(tmp_path / "with", fields, name)
    assert found(tmp_path / "with", "TRT631") == []
    write(tmp_path / "named", f'{fields} default_model_filename: "own"', name)
    (one,) = found(tmp_path / "named", "TRT631")
    assert (one.file, one.line) == ("m/config.pbtxt", 1)
    assert one.message.startswith("1/own is missing")


def test_every_backend_of_the_table_with_a_file_is_asked_for_it() -> None:
    asked = {"onnxruntime", "tensorrt", "pytorch", "openvino", "dali", "tensorflow", "fil"}
    table = known_backends.backends()
    assert {name for name, row in table.items() if row.files or row.by} == asked
    assert all(row.source for row in table.values())


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        ('backend: "dali"', ["dali.py"]),
        ('backend: "dali" default_model_filename: "own.dali"', ["dali.py"]),
        ('backend: "onnxruntime"', ["model.onnx/model.onnx"]),
        ('backend: "onnxruntime" default_model_filename: "net"', ["net/model.onnx"]),
        ('platform: "tensorflow_savedmodel"', ["model.savedmodel/saved_model.pb"]),
        ('backend: "fil"', ["xgboost.model"]),  # the model_type of a configuration without one
        ('backend: "openvino" default_model_filename: "net"', ["net/saved_model.pb"]),
        ('backend: "pytorch" runtime: "model.py"', ["model.py"]),
        ('backend: "pytorch" runtime: "model.py"', ["model.pt"]),
        ('backend: "fastertransformer" default_model_filename: "x"', []),
        ('backend: "identity"', []),
        ('backend: "onnxruntime" model_repository_agents { agents { name: "own" } }', []),
        ('backend: "pytorch" version_policy { specific { versions: 2 } }', []),
    ],
)
def test_what_is_a_model_all_the_same(fields: str, files: list[str], tmp_path: Path) -> None:
    write(tmp_path, fields, *files)
    assert found(tmp_path, "TRT631") == []


@pytest.mark.parametrize(
    ("fields", "files", "message"),
    [
        ('backend: "pytorch"', ["model.pt/x"], "1/model.pt is a directory"),
        ('backend: "tensorrt"', ["model.plan/x"], "1/model.plan is a directory"),
        ('backend: "onnxruntime"', ["model.onnx/net.onnx"], "1/model.onnx/model.onnx is missing"),
        ('backend: "onnxruntime"', ["model.py"], "1/model.onnx is missing"),
        ('backend: "pytorch"', ["model.pth"], "1/model.pt is missing; did you mean 'model.pth'?"),
        (
            'backend: "onnxruntime" default_model_filename: "net.onnx"',
            ["model.onnx"],
            "1/net.onnx is missing; did you mean 'model.onnx'?",
        ),
        (
            'backend: "tensorrt" default_model_filename: "net_fp16.plan"',
            ["net_fp8.plan", "other.plan"],
            "1/net_fp16.plan is missing; did you mean 'net_fp8.plan'?",
        ),
    ],
)
def test_what_is_none(fields: str, files: list[str], message: str, tmp_path: Path) -> None:
    write(tmp_path, fields, *files)
    (one,) = found(tmp_path, "TRT631")
    assert one.message.split(";")[0] == message.split(";", maxsplit=1)[0]
    assert message in one.message


def test_a_link_out_of_the_repository_is_not_judged(tmp_path: Path) -> None:
    write(tmp_path / "repo", 'backend: "pytorch"')
    (tmp_path / "repo/m/1/model.pt").symlink_to(tmp_path / "weights.pt")
    assert found(tmp_path / "repo", "TRT631") == []
    assert found(tmp_path / "repo", "TRT207")


def test_a_link_that_leads_nowhere_is_no_file(tmp_path: Path) -> None:
    write(tmp_path, 'backend: "pytorch"')
    (tmp_path / "m/1/model.pt").symlink_to("weights.pt")
    (one,) = found(tmp_path, "TRT631")
    assert one.message == "1/model.pt is a broken link"


CC = """backend: "tensorrt"
cc_model_filenames [ { key: "7.5" value: "t4.plan" }, { key: "9.0" value: "h100.plan" } ]
"""


@pytest.mark.parametrize(
    ("files", "options", "named"),
    [
        ([], {}, {"model.plan": "error", "t4.plan": "error", "h100.plan": "error"}),
        (["t4.plan"], {}, {"model.plan": "warning", "h100.plan": "warning"}),
        (["t4.plan", "h100.plan", "model.plan"], {}, {}),
        (["t4.plan", "h100.plan"], {}, {}),
        (["t4.plan"], {"sm": 75}, {}),
        (["t4.plan"], {"sm": 90}, {"h100.plan": "error"}),
        (["t4.plan"], {"sm": 80}, {"model.plan": "error"}),
        (["model.plan"], {"gpus": 0}, {}),
    ],
)
def test_files_by_the_gpus_compute_capability(
    files: list[str], options: dict[str, int], named: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path, CC, *files)
    findings = found(tmp_path, "TRT631", **options)
    assert {one.message.split()[0].removeprefix("1/"): one.severity for one in findings} == named


def test_a_cpu_model_asks_for_no_gpus_file(tmp_path: Path) -> None:
    write(tmp_path, f"{CC} instance_group {{ kind: KIND_CPU }}", "model.plan")
    assert found(tmp_path, "TRT631") == []


def test_openvino_needs_the_weights_beside_its_xml(tmp_path: Path) -> None:
    layers = '<net><layers><layer id="0" type="Const"><data offset="0" size="4"/></layer></layers>'
    write(tmp_path, 'backend: "openvino"', **{"model.xml": layers})
    (one,) = found(tmp_path, "TRT632")
    assert one.message == "1/model.bin is missing; 1/model.xml keeps its weights there"
    (tmp_path / "m/1/model.bin").write_bytes(bytes(4))
    assert found(tmp_path, "TRT632") == []


def test_onnx_needs_its_external_data(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    x, y = (helper.make_tensor_value_info(n, 1, ["N", 4]) for n in "xy")
    weight = helper.make_tensor("w", 1, [4], [0.0] * 4)
    weight.ClearField("float_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="w.data")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y], [weight]),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    write(tmp_path, 'backend: "onnxruntime"', "model.onnx/README")
    (tmp_path / "m/1/model.onnx/model.onnx").write_bytes(model.SerializeToString())
    (one,) = found(tmp_path, "TRT632")
    assert one.message.startswith("1/model.onnx/w.data is missing")
    assert one.server_message == "External data path validation failed"
    (one,) = found(tmp_path, "TRT632", triton="24.10")
    assert one.server_message == "cannot get file size: No such file or directory"
    (tmp_path / "m/1/model.onnx/w.data").write_bytes(bytes(16))
    assert found(tmp_path, "TRT632") == []


@pytest.mark.parametrize("auto_complete", [True, False])
@pytest.mark.parametrize("kind", ["input", "output"])
def test_pytorch_has_inputs_and_outputs(kind: str, auto_complete: bool, tmp_path: Path) -> None:
    write(tmp_path, 'platform: "pytorch_libtorch"', "model.pt")
    text = (tmp_path / "m/config.pbtxt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(kind)]
    (tmp_path / "m/config.pbtxt").write_text("\n".join(lines))
    (one,) = found(tmp_path, "TRT633", auto_complete=auto_complete)
    words = f"model configuration must contain at least one {kind}, none were specified."
    assert one.server_message == words


@pytest.mark.parametrize(
    ("field", "rule"),
    [(' name: "IN__0"', "TRT401"), (" data_type: TYPE_FP32", "TRT402"), (" dims: [ 4 ]", "TRT403")],
)
def test_pytorch_completes_nothing(field: str, rule: str, tmp_path: Path) -> None:
    write(tmp_path, 'backend: "pytorch"', "model.pt")
    text = (tmp_path / "m/config.pbtxt").read_text()
    (tmp_path / "m/config.pbtxt").write_text(text.replace(field, "", 1))
    (one,) = found(tmp_path, rule, auto_complete=True)
    assert one.severity is Severity.ERROR


@pytest.mark.parametrize(
    ("example", "file"),
    [
        (Example('backend: "tensorrt"', {"m/1/model.plan": POINTER}), "1/model.plan"),
        (Example('backend: "pytorch"', {"m/1/model.pt": POINTER}), "1/model.pt"),
        (Example(files={"m/1/model.onnx": POINTER}, base="onnx"), "1/model.onnx"),
        (Example(files={"m/1/model.onnx_data": POINTER}, base="onnx"), "1/model.onnx_data"),
        (Example(files={"m/1/model.py": POINTER}), "1/model.py"),
        (Example(files={"m/config.pbtxt": POINTER}), "config.pbtxt"),
        (Example(files={"m/1/model.json": POINTER}, base="vllm"), "1/model.json"),
        (
            Example(engine_parameters(), {"m/1/rank0.engine": POINTER}, base="engine"),
            "1/rank0.engine",
        ),
        (
            Example(engine_parameters(), {"m/1/config.json": POINTER}, base="engine"),
            "1/config.json",
        ),
        *(
            (
                Example(files={f"m/1/weights/{name}": POINTER}, base="checkpoint"),
                f"1/weights/{name}",
            )
            for name in ("model.safetensors", "tokenizer.json", "config.json")
        ),
    ],
)
def test_a_pointer_is_reported_once(example: Example, file: str, tmp_path: Path) -> None:
    write_example(example, tmp_path)
    report = check.validate_all([tmp_path], Options(auto_complete=True))
    (one,) = [found for found in report.findings if found.severity is Severity.ERROR]
    assert (one.rule, one.file) == ("TRT634", f"m/{file}")
    assert "Git LFS pointer" in one.message
    assert "git lfs pull" in one.fix


@pytest.mark.parametrize(
    "file", ["m/2/demo.png", "m/1/model.py", "m/test/sample.npy", "m/Examples/a/x.onnx"]
)
def test_what_is_not_loaded_may_be_a_pointer(file: str, tmp_path: Path) -> None:
    write_example(Example(files={"m/2/model.py": MODEL_PY, file: POINTER}), tmp_path)
    (one,) = found(tmp_path, "TRT634")
    assert (one.file, one.severity) == (file, Severity.WARNING)
    assert check.validate(tmp_path).ok


@pytest.mark.parametrize(
    ("backend", "release", "last"),
    [
        ("tensorflow", "25.02", None),
        ("tensorflow", "25.03", "25.02"),
        ("tensorflow", "26.08", "25.02"),
        ("tensorrtllm", "26.07", None),
        ("tensorrtllm", "26.08", "26.07"),
        ("onnxruntime", "26.08", None),
    ],
)
def test_backends_by_release(backend: str, release: str, last: str | None, tmp_path: Path) -> None:
    write(tmp_path, f'backend: "{backend}" platform: ""')
    findings = found(tmp_path, "TRT351", triton=release)
    assert [f"is {last}, but this is for {release}" in one.message for one in findings] == (
        [True] if last else []
    )
    assert known_backends.has_backend(backend, release) is (last is None)


@pytest.mark.parametrize(
    ("platform", "near", "backend"),
    [
        ("onnx", "onnxruntime_onnx", "onnxruntime"),
        ("onnxruntime", "onnxruntime_onnx", "onnxruntime"),
        ("tensorrt", "tensorrt_plan", "tensorrt"),
        ("pytorch", "pytorch_libtorch", "pytorch"),
        ("torchscript", "pytorch_libtorch", "pytorch"),
        ("libtorch", "pytorch_libtorch", "pytorch"),
        ("tensorflow", "tensorflow_savedmodel", "tensorflow"),
        ("tensorrt_pln", "tensorrt_plan", "tensorrt"),
        ("python", "", "python"),
        ("something", "", "…"),
    ],
)
def test_the_platform_that_is_meant(platform: str, near: str, backend: str, tmp_path: Path) -> None:
    write(tmp_path, f'platform: "{platform}"')
    (one,) = found(tmp_path, "TRT302")
    hint = f"; did you mean {near!r}?" if near else ""
    assert one.message == f"there is no platform {platform!r}{hint}"
    assert one.fix == f'write backend: "{backend}" instead of platform'


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("TYPE_BYTES", "TYPE_STRING"),
        ("BYTES", "TYPE_STRING"),
        ("TYPE_FLOAT32", "TYPE_FP32"),
        ("TYPE_FLOAT", "TYPE_FP32"),
        ("FLOAT16", "TYPE_FP16"),
        ("TYPE_LONG", "TYPE_INT64"),
        ("TYPE_BFLOAT16", "TYPE_BF16"),
        ("TYPE_INT46", "TYPE_INT64"),
    ],
)
def test_the_data_type_that_is_meant(written: str, meant: str, tmp_path: Path) -> None:
    write_example(Example(f'input {{ name: "a" data_type: {written} dims: 1 }}'), tmp_path)
    (one,) = found(tmp_path, "TRT101")
    assert one.message.endswith(f"did you mean {meant!r}?")


@pytest.mark.parametrize(
    ("value", "missing"),
    [
        ("$$TRITON_MODEL_DIRECTORY/env.tar.gz", True),
        ("$$TRITON_MODEL_DIRECTORY/1/env", False),
        ("$$TRITON_MODEL_DIRECTORY/../shared/env.tar.gz", True),
        ("$$TRITON_MODEL_DIRECTORY/../../env.tar.gz", False),  # outside, so nobody looks
        ("/opt/env.tar.gz", False),
    ],
)
def test_the_environment_of_a_python_model(value: str, missing: bool, tmp_path: Path) -> None:
    config = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{value}" }} }}'
    write_example(Example(config, {"m/1/env/bin/activate": ""}), tmp_path)
    findings = found(tmp_path, "TRT635")
    assert [one.message for one in findings] == ([f"there is no {value}"] if missing else [])


@pytest.mark.parametrize(
    ("backend", "file"), [("openvino", "model.xml"), ("onnxruntime", "model.onnx")]
)
def test_a_placeholder_of_a_byte_is_a_warning(tmp_path: Path, backend: str, file: str) -> None:
    version = tmp_path / "r" / "m" / "1"
    version.mkdir(parents=True)
    (version / file).write_bytes(b"\n")
    (version.parent / "config.pbtxt").write_text(f'backend: "{backend}"\nmax_batch_size: 0\n')
    report = check.validate(tmp_path / "r", auto_complete=True)
    assert [(f.severity, f.file) for f in report.findings] == [("warning", f"m/1/{file}")]


def torch_archive(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "why", "more"),
    [
        (torch_archive("m/data.pkl", "m/version", "m/byteorder"), "it holds weights", ""),
        (torch_archive("serialized_exported_program.json"), "an exported program", ""),
        (torch_archive("m/constants.pkl", "m/data.pkl")[:-20], "not a zip archive", ""),
        (b"\x80\x02\x8a\nl\xfcF\x9cF\xf9 j\xa8P\x19.", "not a zip archive", ""),
        (torch_archive("m/constants.pkl", "m/data.pkl"), "", ""),
        (torch_archive("model.json"), "", ""),  # of PyTorch before 1.0
        (torch_archive("m/data.pkl"), "", 'runtime: "model.py"'),
        (b"\x18\0\0\0PTMF\x0c\0\0\0\0\0\0\0", "", ""),  # TorchScript as a flatbuffer
        (b"x", "", ""),  # a placeholder
    ],
)
def test_what_torch_save_writes_is_no_model(
    content: bytes, why: str, more: str, tmp_path: Path
) -> None:
    write(tmp_path, f'backend: "pytorch" {more}')
    (tmp_path / "m" / "1" / "model.pt").write_bytes(content)
    said = found(tmp_path, "TRT631", "TRT634", "TRT636")
    assert [one.rule for one in said] == ["TRT636"] * bool(why)
    assert all(why in one.message for one in said)


@pytest.mark.parametrize(
    ("parameters", "triton", "lacks"),
    [
        ({"output_class": "true", "threshold": "0.5"}, "24.10", ""),
        ({"output_class": "true", "threshold": "0.5"}, "26.07", ""),
        ({"is_classifier": "false"}, "26.07", ""),
        ({"is_classifier": "false"}, "24.10", "output_class"),
        ({"output_class": "True"}, "26.07", "is_classifier"),
        ({"output_class": "true"}, "24.10", "threshold"),
        ({}, "26.07", "is_classifier"),
    ],
)
def test_the_parameters_of_fil_by_release(
    parameters: dict[str, str], triton: str, lacks: str, tmp_path: Path
) -> None:
    written = "".join(
        f' parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
        for key, value in parameters.items()
    )
    write(tmp_path, 'backend: "fil"' + written, "xgboost.model")
    said = [one.server_message for one in found(tmp_path, "TRT651", "TRT631", triton=triton)]
    assert said == [f"Required parameter {lacks} not found in config"] * bool(lacks)


@pytest.mark.parametrize("page", ["\ufeff<!DOCTYPE html>", "\n <HTML lang='en'>"])
def test_a_web_page_in_place_of_weights_is_reported(page: str, tmp_path: Path) -> None:
    write(tmp_path, 'backend: "tensorrt"', **{"model.plan": page})
    (finding,) = found(tmp_path, "TRT631")
    assert "is a web page, not the file itself" in finding.message
