"""Recordings as they will be transcribed, against transformers' own classes."""

import base64
import io
import json
import sys
import wave

import numpy as np
import torch
from accuracy import say
from torch_place import loading, place_of

_CUT = 100  # characters of a text that a message shows


def check(folder, out, settings):
    """Compare the text of every recording, alone and all in one request."""
    from torch_sound import recording
    from torch_speech import Speech, Wanted

    say(step="computing the reference")
    speech = Speech(folder, settings, place_of(settings))
    files = sounds(speech.window)
    samples = [recording(file, "the recording", settings["limits"]) for file in files]
    # Longer ones than a window are cut by us, and compared with themselves alone.
    wanted = [
        _written(folder, one) if len(one) <= speech.window else speech.run([(one, Wanted())])[0][0]
        for one in samples
    ]
    alone = [speech.run([(one, Wanted())])[0][0] for one in samples]
    batch = [row[0] for row in speech.run([(one, Wanted()) for one in samples])]
    problems = []
    for how, texts in (("alone", alone), ("in a batch", batch)):
        for number, (text, other) in enumerate(zip(texts, wanted, strict=True)):
            if text != other:
                problems.append(f"recording {number} {how}: {text[:_CUT]!r}, not {other[:_CUT]!r}")
    kept = [{"item": file, "text": text} for file, text in zip(files[:2], wanted, strict=False)]
    report = {"worst": {"differing": len(problems)}, "kept": kept}
    (out / "reference.json").write_text(json.dumps(report, ensure_ascii=False), encoding="utf-8")
    for line in problems:
        sys.stdout.write(f"ERROR: {line}\n")
    if problems:
        sys.exit(3)


@torch.inference_mode()
def _written(folder, samples):
    """The text of a recording by transformers' own classes."""
    from transformers import AutoModelForSpeechSeq2Seq, WhisperProcessor

    processor = WhisperProcessor.from_pretrained(folder)
    model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, **_exact()).eval()
    features = processor(samples, sampling_rate=16_000, return_tensors="pt").input_features
    task = {"task": "transcribe"} if getattr(model.generation_config, "lang_to_id", None) else {}
    # One pass over the window, as it is served: transformers would follow timestamps further.
    ids = model.generate(features, force_unique_generate_call=True, **task)
    return processor.decode(ids[0], skip_special_tokens=True).strip()


def sounds(window):
    """Base64 of WAV files: a tone, a chirp in noise, silence, and one beyond a window."""
    noise = np.random.default_rng(2)
    steps = np.arange(min(window, 32_000)) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * 440 * steps[: len(steps) // 2])
    chirp = 0.2 * np.sin(2 * np.pi * (200 + 900 * steps) * steps)
    noisy = chirp + noise.normal(0, 0.05, len(chirp))
    long = np.tile(noisy, int(1.4 * window / len(noisy)) + 1)
    return [_wav(one) for one in (noisy, tone, np.zeros(len(steps)), long)]


def _wav(samples):
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(16_000)
        made.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return base64.b64encode(file.getvalue()).decode()


def _exact():
    return loading(place_of({"dtype": "float32"}))
