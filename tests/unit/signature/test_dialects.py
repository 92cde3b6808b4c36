"""Request schemas: a task's request to tensors, and tensors to chunks or an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT
from support.schemas import answered, dialect, model, outputs, sent
from trtbuild.errors import ServerError, UsageError
from trtbuild.modelspec import Head
from trtbuild.signature import ServedModel, ServedTask, Tensor, of_server
from trtbuild.signature.dialects import SchemaFacts, discovery, installed, recognize
from trtbuild.signature.requests import (
    Classification,
    ClassifyAnswer,
    ClassifyRequest,
    EmbedAnswer,
    EmbedRequest,
    GenerateRequest,
    Ranked,
    RerankAnswer,
    RerankRequest,
    TaskRequest,
)
from trtbuild.signature.sampling import Sampling
from trtbuild.wire.records import ModelMetadata
from trtbuild.wire.tensors import InferRequest, Outputs, TensorValue

VLLM = model("vllm", "generate", "text_input stream sampling_parameters exclude_input_in_output "
             "return_finish_reason embedding_request image return_num_input_tokens")  # fmt: skip
LLMAPI = model("llmapi", "generate", "text_input streaming sampling_param_max_tokens "
               "sampling_param_temperature sampling_param_seed")  # fmt: skip
ENSEMBLE = model("ensemble", "generate", "text_input max_tokens stream random_seed stop_words")
EMBED = model("embed", "embed", "text", "embeddings token_count", max_batch_size=2)
RERANK = model("rerank", "rerank", "query passage", "index logit", max_batch_size=2)
CLASSIFY = model("classify", "classify", "text text_pair", "scores label", max_batch_size=8)
CLASSIFY = replace(
    CLASSIFY, inputs=(CLASSIFY.inputs[0], replace(CLASSIFY.inputs[1], optional=True))
)
SAMPLING = Sampling(max_tokens=5, temperature=0, seed=3, stop=("a", "b"))


def test_vllm_takes_all_sampling_values_as_one_json_text() -> None:
    (values,) = sent(VLLM, GenerateRequest("hi", SAMPLING))
    assert json.loads(values.pop("sampling_parameters")) == {
        "max_tokens": 5, "temperature": 0, "seed": 3, "stop": ["a", "b"],
    }  # fmt: skip
    assert values == {
        "text_input": "hi", "stream": True, "exclude_input_in_output": True,
        "return_finish_reason": True, "return_num_input_tokens": True,
    }  # fmt: skip


def test_images_go_to_models_that_take_them() -> None:
    request = GenerateRequest("<image>", SAMPLING, images=("QUJD", "REVG"))
    assert sent(VLLM, request)[0]["image"] == ["QUJD", "REVG"]
    with pytest.raises(UsageError, match="takes no images"):
        sent(ENSEMBLE, request)


def test_llm_api_has_a_tensor_for_each_value_and_repeats_its_text() -> None:
    assert sent(LLMAPI, GenerateRequest("hi", SAMPLING, stream=False)) == [{
        "text_input": "hi", "streaming": False, "sampling_param_max_tokens": 5,
        "sampling_param_temperature": 0, "sampling_param_seed": 3,
    }]  # fmt: skip
    read = dialect(LLMAPI).reader(LLMAPI)
    texts = [read(outputs(text_output=[text])).text for text in ("one", "one two", "one two!")]
    assert texts == ["one", " two", "!"]


def test_our_llm_api_model_sends_deltas_and_streams_only_where_it_can() -> None:
    ours = replace(LLMAPI, outputs=(*LLMAPI.outputs, Tensor("num_output_tokens", "INT32")))
    read = dialect(ours).reader(ours)
    assert [read(outputs(text_output=["ha"])).text for _ in range(2)] == ["ha", "ha"]
    for decoupled, streams in ((True, True), (None, True), (False, False)):
        (asked,) = sent(replace(ours, decoupled=decoupled), GenerateRequest("hi"))
        assert asked["streaming"] is streams


def test_ensembles_have_their_own_names_and_send_deltas() -> None:
    assert sent(ENSEMBLE, GenerateRequest("hi", SAMPLING)) == [{
        "text_input": "hi", "stream": True, "max_tokens": 5, "random_seed": 3,
        "stop_words": ["a", "b"],
    }]  # fmt: skip
    read = dialect(ENSEMBLE).reader(ENSEMBLE)
    assert [read(outputs(text_output=["ha"])).text for _ in range(2)] == ["ha", "ha"]


@pytest.mark.parametrize(
    ("served", "ignored"),
    [(VLLM, ()), (LLMAPI, ("stop",)), (ENSEMBLE, ("temperature",))],
    ids=lambda value: getattr(value, "request_schema", None),
)
def test_values_without_a_tensor_are_ignored(served: ServedModel, ignored: tuple[str, ...]) -> None:
    assert dialect(served).ignored(served, GenerateRequest("", SAMPLING)) == ignored


def test_a_chunk_has_counts_the_reason_and_log_probabilities() -> None:
    read = dialect(VLLM).reader(VLLM)
    end = read(
        outputs(
            text_output=[b"caf\xc3\xa9"], finish_reason=[b"stop"], num_output_tokens=[2],
            num_input_tokens=[4], logprobs=['[{"a": -1}]', '[null, {"b": -2}]'],
        )
    )  # fmt: skip
    assert (end.text, end.finish_reason, end.output_tokens, end.input_tokens) == (
        "café",
        "stop",
        2,
        4,
    )
    assert (end.logprobs, end.prompt_logprobs) == (({"a": -1},), (None, {"b": -2}))
    empty = read(outputs(text_output=[""], finish_reason=["None"], num_output_tokens=[]))
    assert (empty.text, empty.finish_reason, empty.output_tokens, empty.logprobs) == (
        "",
        "",
        None,
        (),
    )


POOLING = replace(
    VLLM, task=ServedTask.EMBED, head=Head(prompts={"query": "query: ", "document": "text: "})
)


def test_vllm_embeds_one_text_a_request() -> None:
    request = EmbedRequest(("a", (1, 2)), input_type="query", dimensions=2)
    asked = sent(POOLING, request)
    bodies = [json.loads(values["embedding_request"]) for values in asked]
    options = {"pooling_params": {"dimensions": [2]}}
    assert bodies == [{"input": "query: a", **options}, {"input": [1, 2], **options}]
    assert asked[0]["text_input"] == "" and asked[0]["return_num_input_tokens"] is True
    responses = [outputs(text_output=[f"[{n}, 0.5]"], num_input_tokens=[n]) for n in (3, 4)]
    expected = EmbedAnswer(((3.0, 0.5), (4.0, 0.5)), (3, 4))
    assert answered(POOLING, request, *responses) == expected
    bits = EmbedRequest(("a",), embedding_type="ubinary", prompt_name="document")
    assert json.loads(sent(POOLING, bits)[0]["embedding_request"])["input"] == "text: a"
    packed = answered(POOLING, bits, outputs(text_output=["[1, -1, 0.5]"]))
    assert packed == EmbedAnswer(((0b10100000,),))


def test_a_passage_is_a_document() -> None:
    for use, expected in (("passage", "text: a"), ("document", "text: a"), ("", "a"), ("x", "a")):
        (values,) = sent(POOLING, EmbedRequest(("a",), input_type=use))
        assert json.loads(values["embedding_request"])["input"] == expected


@pytest.mark.parametrize("said", ["[]", "no", '"text"'])
def test_what_is_no_vector_is_reported(said: str) -> None:
    with pytest.raises(ServerError, match="is not the JSON text of a vector"):
        answered(POOLING, EmbedRequest(("a",)), outputs(text_output=[said]))


def test_embeddings_go_in_batches_of_the_models_size() -> None:
    request = EmbedRequest(("a", "b", "c"), "passage", 2, "end")
    first, second = dialect(EMBED).requests(EMBED, request)
    asked = {"input_type": "passage", "dimensions": 2, "truncate": "END"}
    assert first == InferRequest((TensorValue("text", "BYTES", (2, 1), ["a", "b"]),), asked)
    assert second.inputs[0].shape == (1, 1)
    answer = answered(
        EMBED,
        request,
        outputs(embeddings=[1, 2, 3, 4], token_count=[5, 6]),
        outputs(embeddings=[7, 8]),
    )
    assert answer == EmbedAnswer(((1, 2), (3, 4), (7, 8)), (5, 6))


def test_a_model_without_a_batch_dimension_takes_all_at_once() -> None:
    served = replace(EMBED, max_batch_size=0)
    (one,) = dialect(served).requests(served, EmbedRequest(("a", "b", "c")))
    assert one == InferRequest((TensorValue("text", "BYTES", (3,), ["a", "b", "c"]),))


def test_documents_come_best_first_over_all_batches() -> None:
    request = RerankRequest("q", ("a", "b", "c"), top_n=2)
    assert sent(RERANK, request) == [
        {"query": ["q", "q"], "passage": ["a", "b"]}, {"query": "q", "passage": "c"},
    ]  # fmt: skip
    answer = answered(
        RERANK, request, outputs(index=[1, 0], logit=[2.0, -1.0]), outputs(index=[0], logit=[0.5])
    )
    assert answer == RerankAnswer((Ranked(1, 2.0, 2.0), Ranked(2, 0.5, 0.5)))
    scored = answered(
        replace(RERANK, max_batch_size=4),
        request,
        outputs(score=[0.1, 0.9, 0.2], token_count=[7, 8, 9]),
    )
    assert scored == RerankAnswer((Ranked(1, 0.9), Ranked(2, 0.2)), (7, 8, 9))


def test_labels_come_with_a_score_each() -> None:
    served = replace(CLASSIFY, head=Head(labels=("bad", "good")))
    request = ClassifyRequest(("x", "y"), raw_scores=True)
    (one,) = dialect(served).requests(served, request)
    assert one.parameters == {"raw_scores": True}
    answer = answered(
        served, request, outputs(scores=[0.9, 0.1, 0.2, 0.8], label=[b"bad", b"good"])
    )
    assert answer == ClassifyAnswer(
        (Classification("bad", {"bad": 0.9, "good": 0.1}),
         Classification("good", {"bad": 0.2, "good": 0.8}))
    )  # fmt: skip
    unnamed = answered(CLASSIFY, ClassifyRequest(("x",)), outputs(scores=[0.1, 0.9]))
    assert unnamed == ClassifyAnswer((Classification("LABEL_1", {"LABEL_0": 0.1, "LABEL_1": 0.9}),))


def test_pairs_are_two_columns() -> None:
    request = ClassifyRequest((("a", "b"), ("c", "d")))
    assert sent(CLASSIFY, request) == [{"text": ["a", "c"], "text_pair": ["b", "d"]}]


ALL = [VLLM, POOLING, LLMAPI, ENSEMBLE, EMBED, RERANK, CLASSIFY]
REQUESTS = [
    GenerateRequest("a"), EmbedRequest(("a",)), RerankRequest("a", ("b",)), ClassifyRequest(("a",)),
]  # fmt: skip


@pytest.mark.parametrize("served", ALL, ids=lambda one: f"{one.request_schema}-{one.task}")
def test_a_request_of_another_task_is_refused_with_a_fix(served: ServedModel) -> None:
    own = type(dialect(served).example(served))
    assert sent(served, dialect(served).example(served))
    embeds_too = served is VLLM  # a server does not say whether its vLLM pools
    for request in REQUESTS:
        if isinstance(request, own) or (embeds_too and isinstance(request, EmbedRequest)):
            continue
        with pytest.raises(UsageError, match="'m' cannot ") as error:
            sent(served, request)
        assert error.value.fix and served.task in error.value.where


@pytest.mark.parametrize(
    ("served", "request_", "what"),
    [
        (EMBED, EmbedRequest(()), "no text was given"),
        (EMBED, EmbedRequest(((1, 2),)), "takes texts, not token ids"),
        (POOLING, EmbedRequest(()), "no text was given"),
        (POOLING, EmbedRequest(("a",), truncate="end"), "cannot truncate"),
        (POOLING, EmbedRequest(("a",), embedding_type="int4"), "unknown embedding type 'int4'"),
        (POOLING, EmbedRequest(("a",), prompt_name="code"), "has no prompt 'code'"),
        (RERANK, RerankRequest("q", ()), "no text was given"),
        (CLASSIFY, ClassifyRequest((("a", "b"), "c")), "some inputs are pairs"),  # type: ignore[arg-type]
        (replace(CLASSIFY, inputs=CLASSIFY.inputs[:1]), ClassifyRequest((("a", "b"),)), "no pairs"),
    ],
)
def test_what_a_model_cannot_do(served: ServedModel, request_: TaskRequest, what: str) -> None:
    with pytest.raises(UsageError, match=what) as error:
        sent(served, request_)
    assert error.value.fix


@pytest.mark.parametrize(
    ("served", "request_", "response", "what"),
    [
        (EMBED, EmbedRequest(("a", "b")), outputs(embeddings=[1, 2, 3]), "3 elements for 2 rows"),
        (EMBED, EmbedRequest(("a",)), outputs(embeddings=[]), "no 'embeddings'"),
        (EMBED, EmbedRequest(("a",)), outputs(), "no 'embeddings'"),
        (RERANK, RerankRequest("q", ("a", "b")), outputs(index=[0, 0], logit=[1, 2]),
         "each document"),
        (RERANK, RerankRequest("q", ("a",)), outputs(index=[0]), "no 'logit'"),
        (replace(CLASSIFY, head=Head(labels=("a",))), ClassifyRequest(("x",)),
         outputs(scores=[1, 2]), "2 scores came for 1 labels"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_fit_the_request(
    served: ServedModel, request_: TaskRequest, response: Outputs, what: str
) -> None:
    with pytest.raises(ServerError, match=what) as error:
        answered(served, request_, response)
    assert error.value.fix


@pytest.mark.parametrize(
    ("inputs", "outputs_", "expected"),
    [
        ("text", "embeddings token_count", ("embed", "embed")),
        ("query passage", "index logit", ("rerank", "rerank")),
        ("query passage", "score", ("rerank", "rerank")),
        ("text text_pair", "scores label", ("classify", "classify")),
        ("text", "logits", ("tensor", "")),
        ("query passage", "answer", ("tensor", "")),
        ("text_input", "text_output", ("tensor", "")),
    ],
)
def test_a_schema_is_recognized_by_its_tensors(
    inputs: str, outputs_: str, expected: tuple[str, str]
) -> None:
    assert recognize(inputs.split(), outputs_.split()) == expected


def test_a_server_describes_a_model_in_either_protocols_json() -> None:
    def answers(shape: Any, dims: Any) -> tuple[ModelMetadata, Mapping[str, Any]]:
        rows = [{"name": "text", "datatype": "BYTES", "shape": shape}]
        back = [{"name": "embeddings", "datatype": "FP32", "shape": shape}]
        config = {"max_batch_size": 8, "input": [{"name": "text", "dims": dims, "optional": True}]}
        return ModelMetadata.read({"name": "m", "inputs": rows, "outputs": back}), config

    grpc, http = of_server(*answers(["-1", "1"], ["1"])), of_server(*answers([-1, 1], [1]))
    assert grpc == http
    assert (grpc.task, grpc.request_schema, grpc.max_batch_size) == ("embed", "embed", 8)
    assert grpc.inputs == (Tensor("text", "STRING", (1,), optional=True),)
    assert grpc.decoupled is False
    assert of_server(ModelMetadata.read({"name": "m"}), {"platform": "ensemble"}).decoupled is None


PLUGIN = """
from trtbuild.signature import ServedTask
from trtbuild.signature.dialects import Dialect


class Pictures(Dialect):
    name = "pictures"

    def recognize(self, facts):
        return ServedTask.GENERATE if "picture" in facts.inputs else None


dialect = Pictures()


class Failing(Dialect):
    name = "failing"

    def recognize(self, facts):
        raise RuntimeError("no")


failing = Failing()
"""


def test_the_example_of_the_guide_works() -> None:
    guide = ROOT / "docs" / "guides" / "writing-a-request-schema.md"
    code = guide.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    found: dict[str, Any] = {}
    exec(code, found)
    made = found["dialect"]
    facts = SchemaFacts(frozenset({"source"}), frozenset({"translation"}))
    assert made.recognize(facts) == "generate" and made.recognize(SchemaFacts()) is None
    served = model("translate", "generate", "source", "translation")
    (one,) = made.requests(served, GenerateRequest("hi"))
    assert one.inputs == (TensorValue("source", "BYTES", (1,), ["hi"]),)
    assert made.reader(served)(outputs(translation=[b"salut"])).text == "salut"


def test_a_dialect_of_a_third_party_is_one_file_and_a_broken_one_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[trtbuild.dialects.v1]\npictures = plugin_pictures:dialect\nmissing = no_such_module:x\n"
        "text = plugin_pictures:PLUGIN\nother = plugin_pictures:dialect\n"
        "failing = plugin_pictures:failing\nwrong = plugin_pictures:Dialect\n"
    )
    (tmp_path / "plugin_pictures.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    discovery.installed.cache_clear()
    try:
        found = installed()
        assert recognize(["picture"], ["text"]) == ("generate", "pictures")
        assert recognize(["text"], ["embeddings"]) == ("embed", "embed")
    finally:
        discovery.installed.cache_clear()
    problems = {one.name: (one.distribution, one.problem) for one in found.broken}
    assert set(problems) == {"missing", "text", "other", "failing", "wrong"}
    assert all(distribution == "plugin 1.0" for distribution, _ in problems.values())
    assert "no_such_module" in problems["missing"][1]
    assert "calls itself 'pictures'" in problems["other"][1]
    assert "RuntimeError: no" in problems["failing"][1]
    assert {"vllm", "llmapi", "ensemble", "embed", "rerank", "classify"} <= {
        one.name for one in found.dialects
    }
