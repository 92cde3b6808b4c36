"""vLLM and its checkpoint: arguments that the model's own config.json rules out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild_rules.readers.served import ModelJson, weights
from trtbuild_rules.readers.tokenizing import settings

_JSON = '{ "model": "/models/m/1/weights", %s }'
# The keys from which vLLM derives a context; the smallest counts (vllm/config/model.py).
_CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
    "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip


def _argument(text: str) -> Example:
    return Example(files={"m/1/model.json": _JSON % text}, base="checkpoint")


def _configs(model: Model) -> Iterator[tuple[ModelJson, Mapping[str, Any]]]:
    """Every engine with the text part of its checkpoint's config.json."""
    for engine, folder in weights(model):
        config = settings(folder, model.repository.root, "config.json")
        text = config.get("text_config")
        yield engine, text if isinstance(text, dict) else config


@rule(
    "TRT717",
    "max_model_len is within the checkpoint's context",
    fix="lower max_model_len; a longer context needs a checkpoint or rope_scaling made for it",
    backends=("vllm",),
    bad=_argument('"max_model_len": 128'),
    good=_argument('"max_model_len": 64'),
)
def context(model: Model) -> Problems:
    """vLLM refuses a longer one than config.json says, because positions beyond it were never
    learned. Not checked for a checkpoint with rope scaling, which changes this length."""
    for engine, config in _configs(model):
        length = engine.settings.get("max_model_len")
        known = [config[key] for key in _CONTEXT if isinstance(config.get(key), int)]
        if not isinstance(length, int) or not known or _stretched(config):
            continue
        if length > min(known):
            yield Problem(
                f"max_model_len is {length:,}, but the checkpoint's context is {min(known):,}",
                engine.json.of("max_model_len"),
                file=engine.file,
                server=f"User-specified max_model_len ({length}) is greater than the derived "
                "max_model_len",
            )


def _stretched(config: Mapping[str, Any]) -> bool:
    """Whether positions beyond what config.json says may be served all the same."""
    for key in ("rope_scaling", "rope_parameters"):
        rope = config.get(key)
        kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, dict) else None
        if kind not in (None, "default"):
            return True
    return isinstance(config.get("model_max_length"), int)


@rule(
    "TRT718",
    "the attention heads can be divided among the GPUs",
    fix="choose a tensor_parallel_size that divides the number of attention heads",
    backends=("vllm",),
    bad=_argument('"tensor_parallel_size": 3'),
    good=_argument('"tensor_parallel_size": 2'),
)
def heads(model: Model) -> Problems:
    """Tensor parallelism gives each GPU the same number of heads."""
    for engine, config in _configs(model):
        size, count = engine.settings.get("tensor_parallel_size"), config.get("num_attention_heads")
        if isinstance(size, int) and isinstance(count, int) and size > 0 and count % size:
            yield Problem(
                f"{count} attention heads cannot be divided among {size} GPUs",
                engine.json.of("tensor_parallel_size"),
                file=engine.file,
                server=f"Total number of attention heads ({count}) must be divisible by tensor "
                f"parallel size ({size}).",
            )
