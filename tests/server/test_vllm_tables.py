"""What was read out of vLLM's sources is what the running vLLM says of itself."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from support import triton
from support.checkpoints import make_llama
from trtbuild import toolchain
from trtbuild.recipe import argument_problems

PLAIN = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
ODD: dict[str, list[Any]] = {
    "r": [0, 16, 17, "8", None],
    "lora_alpha": [None, 0.5],
    "target_modules": [[], "all-linear", None],
    "bias": ["none", "all", "lora_only"],
    "modules_to_save": [None, [], ["lm_head"], ["classifier"], ["score", "embed_tokens"]],
    "use_rslora": [True],
    "use_dora": [True, False],
    "lora_bias": [True, False],
    "init_lora_weights": [True, False, "gaussian", "PISSA", "olora", "loftq", "lora_ga", "eva"],
    "alora_invocation_tokens": [None, [], [1, 2]],
    "layer_replication": [None, [], [[0, 4]]],
    "use_bdlora": [None, {}, {"nblocks": 2}],
    "use_qalora": [True, False],
    "rank_pattern": [None, {}, {"q_proj": 16}, {"q_proj": 32}, {"q_proj": 0}],
    "alpha_pattern": [{}, {"q_proj": 4}],
    "never_heard_of": [1],
}
ADAPTERS = [
    {name: v for name, v in {**PLAIN, key: value}.items() if v is not None or name == key}
    for key, values in ODD.items()
    for value in values
]

# Settings of an engine at the edge of what it takes, and beyond.
SETTINGS: list[dict[str, Any]] = [
    *({"max_num_seqs": value} for value in (0, 1)),
    *({"max_model_len": value} for value in (-2, 64)),
    *({"gpu_memory_utilization": value} for value in (0, 0.5, 1, 1.1)),
    *({"block_size": value} for value in (0, 16)),
    *({"cpu_offload_gb": value} for value in (-0.1, 0)),
    *({"watermark": value} for value in (-0.1, 0, 1.0)),
    *({"stream_interval": value} for value in (0, 1)),
    *({"optimization_level": value} for value in (-1, 0, 2, 3, 4)),
    *({"attention_backend": value} for value in ("banana", "auto", "CPU_ATTN", "cpu_attn")),
    *({"mamba_backend": value} for value in ("banana", "TRITON", "triton")),
    *({"kv_cache_dtype": value} for value in ("banana", "auto")),
    {"compilation_config": {"level": 3}},
    {"compilation_config": {"mode": 3, "cudagraph_mode": "NONE"}},
    {"compilation_config": {"pass_config": {"no_such_pass": True}}},
    {"compilation_config": {"compile_cache_save_format": "zip"}},
    {"compilation_config": {"cudagraph_capture_sizes": [1, 2]}},
    {"attention_config": {"no_such_key": 1}},
    {"attention_config": {"flash_attn_version": 1}},
    {"attention_config": {"flash_attn_version": 2}},
    {"structured_outputs_config": {"backend": "auto"}},
    {"structured_outputs_config": {"backend": "banana"}},
    {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2, "banana": 1}},
    {"speculative_config": {"method": "ngram", "num_speculative_tokens": 0}},
    {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2,
                            "prompt_lookup_max": 2}},
    {"kernel_config": {"ir_op_priority": {"rms_norm": "native"}}},
    {"kernel_config": {"banana": 1}},
    {"eplb_config": {"window_size": 10}},
    {"eplb_config": {"banana": 10}},
    {"profiler_config": {"banana": 1}},
    {"kv_events_config": {"banana": 1}},
]  # fmt: skip

ASK = """
import dataclasses, json, sys, types
from vllm import __version__
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
from vllm.model_executor.models.registry import ModelRegistry

from vllm.lora.peft_helper import PEFTHelper

def refusal(config):
    try:
        config = {k: v for k, v in config.items() if v is not None}
        PEFTHelper.from_dict(config).validate_legal(types.SimpleNamespace(max_lora_rank=16))
    except (ValueError, TypeError) as error:
        return str(error)
    return ""

def configured(settings):
    try:
        AsyncEngineArgs(model=sys.argv[2], **settings).create_engine_config()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""

fields = [f for f in dataclasses.fields(AsyncEngineArgs) if not f.name.startswith("_")]
plain = (bool, int, float, str, type(None))
print(json.dumps({
    "version": __version__.partition("+")[0],
    "names": sorted(f.name for f in fields),
    "defaults": {f.name: f.default for f in fields if type(f.default) in plain},
    "methods": sorted(QUANTIZATION_METHODS),
    "architectures": sorted(ModelRegistry.get_supported_archs()),
    "settings": [configured(settings) for settings in json.loads(sys.argv[3])],
    "adapters": [refusal(config) for config in json.loads(sys.argv[1])],
}))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    checkpoint = make_llama(tmp_path_factory.mktemp("tables") / "tiny")
    arguments = [json.dumps(ADAPTERS), str(checkpoint), json.dumps(SETTINGS)]
    command = [str(triton.runtime_python()), "-c", ASK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def table(said: dict[str, Any]) -> toolchain.VllmRelease:
    return toolchain.vllm_release(said["version"])


def test_argument_names(said: dict[str, Any], table: toolchain.VllmRelease) -> None:
    assert sorted(table.arguments) == said["names"]


def test_defaults(said: dict[str, Any], table: toolchain.VllmRelease) -> None:
    known = {name: a.default for name, a in table.arguments.items() if a.has_default}
    assert len(known) > 200
    assert {name: value for name, value in known.items() if said["defaults"][name] != value} == {}


def test_quantization_methods(said: dict[str, Any], table: toolchain.VllmRelease) -> None:
    assert sorted(table.quantization) == said["methods"]


def test_architectures(said: dict[str, Any], table: toolchain.VllmRelease) -> None:
    known = frozenset().union(*table.architectures.values())
    assert known <= set(said["architectures"])
    # What is not in the table serves no request by itself: drafts of speculative decoding, and
    # vLLM's own wrappers, which no checkpoint names.
    rest = [name for name in said["architectures"] if name not in known]
    assert "LlamaForCausalLM" not in rest
    assert len(rest) < len(known) / 3


def test_adapters_are_judged_as_the_engine_judges_them(
    said: dict[str, Any], table: toolchain.VllmRelease
) -> None:
    """56 configurations: the same verdict, and its words in what the engine says."""
    assert len(ADAPTERS) == len(said["adapters"]) > 45
    wrong = {}
    for config, refusal in zip(ADAPTERS, said["adapters"], strict=True):
        faults = [f for f in toolchain.config_faults(config, table.version, {}) if not f.loads]
        agree = bool(faults) == bool(refusal) and all(f.server in refusal for f in faults)
        if not agree:
            wrong[json.dumps(config)] = (refusal, [fault.what for fault in faults])
    assert wrong == {}


def test_settings_are_judged_as_the_engine_judges_them(
    said: dict[str, Any], table: toolchain.VllmRelease
) -> None:
    """Bounds, names of enumerations and unknown keys: the same verdict for each."""
    assert len(SETTINGS) == len(said["settings"])
    wrong = {
        json.dumps(settings): (refusal, problems)
        for settings, refusal in zip(SETTINGS, said["settings"], strict=True)
        if bool(refusal) != bool(problems := argument_problems(settings, table))
    }
    assert wrong == {}
    assert sum(map(bool, said["settings"])) > len(SETTINGS) / 3
