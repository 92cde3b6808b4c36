"""Two LLMs by engine flow in one repository, rehearsed, and the texts of transformers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import ensemble
from support.checkpoints import CHAT_TEMPLATE, make_llama, write_json
from support.exporting import Run
from support.reference_answers import computed, recorded
from support.tokenizers_made import sentencepiece
from support.waiting import wait_for
from trtbuild import process, server
from trtbuild.client import wait_ready
from trtbuild.pipeline.convert import convert
from trtbuild.pipeline.rehearse import find_checkpoints
from trtbuild.recipe import ModelRecipe
from trtbuild.server import LaunchOptions, Ports

TOKENS = 16
PROMPTS: dict[str, str | bytes] = {
    "english": "The capital of France is",
    "chinese": "今天天气很好，我们去",
    "emoji": "I love you 🙂🎉 and",
    "code": 'def fibonacci(n: int) -> int:\n    """Return the n-th number."""\n',
    "cut": "我喜欢吃苹果和香".encode()[:-1],
}
MESSAGES = [{"role": "user", "content": "Name three primary colours."}]
LLMS = ("smol", "tiny")


@dataclass
class Rehearsed:
    """The running server, its repository, and what transformers answers."""

    http: str
    grpc: str
    pid: int
    repo: Path
    digests: dict[str, str]
    truth: dict[str, dict[str, dict[str, Any]]]


@contextlib.contextmanager
def serving(smollm2: Path, work: Path, run: Run) -> Iterator[Rehearsed]:
    """Two LLMs by engine flow in one repository, served as ``serve --rehearse`` does.

    ``run`` computes the answers of transformers that are not recorded.
    """
    sources = {"smol": smollm2, "tiny": _tiny(work / "tiny-llama")}
    repo = work / "repository"
    for name, source in sources.items():
        engine: dict[str, Any] = {"max_batch_size": 16, "max_input_len": 256, "max_seq_len": 320}
        if name == "smol":
            engine |= {"bls": True, "bls_instance_count": 1}
        convert(
            ModelRecipe(
                name=name, source=str(source), backend="trtllm-engine", build=False, engine=engine
            ),
            repository=repo,
        )
    digests = digests_of(repo)
    contents = server.read_contents(repo)
    given = {name: str(source) for name, source in sources.items()}
    options = LaunchOptions(
        ports=Ports(*process.free_ports(3, "127.0.0.1")),
        rehearsal=find_checkpoints(contents, given),
    )
    handle = server.launch(contents, "embedded", options)
    try:
        # transformers computes while vLLM starts.
        tiny = computed(run, sources["tiny"], questions(sources["tiny"]), TOKENS)
        names = [*PROMPTS, "chat"]
        truth = {
            name: dict(zip(names, answers, strict=True))
            for name, answers in (("smol", recorded("smollm2, rehearsed")), ("tiny", tiny))
        }
        # Triton opens the port of HTTP after that of gRPC.
        wait_for(lambda: (server.watch(handle), server.says_ready(handle))[1], 300)
        wait_ready(handle.grpc_url, list(LLMS), 300, watch=lambda: (server.watch(handle), None)[1])
        yield Rehearsed(handle.http_url, handle.grpc_url, handle.pid, repo, digests, truth)
    finally:
        server.stop(handle)


def _tiny(folder: Path) -> Path:
    """A Llama of random weights whose tokenizer is of another family, with byte fallback."""
    made = sentencepiece()
    # vLLM's attention on the CPU has no heads smaller than 32.
    make_llama(folder, heads=2, kv_heads=1, vocab=made.get_vocab_size(), seed=7)
    (folder / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT_TEMPLATE}
    write_json(folder / "tokenizer_config.json", {**settings, **special})
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "generation_config.json", {"eos_token_id": [2, 1]})
    return folder


def questions(source: Path) -> list[dict[str, Any]]:
    """The prompts as transformers gets them: the ids of texts and of bytes, and the messages."""
    tokenizer = ensemble.module("llm_tokenizer").LlmTokenizer(source)
    prompts: list[dict[str, Any]] = []
    for text in PROMPTS.values():
        data = text if isinstance(text, bytes) else text.encode()
        whole = data.decode(errors="ignore")
        tail = tokenizer.byte_ids(data[len(whole.encode()) :])
        prompts.append({"ids": [*tokenizer.raw.encode(whole).ids, *tail]})
    return [*prompts, {"messages": MESSAGES}]


def digests_of(repo: Path) -> dict[str, str]:
    files = (path for path in repo.rglob("*") if path.is_file())
    return {
        str(path.relative_to(repo)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
