"""A vision-language model on the real server: right answers, and a clear error for bad images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from support import vision_reference
from support.command_line import trtbuild
from support.exporting import Run
from support.pictures import bomb, file_of, halves, text_of
from support.tiny_llava import make_llava
from support.triton import Triton, write_model
from trtbuild.client import LLMClient, Sampling, collect
from trtbuild.signature.requests import GenerateRequest

PROCESSOR = "vllm.model_executor.models.deepseek_ocr:NGramPerReqLogitsProcessor"
PROMPT = "<image>\nThe capital of France is"
TOKENS = 12
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True}
RED = Image.new("RGB", (40, 20), (255, 0, 0))
NOISE = Image.effect_noise((64, 64), 90).convert("RGB")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("llava") / "weights")


@pytest.fixture(scope="module")
def seer(vllm_server: Triton, checkpoint: Path) -> Iterator[Triton]:
    """The shared server with the model ``seer``, loaded with DeepSeek-OCR's processor."""
    arguments = {
        "dtype": "float32",
        "max_model_len": 128,
        "enforce_eager": True,
        "limit_mm_per_prompt": {"image": 2},
        "logits_processors": [PROCESSOR],
        "enable_prefix_caching": False,
        "mm_processor_cache_gb": 0,
    }
    folder = write_model(vllm_server.repo, "seer", checkpoint, arguments)
    status, text = vllm_server.control("load", "seer")
    assert status == 200, text
    yield vllm_server
    vllm_server.control("unload", "seer")
    shutil.rmtree(folder)


def ask(server: Triton, *images: bytes | str, prompt: str = PROMPT, **sampling: Any) -> Any:
    """The answer of the generate extension; images as bytes or as the text to send."""
    sent = [one if isinstance(one, str) else text_of(one) for one in images]
    body = {
        "text_input": prompt,
        "exclude_input_in_output": True,
        "sampling_parameters": json.dumps({**GREEDY, **sampling}),
        **({"image": sent} if sent else {}),
    }
    return httpx.post(f"http://{server.http}/v2/models/seer/generate", json=body, timeout=300)


def text(server: Triton, *images: bytes | str, **more: Any) -> str:
    answer = ask(server, *images, **more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text_output"])


def test_the_answers_are_those_of_transformers(
    seer: Triton, checkpoint: Path, exporter: Run, tmp_path: Path
) -> None:
    RED.save(tmp_path / "red.png")
    NOISE.save(tmp_path / "noise.png")
    red, noise = (tmp_path / f"{name}.png" for name in ("red", "noise"))
    requests = [(PROMPT, [red]), (PROMPT, [noise]), (f"<image>{PROMPT}", [noise, red])]
    job = {
        "model": str(checkpoint),
        "max_tokens": TOKENS,
        "requests": [{"prompt": p, "images": list(map(str, images))} for p, images in requests],
    }
    asked, answered = tmp_path / "job.json", tmp_path / "texts.json"
    asked.write_text(json.dumps(job))
    assert exporter(vision_reference.__file__, asked, answered, log=tmp_path / "log") == 0
    # vLLM leaves out a character of which only the first bytes came.
    wanted = [one.rstrip("\ufffd") for one in json.loads(answered.read_text())]
    found = [text(seer, *(p.read_bytes() for p in images), prompt=p) for p, images in requests]
    assert found == wanted
    assert len(set(found)) == 3
    with LLMClient(seer.grpc) as client:
        sampling = Sampling(TOKENS, temperature=0, ignore_eos=True)
        asked = GenerateRequest(PROMPT, sampling, images=(text_of(noise.read_bytes()),))
        assert collect(client.stream("seer", asked)).text == wanted[1]


def test_the_shown_client_sends_images(seer: Triton, tmp_path: Path, checkpoint: Path) -> None:
    done = trtbuild("convert", str(checkpoint), "--repo", "repo", "--name", "seer")
    assert done.returncode == 0, done.stderr
    code: dict[str, Any] = {"__name__": "client"}
    exec(trtbuild("show", "seer", "--repo", "repo", "--client", "http").stdout, code)
    NOISE.save(tmp_path / "noise.png")
    found = code["generate"](PROMPT, [tmp_path / "noise.png"], f"http://{seer.http}", **GREEDY)
    assert found == text(seer, file_of(NOISE))


def test_an_image_is_seen_upright_and_in_its_colours(seer: Triton) -> None:
    wanted = text(seer, file_of(halves()))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = halves().transpose(Image.Transpose.ROTATE_90)
    clear = halves().convert("RGBA")
    later = [Image.new("RGB", (32, 16))] * 2
    animation = file_of(halves(), "GIF", save_all=True, append_images=later)
    for same in (
        file_of(turned, "TIFF", exif=exif),
        file_of(clear),
        file_of(halves(), "BMP"),
        animation,
    ):
        assert text(seer, same) == wanted
    assert text(seer, file_of(turned)) != wanted


def test_the_n_gram_processor_works_by_request(seer: Triton) -> None:
    """DeepSeek-OCR's, at temperature 0: no pair of tokens comes twice in the window."""
    free = text(seer, file_of(NOISE), max_tokens=40)
    extra = {"ngram_size": 2, "window_size": 40, "whitelist_token_ids": [5, 6]}
    kept = text(seer, file_of(NOISE), max_tokens=40, extra_args=extra)
    assert any(free.count(free[at : at + 6]) > 1 for at in range(len(free) - 6))
    assert kept != free
    assert text(seer, file_of(NOISE), max_tokens=40) == free
    for bad, message in (
        ({"ngram_size": -1}, "`ngram_size` has to be a strictly positive integer"),
        ({"ngram_size": 2, "whitelist_token_ids": [[1]]}, "must be a list of token ids"),
    ):
        refused = ask(seer, file_of(NOISE), extra_args=bad)
        assert refused.status_code == 400 and message in refused.json()["error"]
    assert text(seer, file_of(NOISE), max_tokens=40, extra_args=extra) == kept


def truncated() -> bytes:
    data = file_of(NOISE, "JPEG")
    return data[: len(data) // 2]


REFUSED: dict[str, tuple[tuple[bytes | str, ...], str, str]] = {
    "nothing": ((b"",), PROMPT, "'image' is empty"),
    "text": ((b"hello",), PROMPT, "'image' is not a readable picture: send PNG, JPEG"),
    "no base64": (("####",), PROMPT, "'image' is not valid base64"),
    "an address": (("https://example.org/a.png",), PROMPT, "send the file itself, as base64"),
    "cut short": ((truncated(),), PROMPT, "image file is truncated"),
    "a bomb": ((bomb(8_800),), PROMPT, "77440000 pixels; an image may have 67108864"),
    "50 MB": (("A" * (46 << 20),), PROMPT, "has 34.5 MiB; an image may have 32 MiB"),
    "second": ((file_of(RED), b"x"), f"<image>{PROMPT}", "'image' 2 of 2 is not a readable"),
    "too many": ((file_of(RED),) * 3, "<image>" * 3, "At most 2 image(s) may be provided"),
    "no place": (
        (file_of(RED),),
        "The capital of France is",
        "the prompt has no place for the image, so the model would not see it: write '<image>'",
    ),
    "one place": ((file_of(RED),) * 2, PROMPT, "no place for each of 2 images"),
    "no image": ((), PROMPT, "the prompt has 1 place for images (<image>) and the request no"),
    "two places": ((file_of(RED),), f"<image>{PROMPT}", "2 places for images (<image>) and"),
    "too long": ((file_of(RED),), "<image>" + "word " * 200, "maximum context length is 128"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_image_is_refused_and_the_model_goes_on(seer: Triton, name: str) -> None:
    images, prompt, message = REFUSED[name]
    answer = ask(seer, *images, prompt=prompt)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert message in error
    assert "Traceback" not in error and ".py" not in error


def test_odd_images_are_answered_and_the_model_goes_on(seer: Triton) -> None:
    for size in ((1, 1), (1, 3000), (3000, 1), (2000, 2000)):
        assert text(seer, file_of(Image.new("RGB", size, (9, 9, 9))))
    assert text(seer, prompt="without an image") == text(seer, prompt="without an image")


def test_a_text_model_refuses_an_image(vllm_server: Triton) -> None:
    body = {"text_input": "<image> a", "image": [text_of(file_of(RED))]}
    url = f"http://{vllm_server.http}/v2/models/smollm2/generate"
    answer = httpx.post(url, json=body, timeout=300)
    assert answer.status_code == 400
    assert "takes no images" in answer.json()["error"]
