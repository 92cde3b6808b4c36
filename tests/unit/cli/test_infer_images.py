"""``infer --image``: the prompt that a vision-language model gets, named tasks, boxes."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from support.checkpoints import make_tiny, write_json
from support.command_line import trtbuild
from support.tiny_llava import make_llava
from support.vision import make_published
from trtbuild import repository as repositories
from trtbuild.client import Chunk
from trtbuild.client.llm import AsyncLLMClient
from trtbuild.pipeline.asking import described
from trtbuild.signature import ServedModel
from trtbuild.signature.requests import GenerateRequest

QWEN = "<|vision_start|><|image_pad|><|vision_end|>"
ANSWER = "re"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[GenerateRequest]:
    """What is sent to a server that answers with ``ANSWER``."""
    assert Path.cwd().samefile(tmp_path)
    found: list[GenerateRequest] = []

    async def served(_self: object, model: str, _timeout: float = 0) -> ServedModel:
        known = described(model)
        assert known is not None
        return known

    async def stream(_self: object, _model: str, request: Any, **_: object) -> Any:
        found.append(request)
        yield Chunk(ANSWER, "stop", 2, 3)

    async def generate(_self: object, _model: str, prompt: str, sampling: Any, **_: object) -> Any:
        found.append(GenerateRequest(prompt, sampling))
        yield Chunk(ANSWER, "stop", 2, 3)

    monkeypatch.setattr(AsyncLLMClient, "served", served)
    monkeypatch.setattr(AsyncLLMClient, "stream", stream)
    monkeypatch.setattr(AsyncLLMClient, "generate", generate)
    for name in ("one", "two"):
        Path(f"{name}.png").write_bytes(name.encode())
    return found


def convert(checkpoint: Path, name: str, *more: str) -> None:
    done = trtbuild("convert", str(checkpoint), "--name", name, "--backend", "vllm", *more)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a LLaVA that has a chat template, and a DeepSeek-OCR that has none."""
    home = tmp_path_factory.mktemp("made")
    ocr = make_published(home / "ocr", "DeepseekOCRForCausalLM")
    (ocr / "tokenizer_config.json").write_text("{}")
    for name, folder in (("llava", make_llava(home / "llava")), ("ocr", ocr)):
        convert(folder, name, "--repo", str(home / "repository"))
    return home / "repository"


@pytest.fixture
def repository(made: Path) -> None:
    """The same where ``infer`` looks for it."""
    shutil.copytree(made, "model_repository")


def infer(*arguments: Any) -> CompletedProcess[str]:
    return trtbuild("infer", *arguments)


def asked(sent: list[GenerateRequest], *arguments: Any) -> GenerateRequest:
    done = infer(*arguments)
    assert done.returncode == 0, done.stderr
    return sent[-1]


@pytest.mark.usefixtures("repository")
def test_images_are_parts_of_the_chat_template(sent: list[GenerateRequest]) -> None:
    request = asked(sent, "llava", "what?", "--image", "one.png", "--image", "two.png")
    assert request.prompt == "USER: <image><image>\nwhat? ASSISTANT:"
    assert request.images == tuple(base64.b64encode(x).decode() for x in (b"one", b"two"))
    request = asked(sent, "llava", "what?", "--image", "one.png", "--system", "Be short.")
    assert "<image>\nwhat?" in request.prompt and request.prompt.count("<image>") == 1


@pytest.mark.usefixtures("repository")
def test_a_prompt_with_its_placeholders_is_sent_as_it_is(sent: list[GenerateRequest]) -> None:
    request = asked(sent, "llava", "a <image> b", "--image", "one.png")
    assert request.prompt == "a <image> b"
    assert asked(sent, "llava", "no image").prompt == "no image"


def test_a_template_of_text_only_gets_the_placeholder_in_its_text(
    sent: list[GenerateRequest], tmp_path: Path
) -> None:
    folder = make_llava(tmp_path / "llava", chat_template=False)
    write_json(
        folder / "chat_template.json",
        {"chat_template": "{% for m in messages %}{{ '[' + m.content + ']' }}{% endfor %}"},
    )
    convert(folder, "llava")
    request = asked(sent, "llava", "what?", "--image", "one.png")
    assert request.prompt == "[<image>\nwhat?]"


def test_without_a_template_the_placeholders_come_first(
    sent: list[GenerateRequest], tmp_path: Path
) -> None:
    convert(make_llava(tmp_path / "llava", chat_template=False), "llava")
    request = asked(sent, "llava", "what?", "--image", "one.png", "--image", "two.png")
    assert request.prompt == "<image><image>\nwhat?"
    qwen = make_published(tmp_path / "qwen", "Qwen2_5_VLForConditionalGeneration")
    (qwen / "tokenizer_config.json").write_text("{}")
    convert(qwen, "qwen")
    assert asked(sent, "qwen", "what?", "--image", "one.png").prompt == f"{QWEN}what?"


@pytest.mark.usefixtures("repository")
def test_a_named_task_has_its_prompt_and_settings(sent: list[GenerateRequest]) -> None:
    request = asked(sent, "ocr", "--task", "markdown", "--image", "one.png")
    assert request.prompt == "<image>\n<|grounding|>Convert the document to markdown."
    assert request.sampling.given() == {"max_tokens": 4096, "temperature": 0.0}
    assert request.sampling.more == {
        "skip_special_tokens": False,
        "extra_args": {
            "ngram_size": 30, "window_size": 90, "whitelist_token_ids": [128821, 128822],
        },
    }  # fmt: skip
    request = asked(
        sent, "ocr", "the title", "--task", "locate", "--image", "one.png", "--max-tokens", 9,
        "--temperature", 0.5,
    )  # fmt: skip
    assert request.prompt == "<image>\nLocate <|ref|>the title<|/ref|> in the image."
    assert request.sampling.given() == {"max_tokens": 9, "temperature": 0.5}


@pytest.mark.usefixtures("repository")
def test_boxes_are_read_from_the_answer(
    sent: list[GenerateRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = (
        "<|ref|>title<|/ref|><|det|>[[0, 0, 999, 99.9]]<|/det|>\n# A paper\n\n\n"
        "<|ref|>text<|/ref|><|det|>[[0, 100, 500, 200], [5, 6, 7, 8]]<|/det|>\nWords"
        "<｜end▁of▁sentence｜>"
    )
    monkeypatch.setitem(globals(), "ANSWER", said)
    done = infer("ocr", "--task", "markdown", "--image", "one.png", "--json")
    found = json.loads(done.stdout)
    assert found["text"] == "# A paper\n\nWords"
    assert found["boxes"][0] == {
        "label": "title", "left": 0.0, "top": 0.0, "right": 1.0, "bottom": 0.1,
    }  # fmt: skip
    assert [box["label"] for box in found["boxes"]] == ["title", "text", "text"]
    done = infer("ocr", "--task", "markdown", "--image", "one.png")
    assert done.stdout == "# A paper\n\nWords\n"
    assert "boxes: 3 (--json has them)" in done.stderr
    done = infer("ocr", "--task", "layout", "--image", "one.png", "--json")
    assert json.loads(done.stdout)["text"].startswith("title\n# A paper")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("llava", "a <image> b"), "the prompt has a place for an image (<image>), and there is"),
        (
            ("llava", "<image>", "--image", "one.png", "--image", "two.png"),
            "the prompt has a place for 1 image and the request has 2",
        ),
        (("llava", "a", *("--image", "one.png") * 5), "takes at most 4 images in a request"),
        (("llava", "a", "--image", "none.png"), "cannot read none.png"),
        (("llava", "--image", "one.png"), "there is nothing to ask"),
        (("llava", "--task", "ocr", "--image", "one.png"), "has no task 'ocr'"),
        (
            ("ocr", "--task", "ocr", "--url", "h:1", "--image", "one.png"),
            "(--url reads no repository)",
        ),
        (("ocr", "--task", "ocr"), "the task 'ocr' is about an image"),
        (("ocr", "--task", "markdwn", "--image", "one.png"), "its tasks are describe, figure,"),
        (("ocr", "--task", "locate", "--image", "one.png"), "the task 'locate' needs a text"),
        (("ocr", "a", "--task", "ocr", "--image", "one.png"), "has a prompt of its own"),
        (("llava", "--chat", "--image", "one.png"), "cannot have --image"),
    ],
)
@pytest.mark.usefixtures("repository")
def test_what_cannot_be_asked(
    sent: list[GenerateRequest], arguments: tuple[str, ...], what: str
) -> None:
    done = infer(*arguments)
    assert done.returncode == 2, done.stdout
    assert what in " ".join(done.stderr.split())
    assert not sent


def test_a_text_model_takes_no_images(sent: list[GenerateRequest], tmp_path: Path) -> None:
    convert(make_tiny(tmp_path / "tiny"), "tiny")
    done = infer("tiny", "a", "--image", "one.png")
    assert done.returncode == 2
    assert "'tiny' takes no images: it is a text model" in done.stderr
    assert not sent


@pytest.mark.usefixtures("repository")
def test_a_repository_without_a_lock_is_read_by_its_checkpoint(
    sent: list[GenerateRequest],
) -> None:
    Path("model_repository/trtbuild.lock").unlink()
    request = asked(sent, "llava", "what?", "--image", "one.png")
    assert request.prompt == "USER: <image>\nwhat? ASSISTANT:"


@pytest.mark.usefixtures("repository")
def test_pages_of_a_file_are_asked_one_by_one(sent: list[GenerateRequest]) -> None:
    rows = [
        {"id": "p1", "image": "one.png"},
        {"id": "p2", "image": ["two.png", "one.png"]},
    ]
    Path("pages.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = infer("ocr", "--task", "markdown", "-i", "pages.jsonl", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["id"], row["boxes"]) for row in found] == [("p1", []), ("p2", [])], done.stderr
    task = "\n<|grounding|>Convert the document to markdown."
    assert [one.prompt for one in sent] == [f"<image>{task}", f"<image><image>{task}"]
    assert [len(one.images) for one in sent] == [1, 2]
    Path("pages.jsonl").write_text('{"image": "none.png"}')
    done = infer("ocr", "--task", "markdown", "-i", "pages.jsonl")
    assert done.returncode == 2 and "pages.jsonl:1" in done.stderr
    Path("pages.jsonl").write_text('{"prompt": "", "id": 1}')
    done = infer("ocr", "--task", "markdown", "-i", "pages.jsonl")
    assert done.returncode == 2 and "is about an image" in done.stderr


def test_client_code_sends_images(made: Path) -> None:
    for name, placed in (("llava", "<image>"), ("ocr", "<image>")):
        clients = repositories.show(made, name).clients
        assert "IMAGE * len(paths) + '\\n" in clients["http"]
        for protocol in ("http", "grpc"):
            compile(clients[protocol], protocol, "exec")
            assert f"IMAGE = {placed!r}" in clients[protocol]
    assert "'ngram_size': 30" in clients["grpc"]
    assert '"<image>\\nDescribe this image in detail."' in clients["curl"]
