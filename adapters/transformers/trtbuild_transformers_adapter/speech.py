"""Recordings through Whisper, half a minute at a time."""

from __future__ import annotations

import io
import wave
from typing import Any

from trtbuild_backends.backend import RequestError, TranscribeRequest, Transcript

_CONVERT = "convert it (ffmpeg -i FILE -ar 16000 -ac 1 out.wav)"


class Speech:
    """A Whisper checkpoint.

    Args:
        model: transformers' own.
        tokenizer: Of the checkpoint.
        features: Its feature extractor.
    """

    def __init__(self, model: Any, tokenizer: Any, features: Any) -> None:
        self._model, self._tokenizer, self._features = model, tokenizer, features
        known = getattr(model.generation_config, "lang_to_id", None) or {}
        self._languages = {name.strip("<|>"): number for name, number in known.items()}

    def transcript(self, request: TranscribeRequest) -> Transcript:
        """Return the text of a recording; RequestError for one that the model does not read."""
        import torch

        samples = _samples(request.audio, self._features.sampling_rate)
        language = self._language(request)
        size, rate = self._features.n_samples, self._features.sampling_rate
        texts, segments, count = [], [], 0
        for start in range(0, len(samples), size):
            piece = samples[start : start + size]
            inputs = self._features(piece.numpy(), sampling_rate=rate, return_tensors="pt")
            inputs = inputs.input_features.to(self._model.device, self._model.dtype)
            with torch.inference_mode():
                language = language or self._spoken(inputs)
                ids = self._generated(inputs, request, language)
            texts.append(self._tokenizer.decode(ids, skip_special_tokens=True).strip())
            # Whisper's special tokens and times all come after the end of the text.
            count += sum(number < self._model.config.eos_token_id for number in ids)
            if request.timestamps:
                segments += self._segments(ids, start / rate, len(piece) / rate)
        whole = " ".join(filter(None, texts))
        return Transcript(whole, language, len(samples) / rate, segments, count)

    def _language(self, request: TranscribeRequest) -> str:
        language = request.language.lower()
        if request.translate and not self._languages:
            raise RequestError("the model does not translate: ask for a transcription")
        if language and not self._languages:
            raise RequestError("the model knows one language only: leave language out")
        if language and language not in self._languages:
            some = ", ".join(sorted(self._languages)[:8])
            raise RequestError(f"unknown language {language!r}: send a code such as {some}")
        return language

    def _spoken(self, inputs: Any) -> str:
        """Return the language of a window; empty for a model that knows one only."""
        if not self._languages:
            return ""
        (number,) = self._model.detect_language(inputs).tolist()
        names = {token: name for name, token in self._languages.items()}
        return str(names.get(number, ""))

    def _generated(self, inputs: Any, request: TranscribeRequest, language: str) -> list[int]:
        """Return the tokens of a window, without those that begin and end it."""
        more: dict[str, Any] = {}
        if self._languages:
            task = "translate" if request.translate else "transcribe"
            more = {"language": language, "task": task}
        if request.prompt:
            prompt = self._tokenizer.get_prompt_ids(self._end_of(request.prompt))
            more["prompt_ids"] = inputs.new_tensor(prompt).long()
        made = self._model.generate(
            inputs,
            return_timestamps=request.timestamps,
            force_unique_generate_call=True,  # else a model can go over one second forever
            **more,
        )
        row: list[int] = getattr(made, "sequences", made)[0].tolist()
        start, end = self._model.config.decoder_start_token_id, self._model.config.eos_token_id
        row = row[row.index(start) + 1 :] if start in row else row
        return row[: row.index(end)] if end in row else row

    def _end_of(self, prompt: str) -> str:
        """Return as much of a prompt's end as half of the decoder takes, as OpenAI cuts it."""
        room = self._model.config.max_target_positions // 2 - 1
        ids = self._tokenizer(prompt, add_special_tokens=False).input_ids
        return prompt if len(ids) <= room else str(self._tokenizer.decode(ids[-room:]))

    def _segments(self, ids: list[int], start: float, seconds: float) -> list[Any]:
        """Return the parts of a window between the times that the model wrote."""
        found = self._tokenizer.decode(ids, skip_special_tokens=True, output_offsets=True)
        made = []
        for part in found["offsets"]:
            first, last = part["timestamp"]
            last = seconds if last is None else min(last, seconds)
            made.append((start + min(first, last), start + last, part["text"].strip()))
        return made or [(start, start + seconds, found["text"].strip())]


def _samples(audio: bytes, rate: int) -> Any:
    """Return the samples of a WAV file from -1 to 1, all channels mixed into one."""
    import torch

    try:
        with wave.open(io.BytesIO(audio)) as file:
            form = (file.getframerate(), file.getsampwidth())
            channels, data = file.getnchannels(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise RequestError(
            f"the file is not a WAV file with samples ({error}): {_CONVERT}"
        ) from None
    if form != (rate, 2):
        raise RequestError(
            f"the file has {form[0]:,} samples a second of {8 * form[1]} bits, and the model takes "
            f"{rate:,} of 16 bits: {_CONVERT}"
        )
    data = data[: len(data) // (2 * channels) * 2 * channels]
    if not data:
        raise RequestError("the recording is empty")
    samples = torch.frombuffer(bytearray(data), dtype=torch.int16).float() / 32768
    return samples.reshape(-1, channels).mean(1)
