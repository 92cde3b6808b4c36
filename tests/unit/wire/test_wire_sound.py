"""Recordings in other formats, as the WAV files that models read."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from trtbuild.errors import UsageError
from trtbuild.pipeline.items import Item
from trtbuild.pipeline.tasks import TaskOptions, task_items
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.wire import sound

RATE = 8000
STEPS = np.arange(RATE // 4) / RATE
TONE = (9000 * np.sin(2 * np.pi * 440 * STEPS)).astype(np.int16)


def file_of(samples: Any, kind: str, subtype: str | None = None) -> bytes:
    made = io.BytesIO()
    soundfile.write(made, samples, RATE, format=kind, subtype=subtype)
    return made.getvalue()


def samples_of(wav: bytes) -> Any:
    assert sound.is_wav(wav)
    found, rate = soundfile.read(io.BytesIO(wav), dtype="int16")
    assert rate == RATE
    return found


def test_a_wav_file_is_left_alone() -> None:
    wav = file_of(TONE, "WAV", "PCM_24")
    assert sound.as_wav(wav, "trtbuild") is wav


def test_a_lossless_file_keeps_its_samples() -> None:
    assert (samples_of(sound.as_wav(file_of(TONE, "FLAC"), "trtbuild")) == TONE).all()
    both = np.stack([TONE, np.zeros_like(TONE)], axis=1)
    half = samples_of(sound.as_wav(file_of(both, "AIFF"), "trtbuild"))
    assert np.abs(half - TONE / 2).max() <= 1


@pytest.mark.parametrize(("kind", "subtype"), [("MP3", None), ("OGG", "VORBIS")])
def test_other_files_sound_the_same(kind: str, subtype: str | None) -> None:
    found = samples_of(sound.as_wav(file_of(TONE, kind, subtype), "trtbuild"))
    size = min(len(found), len(TONE))
    shares = [np.abs(np.fft.rfft(one[:size].astype(float))) for one in (found, TONE)]
    assert size > 0.9 * len(TONE)
    assert shares[0].argmax() == shares[1].argmax()


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, b"fLaC" + b"\xff" * 999, b"not a sound"])
def test_what_is_no_recording_is_told(data: bytes) -> None:
    with pytest.raises(sound.SoundError, match=r"not a recording that can be read: convert it"):
        sound.as_wav(data, "trtbuild")


def test_a_place_before_the_start_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    damaged = bytearray(file_of(TONE, "AIFF"))
    damaged[38] = 255  # where the samples begin
    with pytest.raises(sound.SoundError):
        sound.as_wav(bytes(damaged), "trtbuild")
    assert not printed


def test_a_file_that_unpacks_to_too_much_is_stopped() -> None:
    with pytest.raises(sound.SoundError, match="longer than 1 s, the most at 8000 Hz"):
        sound.as_wav(file_of(np.zeros(40 * RATE, np.int16), "FLAC"), "trtbuild", 2 * RATE)


def test_without_the_extra_the_command_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    for data, kind in ((file_of(TONE, "FLAC"), "a FLAC file, and .*"), (b"?", "not a WAV file")):
        with pytest.raises(sound.SoundError, match=f"the file is {kind}: convert it .ffmpeg"):
            sound.as_wav(data, "trtbuild-gateway")
    path = tmp_path / "talk.flac"
    path.write_bytes(file_of(TONE, "FLAC"))
    with pytest.raises(UsageError, match=r"talk\.flac: the file is a FLAC file") as caught:
        asked(path)
    assert "or install trtbuild[audio]" in caught.value.fix


def asked(path: Path, file: Path | None = None) -> list[Item]:
    model = ServedModel("m", ServedTask.TRANSCRIBE, "transcribe")
    return task_items(model, [], TaskOptions(audio=(str(path),)), file)


def test_infer_takes_them_as_arguments_and_in_files(tmp_path: Path) -> None:
    for name, kind in (("a.flac", "FLAC"), ("a.wav", "WAV")):
        (tmp_path / name).write_bytes(file_of(TONE, kind))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f'{{"audio": "{tmp_path}/a.flac"}}\n')
    values = [one.value for one in asked(tmp_path / "a.flac", rows)]
    assert values == [asked(tmp_path / "a.wav")[0].value] * 2
