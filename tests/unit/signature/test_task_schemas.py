"""Request schemas of scores, tokens, sparse and multi-vectors, images and recordings."""

from __future__ import annotations

import base64
import io
import json
import wave
from dataclasses import replace
from typing import Any

import pytest

from support.schemas import answered, dialect, model, outputs, sent
from trtbuild.errors import ServerError, UsageError
from trtbuild.modelspec import Head, HeadKind
from trtbuild.signature import ServedModel, ServedTask, recognize
from trtbuild.signature.requests import (
    Classification,
    ClassifyAnswer,
    EmbedRequest,
    Entity,
    ImageClassifyRequest,
    MultiVectorAnswer,
    Ranked,
    RerankAnswer,
    RerankRequest,
    ScoreAnswer,
    ScoreRequest,
    Segment,
    SparseAnswer,
    TaskAnswer,
    TaskRequest,
    TokenClassifyAnswer,
    TokenClassifyRequest,
    TranscribeAnswer,
    TranscribeRequest,
    Transcription,
)
from trtbuild.wire.tensors import Outputs, TensorValue

RERANK = model("rerank", "rerank", "query passage", "index logit score", max_batch_size=2)
SCORE = model("score", "score", "text text_pair", "score logit", max_batch_size=2)
SPARSE = model("sparse", "sparse", "text", "indices values", max_batch_size=8)
COLBERT = model("multi-vector", "multi-vector", "text", "token_embeddings", max_batch_size=8)
TOKENS = model("token-classify", "token-classify", "text", "entities scores", max_batch_size=8)
IMAGES = model("image-classify", "image-classify", "image", "scores label", max_batch_size=8)
AUDIO = model("transcribe", "transcribe", "audio", "text", max_batch_size=8)
ALL = [RERANK, SCORE, SPARSE, COLBERT, TOKENS, IMAGES, AUDIO]
PAIRS = ScoreRequest((("q", "a"), ("r", "b"), ("s", "c")))


def matrix(name: str, shape: tuple[int, ...], data: list[float]) -> Outputs:
    return {name: TensorValue(name, "FP32", shape, data)}


@pytest.mark.parametrize(
    ("inputs", "outputs_", "task"),
    [
        ("text text_pair", "score logit token_count", "score"),
        ("text", "score", "score"),
        ("text", "indices values token_count", "sparse"),
        ("text", "token_embeddings vector_count", "multi-vector"),
        ("text", "entities scores token_count", "token-classify"),
        ("image", "scores label", "image-classify"),
        ("audio", "text language", "transcribe"),
        ("text", "embeddings token_count indices values", "embed"),
        ("text", "indices", "tensor"),
        ("image", "text_output", "tensor"),
    ],
)
def test_a_task_is_recognized_by_its_tensors(inputs: str, outputs_: str, task: str) -> None:
    schema = "" if task == "tensor" else task
    assert recognize(inputs.split(), outputs_.split()) == (task, schema)


@pytest.mark.parametrize("served", ALL, ids=lambda one: one.request_schema)
def test_the_example_fits_its_own_model_and_no_other_task(served: ServedModel) -> None:
    own = dialect(served).example(served)
    assert sent(served, own)
    requests: list[TaskRequest] = [
        EmbedRequest(("a",)), PAIRS, TokenClassifyRequest(("a",)), ImageClassifyRequest(("a",)),
        TranscribeRequest(("a",)),
    ]  # fmt: skip
    for request in requests:
        ranks = served.task in ("rerank", "score") and isinstance(request, ScoreRequest)
        if ranks or isinstance(request, type(own)):
            continue
        with pytest.raises(UsageError, match="'m' cannot ") as error:
            sent(served, request)
        assert error.value.fix


def test_a_head_decides_the_task_of_an_embedding_model() -> None:
    assert ServedTask.of("embed", Head(HeadKind.SPARSE)) is ServedTask.SPARSE
    assert ServedTask.of("embed", Head(HeadKind.MULTI_VECTOR)) is ServedTask.MULTI_VECTOR
    assert ServedTask.of("embed", Head()) is ServedTask.of("embed") is ServedTask.EMBED
    assert ServedTask.of("rerank", Head(HeadKind.SCORE)) is ServedTask.RERANK
    assert ServedTask.of("audio") is ServedTask.TENSOR


def test_a_reranker_also_scores_pairs_in_the_order_of_the_request() -> None:
    assert sent(RERANK, PAIRS) == [
        {"query": ["q", "r"], "passage": ["a", "b"]}, {"query": "s", "passage": "c"},
    ]  # fmt: skip
    sorted_rows = outputs(index=[1, 0], score=[0.9, 0.1], logit=[2, -2], token_count=[4, 5])
    answer = answered(RERANK, PAIRS, sorted_rows, outputs(index=[0], score=[0.5], logit=[0]))
    assert answer == ScoreAnswer(
        (Ranked(0, 0.1, -2.0), Ranked(1, 0.9, 2.0), Ranked(2, 0.5, 0.0)), (4, 5)
    )


def test_a_scorer_of_pairs_also_ranks_documents() -> None:
    request = RerankRequest("q", ("a", "b"), top_n=1)
    assert sent(SCORE, request) == [{"text": ["q", "q"], "text_pair": ["a", "b"]}]
    answer = answered(SCORE, request, outputs(score=[0.25, 0.75]))
    assert answer == RerankAnswer((Ranked(1, 0.75),))


def test_a_scorer_of_single_texts_takes_no_pairs() -> None:
    reward = replace(SCORE, inputs=SCORE.inputs[:1])
    assert sent(reward, ScoreRequest(("a", "b"))) == [{"text": ["a", "b"]}]
    assert dialect(reward).example(reward) == ScoreRequest(("Hello",))
    with pytest.raises(UsageError, match="takes no pairs of texts"):
        sent(reward, PAIRS)
    for both in (SCORE, RERANK):
        with pytest.raises(UsageError, match="takes pairs of texts"):
            sent(both, ScoreRequest(("a",)))


def test_sparse_vectors_lose_their_padding() -> None:
    request = EmbedRequest(("a", "b"), "query", truncate="end")
    (one,) = dialect(SPARSE).requests(SPARSE, request)
    assert one.parameters == {"input_type": "query", "truncate": "END"}
    answer = answered(
        SPARSE,
        request,
        outputs(indices=[7, 2, 5, -1], values=[0.5, 0.25, 1, 0], token_count=[3, 2]),
    )
    assert answer == SparseAnswer(({7: 0.5, 2: 0.25}, {5: 1.0}), (3, 2))
    empty = answered(SPARSE, request, outputs(indices=[], values=[]))
    assert empty == SparseAnswer(({}, {}))


def test_each_text_has_the_vectors_that_are_counted() -> None:
    data = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]
    request = EmbedRequest(("a", "b"))
    whole = matrix("token_embeddings", (2, 3, 2), data)
    first, second = ((1, 2), (3, 4), (5, 6)), ((7, 8),)
    for name in ("vector_count", "token_count"):
        answer = answered(COLBERT, request, {**whole, **outputs(**{name: [3, 1]})})
        assert answer.vectors == (first, second)  # type: ignore[union-attr]
    both = {**whole, **outputs(vector_count=[3, 1], token_count=[5, 4])}
    assert answered(COLBERT, request, both) == MultiVectorAnswer((first, second), (5, 4))
    uncounted = answered(COLBERT, request, whole)
    assert uncounted.vectors[1] == ((7, 8), (0, 0), (0, 0))  # type: ignore[union-attr]


def test_entities_have_transformers_keys() -> None:
    rows = [
        [{"entity_group": "LOC", "score": 0.5, "word": "Paris", "start": 3, "end": 8}],
        [{"entity": "B-PER", "score": 1, "start": 0, "end": 3}],
    ]
    request = TokenClassifyRequest(("in Paris", "Ada"), "none", "first")
    (one,) = dialect(TOKENS).requests(TOKENS, request)
    assert one.parameters == {"truncate": "NONE", "aggregation": "first"}
    answer = answered(TOKENS, request, outputs(entities=[json.dumps(row).encode() for row in rows]))
    assert answer == TokenClassifyAnswer(
        ((Entity("LOC", 0.5, "Paris", 3, 8),), (Entity("B-PER", 1.0, "", 0, 3),))
    )


def test_images_get_labels() -> None:
    request = ImageClassifyRequest(("QUJD",), raw_scores=True)
    (one,) = dialect(IMAGES).requests(IMAGES, request)
    assert one.parameters == {"raw_scores": True} and one.inputs[0].data == ["QUJD"]
    served = replace(IMAGES, head=Head(labels=("cat", "dog")))
    assert answered(served, request, outputs(scores=[1, 3], label=[b"dog"])) == ClassifyAnswer(
        (Classification("dog", {"cat": 1.0, "dog": 3.0}),)
    )


def test_recordings_become_text_with_times() -> None:
    request = TranscribeRequest(("QUJD",), "de", "Ada", translate=True, timestamps=True)
    (one,) = dialect(AUDIO).requests(AUDIO, request)
    assert one.parameters == {
        "language": "de", "prompt": "Ada", "task": "translate", "timestamps": True,
    }  # fmt: skip
    parts = json.dumps([{"start": 0, "end": 1.5, "text": "hi"}])
    answer = answered(
        AUDIO,
        request,
        outputs(text=[b"hi"], language=[b"de"], duration=[1.5], segments=[parts.encode()]),
    )
    expected = Transcription("hi", "de", 1.5, (Segment(0.0, 1.5, "hi"),))
    assert answer == TranscribeAnswer((expected,))
    plain: TaskAnswer = answered(AUDIO, request, outputs(text=[b""]))
    assert plain == TranscribeAnswer((Transcription(""),))


def test_the_examples_are_files_that_others_read() -> None:
    from PIL import Image

    image = dialect(IMAGES).example(IMAGES).images[0]  # type: ignore[union-attr]
    with Image.open(io.BytesIO(base64.b64decode(image))) as opened:
        assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (32, 32))
        assert opened.getpixel((31, 31)) == (128, 128, 128)
    audio = dialect(AUDIO).example(AUDIO).audio[0]  # type: ignore[union-attr]
    with wave.open(io.BytesIO(base64.b64decode(audio))) as file:
        assert (file.getframerate(), file.getnframes()) == (16000, 1600)


@pytest.mark.parametrize(
    ("served", "request_", "what"),
    [
        (SPARSE, EmbedRequest(()), "no text was given"),
        (TOKENS, TokenClassifyRequest(()), "no text was given"),
        (SCORE, ScoreRequest(()), "no text was given"),
        (IMAGES, ImageClassifyRequest(()), "no image was given"),
        (AUDIO, TranscribeRequest(()), "no recording was given"),
        (SCORE, ScoreRequest((("a", "b"), "c")), "some inputs are pairs"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent(served: ServedModel, request_: TaskRequest, what: str) -> None:
    with pytest.raises(UsageError, match=what) as error:
        sent(served, request_)
    assert error.value.fix


@pytest.mark.parametrize(
    ("served", "request_", "response", "what"),
    [
        (SPARSE, EmbedRequest(("a",)), outputs(indices=[1]), "missing or differ"),
        (SPARSE, EmbedRequest(("a",)), outputs(indices=[1], values=[1, 2]), "missing or differ"),
        (COLBERT, EmbedRequest(("a",)),
         {**matrix("token_embeddings", (1, 1, 2), [1, 2]), **outputs(vector_count=[2])},
         "2 vectors are counted and 1 were sent"),
        (TOKENS, TokenClassifyRequest(("a",)), outputs(entities=[b"{"]), "not the JSON list"),
        (TOKENS, TokenClassifyRequest(("a",)), outputs(entities=[b"[1]"]), "not the JSON list"),
        (IMAGES, ImageClassifyRequest(("a",)), outputs(label=[b"x"]), "no 'scores'"),
        (AUDIO, TranscribeRequest(("a",)), outputs(text=[b"x"], segments=[b"7"]), "JSON list"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_fit(
    served: ServedModel, request_: TaskRequest, response: dict[str, Any], what: str
) -> None:
    with pytest.raises(ServerError, match=what) as error:
        answered(served, request_, response)
    assert error.value.fix
