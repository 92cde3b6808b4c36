"""Sound of a request: WAV files or samples to 16,000 numbers a second, and its cut into windows."""

import base64
import binascii

import numpy as np
from text_rows import Refused

RATE = 16_000
_FRAME = RATE // 10  # a tenth of a second, whose loudness decides where to cut
_SEARCH = 3 * RATE  # the end of a window in which the quietest place is looked for
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_SCALES = {8: 128.0, 16: 32768.0, 24: 8388608.0, 32: 2147483648.0}
_ZEROS = 24  # of the sinc on each side
_BLOCK = 1 << 14  # periods computed at a time
_LOUDEST = 16.0  # far above what a recording has: the samples are integers


def recording(value, which, limits):
    """The samples of a WAV file, given as its bytes or as base64 text."""
    data = value.encode("utf-8", "replace") if isinstance(value, str) else bytes(value)
    if len(data) > limits["file_bytes"] * 4 // 3 + 4096:
        allowed = limits["file_bytes"] >> 20
        raise Refused(f"{which} has {len(data) >> 20} MiB; a recording may have {allowed} MiB")
    if not data.startswith((b"RIFF", b"RF64")):
        data = _decoded(data, which)
    rate, samples = _wav(data, which)
    return _required(resampled(samples, rate), which, limits)


def given(array, which, limits):
    """Samples that a request brings as numbers, ``RATE`` of them a second."""
    return _required(np.asarray(array, dtype=np.float32).reshape(-1), which, limits)


def _decoded(text, which):
    if text[:5].lower() == b"data:":
        text = text.partition(b",")[2]
    try:
        return base64.b64decode(bytes(text).translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"{which} is neither a WAV file nor base64 text of one: {error}") from None


def _required(samples, which, limits):
    if not len(samples):
        raise Refused(f"{which} has no samples")
    if not np.isfinite(samples).all():
        raise Refused(f"{which} has samples that are not numbers (NaN or infinity)")
    loudest = float(np.abs(samples).max())
    if loudest > _LOUDEST:
        raise Refused(f"{which} has samples up to {loudest:.0f}: divide them, to be in -1 to 1")
    seconds = len(samples) / RATE
    if seconds > limits["seconds"]:
        raise Refused(
            f"{which} is {seconds:.0f} s long; a recording may have {limits['seconds']} s: cut it, "
            "or set max_seconds higher when you convert the model"
        )
    return samples


def _wav(data, which):
    """Rate and samples of a RIFF file, its channels averaged."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise Refused(
            f"{which} is not a WAV file: convert it (ffmpeg -i FILE -ar 16000 -ac 1 out.wav)"
        )
    chunks, at = {}, 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        # A size of 0 or of all ones is what a program writes that could not seek back.
        whole = name == b"data" and size in (0, 0xFFFFFFFF)
        chunks.setdefault(name, data[at + 8 :] if whole else data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    if len(chunks.get(b"fmt ", b"")) < 16 or b"data" not in chunks:
        raise Refused(f"{which} is a damaged WAV file: it has no format or no data")
    return _samples(chunks[b"fmt "], chunks[b"data"], which)


def _samples(form, data, which):
    kind, channels = (int.from_bytes(form[at : at + 2], "little") for at in (0, 2))
    rate = int.from_bytes(form[4:8], "little")
    bits = int.from_bytes(form[14:16], "little")
    if kind == _EXTENSIBLE and len(form) >= 26:
        kind = int.from_bytes(form[24:26], "little")
    known = (kind == _PCM and bits in _SCALES) or (kind == _FLOAT and bits in (32, 64))
    if not known or not channels or not 1000 <= rate <= 768_000:
        raise Refused(
            f"{which} is a WAV file of a kind that is not read (format {kind}, {bits} bits, "
            f"{channels} channels, {rate} Hz): convert it to 16-bit PCM"
        )
    size = bits // 8 * channels
    flat = _numbers(data[: len(data) // size * size], kind, bits)
    return rate, flat.reshape(-1, channels).mean(axis=1, dtype=np.float32)


def _numbers(data, kind, bits):
    if kind == _FLOAT:
        return np.frombuffer(data, dtype=f"<f{bits // 8}").astype(np.float32)
    if bits == 8:
        return (np.frombuffer(data, dtype=np.uint8).astype(np.float32) - 128) / _SCALES[8]
    if bits == 24:
        wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        return wide.view("<i4").reshape(-1).astype(np.float32) / _SCALES[32]
    return np.frombuffer(data, dtype=f"<i{bits // 8}").astype(np.float32) / _SCALES[bits]


def resampled(samples, rate):
    """Samples at ``RATE``, through a windowed sinc that leaves out what the lower rate lacks."""
    if rate == RATE or not len(samples):
        return samples
    common = int(np.gcd(rate, RATE))
    old, new = rate // common, RATE // common  # samples of one period
    cutoff = 0.99 * min(old, new)
    width = int(np.ceil(_ZEROS * old / cutoff))
    places = np.arange(-width, width + old) / old
    steps = (places[None, :] - np.arange(new)[:, None] / new) * cutoff
    window = np.where(np.abs(steps) < _ZEROS, np.cos(steps * np.pi / (2 * _ZEROS)) ** 2, 0)
    kernel = (np.sinc(steps) * window * cutoff / old).astype(np.float32).T
    padded = np.pad(samples, (width, width + old))
    periods = np.lib.stride_tricks.sliding_window_view(padded, len(kernel))[::old]
    blocks = [periods[at : at + _BLOCK] @ kernel for at in range(0, len(periods), _BLOCK)]
    return np.concatenate(blocks).reshape(-1)[: -(-len(samples) * new // old)]


def windows(samples, size):
    """Where to cut: ``(start, end)`` of at most ``size`` samples, at the quietest tenth of a second
    near each end, so that few words are torn apart."""
    found, start = [], 0
    while len(samples) - start > size:
        search = min(_SEARCH, size // 2) // _FRAME * _FRAME
        end = start + size
        if search:
            frames = samples[end - search : end].reshape(-1, _FRAME)
            quietest = int(np.argmin((frames.astype(np.float64) ** 2).sum(axis=1)))
            end += quietest * _FRAME - search + _FRAME // 2
        found.append((start, end))
        start = end
    return [*found, (start, len(samples))]


def within(times, start, end):
    """A part of a window in seconds of the recording, from times that a model wrote: they may be
    missing, or beyond the window."""
    first, last = times
    first = min(end, start + max(0, first or 0))
    return {"start": first, "end": end if last is None else min(end, max(first, start + last))}
