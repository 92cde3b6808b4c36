"""What the classes of a TensorRT-LLM release make of a checkpoint: the judge of our converter.

Facts, as they were seen when those classes ran (``data/checkpoint.toml`` says which):
``MODEL_MAP`` of models/__init__.py, the fields of ``MoeConfig``, what the model classes read
without a default, and the parameters that they look for in a rank file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

Era = tuple[int, ...]
_MOE = {
    (0, 11): {"num_experts", "top_k", "normalization_mode"},
    (0, 12): {"num_experts", "top_k", "normalization_mode", "tp_mode"},
    (0, 13): {"num_experts", "top_k", "normalization_mode", "tp_mode", "sparse_mixer_epsilon"},
}
_MOE_14 = {"moe_intermediate_size", "num_shared_experts"}
_MOE_1 = {"shared_expert_intermediate_size", "device_limited_n_group", "device_limited_topk_group"}
_MOE_1 |= {"device_limited_routed_scaling_factor"}


def moe_fields(era: Era) -> set[str]:
    """The fields of ``MoeConfig``; none where the release has no such class."""
    known = max((since for since in _MOE if since <= era), default=None)
    fields = set(_MOE[known]) if known else set()
    return fields | (_MOE_1 if era >= (1, 0) else _MOE_14 if era == (0, 14) else set())


def models(era: Era) -> set[str]:
    """``MODEL_MAP``, as far as our families go."""
    known = {"LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM", "FalconForCausalLM"}
    known |= {"GPTNeoXForCausalLM", "Phi3ForCausalLM"}
    if era < (0, 12):
        return known | {"GPTForCausalLM", "QWenForCausalLM"}
    known |= {"GPT2LMHeadModel", "Qwen2ForCausalLM", "Qwen2MoeForCausalLM"}
    return known | ({"Gemma2ForCausalLM"} if era >= (0, 13) else set())


def faults(config: dict[str, Any], tensors: Collection[str], era: Era) -> list[str]:
    """Why ``from_checkpoint`` of the release's class fails; empty when it loads."""
    return [*_of_config(config, era), *_of_names(config, set(tensors), era)]


def _of_config(config: dict[str, Any], era: Era) -> Iterator[str]:
    if config["architecture"] not in models(era):
        yield f"KeyError: {config['architecture']!r}"
    unknown = config.get("moe", {}).keys() - moe_fields(era)
    if era >= (0, 11) and unknown:
        yield f"MoeConfig.__init__() got unexpected keyword arguments {sorted(unknown)}"
    scaling = config.get("rotary_scaling")
    if scaling and era < (0, 12) and scaling.get("type") not in ("linear", "dynamic"):
        yield "rotary_embedding_scaling['type']"
    if "Qwen" in config["architecture"] and era >= (0, 16) and "seq_length" not in config:
        yield "AttributeError: 'QWenConfig' object has no attribute 'seq_length'"


def _of_names(config: dict[str, Any], tensors: set[str], era: Era) -> Iterator[str]:
    layer, architecture = "transformer.layers.0.", config["architecture"]
    wanted = {"transformer.vocab_embedding.weight", "transformer.ln_f.weight"}
    if architecture == "Gemma2ForCausalLM":
        if era == (0, 16):
            wanted.add("lm_head.weight")
    else:
        wanted.add("lm_head.weight")
    if config.get("moe", {}).get("num_experts"):
        wanted |= {f"{layer}mlp.{name}.weight" for name in ("fc", "proj", "router")}
    if architecture == "Qwen2MoeForCausalLM":
        at = layer if era < (0, 16) else f"{layer}mlp."
        wanted |= {f"{at}shared_expert.{name}.weight" for name in ("fc", "proj")}
        wanted.add(f"{at}shared_expert_gate.weight")
    if missing := wanted - tensors:
        yield f"Required but not provided tensors:{sorted(missing)}"
    shared = {name for name in tensors if "shared_expert" in name and layer in name}
    if shared - wanted:
        yield f"Provided but not required tensors:{sorted(shared - wanted)}"
