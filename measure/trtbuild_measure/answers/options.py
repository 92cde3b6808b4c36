"""The options of the commands about answers; the command line makes its flags from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtbuild.cli.fields import option

TARGETS = (
    "MODEL of a running server, triton:grpc://HOST:PORT/MODEL, triton:http://HOST:PORT/MODEL, "
    "http://HOST:PORT/v1 with --model, or openai:http://HOST:PORT/v1#MODEL"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions:
    """Whom to ask, and how."""

    target: str = option(..., f"{TARGETS}.")
    model: str = option("", "The model's name at an http://HOST:PORT/v1.")
    concurrency: int = option(8, "Requests under way at a time.", min=1, max=1024)
    timeout: float = option(300, "Seconds for one answer.", min=0.1)
    api_key_env: str = option("", "Variable with the API key, for an OpenAI endpoint.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRecordOptions(AskOptions):
    """What to record."""

    prompts: Path = option(..., "JSON Lines with prompt or messages.", argument=True)
    out: Path = option(..., "Write the recording here.", short="-o")
    max_tokens: int = option(64, "Length of answers to prompts that name none.", min=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCheckOptions(AskOptions):
    """What to check."""

    recording: Path = option(..., "What `eval golden record` wrote.", argument=True)
    margin: float | None = option(
        None,
        "Nats from which another token is a regression. Default: three times the noise of the "
        "recording, at least 0.05.",
        min=0,
    )
    junit: Path | None = option(None, "Write the result as JUnit's XML.")
