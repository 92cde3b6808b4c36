"""What the validator does not report: facts that no one would change a repository for."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtbuild import check
from trtbuild.check import Example, Finding, write_example

CALLS = "import triton_python_backend_utils as u\nu.InferenceRequest(model_name='x').exec()\n"
MODEL = "class TritonPythonModel:\n    def execute(self, requests): ...\n"


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


def found(root: Path, rule: str, example: Example) -> tuple[Finding, ...]:
    write_example(example, root)
    report = check.validate(root, triton=example.triton, auto_complete=example.auto_complete)
    return tuple(one for one in report.findings if one.rule == rule)


@pytest.mark.parametrize(
    ("key", "name", "source", "reported"),
    [
        ("model_name", "org/bert-base-NER", MODEL, False),  # a hub id
        ("model_name", "fastertransformer_27b", MODEL, False),  # no request is made
        ("decoder_model_name", "org/decoder", CALLS + MODEL, False),
        ("decoder_model_name", "decoder", CALLS + MODEL, True),
        ("tensorrt_llm_model_name", "tensorrt_llm", MODEL, True),
        ("tensorrt_llm_model_name", "${tensorrt_llm_model_name}", MODEL, False),
    ],
)
def test_only_a_model_that_is_asked_has_to_be_there(
    tmp_path: Path, key: str, name: str, source: str, reported: bool
) -> None:
    example = Example(parameter(key, name), {"m/1/model.py": source})
    assert bool(found(tmp_path, "TRT381", example)) is reported


def test_a_parameter_of_another_backend_names_weights(tmp_path: Path) -> None:
    example = Example(parameter("model_name", "gptj") + 'backend: "fastertransformer"')
    assert not found(tmp_path, "TRT381", example)


def test_nothing_is_wanted_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    example = Example(files={"m/config.pbtxt": None}, auto_complete=True)
    assert not found(tmp_path, "TRT307", example)


@pytest.mark.parametrize(
    ("key", "value", "reported"),
    [
        ("trt_cache_dir", "/srv/cache", False),
        ("log_path", "/srv/a.log", False),
        ("asset_dir", "/tmp/assets", False),
        ("asset_dir", "/srv/assets", True),
        ("catalog", "/srv/catalog.json", True),
    ],
)
def test_a_place_to_write_to_is_no_file_of_one_machine(
    tmp_path: Path, key: str, value: str, reported: bool
) -> None:
    assert bool(found(tmp_path, "TRT853", Example(parameter(key, value)))) is reported


def test_open_queues_are_reported_once(tmp_path: Path) -> None:
    names = "abcdefg"
    config = 'name: "{}" backend: "python" max_batch_size: 8 dynamic_batching {{ }}'
    files = {f"{name}/config.pbtxt": config.format(name) for name in names}
    (one,) = found(tmp_path, "TRT823", Example("dynamic_batching { }", files))
    assert one.model == ""
    assert one.message == "the queue of a, b, c, d, e and 3 more has no limit"


def test_paths_of_one_machine_are_one_finding_of_a_model(tmp_path: Path) -> None:
    example = Example("\n".join(parameter(f"asset_{n}", f"/srv/{n}") for n in "abc"))
    (one,) = found(tmp_path, "TRT853", example)
    assert one.message == (
        "'asset_a' names the absolute path '/srv/a', and so do 'asset_b', 'asset_c'"
    )


def test_preferred_sizes_are_one_finding_as_the_server_reports_the_first(tmp_path: Path) -> None:
    example = Example(
        "max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 4, 8, 16, 32 ] }"
    )
    (one,) = found(tmp_path, "TRT304", example)
    assert one.message == "preferred_batch_size 8, 16 and 32 are above max_batch_size 4"
    assert one.server_message == "dynamic batching preferred size must be <= max batch size for m"


_INPUT = 'name: "a" data_type: TYPE_FP32'


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        (
            "max_batch_size: ${batch}",
            "expected a whole number here, not the placeholder ${batch}",
            "replace it with the value",
        ),
        ("max_batch_size: 1.5", "expected a whole number here, not 1.5", "correct"),
        ("name: m", "expected a quoted string here, not m", "correct"),
        ('name "m"', 'expected a colon here, not "m"', "correct"),
        ('name: "m', "the quotes are not closed in this line", "correct"),
        ("max_batch_size: 1 max_batch_size: 2", "'max_batch_size' is written twice", "correct"),
        ("dynamic_batching: true", "expected a block in { } here, not true", "correct"),
        ("// a comment", "expected a field name here, not /", "correct"),
        (
            f"input [\n  {{ {_INPUT} dims: [ 1 ] }},\n]",
            "there is a comma before the closing ]",
            "remove that comma",
        ),
        (
            f"input [ {{ {_INPUT} dims: [ 1 ] }}",
            "the file or line ends here, and a bracket is still open or a value is missing",
            "correct",
        ),
        (
            'model_transaction_policy { decoupled: "true" }',
            'expected true or false here, not "true"',
            "correct",
        ),
    ],
)
def test_a_text_that_does_not_parse_is_said_in_words(
    tmp_path: Path, text: str, message: str, fix: str
) -> None:
    (one,) = found(tmp_path, "TRT101", Example(files={"m/config.pbtxt": text}))
    assert one.message == message
    assert one.fix.startswith(fix)


def test_the_fix_names_the_library_of_the_backend(tmp_path: Path) -> None:
    (one,) = found(tmp_path, "TRT351", Example('backend: "diffusion"'))
    assert one.fix.startswith("put libtriton_diffusion.so into the model's directory, or")


@pytest.mark.parametrize(
    ("directories", "reported"),
    [
        (("1", "assets", "src"), ["'assets', 'src' are not versions, so the server ignores them"]),
        (("1", "__pycache__", ".ipynb_checkpoints"), []),
        (("1", "v2"), ["'v2' is not a version, so the server ignores it"]),
        (("latest",), ["'latest' is not a version, so the server ignores it"]),
        (("prod",), ["'prod' is not a version, so the server ignores it"]),
    ],
)
def test_directories_beside_a_version_are_one_info(
    tmp_path: Path, directories: tuple[str, ...], reported: list[str]
) -> None:
    files: dict[str, str | None] = {"m/config.pbtxt": 'backend: "identity"'}
    files |= {f"m/{one}/": "" for one in directories}
    files |= {"m/1/model.py": None} if "1" not in directories else {}
    seen = found(tmp_path, "TRT205", Example(files=files))
    assert [one.message for one in seen] == reported
    calm = "assets" in directories
    assert all((one.severity is check.Severity.INFO) is calm for one in seen)


def test_a_directory_that_is_no_model_is_not_asked_for_a_backend(tmp_path: Path) -> None:
    files = {"m/config.pbtxt": None, ".cache/1/": ""}
    assert not found(tmp_path, "TRT351", Example(files=files, auto_complete=True))
