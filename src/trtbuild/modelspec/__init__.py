"""What a checkpoint is, as facts: the frozen :class:`ModelSpec` and its parts."""

from trtbuild.modelspec.model import (
    AttentionGroup,
    KVCache,
    ModelSpec,
    Quantization,
    SourceRef,
    Task,
    TokenizerInfo,
)
from trtbuild.modelspec.quantization import declared_quantization

__all__ = [
    "AttentionGroup",
    "KVCache",
    "ModelSpec",
    "Quantization",
    "SourceRef",
    "Task",
    "TokenizerInfo",
    "declared_quantization",
]
