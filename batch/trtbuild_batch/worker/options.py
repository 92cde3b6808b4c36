"""The options of a worker; the command line makes its flags from them."""

from __future__ import annotations

from dataclasses import dataclass

from trtbuild.cli.fields import option


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Where messages come from, who answers them, and where the answers go."""

    source: str = option(
        ...,
        "The queue of requests: redis://HOST/STREAM, kafka://HOST/TOPIC, nats://HOST/SUBJECT or "
        "amqp://HOST/QUEUE, with ?group=NAME; env:NAME takes the URL from a variable.",
        flag="--from",
    )
    to: str = option(..., "The queue for the answers, of any broker.")
    dead: str = option(..., "The queue for the messages that get no answer.")
    target: str = option(..., "An endpoint with OpenAI's API: http://HOST:PORT/v1.")
    model: str = option("", "The model to ask; default: the one that a message names.")
    api_key_env: str = option("", "Environment variable with the API key of the target.")
    endpoint: str = option(
        "", "Where a request goes, such as /v1/responses; default: by its fields."
    )
    attempts: int = option(5, "Times to try a message before it is a dead letter.", min=1)
    lease: float = option(
        60, "Seconds after which the messages of a lost worker are taken over.", min=1
    )
    grace: float = option(
        30, "Seconds to finish after SIGTERM; other messages return to the queue.", min=0
    )
    max_bytes: int = option(8 << 20, "Largest message, in bytes.", min=1)
    timeout: float = option(300, "Seconds for a whole answer.", min=0.1)
    concurrency: int | None = option(None, "Fixed number of calls at a time.", min=1)
    max_concurrency: int = option(256, "Calls at a time at most.", min=1)
    greedy: bool = option(False, "Leave no room for online traffic.")
    metrics_url: str = option("", "The target's Prometheus metrics; 'none' ignores them.")
    listen: str = option("", "Serve this worker's own Prometheus metrics at HOST:PORT.")
    create: bool = option(False, "Create the queues that do not exist.")
    until_empty: bool = option(False, "Stop when every message of the queue is finished.")
