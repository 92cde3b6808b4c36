"""TensorRT-LLM checkpoints: from a Hugging Face checkpoint to ``config.json`` and rank files.

Nothing of TensorRT-LLM or torch is needed, and no GPU. :func:`unsupported` says what stands
against it, :func:`plan` decides from headers alone, :func:`write` moves the bytes.
"""

from trtbuild.trtllm_checkpoint.config import predict_config
from trtbuild.trtllm_checkpoint.families import FAMILIES, Family
from trtbuild.trtllm_checkpoint.layout import plan
from trtbuild.trtllm_checkpoint.model import DTYPES, Layout, RankFile, Result, Stored, Target
from trtbuild.trtllm_checkpoint.reasons import miscomputed, unsupported
from trtbuild.trtllm_checkpoint.writing import write

__all__ = [
    "DTYPES",
    "FAMILIES",
    "Family",
    "Layout",
    "RankFile",
    "Result",
    "Stored",
    "Target",
    "miscomputed",
    "plan",
    "predict_config",
    "unsupported",
    "write",
]
