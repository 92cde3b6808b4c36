"""``gateway.yaml``: what the gateway serves, where, and within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from trtbuild.jsonlog import LogFormat, chosen_format
from trtbuild_gateway.access_settings import AccessSettings
from trtbuild_gateway.experiment_settings import ExperimentSettings, ExposureSettings
from trtbuild_gateway.routing_settings import RoutingSettings, Servers, ServerSettings, servers_from

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one model.

    Attributes:
        url: Its server, if not the common one.
        servers: Its servers, if there are several, and not the common ones.
        upstream: Its name there, if it is another.
        fallbacks: Models that answer instead, in this order, while no server of it can.
        tokenizer: The directory of its tokenizer and chat template, if not in the repository.
        chat_template: A file with a chat template to use instead of the model's own.
        parser: How it writes reasoning and tool calls: a family of docs/reference/parsers.md, or
            ``none``; empty: what its files tell.
        context_length: Tokens of prompt and answer, if the description does not say.
        adapters: Names of LoRA adapters that can be asked for as models.
        aliases: More names for the model.
        hidden: Do not list it; it can be asked for all the same.
        seconds: The longest that a whole answer may take.
    """

    url: str = ""
    servers: Servers = ()
    upstream: str = ""
    fallbacks: tuple[str, ...] = ()
    tokenizer: Path | None = None
    chat_template: Path | None = None
    parser: str = ""
    context_length: Annotated[int, Meta(ge=0)] = 0
    adapters: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    hidden: bool = False
    seconds: Seconds | None = None


class MediaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Images and audio of requests.

    Attributes:
        fetch: Whether ``https`` addresses are fetched.
        hosts: The only hosts to fetch from; empty: any public one.
        private: Allow addresses of private networks.
        most_bytes: Of one image.
        most: Images in one request.
        seconds: To fetch one.
    """

    fetch: bool = True
    hosts: tuple[str, ...] = ()
    private: bool = False
    most_bytes: Count = 20 * 1024 * 1024
    most: Count = 16
    seconds: Seconds = 10.0


class ControlSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The port on which models are loaded and unloaded.

    Attributes:
        host, port: Where to listen; without a port there is none.
        token_file: A file with the token that callers must send; the variable
            ``TRTBUILD_CONTROL_TOKEN`` is used if it is not given.
        load_seconds: The longest that a load may take.
        unload_seconds: How long open requests may go on before they are cancelled, and then the
            longest that the server may take to unload.
        warm_up: Whether a model must answer a request before clients can ask for it.
        metrics: The address of the server's metrics, if it is not a server of this machine.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    token_file: Path | None = None
    load_seconds: Seconds = 1800.0
    unload_seconds: Seconds = 30.0
    warm_up: bool = True
    metrics: str = ""


class BatchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files and batches of OpenAI's API.

    Attributes:
        directory: Where they are kept; without it there are none.
        most_lines: Of one batch.
        most_in_flight: Requests of all batches at a time.
        most_bytes: Of the files of one caller, input and output.
    """

    directory: Path | None = None
    most_lines: Count = 50_000
    most_in_flight: Count = 64
    most_bytes: Count = 10 * 1024**3


class TraceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Traces of requests.

    Attributes:
        endpoint: Where spans are sent as OTLP over HTTP, such as
            ``http://127.0.0.1:4318/v1/traces``; without it nothing is recorded. Secrets are given
            in the environment, as ``OTEL_EXPORTER_OTLP_HEADERS``.
        share: Of the requests whose clients do not say whether they are sampled.
    """

    endpoint: Annotated[str, Meta(pattern=r"^https?://[^@]+$")] = ""
    share: Annotated[float, Meta(ge=0, le=1)] = 1.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        url: The HTTP address of the server.
        servers: The servers, if there are several with the same models.
        repository: The model repository that it serves, for templates and tokenizers.
        host, port: Where to listen.
        models: Settings by model.
        registry: The file of the models that adapters run.
        jit_install: Whether an adapter's environment may be made when a model is loaded.
        media: Images and audio.
        access: Who may ask for what, and how much.
        control: The port on which models are loaded and unloaded.
        batches: Files and batches of OpenAI's API.
        experiments: Models that are compared on live users.
        exposures: The records of experiments.
        page: Whether there is a page at ``/ui/`` of each port.
        routing: Which server gets a request, and what happens when one fails.
        traces: Traces of requests.
        log_format: Of the log on standard error; ``json``: an object a line. The default is what
            ``TRTBUILD_LOG_FORMAT`` says, else ``text``.
        log_level: The least that is logged; ``info`` has a line for each request.
        on_unsupported: ``refuse`` a parameter that a model does not take, or ``drop`` it and name
            it in the header ``x-trtbuild-ignored``.
        most_bytes: Of a request's body.
        most_choices: Answers of one request: prompts times ``n``.
        header_seconds, body_seconds: For a client to send the head and the body of a request.
        heartbeat_seconds: Silence after which a stream gets a comment.
        seconds: The longest that a whole answer may take.
        refresh_seconds: How often the server is asked for its models.
        drain_seconds: How long streams may go on after SIGTERM; never less than the 5 seconds in
            which new requests are refused.
    """

    url: str = "127.0.0.1:8000"
    servers: Servers = ()
    repository: Path | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 9000
    models: dict[str, ModelSettings] = {}
    registry: Path | None = None
    jit_install: Literal["allow", "never"] = "allow"
    media: MediaSettings = MediaSettings()
    access: AccessSettings = AccessSettings()
    control: ControlSettings = ControlSettings()
    batches: BatchSettings = BatchSettings()
    experiments: tuple[ExperimentSettings, ...] = ()
    exposures: ExposureSettings = ExposureSettings()
    page: bool = True
    routing: RoutingSettings = RoutingSettings()
    traces: TraceSettings = TraceSettings()
    log_format: LogFormat = msgspec.field(default_factory=chosen_format)
    log_level: Literal["info", "warning", "error"] = "warning"
    on_unsupported: Literal["refuse", "drop"] = "refuse"
    most_bytes: Count = 64 * 1024 * 1024
    most_choices: Count = 128
    header_seconds: Seconds = 10.0
    body_seconds: Seconds = 30.0
    heartbeat_seconds: Seconds = 15.0
    seconds: Seconds = 600.0
    refresh_seconds: Seconds = 5.0
    drain_seconds: Seconds = 30.0

    @property
    def common(self) -> tuple[ServerSettings, ...]:
        """The servers of every model that has none of its own."""
        return servers_from(self.url, self.servers)

    def servers_of(self, name: str) -> tuple[ServerSettings, ...]:
        """Return the servers of a model."""
        own = self.models.get(name)
        return self.common if own is None else servers_from(own.url, own.servers) or self.common


def settings_of(value: Mapping[str, Any]) -> Settings:
    """Return settings from plain values; ValidationError if a key or value is wrong."""
    return msgspec.convert(value, Settings, strict=False, dec_hook=_decoded)


def _decoded(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise NotImplementedError
