"""The shape of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trtbuild.errors import UsageError
from trtbuild.recipe.jobs import JOBS, JobsByName
from trtbuild.recipe.names import DEFAULT_REPOSITORY, DEFAULT_TRITON, check_model_name
from trtbuild.recipe.validation import Validation


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LlmSettings(_Strict):
    """What only a language model and its engine have."""

    adapters: dict[str, str] = Field(
        default_factory=dict, description="LoRA adapters: name to directory or hub id"
    )
    metrics: bool = Field(default=True, description="Report the engine's metrics through Triton")
    health_check: bool = Field(default=True, description="Unload the model when its engine dies")
    engine_dir: str = Field(default="", description="Directory of an existing TensorRT engine")

    @field_validator("adapters")
    @classmethod
    def _adapter_names_are_usable(cls, adapters: dict[str, str]) -> dict[str, str]:
        for name in adapters:
            _checked(name)
        return adapters


def _with_older_keys(schema: dict[str, Any]) -> None:
    """The keys of ``llm`` are still read where they stood before they had a section."""
    for name, row in LlmSettings.model_json_schema()["properties"].items():
        schema["properties"][name] = {
            **row,
            "deprecated": True,
            "description": f"Deprecated place of llm.{name}",
        }


class ModelRecipe(_Strict):
    """One model of the repository."""

    model_config = ConfigDict(json_schema_extra=_with_older_keys)

    source: str = Field(
        min_length=1,
        description="Hub id with optional @revision, directory, .gguf file or sample:NAME",
    )
    name: str = Field(
        "", description="Model name in the repository; default: derived from the source"
    )
    backend: str = Field("auto", description="Name of a builder, or auto")
    dtype: Literal["", "float32", "bfloat16"] = Field(
        "", description="Number format for a .gguf or sample source; default float32"
    )
    weights: Literal["copy", "hub"] = Field(
        "copy", description="copy: into the version directory; hub: loaded by id and commit"
    )
    trust_remote_code: bool = Field(
        False, description="Accept a checkpoint that contains Python code"
    )
    allow_pickle: bool = Field(
        False, description="Accept .bin weights, which can run code when loaded"
    )
    engine: dict[str, Any] = Field(
        default_factory=dict, description="Engine arguments, by the engine's own names"
    )
    build: bool = Field(
        True, description="Make artifacts such as an engine now; false: write the rest only"
    )
    contract: Literal["", "openai-frontend"] = Field(
        "", description="Also the tensors that Triton's OpenAI frontend sends (embedding models)"
    )
    llm: LlmSettings = Field(
        default=LlmSettings(), description="What only a language model and its engine have"
    )

    @model_validator(mode="before")
    @classmethod
    def _older_keys(cls, data: Any) -> Any:
        """Keys of ``llm`` may stand beside it, where they stood before they had a section."""
        older = LlmSettings.model_fields.keys() & data.keys() if isinstance(data, dict) else ()
        section = data.get("llm", {}) if older else {}
        if isinstance(section, LlmSettings):
            section = section.model_dump(exclude_unset=True)
        if not older or not isinstance(section, dict):
            return data
        if twice := sorted(older & section.keys()):
            raise ValueError(f"{twice[0]!r} is set twice: keep the one under 'llm'")
        rest = {key: value for key, value in data.items() if key not in older}
        return {**rest, "llm": {**section, **{key: data[key] for key in older}}}

    @property
    def adapters(self) -> dict[str, str]:
        """LoRA adapters: name to directory or hub id."""
        return self.llm.adapters

    @property
    def metrics(self) -> bool:
        """Whether the engine's metrics are reported through Triton."""
        return self.llm.metrics

    @property
    def health_check(self) -> bool:
        """Whether the model is unloaded when its engine dies."""
        return self.llm.health_check

    @property
    def engine_dir(self) -> str:
        """The directory of an engine that is built already, empty without one."""
        return self.llm.engine_dir

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, name: str) -> str:
        return _checked(name) if name else name


def _checked(name: str) -> str:
    """The check of a name, as pydantic wants to hear it."""
    try:
        return check_model_name(name)
    except UsageError as error:
        raise ValueError(f"{error.what}; {error.fix}") from None


class Recipe(_Strict):
    """A repository: the Triton release it is for, where it is, and its models."""

    version: Literal[1] = Field(1, description="Version of this format")
    triton: Annotated[str, Field(pattern=r"^\d\d\.\d\d$", description="Triton release")] = (
        DEFAULT_TRITON
    )
    repository: str = Field(
        DEFAULT_REPOSITORY, min_length=1, description="Directory of the model repository"
    )
    models: tuple[ModelRecipe, ...] = Field(min_length=1, description="The models to serve")
    validation: Validation = Field(
        default=Validation(), alias="validate", description="Options of trtbuild validate"
    )
    jobs: JobsByName = Field(default_factory=dict, description=JOBS)
