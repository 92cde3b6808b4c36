"""Texts and recordings by transformers' own code, and images as a graph, on one server."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import soundfile

from support import gateways, image_processors, torch_families, torch_others
from support.command_line import trtbuild
from support.exporting import Run, converting
from support.lanes import NIGHTLY
from support.pictures import bomb, file_of, halves, text_of
from support.served import client_of, kept, serving
from support.tiny_encoders import make_classifier
from support.tiny_others import make_electra, make_vit, make_whisper
from trtbuild.client import LLMClient
from trtbuild.client.reference import require_reference
from trtbuild.errors import ServerError
from trtbuild.resources import template_dir
from trtbuild.server import (
    ServerHandle,
    read_contents,
)
from trtbuild.signature.requests import (
    ClassifyAnswer,
    ClassifyRequest,
    EmbedAnswer,
    EmbedRequest,
    ImageClassifyRequest,
    TranscribeAnswer,
    TranscribeRequest,
)
from trtbuild_builders.onnx.images import PROCESSORS

LABELS = ("no", "maybe", "yes")
MAKERS = {"electra": make_electra, "vit": make_vit, "whisper": make_whisper}
GRAPHS = ("vit",)
if NIGHTLY:  # each model is a process that imports PyTorch
    MAKERS["labels"] = lambda folder: make_classifier(folder, LABELS)
    MAKERS["vit-torch"] = make_vit
NAMES = tuple(MAKERS)
VITS = tuple(name for name in NAMES if name.startswith("vit"))


def convert(source: Path, repo: Path, exporter: Run) -> None:
    by = () if source.name in GRAPHS else ("--backend", "torch")
    with converting(exporter):
        done = trtbuild("convert", source, *by, "--repo", repo)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def repository(exporter: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("torch")
    for name, make in MAKERS.items():
        make(work / name)
        convert(work / name, work / "repository", exporter)
    return work / "repository"


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    with serving(repository, NAMES, tmp_path_factory.mktemp("state")) as found:
        yield found


@pytest.fixture(params=["grpc", "http"])
def client(server: ServerHandle, request: pytest.FixtureRequest) -> Iterator[LLMClient]:
    with client_of(server, request.param) as found:
        yield found


def require_equal(found: Any, rows: list[dict[str, Any]]) -> None:
    wanted = np.array([row["row"] for row in rows])
    assert np.shape(found) == wanted.shape
    assert np.abs(np.array(found) - wanted).max() <= 1e-5


def test_vectors_are_those_of_sentence_transformers(client: LLMClient, repository: Path) -> None:
    rows = [row for row in kept(repository, "electra") if not row["input_type"]]
    texts = [row["item"] for row in rows]
    answers = [client.ask("electra", EmbedRequest((text,))) for text in texts]
    require_equal([one.vectors[0] for one in answers if isinstance(one, EmbedAnswer)], rows)
    ragged = client.ask("electra", EmbedRequest(tuple(texts)))
    assert isinstance(ragged, EmbedAnswer)
    require_equal(ragged.vectors, rows)


@pytest.mark.nightly
def test_scores_are_those_of_transformers(client: LLMClient, repository: Path) -> None:
    rows = kept(repository, "labels")
    answer = client.ask(
        "labels", ClassifyRequest(tuple(row["item"] for row in rows), raw_scores=True)
    )
    assert isinstance(answer, ClassifyAnswer)
    require_equal([list(one.scores.values()) for one in answer.results], rows)
    assert answer.results[0].label == LABELS[int(np.argmax(rows[0]["row"]))]


@pytest.mark.parametrize("name", VITS)
def test_image_scores_are_those_of_transformers(
    client: LLMClient, repository: Path, name: str
) -> None:
    rows = kept(repository, name)
    images = tuple(row["item"] for row in rows)
    answer = client.ask(name, ImageClassifyRequest(images, raw_scores=True))
    assert isinstance(answer, ClassifyAnswer)
    require_equal([list(one.scores.values()) for one in answer.results], rows)
    shares = client.ask(name, ImageClassifyRequest(images[:1]))
    assert isinstance(shares, ClassifyAnswer)
    assert sum(shares.results[0].scores.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("", "'image' is empty"),
        ("no base64!", "not valid base64"),
        (text_of(b"GIF8 or so"), "not a readable picture"),
        (text_of(file_of(halves((300, 200)), "JPEG")[:-600]), "not a readable picture"),
        (text_of(bomb()), "pixels"),
        (text_of(bytes(50 << 20)), "has 50.0 MiB; an image may have 32 MiB"),
        (text_of(b"%PDF-1.7"), "is not a readable picture: send PNG, JPEG"),
        ("https://example.org/cat.png", "is an address: send the file itself"),
    ],
)
def test_a_wrong_image_is_one_error(client: LLMClient, image: str, message: str) -> None:
    with pytest.raises(ServerError, match=message):
        client.ask("vit", ImageClassifyRequest((image,)))
    assert client.ask("vit", ImageClassifyRequest((text_of(file_of(halves())),)))


def sound(seconds: float, rate: int = 16_000) -> str:
    """A tone that rises, as base64 of a WAV file."""
    steps = np.arange(int(seconds * rate)) / rate
    samples = 0.3 * np.sin(2 * np.pi * (300 + 200 * steps) * steps)
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(rate)
        made.writeframes((samples * 32767).astype("<i2").tobytes())
    return text_of(file.getvalue())


def as_flac(wav: bytes) -> tuple[str, bytes]:
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="int16")
    made = io.BytesIO()
    soundfile.write(made, samples, rate, format="FLAC")
    return "a.flac", made.getvalue()


def transcribed(client: LLMClient, *audio: str, **asked: Any) -> TranscribeAnswer:
    answer = client.ask("whisper", TranscribeRequest(audio, **asked))
    assert isinstance(answer, TranscribeAnswer)
    return answer


def test_texts_are_those_of_transformers(client: LLMClient, repository: Path) -> None:
    rows = kept(repository, "whisper")
    found = transcribed(client, *(row["item"] for row in rows))
    assert [one.text for one in found.results] == [row["text"] for row in rows]
    assert len({row["text"] for row in rows}) == len(rows)


def test_a_long_recording_is_cut_into_windows(client: LLMClient) -> None:
    (one,) = transcribed(client, sound(5.5), language="de", timestamps=True).results
    assert one.language == "de"
    assert one.seconds == pytest.approx(5.5)
    assert one.segments
    assert all(0 <= part.start <= part.end <= 5.5 for part in one.segments)
    assert max(part.end for part in one.segments) >= 3.5
    other = transcribed(client, sound(0.5), sound(5.5), language="de", timestamps=True)
    assert other.results[1] == one


def test_a_wrong_recording_is_one_error(client: LLMClient) -> None:
    wrong: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("no base64!", {}, "neither a WAV file nor base64 text of one"),
        (text_of(b"ID3 an MP3 file"), {}, "not a WAV file: convert it"),
        (sound(0), {}, "has no samples"),
        (sound(0.1), {"language": "tlh"}, "unknown language 'tlh': send a code such as de"),
    )
    for audio, asked, message in wrong:
        with pytest.raises(ServerError, match=message):
            transcribed(client, audio, **asked)
    assert transcribed(client, sound(0.1)).results


def test_readiness_proves_the_answers(
    server: ServerHandle, repository: Path, tmp_path: Path
) -> None:
    models = dict(read_contents(repository).served)
    assert set(require_reference(server.grpc_url, models, repository)) == set(NAMES)
    for name, change in (("vit", {"row": [9.0] * 3}), ("whisper", {"text": "something else"})):
        rows = [row | change for row in kept(repository, name)]
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1/reference.json").write_text(json.dumps({"kept": rows}))
        with pytest.raises(ServerError, match=f"'{name}' does not answer as its reference does"):
            require_reference(server.grpc_url, {name: models[name]}, tmp_path)


def test_images_are_prepared_as_transformers_does(exporter: Run, tmp_path: Path) -> None:
    """By every image processor that the builder onnx knows."""
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"processors": dict(PROCESSORS), "templates": str(template_dir())}))
    log = tmp_path / "log"
    assert exporter(image_processors.__file__, job, log=log) == 0, log.read_text()


@pytest.mark.nightly
def test_other_families_equal_their_reference(exporter: Run, tmp_path: Path) -> None:
    """A conversion compares by itself, and fails if they differ."""
    images = ["resnet", "convnext", "siglip", "whisper-en"]
    texts = ["mpnet", "mpnet-labels", "electra-score", "t5-encoder", "qwen3"]
    for script, names in ((torch_others, images), (torch_families, texts)):
        assert exporter(script.__file__, tmp_path, *names) == 0
        for name in names:
            convert(tmp_path / name, tmp_path / "repository", exporter)
            assert kept(tmp_path / "repository", name)


def test_the_gateway_writes_down_speech(server: ServerHandle) -> None:
    """Through OpenAI's client, in the forms that need times and in those that do not."""
    file = ("a.wav", base64.b64decode(sound(5.5)))
    with client_of(server, "http") as client:
        (direct,) = transcribed(client, sound(5.5), language="de").results

    async def test() -> None:
        async with gateways.serving(server.http_url) as served:
            audio = gateways.client(served).audio
            asked: dict[str, Any] = {"model": "whisper", "file": file, "language": "de"}
            plain = await audio.transcriptions.create(**asked)
            same = await audio.transcriptions.create(**{**asked, "file": as_flac(file[1])})
            assert same.text == plain.text
            whole = await audio.transcriptions.create(**asked, response_format="verbose_json")
            assert plain.text == direct.text
            assert whole.text
            assert whole.duration == pytest.approx(5.5)
            assert (whole.language, len(whole.segments)) == ("de", whole.segments[-1].id + 1)
            subtitles = await audio.transcriptions.create(**asked, response_format="vtt")
            assert subtitles.startswith("WEBVTT\n\n00:00:")
            english = await audio.translations.create(model="whisper", file=file)
            assert english.text
            for wrong in ({"language": "tlh"}, {"file": ("a.wav", file[1][:30])}):
                with pytest.raises(openai.BadRequestError, match=r"unknown language|damaged WAV"):
                    await audio.transcriptions.create(**{**asked, **wrong})

    gateways.run_as_served(test())
