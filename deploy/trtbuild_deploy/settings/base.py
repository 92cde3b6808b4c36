"""What every section of ``deploy.yaml`` is made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema

from trtbuild_deploy.settings.forms import ObjectName, SecretKey
from trtbuild_deploy.settings.values import (
    ADDRESSES,
    IMAGE,
    LABEL,
    LONGEST_IMAGE,
    LONGEST_NAME,
    NAME,
    QUANTITY,
    VARIABLE,
    addresses,
    bytes_of,
    dns_label,
    image_reference,
    service_name,
    size_of,
    variable_name,
)


def _text(pattern: str, **more: Any) -> WithJsonSchema:
    """The schema of a text that may be empty, for whoever has only the schema."""
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})?$", **more})


Quantity = Annotated[str, AfterValidator(bytes_of), _text(QUANTITY)]
Size = Annotated[
    str, AfterValidator(size_of), WithJsonSchema({"type": "string", "pattern": f"^{QUANTITY}$"})
]
Name = Annotated[str, AfterValidator(service_name), _text(NAME, maxLength=LONGEST_NAME)]
Environment = Annotated[
    str,
    AfterValidator(dns_label),
    WithJsonSchema({"type": "string", "pattern": f"^{LABEL}$", "maxLength": LONGEST_NAME}),
]
Image = Annotated[str, AfterValidator(image_reference), _text(IMAGE, maxLength=LONGEST_IMAGE)]
Addresses = Annotated[str, AfterValidator(addresses), _text(ADDRESSES)]
Variable = Annotated[
    str,
    AfterValidator(variable_name),
    WithJsonSchema({"type": "string", "pattern": f"^{VARIABLE}$"}),
]


class Strict(BaseModel):
    """A section: unknown keys are refused, keys are spelt as in Kubernetes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True
    )


class _Closed(GenerateJsonSchema):
    """Refuses the keys of a mapping that do not have its keys' form, as the models do."""

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        found = super().dict_schema(schema)
        return found | {"additionalProperties": False} if "patternProperties" in found else found


def schema_of(model: type[Strict]) -> dict[str, Any]:
    """The JSON schema of a model, for whoever has only the schema."""
    return model.model_json_schema(schema_generator=_Closed)


class SecretRef(Strict):
    """A key of a Kubernetes Secret."""

    name: ObjectName = Field(description="The Secret")
    key: SecretKey = Field(description="The key in it")
