"""Any causal language model, encoder, classifier or Whisper, by transformers' own classes.

Code of a checkpoint is never run: ``trust_remote_code`` stays off.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar

from trtbuild_backends.backend import (
    AbstractBackend,
    Classes,
    ClassifyRequest,
    Delta,
    Embedding,
    EmbedRequest,
    GenerateRequest,
    ModelFacts,
    RequestError,
    ScoreRequest,
    Scores,
    TranscribeRequest,
    Transcript,
    iterate_in_thread,
)
from trtbuild_transformers_adapter.labels import classes, labels_of
from trtbuild_transformers_adapter.speech import Speech
from trtbuild_transformers_adapter.texts import Texts

_SAME = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")  # as in GenerationConfig
_POOLINGS = ("mean", "cls", "last")
_OPTIONS = frozenset(("task", "dtype", "device", "pooling", "normalize"))


class TransformersBackend(AbstractBackend):
    """One model.

    Options: ``task`` (``generate``, ``embed``, ``rerank``, ``classify``, ``transcribe``),
    ``dtype``, ``device``, and for vectors ``pooling`` (``mean``, ``cls``, ``last``) and
    ``normalize``.
    """

    sampling: ClassVar[frozenset[str] | None] = frozenset(
        (*_SAME, "max_tokens", "min_tokens", "seed", "stop", "ignore_eos")
    )

    async def load(self) -> ModelFacts:
        """Load tokenizer and weights."""
        return await asyncio.to_thread(self._load)

    def _load(self) -> ModelFacts:
        import torch
        from transformers import AutoConfig, AutoTokenizer

        options = self.model.options
        if unknown := sorted(options.keys() - _OPTIONS):
            raise ValueError(f"unknown options {unknown}; there is: {', '.join(sorted(_OPTIONS))}")
        source: dict[str, Any] = {"revision": self.model.revision or None}
        config = AutoConfig.from_pretrained(self.model.source, **source)
        task = options.get("task") or _task_of(config)
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(self.model.source, **source)
        self._device = options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = options.get("dtype", "auto")
        loader = _loader(task)
        model = loader.from_pretrained(self.model.source, dtype=dtype, **source)
        self._model = model.to(self._device).eval()
        self._context = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 0)
        self._one = asyncio.Lock()
        self._pooling = options.get("pooling", "mean")
        if self._pooling not in _POOLINGS:
            raise ValueError(f"pooling {self._pooling!r} is not one of {', '.join(_POOLINGS)}")
        if task == "transcribe":
            from transformers import AutoFeatureExtractor

            features = AutoFeatureExtractor.from_pretrained(self.model.source, **source)
            self._speech = Speech(self._model, self._tokenizer, features)
        labels = labels_of(config) if task == "classify" else ()
        return ModelFacts(task, self._context, labels=labels, timestamps=task == "transcribe")

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the answer token by token, as far as tokens make whole characters."""
        async with self._one:
            pieces = iterate_in_thread(lambda left: self._pieces(request, left))
            try:
                async for delta in pieces:
                    yield delta
            finally:
                await pieces.aclose()  # type: ignore[attr-defined]

    def _pieces(self, request: GenerateRequest, left: threading.Event) -> Iterator[Delta]:
        encoded = self._tokenizer(request.prompt, return_tensors="pt").to(self._device)
        prompt = encoded["input_ids"][0]
        most = int(request.sampling.get("max_tokens") or 16)
        self._require_room(len(prompt), most)
        texts = Texts(self._tokenizer, tuple(request.sampling.get("stop") or ()))
        tokens, ends = 0, self._ends(request.sampling)
        for token in self._tokens(encoded, request.sampling, most, left):
            tokens += 1
            ended = token in ends
            text = texts.end() if ended else texts.add(token)
            if ended or texts.stopped:
                yield Delta(text, "stop", 1, len(prompt))
                return
            yield Delta(text, tokens=1, prompt_tokens=len(prompt))
        yield Delta(texts.end(), "length" if tokens >= most else "stop", 0, len(prompt))

    def _tokens(
        self, encoded: Any, sampling: Mapping[str, Any], most: int, left: threading.Event
    ) -> Iterator[int]:
        """Yield the ids of new tokens from transformers' own loop, which calls us for each."""
        from queue import Queue

        from transformers import StoppingCriteriaList

        found: Queue[int | BaseException | None] = Queue()
        gone = threading.Event()

        class Streamer:
            prompt = True

            def put(self, value: Any) -> None:
                if not self.prompt:
                    found.put(int(value.reshape(-1)[0]))
                self.prompt = False

            def end(self) -> None:
                found.put(None)

        def stop(ids: Any, _scores: Any, **_: Any) -> Any:
            over = left.is_set() or gone.is_set()
            return self._torch.full((ids.shape[0],), over, device=ids.device)

        def work() -> None:
            try:
                with self._torch.inference_mode():
                    self._model.generate(
                        **encoded,
                        **self._arguments(sampling, most),
                        streamer=Streamer(),
                        stopping_criteria=StoppingCriteriaList([stop]),
                    )
            except BaseException as error:
                found.put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (item := found.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            gone.set()
            thread.join()

    def _arguments(self, sampling: Mapping[str, Any], most: int) -> dict[str, Any]:
        values = {name: sampling[name] for name in _SAME if sampling.get(name) is not None}
        temperature = values.pop("temperature", 1.0)
        if (seed := sampling.get("seed")) is not None:
            self._torch.manual_seed(seed)
        values["do_sample"] = temperature > 0
        if temperature > 0:
            values["temperature"] = temperature
        else:
            values = {
                key: values[key] for key in values if key in ("do_sample", "repetition_penalty")
            }
        if sampling.get("ignore_eos"):
            values["eos_token_id"] = None
        least = sampling.get("min_tokens") or None
        return {**values, "max_new_tokens": most, "min_new_tokens": least}

    def _ends(self, sampling: Mapping[str, Any]) -> frozenset[int]:
        found = self._model.generation_config.eos_token_id
        if sampling.get("ignore_eos") or found is None:
            return frozenset()
        return frozenset(found if isinstance(found, list) else [found])

    def _require_room(self, prompt: int, most: int = 0) -> None:
        if self._context and prompt + most > self._context:
            room = f"the context of {self.model.name!r} is {self._context}: send less"
            if most:
                raise RequestError(
                    f"the prompt has {prompt} tokens and the answer may have {most}; {room}, or "
                    "lower max_tokens"
                )
            raise RequestError(f"the text has {prompt} tokens; {room}")

    async def embed(self, request: EmbedRequest) -> Embedding:
        """Return the pooled vector of a text."""
        async with self._one:
            return await asyncio.to_thread(self._embed, request)

    def _embed(self, request: EmbedRequest) -> Embedding:
        torch = self._torch
        if isinstance(request.input, str):
            encoded = self._tokenizer(request.input, return_tensors="pt")
        else:
            ids = torch.tensor([list(request.input)])
            encoded = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        encoded = {name: value.to(self._device) for name, value in encoded.items()}
        tokens = int(encoded["input_ids"].shape[1])
        self._require_room(tokens)
        with torch.inference_mode():
            states = self._model(**encoded).last_hidden_state[0].float()
        pooled = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[self._pooling]
        vector = pooled[: request.dimensions] if request.dimensions else pooled
        if self.model.options.get("normalize", True):
            vector = torch.nn.functional.normalize(vector, dim=0)
        return Embedding(vector.tolist(), tokens)

    async def score(self, request: ScoreRequest) -> Scores:
        """Return the relevance of documents, by a classifier with one label."""
        async with self._one:
            return await asyncio.to_thread(self._score, request)

    def _score(self, request: ScoreRequest) -> Scores:
        found, tokens = [], []
        for pair in request.pairs:
            encoded = self._tokenizer(*pair, return_tensors="pt").to(self._device)
            tokens.append(int(encoded["input_ids"].shape[1]))
            self._require_room(tokens[-1])
            with self._torch.inference_mode():
                logit = self._model(**encoded).logits.float().reshape(-1)
            if logit.numel() != 1:
                raise RequestError(f"{self.model.name!r} has {logit.numel()} labels and not one")
            found.append(float(logit.sigmoid()))
        return Scores(found, tokens)

    async def classify(self, request: ClassifyRequest) -> Classes:
        """Return the scores of texts."""
        async with self._one:
            return await asyncio.to_thread(
                classes, self._model, self._tokenizer, request, self._require_room
            )

    async def transcribe(self, request: TranscribeRequest) -> Transcript:
        """Return the text of a recording."""
        async with self._one:
            return await asyncio.to_thread(self._speech.transcript, request)


def _task_of(config: Any) -> str:
    names = config.architectures or []
    generates = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)
    if any(name.endswith("ForSequenceClassification") for name in names):
        return "rerank" if config.num_labels == 1 else "classify"
    if config.model_type == "whisper":
        return "transcribe"
    return "generate" if generates else "embed"


def _loader(task: str) -> Any:
    import transformers

    loaders = {
        "generate": transformers.AutoModelForCausalLM,
        "embed": transformers.AutoModel,
        "rerank": transformers.AutoModelForSequenceClassification,
        "classify": transformers.AutoModelForSequenceClassification,
        "transcribe": transformers.AutoModelForSpeechSeq2Seq,
    }
    if task not in loaders:
        raise ValueError(f"the task {task!r} is not one of {', '.join(loaders)}")
    return loaders[task]
