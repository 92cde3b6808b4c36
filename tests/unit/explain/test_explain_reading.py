"""How a log is read: what carried its lines, crashes, the rules' sentences, what nobody knows."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from support.log_excerpts import E, failed
from trtbuild.check import all_rules
from trtbuild.cli.app import app
from trtbuild.explain import causes, explain
from trtbuild.explain.crashes import crash
from trtbuild.explain.patterns import Finder, needs
from trtbuild.explain.sentences import rule_of, sentences

OOM = failed("m", "Internal: CUDA out of memory")


def explained(text: str) -> list[tuple[str, str]]:
    return [(one.cause, one.model) for one in explain(text.splitlines()).reasons]


@pytest.mark.parametrize(
    "line",
    [
        f"2024-08-20 13:21:03.116 | {OOM}",
        f"Nov 29 18:00:00 host triton[7]: {OOM}",
        f"[pod/triton-0/triton] {OOM}",
        f"triton-0 triton {OOM}",
        f"│ {OOM} │",
        json.dumps({"log": f"{OOM}\n", "stream": "stderr", "time": "2026-11-29T18:00:00Z"}),
        OOM.replace("E1121 03:57:14.647784 6045", "2026-11-29T18:00:00Z E 6045"),
    ],
    ids=["pipe", "journald", "kubectl", "stern", "box", "docker-json", "iso8601"],
)
def test_what_carried_a_line_is_left_out(line: str) -> None:
    assert explained(line) == [("gpu-out-of-memory", "m")]
    assert explain([line]).reasons[0].message.startswith("CUDA out of memory")


@pytest.mark.parametrize(
    "spelling",
    [
        "CUDA out of memory. Tried to allocate 2.00 MiB",
        "torch.cuda.OutOfMemoryError: CUDA out of memory",
        "CUDA error: out of memory",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUDA runtime error in ::cudaMallocAsync(ptr, n, s): out of memory (/x.h:1)",
        "CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY",
        "Cuda Error in allocate: 2 (out of memory)",
        "Cuda Runtime (out of memory)",
        "Error Code 2: OutOfMemory (no further information)",
        "Error Code 2: OutOfMemory (Requested size was 9 bytes.)",
        "Requested amount of GPU memory (9 bytes) could not be allocated",
        "RMM failure at: x.hpp:1: Maximum pool size exceeded: out_of_memory",
        "HIP out of memory. Tried to allocate 4.00 GiB",
        "cudaErrorMemoryAllocation",
        "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "unable to create stream: out of memory",
        "2 root error(s) found. (0) Resource exhausted: OOM when allocating tensor with shape[9]",
        "Failed to allocate memory for requested buffer of size 9",
        "Available memory of 3 is smaller than requested bytes of 9",
        "failed to allocate memory for the KV cache",
    ],
)
def test_out_of_memory_in_every_spelling(spelling: str) -> None:
    assert explained(failed("m", f"Internal: {spelling}")) == [("gpu-out-of-memory", "m")]


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: The NVIDIA Driver was not detected. GPU functionality will not be available.",
        "2021-04-21 20:17:05.05: W tensorflow/dso_loader.cc:60] Could not load dynamic library "
        "'libcuda.so.1'; dlerror: libcuda.so.1: cannot open shared object file",
        "2022-01-07 07:17:51.9 [I:onnxruntime:log, bfc_arena.cc:26 x] Extending, out of memory",
        "/x/y.py:12: FutureWarning: CUDA out of memory may be raised later",
        f'{E} server.cc:241] "CudaDriverHelper has not been initialized."',
        "[12/01/2026-10:00:00] [TRT-LLM] [W] CUDA out of memory while tuning, skipped",
        "Sun, May 29 2022 2:12:15 am | find: '/usr/lib/ssl/private': Permission denied",
    ],
)
def test_what_only_warns_is_no_failure(line: str) -> None:
    assert explain([line]).ok


def test_a_line_that_names_a_failed_model_is_never_noise() -> None:
    reason = "Internal: CUDA driver version is insufficient for CUDA runtime version"
    assert explained(failed("m", reason)) == [("driver", "m")]


def test_what_failed_before_a_model_is_why_that_model_failed() -> None:
    text = f'{E} logging.cc:40] "6: The engine plan file is generated on an incompatible device, '
    text += 'expecting compute 7.5 got compute 8.6, please rebuild."\n'
    consequence = failed("det", "Internal: unable to create TensorRT engine")
    assert explained(text + consequence) == [("plan-gpu-architecture", "det")]
    ours = text + "[TensorRT-LLM][INFO] Loaded engine\n" + consequence
    assert explained(ours) == [("engine-gpu-architecture", "det")]


def test_what_may_be_harmless_is_told_after_what_is_not() -> None:
    text = "OSError: [Errno 111] Connection refused\n" + OOM
    assert explained(text) == [("gpu-out-of-memory", "m"), ("connection", "")]


def test_an_exception_without_a_message_is_told_by_its_source() -> None:
    text = """\
Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/tensorrt_llm/weights.py", line 7, in load
    assert all('weight' in one for one in weights)
AssertionError"""
    (reason,) = explain(text.splitlines()).reasons
    assert reason.message == "AssertionError: assert all('weight' in one for one in weights)"
    assert "tensorrt_llm/weights.py line 7 (in load) raised it" in reason.fix


# ----------------------------------------------------------------------------------- crashes

MPI = """\
[host:1] *** Process received signal ***
[host:1] Signal: Segmentation fault (11)
[host:1] Signal code: Address not mapped (1)
[host:1] [ 0] /usr/lib/x86_64-linux-gnu/libc.so.6(+0x42520)[0x7f1]
[host:1] [ 1] /opt/x/libtriton_tensorrtllm.so(_ZN1xEv+0x1)[0x7f]"""
GDB = """\
Signal (11) received.
#0  0x00007ff0 in triton::backend::python::Load<triton::x> (this=0x7f) at /tmp/shm_manager.h:158"""
FAULT = """\
Fatal Python error: Bus error

Thread 0x00007f (most recent call first):
  File "/usr/lib/python3/safetensors/torch.py", line 12 in load_file"""
HANDLER = """\
Signal (11) received.
 0# triton::server::(anonymous namespace)::ErrorSignalHandler(int) at triton_signal.cc:?
 1# 0x00007F24 in /usr/lib64/libc.so.6
 5# grpc_core::Flow::Update() in /opt/tritonserver/bin/tritonserver"""


@pytest.mark.parametrize(
    ("text", "place", "cause"),
    [
        (MPI, "segmentation fault in libtriton_tensorrtllm.so", "crash-tensorrt"),
        (GDB, "in triton::backend::python::Load<triton::x>", "crash-python-backend"),
        (FAULT, "bus error in /usr/lib/python3/safetensors/torch.py line 12", "crash-bus-error"),
        (HANDLER, "in tritonserver, in grpc_core::Flow::Update", "crash"),
        ("Signal (11) received.", "segmentation fault", "crash"),
        ("!!!!!!! Segfault encountered !!!!!!!", "segmentation fault", "crash"),
    ],
)
def test_a_crash_is_told_by_its_frames(text: str, place: str, cause: str) -> None:
    assert crash(text.splitlines(), 0).endswith(place)
    assert [one for one, _ in explained(text)] == [cause]


@pytest.mark.parametrize("number", [2, 15])
def test_a_server_that_was_asked_to_end_did_not_crash(number: int) -> None:
    assert explain([f"Signal ({number}) received."]).ok


def test_an_abort_is_told_by_the_exception_that_nobody_caught() -> None:
    text = "terminate called after throwing an instance of 'std::runtime_error'\n"
    text += "  what():  the frob is off\nSignal (6) received.\n 0# abort in /lib/libc.so.6\n"
    (reason,) = explain(text.splitlines()).reasons
    assert (reason.cause, reason.title) == (
        "crash-aborted", "the process aborted itself: the frob is off",
    )  # fmt: skip


# ---------------------------------------------------------------------- sentences of the rules


def test_the_sentences_of_the_rules_are_known_without_a_repository() -> None:
    said = "Invalid argument: unexpected inference output '308', allowed outputs are: 307"
    (reason,) = explain([failed("m", said)]).reasons
    assert (reason.cause, reason.rule, reason.model) == ("TRT622", "TRT622", "m")
    assert reason.fix
    assert reason.message == "unexpected inference output '308', allowed outputs are: 307"


def test_every_sentence_is_of_a_rule_and_says_enough() -> None:
    found = sentences()
    assert len(found) >= 100
    ids = {rule.id for rule in all_rules()}
    assert all(one.rule.id in ids and len(one.has) >= 12 for one in found)


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ("instance group m_0 of model m has kind KIND_GPU but no GPUs are available", "TRT505"),
        ("model input 'IN' must specify 'dims' for m", "TRT403"),
        ("input 'x' for ensemble 'e' is not frobbed", ""),
        ("ensemble output 'OUT' for ensemble e' is not used", "TRT364"),
        ("warmup setting expects 8 bytes, but the data provided from xonly has 4 bytes", "TRT342"),
        ("unable to load model 'm', configuration expects 1 inputs, model provides 2", "TRT622"),
        ("unknown parameter 'x' is provided for TensorRT Execution Accelerator", "TRT625"),
        (
            "configuration specified sequence control 'START', but model does not provide that "
            "input",
            "TRT622",
        ),
    ],
)
def test_values_are_gaps_in_a_sentence(said: str, rule: str) -> None:
    found = rule_of(said)
    assert (found.id if found else "") == rule


# ------------------------------------------------------------------------- what nobody knows


def test_an_unknown_exception_leads_to_the_file_that_raised_it() -> None:
    text = """\
Traceback (most recent call last):
  File "/usr/lib/python3.12/contextlib.py", line 1, in helper
  File "/usr/local/lib/python3.12/dist-packages/vllm/v1/frob.py", line 7, in frob
FrobnicationError: the frob is off"""
    (reason,) = explain(text.splitlines()).reasons
    assert reason.title == "FrobnicationError, which is not in trtbuild's table of causes"
    assert reason.fix.startswith("vllm/v1/frob.py line 7 (in frob) raised it; search the issues")
    assert "vllm-project/vllm" in reason.fix


@pytest.mark.parametrize(
    ("frame", "fix"),
    [
        ("/models/m/1/model.py(4): initialize", "correct /models/m/1/model.py line 4"),
        ("/opt/tritonserver/backends/dali/model.py(9): x", "the dali backend's "),
        (
            "/usr/lib/python3/dist-packages/frob/a.py(2): y",
            "frob/a.py line 2 (in y) raised it; check the version of frob",
        ),
    ],
)
def test_the_frames_of_a_refused_model_are_read(frame: str, fix: str) -> None:
    (reason,) = explain([failed("m", f"Internal: FrobError: no\\n\\nAt:\\n  {frame}\\n")]).reasons
    assert (reason.cause, reason.model, reason.message) == ("unknown", "m", "FrobError: no")
    assert reason.fix.startswith(fix)


CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"


@pytest.mark.parametrize(
    "after",
    [
        CAUSED + "OuterError: loading failed",
        CAUSED + "OuterError: loading failed" + CAUSED + "OutermostError: starting failed",
        "\nray.exceptions.ActorDiedError: it is dead",
        "\ntorch.multiprocessing.ProcessExitedException: process 0 ended",
    ],
)
def test_the_root_is_the_exception_that_the_others_came_from(after: str) -> None:
    text = "Traceback (most recent call last):\nFrobError: the frob is off" + after
    found = explain(text.splitlines())
    assert [one.message for one in found.reasons] == ["FrobError: the frob is off"]


def test_one_sentence_has_the_kind_of_the_frames_that_raised_it() -> None:
    text = """\
Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/vllm/frob.py", line 7, in {}
RuntimeError: The size of tensor a (8) must match the size of tensor b (16)"""
    found = [explained(text.format(name)) for name in ("load_weights", "execute_model")]
    assert found == [[("weights-loading", "")], [("tensor-sizes", "")]]


def test_a_log_that_ends_within_a_traceback_says_so() -> None:
    head = "ERROR 08-21 07:45:43 [core.py:700] "
    text = f'{head}  File "/opt/frob.py", line 7, in frob\n{head}    self.off('
    (reason,) = explain(text.splitlines()).reasons
    assert reason.title == "the log ends within a traceback, before its exception"
    assert (reason.message, reason.log_line) == ("self.off(", 1)
    assert "/opt/frob.py line 7" in reason.fix


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("Warning  FailedScheduling  0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
         "too-few-gpus"),
        ("the frob could not be found", "not-there"),
        ('Thread 93 "tritonserver" received signal SIGSEGV, Segmentation fault.', "crash"),
    ],
)  # fmt: skip
def test_a_line_without_an_errors_form_speaks_of_a_failure(line: str, cause: str) -> None:
    assert explained(line) == [(cause, "")]


@pytest.mark.parametrize("more", [["INFO: Uvicorn running on http://0.0.0.0"], ["fine"] * 60])
def test_words_of_a_failure_in_a_log_that_goes_on_are_none(more: list[str]) -> None:
    assert explain(["the frob could not be found", *more]).ok


def test_an_exception_without_a_name_of_its_own_counts() -> None:
    text = "Traceback (most recent call last):\nException: the frob is off"
    (reason,) = explain(text.splitlines()).reasons
    assert reason.message == "Exception: the frob is off"


def test_an_exception_goes_on_in_the_next_line() -> None:
    text = "Traceback (most recent call last):\n"
    text += "pkg.ValidationError: 2 validation errors for FrobConfig\n  frob must be on"
    (reason,) = explain(text.splitlines()).reasons
    assert reason.message.endswith("for FrobConfig frob must be on")


@pytest.mark.parametrize(
    "line",
    [
        f'{E} server.cc:1] "the frob is off"',
        "error: creating server: Internal - the frob is off",
        "docker: Error response from daemon: the frob is off",
        "[TensorRT-LLM][ERROR] the frob is off",
    ],
)
def test_the_last_error_is_told_where_nothing_else_is_known(line: str) -> None:
    found = explain(["I am fine", line, "error: creating server: Internal - failed to load all"])
    (reason,) = found.reasons
    assert (reason.cause, reason.log_line) == ("unknown", 2)
    assert reason.message.endswith("the frob is off")
    assert "before line 2" in reason.fix


def test_consequences_alone_say_where_their_cause_is() -> None:
    given = "Traceback (most recent call last):\nRuntimeError: Executor worker returned error\n"
    shown = CliRunner().invoke(app, ["explain", "-"], input=given).output
    assert "the log shows consequences but no cause" in shown
    assert "log line 2: RuntimeError: Executor worker returned error" in shown
    assert "fix: the worker's own traceback stands before it" in " ".join(shown.split())


def test_the_release_of_a_fix_is_the_newest_that_has_the_vllm() -> None:
    said = "ValueError: Model architecture Foo was supported in vLLM until v0.23.0, and is not "
    (reason,) = explain([f"{said}supported anymore."]).reasons
    release = re.search(r"--triton (\d\d\.\d\d)", reason.fix)
    assert release
    assert release[1] == "26.06"


def test_no_fix_is_ever_empty() -> None:
    assert all(cause.fix for cause in causes())
    assert all(rule.fix for rule in all_rules())


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"of version (?P<got>\d+) only", {"of version "}),
        (r"colou?r of it", {"r of it"}),
        (r"[Ff]ailed\. Retry", {"ailed. Retry"}),
        (r"a+bc \w+", {"bc "}),
        (r"(?:one|three) \d", {"one", "three"}),
        (r"(?P<key>Killed|Out of (?:memory|disk)) \d", {"Killed", "Out of "}),
        (r"(?:sometimes )?there|x", {"there", "x"}),
        (r"(?!never )found", {"found"}),
        (r"\w+|nothing is sure", set()),
    ],
)
def test_the_words_that_a_pattern_needs(pattern: str, words: set[str]) -> None:
    assert needs(pattern) == words


def test_an_abort_that_the_shell_reports_is_told_by_its_exception() -> None:
    text = """\
terminate called after throwing an instance of 'std::out_of_range'
  what():  the frob is off
Aborted (core dumped)"""
    (reason,) = explain(text.splitlines()).reasons
    assert (reason.cause, reason.title.rpartition(": ")[2]) == ("crash-aborted", "the frob is off")


def test_an_answer_of_the_server_is_its_error() -> None:
    (reason,) = explain(['{"error":"input \'x\' batch size does not match other inputs"}']).reasons
    assert (reason.cause, reason.message) == (
        "request-tensor", "error: input 'x' batch size does not match other inputs",
    )  # fmt: skip


def test_a_frame_is_not_taken_for_the_error() -> None:
    text = """\
ERROR 08-21 07:45:43 [core.py:700] the frob is off
ERROR 08-21 07:45:43 [core.py:700]     frob = self.frob(frobs,
ERROR 08-21 07:45:43 [core.py:700]             ^^^^^^^^^^"""
    (reason,) = explain(text.splitlines()).reasons
    assert (reason.cause, reason.message) == ("unknown", "the frob is off")


def test_every_pattern_of_the_table_has_words_to_look_for() -> None:
    assert all(all(row.words) for row in causes())


def test_words_are_found_where_they_overlap_or_begin_alike() -> None:
    words = ["out of memory", "memory map", "out of", "of memory, and more than that", "else"]
    finder = Finder(frozenset({word}) for word in words)
    assert set(finder("the GPU is out of memory mapped")) >= {0, 1, 2}
    assert 3 in finder("out of memory, and more than that")
    assert finder("nothing of it") == []
