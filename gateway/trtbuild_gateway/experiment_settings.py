"""The sections ``experiments`` and ``exposures`` of ``gateway.yaml``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Percent = Annotated[float, Meta(ge=0, le=100)]


class VariantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One variant.

    Attributes:
        model: The model that answers its users.
        weight: Its share of the users, compared with the other variants'.
    """

    model: str
    weight: Annotated[float, Meta(ge=0)] = 1.0


class ExperimentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One experiment.

    Attributes:
        name: Its name; another name divides the users again.
        unit: Who keeps a variant: ``user`` (of the request's body), ``api_key``, or
            ``header:NAME``.
        variants: By name; the first is what users get now.
        model: The name that clients ask for; by default the model of the first variant.
        salt: Mixed into every hash, so that nobody can guess the user behind one.
        layer: Experiments of one layer have no user in common.
        users: The part of the layer's users that takes part, in percent: from, to.
        override: What the header ``x-trtbuild-variant`` does: ``refuse`` it, ``try`` a variant
            without being counted, or ``assign`` it, for a flag service that divides the users.
    """

    name: Name
    unit: Annotated[str, Meta(pattern=r"^(user|api_key|header:[A-Za-z0-9-]+)$")]
    variants: dict[Name, VariantSettings]
    model: str = ""
    salt: str = ""
    layer: str = ""
    users: tuple[Percent, Percent] = (0.0, 100.0)
    override: Literal["refuse", "try", "assign"] = "refuse"

    def __post_init__(self) -> None:
        """Raise ValueError for an experiment that could compare nothing."""
        if len(self.variants) < 2:
            raise ValueError(f"the experiment {self.name!r} needs two variants or more")
        total = sum(one.weight for one in self.variants.values())
        if not 0 < total < math.inf:
            raise ValueError(
                f"the weights of the experiment {self.name!r} sum to {total:g}; give each variant "
                "its share of the users"
            )
        if round(100 * self.users[0]) >= round(100 * self.users[1]):
            raise ValueError(
                f"`users` of the experiment {self.name!r} must be a range of 0.01 % or more, such "
                "as [0, 50]"
            )

    @property
    def asked(self) -> str:
        """The model that clients ask for."""
        return self.model or next(iter(self.variants.values())).model


class ExposureSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records of experiments.

    Attributes:
        directory: Where they are written; without it there are no experiments.
        file_bytes: The size after which a new file begins.
    """

    directory: Path | None = None
    file_bytes: Annotated[int, Meta(ge=4096)] = 64 * 1024 * 1024
