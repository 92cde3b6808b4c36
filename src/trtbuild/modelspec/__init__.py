"""Facts of a checkpoint: the frozen :class:`ModelSpec` and its parts."""

from typing import TYPE_CHECKING

from trtbuild.lazy import exports

if TYPE_CHECKING:
    from trtbuild.modelspec.head import DenseLayer, Head, HeadKind
    from trtbuild.modelspec.model import (
        AttentionGroup,
        KVCache,
        ModelSpec,
        Quantization,
        Task,
        TokenizerInfo,
    )
    from trtbuild.modelspec.quantization import declared_quantization
    from trtbuild.modelspec.source import SourceRef
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

__getattr__ = exports(
    __name__,
    {
        "head": ["DenseLayer", "Head", "HeadKind"],
        "model": [
            "AttentionGroup",
            "KVCache",
            "ModelSpec",
            "Quantization",
            "Task",
            "TokenizerInfo",
        ],
        "quantization": ["declared_quantization"],
        "source": ["SourceRef"],
        "vision": ["Vision", "VisionTask"],
    },
)
