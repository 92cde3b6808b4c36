"""The ``jobs`` section of ``trtbuild.yaml``: what is done with the models regularly."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")
"""What Kubernetes accepts for a CronJob."""
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_ITEM = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/([1-9]\d?))?")
_NICKNAMES = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")


def _several(value: Any) -> Any:
    return (
        (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    )


_Texts = Annotated[
    tuple[str, ...], BeforeValidator(_several, json_schema_input_type=str | list[str])
]


class JobRecipe(BaseModel):
    """A job: every row of a table goes through a model. The other options of `trtbuild batch run`,
    or of `trtbuild batch refresh` with a sink, are in ``options``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: _Texts = Field(
        min_length=1, description="Files, directories and patterns; local, s3:// or gs://"
    )
    out: str = Field(min_length=1, description="The output directory")
    target: str = Field(min_length=1, description="The model to ask, as --target")
    model: str = Field("", description="The model's name at an OpenAI endpoint")
    prompt: str = Field("", description="A Jinja template, or @FILE; a text is generated")
    embed: str = Field("", description="The column with the text to make a vector of")
    rerank: str = Field("", description="The column with the query")
    documents: str = Field("", description="The column with the list of documents")
    id: str = Field("", description="The column with an id for each row")
    keep: tuple[str, ...] = Field((), description="Columns to copy")
    sink: str = Field("", description="Where vectors go; only what changed is embedded")
    schedule: str = Field("", description="When it runs, in UTC: a cron expression of numbers")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Other options by name, such as max_tokens"
    )

    @field_validator("schedule")
    @classmethod
    def _schedule_is_cron(cls, schedule: str) -> str:
        if schedule and schedule not in _NICKNAMES:
            _require_cron(schedule)
        return schedule


def _require_cron(schedule: str) -> None:
    """Raise ValueError unless every scheduler understands the expression in the same way."""
    values = schedule.split()
    if len(values) != len(_FIELDS):
        raise ValueError(
            f"the schedule {schedule!r} has {len(values)} fields instead of 5: write minute, hour, "
            f"day, month and weekday, or one of {', '.join(_NICKNAMES)}"
        )
    for value, (name, least, most) in zip(values, _FIELDS, strict=True):
        for item in value.split(","):
            found = _ITEM.fullmatch(item)
            numbers = [int(one) for one in found.groups()[:2] if one] if found else [-1]
            if any(not least <= one <= most for one in numbers) or numbers != sorted(numbers):
                raise ValueError(
                    f"{item!r} cannot be the {name} of the schedule {schedule!r}: write *, "
                    f"a number from {least} to {most}, a range such as 1-5, or a step such as */15"
                )


def _checked_names(jobs: dict[str, JobRecipe]) -> dict[str, JobRecipe]:
    for name in jobs:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"the job name {name!r} cannot be used: write at most 52 lowercase letters, digits "
                "and '-', a letter first and no '-' last"
            )
    return jobs


JobsByName = Annotated[dict[str, JobRecipe], AfterValidator(_checked_names)]
JOBS = "Batch jobs and embedding refreshes, by name"


class Jobs(BaseModel):
    """The section by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    jobs: JobsByName = Field(default_factory=dict, description=JOBS)
