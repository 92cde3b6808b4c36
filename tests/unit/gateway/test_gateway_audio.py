"""Transcriptions: forms, refusals, and the five forms of an answer."""

from __future__ import annotations

import base64
import io
import sys
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile

from support.fake_triton import FakeTriton
from support.gateways import Served, in_front
from trtbuild.signature.requests import Segment
from trtbuild_dialects.samples import silent_wav
from trtbuild_gateway.encoding.audio import as_srt, as_vtt

PATH = "/v1/audio/transcriptions"
WAV = base64.b64decode(silent_wav())
PARTS = (Segment(0.0, 1.5, " Hello"), Segment(3661.25, 3662.0, "a --> b"))


def test_subtitles() -> None:
    assert as_srt(PARTS) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello\n\n2\n01:01:01,250 --> 01:01:02,000\na --> b\n"
    )
    assert as_vtt(PARTS) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello\n\n01:01:01.250 --> 01:01:02.000\na → b\n"
    )
    assert (as_srt(()), as_vtt(())) == ("", "WEBVTT\n")


REFUSED: list[tuple[dict[str, Any], int, str | None, str]] = [
    ({"model": "other"}, 404, "model", "there is: m"),
    ({"model": ""}, 400, "model", "length"),
    ({"temperature": "0.5"}, 400, "temperature", "only 0"),
    ({"stream": "true"}, 400, "stream", "complete"),
    ({"include[]": "logprobs"}, 400, "include", "log probabilities"),
    ({"known_speaker_names[]": "A"}, 400, "known_speaker_names", "speakers"),
    ({"response_format": "xml"}, 400, "response_format", "xml"),
    ({"response_format": "srt"}, 400, "response_format", "no duration and no segments"),
    ({"timestamp_granularities[]": "segment"}, 400, "timestamp_granularities", "verbose_json"),
    ({"timestamp_granularities[]": "word"}, 400, "timestamp_granularities[0]", "word"),
    ({"langage": "en"}, 400, "langage", "'language'"),
]


def test_what_cannot_be_honoured_is_refused_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        wrong = []

        async def require(status: int, param: str | None, says: str, **sent: Any) -> None:
            answer = await served.client.post(PATH, **sent)
            error = answer.json().get("error", {})
            if (answer.status_code, error.get("param")) != (status, param) or (
                says not in error["message"]
            ):
                wrong.append((sent.get("data"), answer.text))

        for change, status, param, says in REFUSED:
            data = {"model": "m", "temperature": "0", "stream": "false", "prompt": "7", **change}
            await require(status, param, says, data=data, files={"file": WAV})
        named = {"model": "m"}
        await require(400, "file", "ffmpeg", data=named, files={"file": b"ID3"})
        torn = b"\xff\xfb\x90\x64" + bytes(2000)  # libmpg123 has notes about it
        await require(400, "file", "ffmpeg", data=named, files={"file": torn})
        assert "Note:" not in capfd.readouterr().err
        with mock.patch.dict(sys.modules, {"soundfile": None}):
            missing = "a FLAC file, and only WAV can be read: convert it (ffmpeg"
            await require(400, "file", missing, data=named, files={"file": b"fLaC"})
        await require(400, "file", "missing", files={"model": (None, "m")})
        await require(400, None, "multipart/form-data", json=named)
        kind = {"content-type": "multipart/form-data; boundary=x"}
        for broken in (b"--x\r\nbroken\r\n", b"--y\r\n"):
            await require(400, None, "the form", content=broken, headers=kind)
        await require(
            400, None, "the form", content=b"a", headers={"content-type": kind["content-type"][:19]}
        )
        assert wrong == []

    in_front(test, spec=((("audio", "BYTES"),), (("text", "BYTES"),)))


@pytest.mark.parametrize("parts", [2, 100])
def test_a_form_has_limits(parts: int) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        files = [("file", (f"{at}", b"x")) for at in range(parts)]
        answer = await served.client.post(PATH, data={"model": "m"}, files=files)
        assert answer.status_code == 400
        large = {"file": bytes(3_000_000)}
        answer = await served.client.post(PATH, data={"model": "m"}, files=large)
        assert answer.status_code == 413
        silence = io.BytesIO()  # small only as long as it is packed
        soundfile.write(silence, np.zeros(80_000, np.int16), 8000, format="FLAC")
        packed = silence.getvalue()
        assert len(packed) < 10_000
        answer = await served.client.post(PATH, data={"model": "m"}, files={"file": packed})
        assert (answer.status_code, "longer than 1 s" in answer.text) == (400, True), answer.text

    in_front(test, most_bytes=20_000, spec=((("audio", "BYTES"),), (("text", "BYTES"),)))
