"""The benchmark against a real Triton: both protocols, the three dialects, what goes wrong."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import triton
from support.bench import tokenizer_folder
from support.command_line import trtbuild

TOKENS = 12
MODEL = Path(triton.__file__).with_name("fake_llm.py")
DIALECTS = {
    "vllm": (("sampling_parameters", "TYPE_STRING"), ("stream", "TYPE_BOOL")),
    "ensemble": (
        ("max_tokens", "TYPE_INT32"),
        ("stream", "TYPE_BOOL"),
        ("temperature", "TYPE_FP32"),
    ),
    "llmapi": (("sampling_param_max_tokens", "TYPE_INT32"), ("streaming", "TYPE_BOOL")),
}


def config(inputs: tuple[tuple[str, str], ...]) -> str:
    lines = ['backend: "python"', "max_batch_size: 0", "model_transaction_policy {decoupled: true}"]
    for name, kind in (("text_input", "TYPE_STRING"), *inputs):
        lines.append(f'input {{ name: "{name}" data_type: {kind} dims: [1] optional: true }}')
    lines.append('output { name: "text_output" data_type: TYPE_STRING dims: [1] }')
    lines.append("instance_group [ { count: 1 kind: KIND_CPU } ]")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.Triton]:
    work = tmp_path_factory.mktemp("bench")
    for name, inputs in DIALECTS.items():
        version = work / "repository" / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_bytes(MODEL.read_bytes())
        (version.parent / "config.pbtxt").write_text(config(inputs))
    with triton.serving(work / "repository", work) as found:
        yield found


def bench(*args: object) -> subprocess.CompletedProcess[str]:
    return trtbuild("bench", *args)


def test_every_dialect_over_both_protocols(server: triton.Triton, tmp_path: Path) -> None:
    targets = []
    for name in DIALECTS:
        targets.append(f"{name}-grpc=triton:grpc://{server.grpc}/{name}")
        targets.append(f"{name}-http=triton:http://{server.http}/{name}")
    out = tmp_path / "r.json"
    metrics_url = f"http://127.0.0.1:{server.metrics_port}/metrics"
    args = (
        *targets, "--requests", 4, "--rounds", 1, "--output-tokens", TOKENS,
        "--tokenizer", tokenizer_folder(tmp_path / "t"), "--out", out, "--metrics-url", metrics_url,
    )  # fmt: skip
    refused = bench(*args)
    assert refused.returncode == 8
    assert "llmapi-grpc takes no temperature" in refused.stderr
    assert not out.exists()
    done = bench(*args, "--allow", "sampling")
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert len(result["targets"]) == 6
    for target in result["targets"]:
        (load,) = target["loads"]
        check(target["name"], load)


def check(name: str, load: dict[str, Any]) -> None:
    metrics = load["metrics"]
    assert load["errors"] == {}, name
    assert load["tokens"]["output"] == 4 * TOKENS, name
    # The model sleeps 10 ms before each token: no figure can be below that, on no machine. How far
    # above is the machine's; but the parts must make the whole, and the answers the load.
    ttft, itl, e2e = (metrics[one]["mean"] for one in ("ttft_ms", "itl_ms", "e2e_ms"))
    assert ttft >= 10, name
    assert e2e >= 10 * TOKENS, name
    assert ttft + (TOKENS - 1) * itl == pytest.approx(e2e, rel=1e-4), name
    # The window ends where the last of the four starts, so the other three fill it at most; they
    # took at least this long, however slow the last one was.
    others = (4 * e2e - metrics["e2e_ms"]["max"]) / 3
    assert 0 < metrics["requests_per_s"] * others / 1e3 <= 1.001, name
    assert metrics["itl_ms"]["count"] == metrics["icl_ms"]["count"] == 4 * (TOKENS - 1), name
    assert load["server"]["triton_batch_size"] == 1, name
    assert load["server"]["triton_request_ms"] > 0, name


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_a_model_refuses_is_told(server: triton.Triton, protocol: str, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "refuse this"}\n')
    address = getattr(server, protocol)
    done = bench(f"triton:{protocol}://{address}/vllm", "--requests", 2, "--prompts", file)
    assert done.returncode == 8
    assert "refused on purpose" in done.stderr


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_wrong_name_and_a_wrong_port(server: triton.Triton, protocol: str) -> None:
    wrong = bench(f"triton:{protocol}://{getattr(server, protocol)}/vlm")
    assert wrong.returncode == 7
    assert "did you mean 'vllm'?" in wrong.stderr
    nobody = bench(f"triton:{protocol}://127.0.0.1:9/vllm")
    assert nobody.returncode == 7
    assert "nothing answers" in nobody.stderr
