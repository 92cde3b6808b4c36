"""Checkpoints: where they come from, what they are, and their files on this machine.

No code of a checkpoint is executed or imported: configuration is parsed as JSON, tensors are read
from safetensors headers, and hub checkpoints are described without their weights.
"""

from trtbuild.checkpoint.adapters import Adapter, local_adapters, open_adapters
from trtbuild.checkpoint.describe import inspect
from trtbuild.checkpoint.fields import language_config
from trtbuild.checkpoint.model import Checkpoint, CheckpointFile
from trtbuild.checkpoint.opening import materialize, open_checkpoint
from trtbuild.checkpoint.small import tokenizer_files, with_files
from trtbuild.checkpoint.source import Source, parse_source
from trtbuild.checkpoint.verify import verify_shards
from trtbuild.files.safetensors import TensorInfo

__all__ = [
    "Adapter",
    "Checkpoint",
    "CheckpointFile",
    "Source",
    "TensorInfo",
    "inspect",
    "language_config",
    "local_adapters",
    "materialize",
    "open_adapters",
    "open_checkpoint",
    "parse_source",
    "tokenizer_files",
    "verify_shards",
    "with_files",
]
