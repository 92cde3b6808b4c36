"""Sound of a request: what is read, what is refused, where long recordings are cut."""

from __future__ import annotations

import base64
import importlib
import io
import itertools
import struct
import sys
import wave
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from trtbuild.resources import template_dir

LIMITS = {"seconds": 60, "file_bytes": 4 << 20}
Sound = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def sound() -> Iterator[ModuleType]:
    folders = [str(template_dir("text", "model")), str(template_dir("torch", "recordings"))]
    sys.path[:0] = folders
    yield importlib.import_module("torch_sound")
    for name in ("torch_sound", "text_rows"):
        sys.modules.pop(name, None)
    for folder in folders:
        sys.path.remove(folder)


def tone(rate: int, seconds: float = 0.5, pitch: float = 440.0) -> Sound:
    steps = np.arange(int(rate * seconds)) / rate
    made: Sound = (0.4 * np.sin(2 * np.pi * pitch * steps)).astype(np.float32)
    return made


def pcm(samples: Sound, rate: int = 16_000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(channels)
        made.setsampwidth(2)
        made.setframerate(rate)
        made.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def three_bytes(values: Sound) -> bytes:
    return values.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def riff(kind: int, bits: int, data: bytes, *, channels: int = 1, size: int | None = None) -> bytes:
    form = struct.pack("<HHIIHH", kind, channels, 16_000, 0, 0, bits)
    length = len(data) if size is None else size
    return (
        b"RIFF\0\0\0\0WAVE" + b"LIST" + struct.pack("<I", 3) + b"abc\0"
        + b"fmt " + struct.pack("<I", len(form)) + form
        + b"data" + struct.pack("<I", length) + data
    )  # fmt: skip


# --------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    ("kind", "bits", "write"),
    [
        (1, 8, lambda x: (x * 128 + 128).astype(np.uint8).tobytes()),
        (1, 16, lambda x: (x * 32768).astype("<i2").tobytes()),
        (1, 24, lambda x: three_bytes(x * 8388608)),
        (1, 32, lambda x: (x.astype(np.float64) * 2147483648).astype("<i4").tobytes()),
        (3, 32, lambda x: x.astype("<f4").tobytes()),
        (3, 64, lambda x: x.astype("<f8").tobytes()),
    ],
)  # fmt: skip
def test_every_usual_kind_of_wav(sound: ModuleType, kind: int, bits: int, write: Any) -> None:
    wanted = tone(16_000)
    found = sound.recording(riff(kind, bits, write(wanted)), "'audio'", LIMITS)
    assert np.abs(found - wanted).max() < (0.02 if bits == 8 else 1e-4)


def test_base64_a_data_url_and_bytes_are_the_same(sound: ModuleType) -> None:
    data = pcm(tone(16_000))
    text = base64.b64encode(data)
    for value in (data, text, text.decode(), b"data:audio/wav;base64," + text):
        assert np.array_equal(
            sound.recording(value, "'audio'", LIMITS), sound.recording(data, "'audio'", LIMITS)
        )


def test_channels_are_averaged(sound: ModuleType) -> None:
    left, right = tone(16_000), tone(16_000, pitch=700)
    both = pcm(np.stack([left, right], axis=1), channels=2)
    found = sound.recording(both, "'audio'", LIMITS)
    assert np.abs(found - (left + right) / 2).max() < 1e-4


def test_a_size_that_was_never_written(sound: ModuleType) -> None:
    data = (tone(16_000) * 32768).astype("<i2").tobytes()
    found = sound.recording(riff(1, 16, data, size=0xFFFFFFFF), "'audio'", LIMITS)
    assert len(found) == 8000


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_the_same_tone(sound: ModuleType, rate: int) -> None:
    found = sound.recording(pcm(tone(rate), rate), "'audio'", LIMITS)
    wanted = tone(16_000)
    assert abs(len(found) - len(wanted)) <= 1
    middle = slice(400, 7600)
    assert np.abs(found[middle] - wanted[middle]).max() < 2e-3


def test_what_the_lower_rate_cannot_hold_is_left_out(sound: ModuleType) -> None:
    found = sound.resampled(tone(48_000, pitch=12_000), 48_000)
    assert np.abs(found[400:7600]).max() < 2e-3


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "neither|not a WAV"),
        (b"no base64!", "neither a WAV file nor base64 text of one"),
        (base64.b64encode(b"ID3 an MP3 file"), "not a WAV file: convert it .ffmpeg"),
        (b"RIFF\0\0\0\0AVI LIST", "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "damaged WAV file: it has no format or no data"),
        (riff(1, 16, b""), "has no samples"),
        (riff(2, 4, b"abcd"), "of a kind that is not read .format 2, 4 bits"),
        (riff(1, 16, b"abcd", channels=0), "of a kind that is not read"),
        (riff(3, 32, struct.pack("<f", float("nan"))), "samples that are not numbers"),
        (riff(3, 32, struct.pack("<f", 3e4)), "samples up to 30000: divide them"),
        (pcm(np.zeros(16_000 * 61)), "is 61 s long; a recording may have 60 s"),
        (b"A" * (8 << 20), "has 8 MiB; a recording may have 4 MiB"),
    ],
)
def test_what_is_wrong_is_said(sound: ModuleType, value: bytes, message: str) -> None:
    with pytest.raises(sound.Refused, match=message):
        sound.recording(value, "'audio'", LIMITS)


def test_samples_are_checked_too(sound: ModuleType) -> None:
    assert len(sound.given(np.zeros((1, 8)), "'samples'", LIMITS)) == 8
    with pytest.raises(sound.Refused, match="'samples' has no samples"):
        sound.given(np.zeros(0), "'samples'", LIMITS)


# ----------------------------------------------------------------------------------- the windows


def test_a_cut_is_in_the_quietest_place(sound: ModuleType) -> None:
    size = 10 * 16_000
    samples = np.ones(25 * 16_000, dtype=np.float32)
    samples[8 * 16_000 : 8 * 16_000 + 3200] = 0  # silence from 8.0 to 8.2 s
    cuts = sound.windows(samples, size)
    assert cuts[0][0] == 0
    assert 8 * 16_000 <= cuts[0][1] <= 8 * 16_000 + 3200
    assert cuts[-1][1] == len(samples)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(cuts))
    assert all(0 < end - start <= size for start, end in cuts)


@pytest.mark.parametrize("length", [1, 31_999, 32_000])
def test_a_short_recording_is_one_window(sound: ModuleType, length: int) -> None:
    assert sound.windows(np.zeros(length), 32_000) == [(0, length)]


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ((0.5, 1.5), (30.5, 31.5)),
        ((None, None), (30, 32)),
        ((1.0, 0.2), (31, 31)),
        ((31.2, 40.0), (32, 32)),
    ],
)
def test_a_part_stays_in_its_window(sound: ModuleType, times: Any, wanted: Any) -> None:
    assert tuple(sound.within(times, 30, 32).values()) == wanted
