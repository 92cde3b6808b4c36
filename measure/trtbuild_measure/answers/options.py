"""The options of the commands about answers; the command line makes its flags from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtbuild.cli.fields import option
from trtbuild.errors import UsageError

TARGETS = (
    "MODEL of a running server, triton:grpc://HOST:PORT/MODEL, triton:http://HOST:PORT/MODEL, "
    "http://HOST:PORT/v1 with --model, or openai:http://HOST:PORT/v1#MODEL"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions:
    """Whom to ask, and how."""

    target: str = option(..., f"{TARGETS}.")
    model: str = option("", "The model's name at an http://HOST:PORT/v1.")
    concurrency: int = option(8, "Requests in flight at a time.", min=1, max=1024)
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
        "Margin in nats from which a changed token is a regression. Default: three times the "
        "noise of the recording, at least 0.05.",
        min=0,
    )
    junit: Path | None = option(None, "Write the result as JUnit's XML.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParaphraseOptions(AskOptions):
    """What to rewrite, and how answers are compared."""

    prompts: Path = option(
        ..., "JSON Lines with prompt or messages, and options if it has any.", argument=True
    )
    variants: Path | None = option(None, "JSON Lines with id and text: variants of your own.")
    answer: str = option(
        "", "Regular expression for the part of an answer that counts; its first group, if any."
    )
    min_agreement: float | None = option(
        None, "Fail if answers to any kind of variant agree less often, such as 0.9.", min=0, max=1
    )
    max_tokens: int = option(32, "Length of answers to prompts that name none.", min=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasOptions(AskOptions):
    """Which pairs to ask, and what the outcome of an answer is."""

    pairs: Path = option(..., "JSON Lines with a, b and group.", argument=True)
    favourable: str = option("", "Regular expression for a favourable answer: the outcome is 1.")
    number: bool = option(False, "The outcome is the first number of an answer.")
    system: str = option("", "A system message before each text.")
    raw: bool = option(False, "Send the texts as they are, without the model's chat template.")
    max_effect: float | None = option(
        None, "Fail unless the 95 % interval of each effect is within plus and minus this.", min=0
    )
    max_tokens: int = option(32, "Length of answers.", min=1)

    def __post_init__(self) -> None:
        if bool(self.favourable) == self.number:
            raise UsageError(
                "what is the outcome of an answer?",
                fix="give either --favourable 'yes|invite', or --number for ratings",
            )
        if self.raw and self.system:
            raise UsageError(
                "--system is a message of a chat, and --raw sends none", fix="leave one of them out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LmOptions(AskOptions):
    """Which tasks of lm-evaluation-harness to run, and how."""

    tasks: tuple[str, ...] = option((), "Tasks, groups or tags of the harness.", argument=True)
    include_path: Path | None = option(None, "A directory with tasks of your own.")
    limit: int | None = option(None, "Use only this many documents of each task.", min=1)
    few_shot: int | None = option(None, "Examples before each question.", min=0)
    api: str = option(
        "", "chat or completions; the default is completions where a task needs log probabilities."
    )
    tokenizer: str = option("", "The checkpoint's directory; default: the server's tokenizer.")
    max_length: int = option(2048, "Context length, if the server does not report it.", min=16)
    out: Path | None = option(None, "Keep the harness's results in this directory.")
    harness: str = option("lm_eval", "The program, if it is not on PATH.")

    def __post_init__(self) -> None:
        if not self.tasks:
            raise UsageError(
                "there is no task", fix="name one, such as hellaswag; `lm_eval ls tasks` lists them"
            )
        if self.api not in ("", "chat", "completions"):
            raise UsageError(f"unknown --api {self.api!r}", fix="use chat or completions")
