"""Which files of a checkpoint a server needs, and which must never be placed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

PARAMS = "params.json"  # files of Mistral's own layout
INDEX = "model.safetensors.index.json"

_METADATA = re.compile(
    r"^(config|params|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens"
    r"|vocab|chat_template|preprocessor_config|processor_config|video_preprocessor_config"
    r"|hf_quant_config|quantize_config|quant_config|quantization_config|modules"
    r"|config_sentence_transformers|sentence_[\w-]+_config|tekken)\.json$"
    r"|^chat_template\.jinja$|^additional_chat_templates/[\w.-]+\.jinja$"
    r"|^(merges|vocab)\.txt$|^[\w.-]+\.tiktoken$"
    r"|^(tokenizer|spiece|sentencepiece\.bpe|source|target|bpe|tiktoken)\.(model|spm)$"
    r"|^tokenizer\.model\.v\d\w*$|^artifact\.metadata$"
)
_MODULE_FILE = re.compile(r"^\d+_[A-Za-z]\w*/(config\.json|model\.safetensors)$")
_PICKLE = re.compile(r"\.(bin|pt|pth|ckpt|pkl)$")
# Leftovers of training, or a copy of the weights in another format.
_NOT_WEIGHTS = re.compile(
    r"^(training_args|optimizer|scheduler|rng_state|scaler|adapter_model|trainer_state)[\w.-]*$"
)
# An ONNX export, with the external data of a file of more than 2 GB.
_ONNX = re.compile(r"^(onnx/)?[\w.-]+\.onnx([._]data([._-]?\d+)?)?$")
_WEIGHTS = (".safetensors", ".gguf")  # GGUF only to report what to do with it
_SECOND_COPY = re.compile(r"^consolidated[\w.-]*\.safetensors$")


@dataclass(frozen=True, slots=True)
class CheckpointLayout:
    """The chosen files, by role."""

    metadata: tuple[str, ...]
    weights: tuple[str, ...]
    pickles: tuple[str, ...]
    onnx: tuple[str, ...]
    code: tuple[str, ...]

    @property
    def body(self) -> tuple[str, ...]:
        """The weights of the model, without those of sentence-transformers' modules."""
        return tuple(name for name in self.weights if not _MODULE_FILE.match(name))


def choose(names: Collection[str], index: Mapping[str, Any] | None) -> CheckpointLayout:
    """Sort ``names`` (relative to the checkpoint) into roles.

    Weights are the shards that the index names (a missing one is reported later), else every
    safetensors file at the top that is neither an adapter nor Mistral's second copy of the weights.
    """
    top = [name for name in names if "/" not in name]
    if index is not None:
        weights = sorted({shard for shard in index.values() if isinstance(shard, str)})
    else:
        found = [n for n in top if n.endswith(".safetensors") and not _NOT_WEIGHTS.match(n)]
        weights = sorted([n for n in found if not _SECOND_COPY.match(n)] or found)
    modules = sorted(name for name in names if _MODULE_FILE.match(name))
    metadata = [name for name in names if _METADATA.match(name)]
    if "config.json" in names or not any(map(_SECOND_COPY.match, weights)):
        # With weights of another layout, vLLM 0.12 to 0.18 would read the model by this file.
        metadata = [name for name in metadata if name != PARAMS]
    metadata += [name for name in modules if name.endswith(".json")]
    if index is not None:
        metadata.append(INDEX)
    return CheckpointLayout(
        metadata=tuple(sorted(set(metadata))),
        weights=(*weights, *(name for name in modules if name.endswith(".safetensors"))),
        pickles=tuple(sorted(n for n in top if _PICKLE.search(n) and not _NOT_WEIGHTS.match(n))),
        onnx=_exports(names),
        code=tuple(sorted(name for name in names if name.endswith(".py"))),
    )


def _exports(names: Collection[str]) -> tuple[str, ...]:
    """Return ``model.onnx`` of ``onnx/`` or of the top, without variants in other precisions;
    otherwise every export. Each comes with its external data."""
    found = [name for name in names if _ONNX.match(name)]
    for whole in ("onnx/model.onnx", "model.onnx"):
        if whole in found:
            return tuple(sorted(name for name in found if name.startswith(whole)))
    return tuple(sorted(found))


def is_wanted(name: str) -> bool:
    """Whether ``name`` may be a file of a checkpoint."""
    return bool(
        _METADATA.match(name)
        or name in ("adapter_config.json", "model_index.json")
        or _MODULE_FILE.match(name)
        or name == INDEX
        or _ONNX.match(name)
        or name.endswith(".py")
        or ("/" not in name and (name.endswith(_WEIGHTS) or _PICKLE.search(name)))
    )


def safe_name(name: str) -> bool:
    """Whether a shard's name from an index is inside the checkpoint."""
    parts = name.split("/")
    return bool(name) and not name.startswith("/") and "\\" not in name and ".." not in parts
