"""Requests of every task, from the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.pipeline.items import READERS, Item, file_text, read_documents, read_items
from trtbuild.signature import ServedModel, ServedTask, dialect_of
from trtbuild.signature.requests import (
    ClassifyRequest,
    EmbedRequest,
    GenerateRequest,
    ImageClassifyRequest,
    RerankRequest,
    ScoreRequest,
    TaskRequest,
    TokenClassifyRequest,
    TranscribeRequest,
)
from trtbuild.signature.sampling import Sampling
from trtbuild.signature.vectors import TYPES

_T = ServedTask
_ALL_TEXTS = (
    *(one for one in _T if one.makes_vectors),
    _T.RERANK,
    _T.SCORE,
    _T.CLASSIFY,
    _T.TOKEN_CLASSIFY,
)
_GENERATING = tuple(one for one in _T if one.makes_text)
_GROUP = 256
"""Items of a request for a model without a batch size; others take as many as they accept."""

_INPUT_TYPES = ("query", "passage", "document")
_AGGREGATIONS = ("none", "simple", "first", "average", "max")


class _Models:
    """The models that have an option, in words and by task."""

    def __init__(self, words: str, *tasks: ServedTask) -> None:
        self.words = words
        self.tasks = tasks


def _option(models: _Models, default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, "models": models, **more})


_RERANK = _Models("rerankers", _T.RERANK, _T.SCORE)
_VECTORS = _Models("embedding models", *(one for one in _T if one.makes_vectors))
_DENSE = _Models("embedding models", _T.EMBED)
_TEXTS = _Models("models of vectors, scores and labels of texts", *_ALL_TEXTS)
_PAIRS = _Models("classifiers and scorers of pairs", _T.CLASSIFY, _T.SCORE)
_LABELS = _Models("classifiers", _T.CLASSIFY, _T.IMAGE_CLASSIFY)
_IMAGES = _Models("models that take images", _T.IMAGE_CLASSIFY, *_GENERATING)
_GENERATORS = _Models("vision-language models", *_GENERATING)
_ENTITIES = _Models("token classifiers", _T.TOKEN_CLASSIFY)
_SPEECH = _Models("speech models", _T.TRANSCRIBE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Options of ``infer`` for tasks other than generated text.

    Raises:
        UsageError: A value that is not one of an option's choices.
    """

    document: tuple[str, ...] = _option(
        _RERANK, (), "Text for a reranker to score against the query; repeatable."
    )
    documents: Path | None = _option(  # noqa: RUF009 - it is a field
        _RERANK, None, "The same from a file: a text in each line, or JSON Lines with 'text'."
    )
    top_n: int | None = _option(_RERANK, None, "How many of the best documents to return.", min=1)
    text_pair: tuple[str, ...] = _option(_PAIRS, (), "The second text of each pair; repeatable.")
    image: tuple[str, ...] = _option(_IMAGES, (), "An image file (PNG, JPEG, WebP…); repeatable.")
    task: str = _option(
        _GENERATORS, "", "A named task of the model's family, such as markdown or locate."
    )
    audio: tuple[str, ...] = _option(_SPEECH, (), "An audio file (WAV, FLAC, MP3…); repeatable.")
    input_type: str = _option(
        _VECTORS, "", "query or passage, for embedding models that distinguish them."
    )
    prompt_name: str = _option(_VECTORS, "", "A prompt of the checkpoint, by its own name.")
    truncate: str = _option(
        _TEXTS, "", "Where to cut texts that are too long: end, start or none (an error)."
    )
    dimensions: int | None = _option(
        _DENSE, None, "Dimensions of an embedding to keep (Matryoshka).", min=1
    )
    embedding_type: str = _option(
        _DENSE, "", "float, binary, ubinary, int8, uint8, or base64 of the floats."
    )
    raw_scores: bool = _option(_LABELS, False, "Return logits instead of probabilities.")
    aggregation: str = _option(
        _ENTITIES, "", "How tokens become entities: none, simple, first, average or max."
    )
    language: str = _option(
        _SPEECH, "", "The spoken language, such as en; default: the model detects it."
    )
    translate: bool = _option(_SPEECH, False, "Return English instead of the spoken language.")
    timestamps: bool = _option(_SPEECH, False, "Return parts with their times.")

    def __post_init__(self) -> None:
        choices = {
            "input_type": _INPUT_TYPES,
            "truncate": ("end", "start", "none"),
            "embedding_type": (*TYPES, "base64"),
            "aggregation": _AGGREGATIONS,
        }
        for name, known in choices.items():
            value = getattr(self, name)
            if value and value.lower() not in known:
                raise UsageError(
                    f"unknown {_flag(name)} {value!r}", fix=f"use one of {', '.join(known)}"
                )


def task_items(
    model: ServedModel, texts: Sequence[str], options: TaskOptions, file: Path | None = None
) -> list[Item]:
    """Return what to ask a model: arguments, then the rows of ``file``.

    Raises:
        UsageError: There is nothing to ask, an option is of another task, a file is unreadable, or
            the task cannot be asked from the command line.
    """
    if model.task not in _MAKERS:
        raise UsageError(
            f"`trtbuild infer` does not support the task {model.task}",
            fix=f"`trtbuild show {model.name}` prints client code for its tensors",
        )
    _require_fitting(model, options)
    files = {ServedTask.IMAGE_CLASSIFY: options.image, ServedTask.TRANSCRIBE: options.audio}
    if model.task in files:
        _require_no_texts(model, texts)
        items = [Item(READERS[model.task](path)) for path in files[model.task]]
    else:
        items = [Item(value) for value in _values(model, texts, options)]
    items += read_items(file, model.task) if file else []
    if not items:
        raise UsageError("there is nothing to ask", fix=_HOW.get(model.task, _HOW_TEXT))
    if model.task is ServedTask.RERANK:
        return [_with_documents(model, one, _documents(options)) for one in items]
    return items


def task_requests(
    model: ServedModel, items: Sequence[Item], options: TaskOptions, sampling: Sampling
) -> Iterator[tuple[Sequence[Item], TaskRequest]]:
    """Yield requests with the items that each has, as many as the model takes at once."""
    make = _MAKERS[model.task]
    alone = model.task.makes_text or model.task is ServedTask.RERANK
    size = 1 if alone else min(model.max_batch_size or _GROUP, _GROUP)
    images = tuple(file_text(path) for path in options.image) if model.task.makes_text else ()
    for start in range(0, len(items), size):
        part = items[start : start + size]
        values = tuple(item.value for item in part)
        if model.task.makes_text:
            own = part[0].images or images
            yield part, GenerateRequest(values[0], sampling, stream=False, images=own)
        else:
            yield part, make(values, options)


def task_request(model: ServedModel, text: str, options: TaskOptions) -> TaskRequest | None:
    """Return the request for one text; None if the model generates text or has no task. A model
    of images or recordings is asked about a sample.

    Raises:
        UsageError: As :func:`task_items`.
    """
    if model.task.makes_text or model.task is ServedTask.TENSOR:
        return None
    dialect = dialect_of(model)
    if model.task in _HOW and dialect is not None:
        return dialect.example(model)
    items = task_items(model, (text,), options)
    ((_, request),) = task_requests(model, items, options, Sampling())
    return request


def _values(model: ServedModel, texts: Sequence[str], options: TaskOptions) -> list[Any]:
    if model.task is ServedTask.RERANK:
        return [(text, ()) for text in texts]
    if model.task is ServedTask.SCORE and (options.document or options.documents):
        return [(text, document) for text in texts for document in _documents(options)]
    if not options.text_pair:
        return list(texts)
    if len(texts) != len(options.text_pair):
        raise UsageError(
            f"{len(texts)} texts have {len(options.text_pair)} second texts",
            fix="give one --text-pair for each text",
        )
    return list(zip(texts, options.text_pair, strict=True))


def _documents(options: TaskOptions) -> tuple[str, ...]:
    more = read_documents(options.documents) if options.documents else ()
    return (*options.document, *more)


def _with_documents(model: ServedModel, item: Item, shared: tuple[str, ...]) -> Item:
    query, own = item.value
    if not (own or shared):
        raise UsageError(
            f"no documents: {model.name!r} is a reranker",
            where=item.where,
            fix="give each with --document TEXT, or a file with --documents FILE; the prompt is "
            "the query",
        )
    return Item((query, (*own, *shared)), item.where, item.id)


def _require_no_texts(model: ServedModel, texts: Sequence[str]) -> None:
    if texts:
        raise UsageError(
            f"{model.name!r} takes no text: its task is {model.task}", fix=_HOW[model.task]
        )


def _require_fitting(model: ServedModel, options: TaskOptions) -> None:
    """Raise UsageError for an option that the model's task does not use."""
    for one in fields(options):
        models, value = one.metadata["models"], getattr(options, one.name)
        if value and model.task not in models.tasks:
            raise UsageError(
                f"{_flag(one.name)} is for {models.words}, and the task of {model.name!r} is "
                f"{model.task}",
                fix=f"leave out {_flag(one.name)}",
            )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _embed(values: tuple[Any, ...], options: TaskOptions) -> TaskRequest:
    kind = options.embedding_type.lower()
    return EmbedRequest(
        values,
        options.input_type.lower(),
        options.dimensions,
        options.truncate.lower(),
        "" if kind == "base64" else kind,
        options.prompt_name,
    )


def _rank(values: tuple[Any, ...], options: TaskOptions) -> TaskRequest:
    ((query, documents),) = values
    return RerankRequest(query, documents, options.top_n, options.truncate.lower())


def _transcribe(values: tuple[Any, ...], options: TaskOptions) -> TaskRequest:
    return TranscribeRequest(
        values,
        options.language,
        translate=options.translate,
        timestamps=options.timestamps,
    )


_HOW_TEXT = "give a text as an argument or with -p TEXT, or a file with --input FILE"
_HOW = {
    ServedTask.IMAGE_CLASSIFY: "give an image with --image FILE",
    ServedTask.TRANSCRIBE: "give a recording with --audio FILE",
}
_MAKERS: Mapping[ServedTask, Callable[[tuple[Any, ...], TaskOptions], TaskRequest]] = {
    **dict.fromkeys((one for one in ServedTask if one.makes_vectors), _embed),
    **dict.fromkeys(_GENERATING, lambda values, _: GenerateRequest(values[0])),
    ServedTask.RERANK: _rank,
    ServedTask.SCORE: lambda values, asked: ScoreRequest(values, asked.truncate.lower()),
    ServedTask.CLASSIFY: lambda values, asked: ClassifyRequest(
        values, asked.truncate.lower(), asked.raw_scores
    ),
    ServedTask.IMAGE_CLASSIFY: lambda values, asked: ImageClassifyRequest(values, asked.raw_scores),
    ServedTask.TOKEN_CLASSIFY: lambda values, asked: TokenClassifyRequest(
        values, asked.truncate.lower(), asked.aggregation.lower()
    ),
    ServedTask.TRANSCRIBE: _transcribe,
}
