"""A live model is asked for the answers that its conversion kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trtbuild.client import reference
from trtbuild.errors import ServerError
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.signature.requests import (
    Classification,
    ClassifyAnswer,
    EmbedAnswer,
    EmbedRequest,
    MultiVectorAnswer,
    Ranked,
    ScoreAnswer,
    SparseAnswer,
    TaskRequest,
    TokenClassifyAnswer,
    TranscribeAnswer,
    Transcription,
)

ITEMS: dict[ServedTask, Any] = {
    ServedTask.EMBED: "a text", ServedTask.SPARSE: "a text", ServedTask.MULTI_VECTOR: "a text",
    ServedTask.CLASSIFY: "a text", ServedTask.TOKEN_CLASSIFY: "a text",
    ServedTask.RERANK: ["q", "p"], ServedTask.IMAGE_CLASSIFY: "iVBORw0K",
}  # fmt: skip


class Client:
    """Answers with ``row``, whatever it is asked."""

    row: tuple[float, ...] = ()
    asked: list[TaskRequest] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def ask(self, name: str, request: TaskRequest) -> Any:
        self.asked.append(request)
        if name == "embed":
            return EmbedAnswer((self.row,))
        if name == "rerank":
            return ScoreAnswer((Ranked(0, 0.5, self.row[0]),))
        if name == "sparse":
            return SparseAnswer(({at: one for at, one in enumerate(self.row) if one},))
        if name == "multi-vector":
            return MultiVectorAnswer(((self.row[:2], self.row[2:]),))
        if name == "token-classify":
            return TokenClassifyAnswer(((),), (1,), ((self.row,),))
        scores = {f"label {number}": value for number, value in enumerate(self.row)}
        return ClassifyAnswer((Classification("label 0", scores),))


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    monkeypatch.setattr(reference, "LLMClient", Client)
    monkeypatch.setattr(Client, "asked", [])
    return Client


def write(
    repository: Path, task: ServedTask, row: list[float], use: str = "", **limits: float
) -> None:
    folder = repository / task.value / "1"
    folder.mkdir(parents=True)
    kept = [{"input_type": use, "item": ITEMS[task], "row": row}]
    (folder / "reference.json").write_text(
        json.dumps({"kept": kept} | ({"limits": limits} if limits else {}))
    )


def ask(repository: Path, task: ServedTask) -> tuple[str, ...]:
    return reference.require_reference(
        "nowhere", {task.value: ServedModel(task.value, task)}, repository
    )


@pytest.mark.parametrize("task", ITEMS)
def test_equal_answers_pass_and_others_do_not(
    tmp_path: Path, client: type[Client], task: ServedTask
) -> None:
    row = [1.5] if task is ServedTask.RERANK else [1.5, -2.0, 0.25, 0.5]
    write(tmp_path, task, row)
    client.row = tuple(number + 1e-4 for number in row)
    assert ask(tmp_path, task) == (task.value,)
    client.row = tuple(-number for number in row)
    with pytest.raises(ServerError, match="does not answer as its reference does") as error:
        ask(tmp_path, task)
    assert "--force" in error.value.fix


@pytest.mark.parametrize(("limit", "equal"), [("mean_cosine", True), ("cosine", False)])
def test_int8_rounds_differently_on_every_machine(
    tmp_path: Path, client: type[Client], limit: str, equal: bool
) -> None:
    write(tmp_path, ServedTask.EMBED, [1.0, 0.0], **{limit: 0.98})
    client.row = (0.99, 0.14)
    if equal:
        assert ask(tmp_path, ServedTask.EMBED) == ("embed",)
    client.row = (0.97, 0.24)
    with pytest.raises(ServerError, match=r"cosine 0\.97"):
        ask(tmp_path, ServedTask.EMBED)


def test_another_width_is_another_model(tmp_path: Path, client: type[Client]) -> None:
    write(tmp_path, ServedTask.EMBED, [1.0, 2.0])
    client.row = (1.0, 2.0, 3.0)
    with pytest.raises(ServerError, match="3 numbers instead of 2"):
        ask(tmp_path, ServedTask.EMBED)


def test_the_use_of_a_text_is_sent(tmp_path: Path, client: type[Client]) -> None:
    write(tmp_path, ServedTask.EMBED, [1.0], use="query")
    client.row = (1.0,)
    ask(tmp_path, ServedTask.EMBED)
    assert client.asked == [EmbedRequest(("a text",), input_type="query")]


def test_a_model_without_kept_answers_is_not_asked(tmp_path: Path, client: type[Client]) -> None:
    assert ask(tmp_path, ServedTask.EMBED) == ()
    assert client.asked == []


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    write(tmp_path, ServedTask.EMBED, [1.0])
    (tmp_path / "embed/1/reference.json").write_text("{")
    with pytest.raises(ServerError, match=r"reference.json of embed cannot be read"):
        ask(tmp_path, ServedTask.EMBED)


@pytest.mark.parametrize(
    ("found", "same"),
    [("Guten Tag, Welt.", True), ("Guten Tag, Welt!", True), ("Something else", False)],
)
def test_a_transcription_may_differ_by_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str, same: bool
) -> None:
    answer = TranscribeAnswer((Transcription(found),))
    monkeypatch.setattr(Client, "ask", lambda *_: answer)
    folder = tmp_path / "transcribe/1"
    folder.mkdir(parents=True)
    kept = {"kept": [{"item": "UklGRg==", "text": "Guten Tag, Welt."}]}
    (folder / "reference.json").write_text(json.dumps(kept))
    if same:
        assert ask(tmp_path, ServedTask.TRANSCRIBE) == ("transcribe",)
        return
    with pytest.raises(ServerError, match="'Something else' instead of 'Guten Tag"):
        ask(tmp_path, ServedTask.TRANSCRIBE)
