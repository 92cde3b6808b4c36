"""The client code that ``trtbuild show`` prints, against the real server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support import triton
from support.waiting import least
from trtbuild import repository

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def clients(vllm_server: triton.Triton) -> dict[str, str]:
    view = repository.show(
        vllm_server.log.parent / "repository",
        "smollm2",
        grpc_url=vllm_server.grpc,
        http_url=f"http://{vllm_server.http}",
    )
    return dict(view.clients)


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def test_grpc_and_http_stream_the_same_text(clients: dict[str, str]) -> None:
    texts = {run(sys.executable, "-c", clients[name], PROMPT) for name in ("grpc", "http")}
    assert len(texts) == 1
    assert texts.pop().startswith(" Paris")


def test_the_whole_answer_over_http(clients: dict[str, str]) -> None:
    library = clients["http"].partition("if __name__")[0]
    text = run(
        sys.executable, "-c", f"{library}print(generate({PROMPT!r}, max_tokens=1, temperature=0))"
    )
    assert text == " Paris\n"


def test_leaving_the_grpc_loop_early_cancels(
    clients: dict[str, str], vllm_server: triton.Triton
) -> None:
    library = clients["grpc"].partition("if __name__")[0]
    code = f"{library}\nfor piece in generate({PROMPT!r}, max_tokens=400, temperature=0): break\n"

    def made() -> float:
        before = vllm_server.settled()["generation_tokens_total"]
        run(sys.executable, "-c", code)
        return vllm_server.settled()["generation_tokens_total"] - before

    assert least(made, 100) < 100


def test_the_curl_lines(clients: dict[str, str]) -> None:
    answers = run("bash", "-ec", clients["curl"])
    assert " Paris" in answers
    assert answers.count("data: ") > 10
