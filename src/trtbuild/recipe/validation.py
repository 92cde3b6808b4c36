"""The ``validate`` section of ``trtbuild.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Validation(BaseModel):
    """How ``trtbuild validate`` judges; flags come before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    triton: str = Field(default="", description="Check against this release")
    gpus: int | None = Field(default=None, ge=0, description="Number of GPUs of the server")
    auto_complete: bool | None = Field(
        default=None, description="Whether the server completes model configurations"
    )
    select: tuple[str, ...] = Field(
        default=(), description="Run only these rules: TRT205, TRT2, layout"
    )
    ignore: tuple[str, ...] = Field(default=(), description="Skip these rules")
    per_model: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Rules to skip, by model; names may contain *"
    )
    severity: dict[str, Literal["error", "warning", "info"]] = Field(
        default_factory=dict, description="Severities that replace the rules' own"
    )
    baseline: str = Field(default="", description="File of known findings, relative to this file")
