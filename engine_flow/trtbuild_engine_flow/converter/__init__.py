"""TensorRT-LLM checkpoints: from a Hugging Face checkpoint to ``config.json`` and rank files.

Needs neither TensorRT-LLM, torch nor a GPU. :func:`unsupported` returns reasons against a
conversion, :func:`plan` decides from headers only, :func:`write` writes the files.
"""

from trtbuild_engine_flow.converter.config import predict_config
from trtbuild_engine_flow.converter.families import FAMILIES, Family
from trtbuild_engine_flow.converter.layout import plan
from trtbuild_engine_flow.converter.model import (
    DTYPES,
    CheckpointPlan,
    RankFile,
    Stored,
    TargetTensor,
    WrittenCheckpoint,
)
from trtbuild_engine_flow.converter.reasons import miscomputed, unsupported
from trtbuild_engine_flow.converter.writing import write

__all__ = [
    "DTYPES",
    "FAMILIES",
    "CheckpointPlan",
    "Family",
    "RankFile",
    "Stored",
    "TargetTensor",
    "WrittenCheckpoint",
    "miscomputed",
    "plan",
    "predict_config",
    "unsupported",
    "write",
]
