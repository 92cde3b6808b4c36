"""The models of a gateway: what the repository adds to what the server reports."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.fake_triton import FakeTriton, fake_triton, words
from support.gateways import Served, run_as_served, serving, tokenizer
from support.paths import ROOT

EXAMPLE = ROOT / "examples" / "model_repository"


def in_front(test: Any, *models: str, **settings: Any) -> None:
    """Run a test with a gateway in front of a server with these models."""

    async def run() -> None:
        scripts = {name: words("Hi") for name in models}
        async with fake_triton(**scripts) as triton, serving(triton.url, **settings) as served:
            await test(triton, served)

    run_as_served(run())


@pytest.mark.parametrize("locked", [True, False])
def test_a_repository_has_template_tokenizer_and_context(locked: bool, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(EXAMPLE, repository)
    if not locked:
        (repository / "trtbuild.lock").unlink()

    async def test(triton: FakeTriton, served: Served) -> None:
        (listed,) = (await served.client.get("/v1/models")).json()["data"]
        assert (listed["id"], listed["max_model_len"]) == ("tiny-llama", 128)
        counted = await served.post("/tokenize", prompt="Hello")
        assert counted.json()["count"] >= 1
        long = await served.post("/v1/completions", model="tiny-llama", prompt="a b " * 500)
        assert long.json()["error"]["code"] == "context_length_exceeded"
        short = await served.post("/v1/completions", model="tiny-llama", prompt="Hello")
        assert short.json()["choices"][0]["text"] == "Hi"

    in_front(test, "tiny-llama", repository=str(repository))


def test_a_tokenizer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        await served.gateway.catalog.refresh()
        model = served.gateway.catalog.models["m"]
        real = await model.prompter.required_tokenizer()
        threads = []

        def noted(call: Any) -> Any:
            def noting(*args: Any, **more: Any) -> Any:
                threads.append(threading.current_thread())
                return call(*args, **more)

            return noting

        noting = SimpleNamespace(
            encode=noted(real.encode),
            decode=noted(real.decode),
            get_vocab_size=real.get_vocab_size,
        )
        monkeypatch.setattr(model.prompter, "_tokenizer", noting)
        counted = await served.post("/tokenize", prompt="Hello")
        text = await served.post("/detokenize", tokens=counted.json()["tokens"])
        assert text.json()["prompt"] == "Hello"
        assert len(threads) == 2 and threading.main_thread() not in threads

    models = {"m": {"tokenizer": str(tokenizer()), "context_length": 64}}
    in_front(test, "m", models=models)


@pytest.mark.parametrize(
    "parameters",
    [7, {"context_length": 7}, {"context_length": {"string_value": "9" * 5000}}, {"labels": [1]},
     {"labels": {"string_value": "[" * 100_000}}],
)  # fmt: skip
def test_a_server_that_reports_nonsense_hides_no_other_model(
    parameters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = FakeTriton.described

    def nonsense(self: FakeTriton, name: str, what: str) -> dict[str, Any]:
        more = {"parameters": parameters} if (name, what) == ("bad", "config") else {}
        return described(self, name, what) | more

    monkeypatch.setattr(FakeTriton, "described", nonsense)

    async def test(triton: FakeTriton, served: Served) -> None:
        listed = (await served.client.get("/v1/models")).json()["data"]
        assert "m" in [model["id"] for model in listed]

    in_front(test, "bad", "m")


def test_a_list_of_models_says_what_is_missing() -> None:
    gone = "127.0.0.1:1"

    async def test(triton: FakeTriton, served: Served) -> None:
        listed = await served.client.get("/v1/models")
        assert [row["id"] for row in listed.json()["data"]] == ["m"]
        assert listed.headers["x-trtbuild-incomplete"] == "1 of 2 servers cannot be reached"

    in_front(test, "m", models={"other": {"url": gone}})

    async def nothing() -> None:
        async with serving(gone) as served:
            listed = await served.client.get("/v1/models")
            assert (listed.status_code, listed.json()["error"]["code"]) == (503, "no_model")
            assert "cannot be reached" in listed.json()["error"]["message"]
            assert "retry-after" in listed.headers

    run_as_served(nothing())


def test_parts_of_a_model_are_not_listed(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(EXAMPLE, repository)
    lock = json.loads((repository / "trtbuild.lock").read_text())
    lock["models"]["tiny-llama"]["directories"].append("tiny-llama-engine")
    (repository / "trtbuild.lock").write_text(json.dumps(lock))

    async def test(triton: FakeTriton, served: Served) -> None:
        listed = (await served.client.get("/v1/models")).json()["data"]
        assert [row["id"] for row in listed] == ["other", "tiny-llama"]
        answer = await served.post("/v1/completions", model="tiny-llama-engine", prompt="a")
        assert answer.status_code == 404

    in_front(test, "tiny-llama", "tiny-llama-engine", "other", repository=str(repository))


def test_aliases_adapters_and_other_names() -> None:
    models = {
        "chat": {"upstream": "m", "aliases": ["gpt-4o"], "adapters": ["legal"]},
        "secret": {"upstream": "n", "hidden": True},
    }

    async def test(triton: FakeTriton, served: Served) -> None:
        listed = (await served.client.get("/v1/models")).json()["data"]
        assert [(row["id"], row.get("parent")) for row in listed] == [
            ("chat", None),
            ("gpt-4o", None),
            ("legal", "m"),
        ]
        for name in ("chat", "gpt-4o", "legal", "secret"):
            answer = await served.post("/v1/completions", model=name, prompt="a", seed=3)
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"] == name
        sampling = [json.loads(body["sampling_parameters"]) for body in triton.bodies]
        assert [one.get("lora_name") for one in sampling] == [None, None, "legal", None]

    in_front(test, "m", "n", models=models)


def test_two_servers_behind_one_url() -> None:
    async def run() -> None:
        async with fake_triton(a=words("A")) as first, fake_triton(b=words("B")) as second:
            models = {"b": {"url": second.url}}
            async with serving(first.url, models=models) as served:
                for name in ("a", "b"):
                    answer = await served.post("/v1/completions", model=name, prompt="x")
                    assert answer.json()["choices"][0]["text"] == name.upper()
                second.scripts = {}
                await served.gateway.catalog.refresh()
                gone = await served.post("/v1/completions", model="b", prompt="x")
                assert gone.status_code == 404
                answer = await served.post("/v1/completions", model="a", prompt="x")
                assert answer.status_code == 200

    run_as_served(run())
