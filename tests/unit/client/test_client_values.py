"""What a client makes of chunks and of prompts."""

from __future__ import annotations

import pytest

from trtbuild.client import Chunk, collect
from trtbuild.client.values import prompt_text
from trtbuild.errors import UsageError


def test_collect_adds_up_the_pieces() -> None:
    seen: list[str] = []
    answer = collect(
        [Chunk("", output_tokens=1, input_tokens=4), Chunk("a", "", 1), Chunk("b", "stop", 2)],
        seen.append,
    )
    assert (answer.text, answer.finish_reason, seen) == ("ab", "stop", ["a", "b"])
    assert (answer.input_tokens, answer.output_tokens, answer.chunks) == (4, 4, 2)
    assert answer.ttft_ms is not None


def test_an_empty_answer_has_no_first_token_time_and_unknown_counts() -> None:
    answer = collect([Chunk("", "stop")])
    assert (answer.ttft_ms, answer.output_tokens, answer.tokens_per_second) == (None, None, None)


@pytest.mark.parametrize("bad", [b"caf\xe9", "caf\udce9"])
def test_a_prompt_must_be_utf8(bad: str | bytes) -> None:
    with pytest.raises(UsageError, match="not valid UTF-8 at position 3") as error:
        prompt_text(bad)
    assert "iconv" in error.value.fix


def test_a_prompt_of_any_script_passes() -> None:
    text = "東京 🙂 é"
    assert prompt_text(text) == prompt_text(text.encode()) == text
