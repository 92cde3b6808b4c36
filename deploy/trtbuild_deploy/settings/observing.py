"""The section ``observe``: when an alert fires, and who is told."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from trtbuild_deploy.settings.base import Strict
from trtbuild_deploy.settings.forms import Form, WebAddress
from trtbuild_deploy.settings.values import VARIABLE

_OWN = ("alertname", "job", "model", "severity")


def label_name(text: str) -> str:
    """``text`` unless rules set a label of that name themselves."""
    if text in _OWN:
        raise ValueError(f"{text!r} is a label of the rules: choose one of the scrape")
    return text


def name_not_value(text: str) -> str:
    """``text`` if it can name a variable; anything else may be the header, so no error shows it."""
    if text and not re.fullmatch(VARIABLE, text):
        said = "must name the variable that holds the header, such as OTLP_AUTHORIZATION"
        raise PydanticCustomError("hidden", said)
    return text


# Values are written between quotes into PromQL, and Prometheus expands {{ }} in labels.
_LabelValue = Annotated[
    str,
    Form(r"[A-Za-z0-9][A-Za-z0-9_./:-]*", "a plain value, such as prod or eu-1", 63, empty=False),
]
_LabelName = Annotated[
    str,
    AfterValidator(label_name),
    Form(r"[a-zA-Z][a-zA-Z0-9_]*", "a label of Prometheus, such as namespace", empty=False),
]
_Variable = Annotated[
    str,
    AfterValidator(name_not_value),
    WithJsonSchema({"type": "string", "pattern": f"^({VARIABLE})?$"}),
]


class Observe(Strict):
    """Limits and receivers of alerts."""

    first_token: float = Field(
        default=2, gt=0, description="Seconds to the first token, 95th percentile"
    )
    between_tokens: float = Field(
        default=0.2, gt=0, description="Seconds between two tokens, 95th percentile"
    )
    queue: int = Field(default=16, ge=1, description="Requests that wait for the engine")
    kv_cache: float = Field(default=0.95, gt=0, lt=1, description="Share of the KV cache in use")
    errors: float = Field(default=0.02, gt=0, lt=1, description="Share of failed requests")
    gpu_memory: float = Field(
        default=0.98, gt=0, lt=1, description="Share of a GPU's memory in use"
    )
    dashboard: bool = Field(
        default=False, description="Write a dashboard of Grafana; needs trtbuild[dashboards]"
    )
    labels: dict[_LabelName, _LabelValue] = Field(
        default_factory=dict,
        description="Labels that all series of this deployment have, such as namespace: prod",
    )
    page: WebAddress = Field(
        default="", description="Webhook for urgent alerts; without credentials"
    )
    notify: WebAddress = Field(
        default="", description="Webhook for all other alerts; without credentials"
    )
    loki: WebAddress = Field(
        default="", description="Loki 3 that gets the logs, such as http://loki.logs:3100"
    )
    elasticsearch: WebAddress = Field(
        default="", description="Elasticsearch that gets the logs; its key is a variable"
    )
    otlp: WebAddress = Field(
        default="", description="Any receiver of logs by OTLP over HTTP; /v1/logs is added"
    )
    otlp_authorization: _Variable = Field(
        default="",
        description="Variable of the collector with the header Authorization for observe.otlp",
    )

    @property
    def ships_logs(self) -> bool:
        """Whether anything gets the logs."""
        return bool(self.loki or self.elasticsearch or self.otlp)

    @model_validator(mode="after")
    def _authorized_for_something(self) -> Self:
        if self.otlp_authorization and not self.otlp:
            raise ValueError("'observe.otlpAuthorization' needs 'observe.otlp', the address")
        return self
