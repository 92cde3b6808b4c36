"""The options of ``trtbuild infer`` besides those of a task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from trtbuild.cli.fields import option
from trtbuild.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trtbuild.client.transport import Protocol
    from trtbuild.signature.sampling import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who is asked, and what."""

    name: str = option(..., "Name of the served model.", argument=True)
    texts: tuple[str, ...] = option(
        (), "Texts or queries: a request or an answer for each.", argument=True
    )
    prompt: str = option("", "Prompt, text or query; '-' reads all of standard input.", short="-p")
    input: Path | None = option(
        None,
        "Ask for each line of this file, a text or a JSON object; '-' is standard input.",
        short="-i",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """The model's chat template; every value but the first implies it."""

    chat: bool = option(
        False,
        "Apply the model's chat template to the prompt; without a prompt, each line of standard "
        "input is a turn.",
    )
    system: str = option("", "A system message; implies --chat.")
    messages: Path | None = option(
        None, "A JSON list of messages before the prompt; implies --chat."
    )
    tools: Path | None = option(
        None, "A JSON list of tools, as OpenAI describes them; implies --chat."
    )
    chat_template: Path | None = option(None, "A chat template of your own; implies --chat.")
    chat_template_kwargs: str = option(
        "",
        "A JSON object for the chat template, such as '{\"enable_thinking\": false}'; implies "
        "--chat.",
    )

    @property
    def used(self) -> bool:
        """Whether a chat template is to be applied."""
        return any(getattr(self, name) for name in self.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """How text is generated."""

    stream: bool = option(
        True, "Print text as it is generated, or at the end.", flag="--stream/--no-stream"
    )
    max_tokens: int | None = option(
        None, "Maximum number of tokens to generate; default: the model family's, or 128.", min=1
    )
    temperature: float | None = option(
        None,
        "Sampling temperature; 0 is greedy; default: the checkpoint's or the server's.",
        min=0,
    )
    top_p: float | None = option(None, "Nucleus sampling.", min=0, max=1)
    top_k: int | None = option(None, "Sample from the k most likely tokens.")
    seed: int | None = option(None, "Seed that makes sampling repeatable.")
    stop: tuple[str, ...] = option((), "Stop before this text; repeatable.")
    generation_config: bool = option(
        True,
        "Apply the sampling settings of the checkpoint's generation_config.json; options win.",
        flag="--generation-config/--no-generation-config",
    )
    logprobs: int | None = option(
        None, "Return log probabilities of this many tokens (with --json).", min=0
    )
    prompt_logprobs: int | None = option(None, "The same for the prompt's tokens.", min=0)

    def sampling(self, family: Mapping[str, Any]) -> Sampling:
        """Return the values that a server gets, with those of the model's family as defaults."""
        from trtbuild.signature.sampling import Sampling

        more = {key: family[key] for key in family if key not in ("max_tokens", "temperature")}
        chosen = family.get("temperature") if self.temperature is None else self.temperature
        return Sampling(
            self.max_tokens or family.get("max_tokens", 128),
            chosen,
            self.top_p,
            self.top_k,
            self.seed,
            self.stop,
            logprobs=self.logprobs,
            prompt_logprobs=self.prompt_logprobs,
            more=more,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Which server is asked, and where the answer goes."""

    protocol: str = option("grpc", "Protocol: grpc or http.")
    url: str = option("", "HOST:PORT; default: the running server that has this model.")
    timeout: float = option(300, "Seconds to wait for the whole answer.", min=0.1)
    output: Path | None = option(None, "Write the answers here, as JSON Lines.", short="-o")
    as_json: bool = option(
        False, "Print one JSON object, or one per line for several answers.", flag="--json"
    )

    def __post_init__(self) -> None:
        if self.protocol not in ("grpc", "http"):
            raise UsageError(
                f"unknown protocol {self.protocol!r}", fix="use --protocol grpc or --protocol http"
            )

    @property
    def transport(self) -> Protocol:
        """Return ``protocol``, checked."""
        return cast("Protocol", self.protocol)
