"""Parts of our adapters that need no engine."""

from __future__ import annotations

import ast
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from support.paths import ROOT
from support.pictures import file_of, halves, text_of
from support.tokenizers_made import byte_level
from trtbuild_backends.backend import EmbedRequest, GenerateRequest, ModelSource, RequestError
from trtbuild_backends.families import described, family_of
from trtbuild_deepseek_adapter.backend import DeepseekBackend
from trtbuild_sglang_adapter.backend import SglangBackend
from trtbuild_transformers_adapter.texts import Texts
from trtbuild_vllm_adapter.backend import VllmBackend

ADAPTERS = sorted(path.parent for path in (ROOT / "adapters").glob("*/pyproject.toml"))


class Decoder:
    """transformers' interface of a tokenizer."""

    def __init__(self) -> None:
        self._tokenizer = byte_level()

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)

    def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens))


@pytest.mark.parametrize(
    ("stop", "wanted"),
    [
        ((), "naïve 日本 🙂 text"),
        (("本",), "naïve 日"),
        ((" t", "x"), "naïve 日本 🙂"),
        (("zz",), None),
    ],
)
def test_text_comes_in_whole_characters_up_to_a_stop(
    stop: tuple[str, ...], wanted: str | None
) -> None:
    text = "naïve 日本 🙂 text"
    decoder = Decoder()
    texts, pieces = Texts(decoder, stop), []
    for token in decoder.encode(text):
        pieces.append(texts.add(token))
        if texts.stopped:
            break
    else:
        pieces.append(texts.end())
    assert "".join(pieces) == (text if wanted is None else wanted)
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("folder", ADAPTERS, ids=lambda folder: folder.name)
def test_an_adapter_needs_only_the_workers_own_module(folder: object) -> None:
    """It runs where nothing of trtbuild is installed, and says of itself what it runs."""
    assert (folder / "README.md").is_file()  # type: ignore[operator]
    (package,) = folder.glob("*/adapter.toml")  # type: ignore[attr-defined]
    own = {one.parent.name for one in (ROOT / "adapters").glob("*/*/adapter.toml")}
    for source in package.parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.partition(".")[0]
                assert (
                    name == "trtbuild_backends.backend"
                    or not top.startswith("trtbuild")
                    or top in own
                )
    for node in ast.parse((package.parent / "backend.py").read_text()).body:  # loads nothing early
        if isinstance(node, ast.ImportFrom):
            top = (node.module or "").partition(".")[0]
            assert top.startswith("trtbuild") or top in sys.stdlib_module_names


class Engine:
    """vLLM's engine, as far as an adapter of ours uses it."""

    errored = False
    model_config = SimpleNamespace(max_model_len=4096, is_multimodal_model=True)

    def __init__(self, arguments: Any) -> None:
        self.arguments = arguments
        self.asked: list[tuple[Any, Any]] = []

    async def get_supported_tasks(self) -> tuple[str, ...]:
        return ("generate",)

    async def generate(self, prompt: Any, params: Any, _: str) -> AsyncIterator[Any]:
        self.asked.append((prompt, params))
        if "too long" in prompt["prompt"]:
            raise ValueError("the prompt is too long")
        for text, reason in (("Hel", None), ("lo", "stop")):
            token = SimpleNamespace(logprob=-0.5, rank=1, decoded_token=text)
            item = SimpleNamespace(
                text=text, finish_reason=reason, token_ids=[7], logprobs=[{7: token}]
            )
            yield SimpleNamespace(outputs=[item], prompt_token_ids=[1, 2], prompt_logprobs=None)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's names, with an engine that only notes what it is asked."""

    @dataclass
    class AsyncEngineArgs:
        model: str = ""
        revision: str | None = None
        max_model_len: int = 0
        enable_prefix_caching: bool = True
        mm_processor_cache_gb: int = 4
        logits_processors: Any = None

    class SamplingParams(SimpleNamespace):
        def __init__(self, **values: Any) -> None:
            if values.get("temperature", 1) < 0:
                raise ValueError("temperature must be non-negative")
            super().__init__(**values)

    modules = {
        "vllm": {"SamplingParams": SamplingParams},
        "vllm.sampling_params": {
            "RequestOutputKind": SimpleNamespace(DELTA="delta"),
            "StructuredOutputsParams": lambda **values: values,
        },
        "vllm.engine.arg_utils": {"AsyncEngineArgs": AsyncEngineArgs},
        "vllm.v1.engine.async_llm": {"AsyncLLM": SimpleNamespace(from_engine_args=Engine)},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)


async def answer(backend: Any, prompt: str, images: Sequence[str] = (), **sampling: Any) -> Any:
    request = GenerateRequest(prompt, sampling, images)
    return [delta async for delta in backend.generate(request)]


def test_vllm_gets_what_the_client_sent(vllm: None) -> None:
    async def test() -> None:
        with pytest.raises(ValueError, match="no engine arguments \\['model', 'nothing'\\]"):
            await VllmBackend(ModelSource("m", "s", options={"nothing": 1, "model": "x"})).load()
        backend = VllmBackend(ModelSource("m", "source", "main", {"max_model_len": 4096}))
        facts = await backend.load()
        assert (facts.task, facts.context_length, facts.images) == ("generate", 4096, True)
        engine = backend._llm
        assert (engine.arguments.model, engine.arguments.revision) == ("source", "main")
        guide = json.dumps({"json": "{}"})
        first, last = await answer(
            backend, "a", logit_bias={"7": 1.5}, structured_outputs=guide, max_tokens=2
        )
        assert (first.text, last.text, last.finish_reason) == ("Hel", "lo", "stop")
        assert (first.prompt_tokens, first.tokens, last.prompt_tokens) == (2, 1, None)
        assert json.loads(first.logprobs[0])[0]["7"]["decoded_token"] == "Hel"
        params = engine.asked[0][1]
        assert (params.logit_bias, params.structured_outputs) == ({7: 1.5}, {"json": "{}"})
        for prompt, sampling, words in (
            ("a", {"temperature": -1}, "non-negative"),
            ("too long", {}, "too long"),
        ):
            with pytest.raises(RequestError, match=words):
                await answer(backend, prompt, **sampling)
        with pytest.raises(RequestError, match="image 1 cannot be read"):
            await answer(backend, "a", ["no image"])
        await backend.health()
        engine.errored, engine.dead_error = True, RuntimeError("EngineDeadError")
        with pytest.raises(RuntimeError, match="EngineDeadError"):
            await backend.health()

    asyncio.run(test())


def test_deepseek_ocr_knows_its_tasks_and_where_images_go(vllm: None) -> None:
    family = family_of("deepseek-ai/DeepSeek-OCR", "DeepseekOCRForCausalLM")
    assert family is not None
    source = ModelSource("ocr", "s", options={"max_model_len": 8192}, vision=described(family))
    image = text_of(file_of(halves((3, 2))))

    async def test() -> None:
        backend = DeepseekBackend(source)
        assert (await backend.load()).boxes == "ref-det"
        arguments = backend._llm.arguments
        assert (arguments.enable_prefix_caching, arguments.max_model_len) == (False, 8192)
        prompts = {
            "ocr": "<image>\nFree OCR.",
            "markdown": "<image>\n<|grounding|>Convert the document to markdown.",
            "locate: the total": "<image>\nLocate <|ref|>the total<|/ref|> in the image.",
            "What is this? ocr": "<image>\nWhat is this? ocr",
            "<image>\nFree OCR.": "<image>\nFree OCR.",
        }
        for asked, sent in prompts.items():
            await answer(backend, asked, [image], max_tokens=7)
            prompt, params = backend._llm.asked[-1]
            assert prompt["prompt"] == sent
            assert prompt["multi_modal_data"]["image"][0].size == (3, 2)
            assert (params.max_tokens, params.skip_special_tokens) == (7, False)
        for asked, images, words in (
            ("ocr", [], "has none"),
            ("locate", [image], "needs a text"),
            ("ocr: a", [image], "takes no text"),
        ):
            with pytest.raises(RequestError, match=words):
                await answer(backend, asked, images)

    asyncio.run(test())


def test_sglang_gets_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Sglang:
        def __init__(self, **arguments: Any) -> None:
            config = SimpleNamespace(is_generation=True, context_len=99, is_multimodal=False)
            self.arguments = arguments
            self.tokenizer_manager = SimpleNamespace(model_config=config)

        async def async_generate(self, prompt: str, **more: Any) -> AsyncIterator[Any]:
            asked.append((prompt, more))

            async def events() -> AsyncIterator[Any]:
                for text, reason in (("Hel", None), ("Hello", {"type": "length"})):
                    meta = {
                        "prompt_tokens": 3,
                        "completion_tokens": len(text),
                        "finish_reason": reason,
                    }
                    yield {"text": text, "meta_info": meta}

            return events()

        async def async_encode(self, prompt: str) -> Any:
            return {"embedding": [0.5], "meta_info": {"prompt_tokens": len(prompt)}}

    module = ModuleType("sglang")
    module.Engine = Sglang  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sglang", module)

    async def test() -> None:
        with pytest.raises(ValueError, match="trust_remote_code cannot be an option"):
            await SglangBackend(ModelSource("m", "s", options={"trust_remote_code": True})).load()
        backend = SglangBackend(ModelSource("m", "s", options={"tp_size": 2}))
        assert (await backend.load()).context_length == 99
        guide = json.dumps({"json": {"type": "object"}})
        first, last = await answer(backend, "a", max_tokens=2, structured_outputs=guide)
        assert (first.text, last.text, last.finish_reason, last.tokens) == (
            "Hel",
            "lo",
            "length",
            2,
        )
        assert asked[0][1]["sampling_params"] == {
            "max_new_tokens": 2,
            "json_schema": '{"type": "object"}',
        }
        with pytest.raises(RequestError, match="no guide of the kind 'choice'"):
            await answer(backend, "a", structured_outputs=json.dumps({"choice": ["a"]}))
        assert (await backend.embed(EmbedRequest("abc"))).tokens == 3
        with pytest.raises(RequestError, match="takes a text"):
            await backend.embed(EmbedRequest([1, 2]))

    asyncio.run(test())
