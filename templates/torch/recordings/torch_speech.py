"""Windows of recordings through Whisper."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from text_rows import Refused
from text_tasks import Work
from torch_place import groups, loading
from torch_sound import RATE, given, recording, windows, within

TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class Wanted:
    """How a request's recordings are to be written down."""

    language: str = ""
    task: str = "transcribe"
    prompt: str = ""
    timestamps: bool = False


class Speech:
    """A Whisper checkpoint."""

    def __init__(self, folder, settings, place):
        from transformers import (
            AutoModelForSpeechSeq2Seq,
            AutoTokenizer,
            WhisperFeatureExtractor,
        )

        self._settings, self._place = settings, place
        self._features = WhisperFeatureExtractor.from_pretrained(folder)
        self.window = self._features.n_samples
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._module = place.put(
            AutoModelForSpeechSeq2Seq.from_pretrained(folder, **loading(place))
        )
        config = self._module.generation_config
        # In this order transformers' own names of languages map to tokens: <|en|>, <|de|>…
        known = getattr(config, "lang_to_id", None) or {}
        self._languages = {name.strip("<|>"): number for name, number in known.items()}
        self._start = self._module.config.decoder_start_token_id
        self._end = self._module.config.eos_token_id

    def wanted(self, asked):
        """What a request's parameters ask for."""
        language = str(asked.get("language") or "").lower()
        if language and not self._languages:
            raise Refused("the model knows one language only: leave language out")
        if language and language not in self._languages:
            some = ", ".join(sorted(self._languages)[:8])
            raise Refused(f"unknown language {language!r}: send a code such as {some}")
        task = str(asked.get("task") or TASKS[0])
        if task not in TASKS:
            raise Refused(f"unknown task {task!r}: send transcribe or translate")
        if task != TASKS[0] and not self._languages:
            raise Refused("the model does not translate: leave task out")
        timestamps = asked.get("timestamps") or False
        if not isinstance(timestamps, bool):
            raise Refused(f"timestamps {timestamps!r} is not true or false")
        prompt = str(asked.get("prompt") or "")
        return Wanted(language, task, self._fitting(prompt), timestamps)

    def run(self, items):
        """``(text, language, segments, tokens)`` of each pair of samples and :class:`Wanted`."""
        parts = [
            (at, start, samples[start:end])
            for at, (samples, _) in enumerate(items)
            for start, end in windows(samples, self.window)
        ]
        languages = self._spoken(items, parts)
        done = [[] for _ in items]
        for key in dict.fromkeys((languages[at], items[at][1]) for at, *_ in parts):
            same = [part for part in parts if (languages[part[0]], items[part[0]][1]) == key]
            for group in groups(same, self._settings["items"]):
                for (at, start, piece), ids in zip(group, self._tokens(group, *key), strict=True):
                    done[at].append((start, len(piece), ids))
        return [
            self._row(pieces, language, wanted)
            for pieces, language, (_, wanted) in zip(done, languages, items, strict=True)
        ]

    def _fitting(self, prompt):
        """A prompt's end, as far as half of the decoder's places take it, as OpenAI cuts it."""
        if not prompt:
            return ""
        room = self._module.config.max_target_positions // 2 - 1
        ids = self._tokenizer(prompt, add_special_tokens=False).input_ids
        return prompt if len(ids) <= room else self._tokenizer.decode(ids[-room:])

    @torch.inference_mode()
    def _spoken(self, items, parts):
        """The language of each recording: as asked, else that of its first window."""
        found = [wanted.language for _, wanted in items]
        if not self._languages:
            return found
        first = {at: piece for at, _, piece in reversed(parts) if not found[at]}
        names = {number: name for name, number in self._languages.items()}
        for group in groups(sorted(first), self._settings["items"]):
            ids = self._module.detect_language(self._inputs([first[at] for at in group]))
            for at, number in zip(group, ids.tolist(), strict=True):
                found[at] = names.get(number, "")
        return found

    def _inputs(self, pieces):
        found = self._features(pieces, sampling_rate=RATE, return_tensors="pt")
        return self._place.tensor(found.input_features)

    @torch.inference_mode()
    def _tokens(self, group, language, wanted):
        """The generated tokens of each window."""
        more = {"language": language, "task": wanted.task} if self._languages else {}
        if wanted.prompt:
            prompt = self._tokenizer.get_prompt_ids(wanted.prompt, return_tensors="pt")
            more["prompt_ids"] = prompt.to(self._place.device)
        made = self._module.generate(
            self._inputs([piece for *_, piece in group]),
            return_timestamps=wanted.timestamps,
            # One call a window: without it a model could go over the same second forever.
            force_unique_generate_call=True,
            **more,
        )
        rows = getattr(made, "sequences", made).tolist()
        return [self._generated(row) for row in rows]

    def _generated(self, row):
        """What follows the prompt, up to the end of the text."""
        row = row[row.index(self._start) + 1 :] if self._start in row else row
        return row[: row.index(self._end)] if self._end in row else row

    def _row(self, pieces, language, wanted):
        """The windows of one recording, in the order of its time."""
        texts, segments, count = [], [], 0
        for start, size, ids in sorted(pieces, key=lambda piece: piece[0]):
            texts.append(self._tokenizer.decode(ids, skip_special_tokens=True).strip())
            # Whisper's special tokens and timestamps all come after the end of the text.
            count += sum(number < self._end for number in ids)
            if wanted.timestamps:
                segments += self._segments(ids, start / RATE, (start + size) / RATE)
        return " ".join(filter(None, texts)), language, json.dumps(segments), count

    def _segments(self, ids, start, end):
        """The parts between two times that the model wrote, in seconds of the recording."""
        found = self._tokenizer.decode(ids, skip_special_tokens=True, output_offsets=True)
        rows = [
            {**within(row["timestamp"], start, end), "text": row["text"].strip()}
            for row in found["offsets"]
        ]
        return rows or [{"start": start, "end": end, "text": found["text"].strip()}]


def prepare(speech, settings, arrays, asked):
    """The work of a request, and its recordings with how they are to be written down."""
    wanted = speech.wanted(asked)
    sounds = _sounds(arrays, settings["limits"])
    if not sounds:
        raise Refused("the request has no recording: send audio or samples")
    seconds = [len(samples) / RATE for samples in sounds]
    work = Work([], "NONE", lambda rows, _: _tensors(rows, seconds))
    return work, [(samples, wanted) for samples in sounds]


def _sounds(arrays, limits):
    if len(arrays) > 1:
        raise Refused("the request has audio and samples: send one of them")
    if "audio" in arrays:
        values = list(arrays["audio"].reshape(-1))
        return [recording(*row, limits) for row in _named(values, "audio")]
    return [given(*row, limits) for row in _named(list(arrays.get("samples", ())), "samples")]


def _named(values, name):
    for number, value in enumerate(values, 1):
        yield value, f"'{name}'" if len(values) == 1 else f"'{name}' {number} of {len(values)}"


def _tensors(rows, seconds):
    texts, languages, segments, counts = zip(*rows, strict=True)
    return {
        "text": _strings(texts),
        "language": _strings(languages),
        "segments": _strings(segments),
        "duration": np.asarray(seconds, dtype=np.float32).reshape(-1, 1),
        "token_count": np.asarray(counts, dtype=np.int32).reshape(-1, 1),
    }


def _strings(values):
    return np.array([value.encode("utf-8") for value in values], dtype=np.object_).reshape(-1, 1)
