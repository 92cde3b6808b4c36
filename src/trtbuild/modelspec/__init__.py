"""Facts of a checkpoint: the frozen :class:`ModelSpec` and its parts."""

from trtbuild.modelspec.head import DenseLayer, Head, HeadKind
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
from trtbuild.modelspec.vision import Vision, VisionTask

__all__ = [
    "AttentionGroup",
    "DenseLayer",
    "Head",
    "HeadKind",
    "KVCache",
    "ModelSpec",
    "Quantization",
    "SourceRef",
    "Task",
    "TokenizerInfo",
    "Vision",
    "VisionTask",
    "declared_quantization",
]
