"""The two Python models, against Python backends that can put a key on a response or cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import ensemble
from support.checkpoints import write_tokenizer
from support.fake_pb_utils import Request, loaded
from trtbuild_engine_flow.resources import template_dir

FOLDER = template_dir("ensemble")


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the two models' version directories, and a shared memory of its own."""
    monkeypatch.delenv("TRTBUILD_REHEARSAL", raising=False)
    mailbox = ensemble.module("llm_mailbox")
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr(mailbox, "Path", lambda _: shared)
    for part in ("preprocessing", "postprocessing"):
        write_tokenizer(_made(tmp_path / "repository" / f"llm_{part}" / "1" / "tokenizer"))
    return tmp_path / "repository"


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


class Pair:
    """Preprocessing and postprocessing, started."""

    def __init__(self, repo: Path, modules: dict[str, Any]) -> None:
        self.models = {}
        for part, module in modules.items():
            model = module.TritonPythonModel()
            config = {"parameters": {"tokenizer_dir": {"string_value": "tokenizer"}}}
            model.initialize(
                {
                    "model_config": json.dumps(config),
                    "model_repository": str(repo / f"llm_{part}"),
                    "model_version": "1",
                }
            )
            self.models[part] = model

    def pre(self, *requests: Request) -> list[Any]:
        return list(self.models["preprocessing"].execute(list(requests)))

    def post(self, *requests: Request) -> list[Any]:
        return list(self.models["postprocessing"].execute(list(requests)))


@pytest.fixture
def pair(repo: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    labels = getattr(request, "param", True)
    pre, post = (FOLDER / part / "model.py" for part in ("preprocessing", "postprocessing"))
    with (
        loaded(pre, *ensemble.DIRECTORIES, labels=labels) as one,
        loaded(post, *ensemble.DIRECTORIES, labels=labels) as two,
    ):
        yield Pair(repo, {"preprocessing": one, "postprocessing": two})


def piece(token: int, **known: Any) -> Request:
    ids = np.array([[[token]]], dtype=np.int32)
    return Request(TOKENS_BATCH=ids, SEQUENCE_LENGTH=1, **known)


def words(pair: Pair, ids: list[int], **known: Any) -> tuple[str, Any]:
    """What postprocessing says of tokens that come one by one, and its last response."""
    said = ""
    for token in ids:
        (response,) = pair.post(piece(token, **known))
        assert response.error is None
        said += response.outputs["OUTPUT"][0, 0].decode()
    return said, response


def test_the_key_travels_as_the_sequence_id(pair: Pair) -> None:
    first, second = pair.pre(
        Request(QUERY="The capital of France", REQUEST_OUTPUT_LEN=3, STREAM=True),
        Request(QUERY="three", REQUEST_OUTPUT_LEN=3, STREAM=True, STOP_WORDS_DICT="e"),
    )
    keys = [found.parameters["sequence_id"] for found in (first, second)]
    assert keys[0] != keys[1]
    assert "STREAM_KEY" not in first.outputs
    ids = first.outputs["INPUT_ID"][0].tolist()[:3]
    said, last = words(pair, ids, correlation_id=keys[0])
    assert said
    assert "The capital of France".startswith(said)
    assert last.outputs["FINISH_REASON"].tolist() == [[b"length"]]
    assert last.outputs["NUM_INPUT_TOKENS"].tolist() == [[first.outputs["INPUT_ID"].shape[1]]]
    said, last = words(pair, second.outputs["INPUT_ID"][0].tolist()[:1], correlation_id=keys[1])
    assert "e" not in said


@pytest.mark.parametrize("pair", [False], indirect=True)
def test_a_rehearsal_echoes_the_key(repo: Path, pair: Pair, monkeypatch: Any) -> None:
    monkeypatch.setenv("TRTBUILD_REHEARSAL", "somewhere")
    pre = FOLDER / "preprocessing" / "model.py"
    with loaded(pre, *ensemble.DIRECTORIES, labels=False) as module:
        rehearsing = Pair(repo, {"preprocessing": module})
        (found,) = rehearsing.pre(Request(QUERY="one two three", REQUEST_OUTPUT_LEN=2))
    key = found.outputs["STREAM_KEY"]
    assert key.dtype == np.uint64
    ids = np.array([[found.outputs["INPUT_ID"][0, :2]]], dtype=np.int32)
    (answer,) = pair.post(Request(TOKENS_BATCH=ids, STREAM_KEY=key))
    assert answer.outputs["FINISH_REASON"].tolist() == [[b"length"]]


@pytest.mark.parametrize("pair", [False], indirect=True)
def test_an_older_server_needs_request_ids(pair: Pair) -> None:
    given: dict[str, Any] = {"QUERY": "one two three", "REQUEST_OUTPUT_LEN": 2}
    refused, plain, named = pair.pre(
        Request(**given, STREAM=True),
        Request(**given),
        Request("a client's", **given, STREAM=True),
    )
    assert "before 25.02" in refused.error.message
    assert refused.error.code == "INVALID_ARG"
    assert plain.error is None
    ids = named.outputs["INPUT_ID"][0].tolist()[:2]
    said, last = words(pair, ids, request_id="a client's")
    assert said
    assert last.outputs["FINISH_REASON"].tolist() == [[b"length"]]


def test_one_wrong_request_does_not_fail_the_others(pair: Pair) -> None:
    good, wrong, also_good = pair.pre(
        Request(QUERY="one"), Request(REQUEST_OUTPUT_LEN=1), Request(QUERY="two")
    )
    assert good.error is None and also_good.error is None
    assert "either 'text_input' or 'messages'" in wrong.error.message
    key = good.parameters["sequence_id"]
    broken = Request(TOKENS_BATCH=np.array([[["x"]]], dtype=np.object_), correlation_id=key)
    lost, fine = pair.post(broken, piece(300, correlation_id=also_good.parameters["sequence_id"]))
    assert lost.error is not None
    assert fine.error is None


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ('[{"role": "user", "content": "\\ud800"}]', "half of a surrogate pair"),
        ("[" * 100_000, "'messages' is not valid JSON"),
    ],
)
def test_messages_that_no_text_can_be_made_of_fail_alone(
    pair: Pair, messages: str, why: str
) -> None:
    good, wrong = pair.pre(Request(QUERY="one"), Request(MESSAGES=messages))
    assert good.error is None
    assert why in wrong.error.message
    assert wrong.error.code == "INVALID_ARG"


def test_what_breaks_the_tokenizer_or_the_mailbox_fails_alone(pair: Pair) -> None:
    model = pair.models["preprocessing"]
    encode, put = model._tokenizer.encode, model._mailbox.put

    def broken(texts: list[str], special: bool) -> Any:
        if "two" in texts:
            raise TypeError("no text")
        return encode(texts, special)

    def full(key: int, text: str) -> None:
        if '"max": [7]' in text:
            raise OSError(28, "No space left on device")
        put(key, text)

    model._tokenizer.encode, model._mailbox.put = broken, full
    good, bad, lost = pair.pre(
        Request(QUERY="one"), Request(QUERY="two"), Request(QUERY="one", REQUEST_OUTPUT_LEN=7)
    )
    assert good.error is None
    assert "the prompt cannot be encoded: no text" in bad.error.message
    assert "No space left on device" in lost.error.message
    assert (bad.error.code, lost.error.code) == ("INVALID_ARG", "INTERNAL")


def test_a_panic_of_the_rust_library_fails_alone(repo: Path) -> None:
    """Its Strip does so on a token without text, and what it raises is not an Exception."""
    place = repo / "llm_postprocessing" / "1" / "tokenizer" / "tokenizer.json"
    document = json.loads(place.read_text(encoding="utf-8"))
    gone = {"type": "Replace", "pattern": {"String": "Ġ"}, "content": ""}
    strip = {"type": "Strip", "content": " ", "start": 0, "stop": 1}
    document["decoder"] = {"type": "Sequence", "decoders": [gone, strip]}
    place.write_text(json.dumps(document), encoding="utf-8")
    vocabulary = document["model"]["vocab"]
    post = FOLDER / "postprocessing" / "model.py"
    with loaded(post, *ensemble.DIRECTORIES, labels=True) as module:
        pair = Pair(repo, {"postprocessing": module})
        broken, whole = pair.post(piece(vocabulary["Ġ"]), piece(vocabulary["a"]))
    assert "PanicException" in broken.error.message
    assert whole.outputs["OUTPUT"].tolist() == [[b"a"]]


def test_a_stream_that_an_end_id_ended_is_forgotten_at_once(pair: Pair) -> None:
    """The engine has one end_id, and takes a checkpoint's others for stop words: it sends them."""
    post = pair.models["postprocessing"]
    (found,) = pair.pre(Request(QUERY="one", STREAM=True))
    key = found.parameters["sequence_id"]
    words(pair, found.outputs["INPUT_ID"][0].tolist(), correlation_id=key)
    assert len(post._streams) == 1
    (last,) = pair.post(piece(2, correlation_id=key))
    assert last.outputs["FINISH_REASON"].tolist() == [[b"stop"]]
    assert len(post._streams) == 0


def test_the_end_token_comes_alone_and_ends_the_stream(pair: Pair) -> None:
    (found,) = pair.pre(Request(QUERY="one two three", REQUEST_OUTPUT_LEN=50, STREAM=True))
    key = found.parameters["sequence_id"]
    words(pair, found.outputs["INPUT_ID"][0].tolist(), correlation_id=key)
    nothing = np.zeros((1, 1, 0), dtype=np.int32)
    (last,) = pair.post(Request(TOKENS_BATCH=nothing, correlation_id=key))
    assert last.outputs["OUTPUT"].tolist() == [[b""]]
    assert last.outputs["FINISH_REASON"].tolist() == [[b"stop"]]


def test_a_wrong_setting_fails_the_load_with_its_name(repo: Path) -> None:
    with loaded(
        FOLDER / "preprocessing" / "model.py", *ensemble.DIRECTORIES, labels=True
    ) as module:
        model = module.TritonPythonModel()
        config = {"parameters": {"tokenizer_dir": {"string_value": "elsewhere"}}}
        with pytest.raises(Exception, match="'elsewhere' is not a directory"):
            model.initialize(
                {
                    "model_config": json.dumps(config),
                    "model_repository": str(repo / "llm_preprocessing"),
                    "model_version": "1",
                }
            )
