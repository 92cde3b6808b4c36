"""Names of weights that no known vLLM reads: those under which transformers 5 saves a model.

Tried with vLLM 0.32 and transformers 5.19; published checkpoints have the older names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.version import Version

from trtbuild.builder import Case

_TRIED = Version("0.32.0")
_NOMIC = "NomicBertModel"
# An image encoder without the level `vision_model` that vLLM looks below.
_TOWER = re.compile(r"(?:model\.)?vision_tower\.(?:embeddings|encoder|post_layernorm)\.")
_TOWERS = frozenset({"Gemma3ForConditionalGeneration", "LlavaForConditionalGeneration"})


def name_reasons(case: Case) -> Iterator[str]:
    """Return why vLLM does not find the checkpoint's weights."""
    if case.checkpoint is None or Version(case.toolchain.vllm) > _TRIED:
        return
    tensors, name = case.checkpoint.tensors, case.spec.architecture
    if name == _NOMIC and tensors and not any(".Wqkv." in one for one in tensors):
        yield (
            f"transformers 5 saved its weights under names that vLLM {case.toolchain.vllm} does "
            "not read (no attn.Wqkv): use --backend onnx"
        )
    if name in _TOWERS and (found := next(filter(_TOWER.match, tensors), "")):
        yield (
            f"transformers 5 saved its image encoder under names that vLLM {case.toolchain.vllm} "
            f"does not read ({found}): use the published checkpoint, whose names have "
            "vision_tower.vision_model"
        )
