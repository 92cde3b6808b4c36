"""What vLLM itself makes of configurations: its layers, contexts and KV caches.

Runs in the embedded runtime's Python, which has vLLM. Reads one JSON object a line from standard
input (``{"name": …, "config": …, "files": …}``) and writes one answer a line:

    $(trtbuild runtime path)/bin/python scripts/vllm_sizes.py < tests/sizes/configurations.jsonl

With ``--defaults`` it writes such lines instead, see ``scripts/default_configurations.py``.

A model is built on the meta device, without memory for its weights, and each of its layers is
asked for its KV cache as vLLM's workers ask. What has no kernel on a CPU (sparse attention,
some experts, weights in 8 and 4 bits) is passed over: none of it changes the size of a cache.
Models with a vision tower need torchvision: ``pip install --no-deps --target DIR torchvision``
and ``PYTHONPATH=DIR``.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import tempfile
import unittest.mock
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from default_configurations import defaults

os.environ |= {
    "VLLM_LOGGING_LEVEL": "CRITICAL",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}

KINDS = {
    "full_attention": "full",
    "sink_full_attention": "full",
    "mla_attention": "mla",
    "sliding_window": "sliding",
    "sliding_window_mla": "sliding",
    "chunked_local_attention": "sliding",
}


def torchvision_operators() -> object:
    """Declare those that a torchvision built for GPUs expects; to be kept by the caller."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for CUDA's Python packages, which some models import and none runs here."""

    def find_spec(self, name: str, *_: Any) -> Any:
        if name.partition(".")[0] in {"cuda", "cutlass"}:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        return unittest.mock.MagicMock(__path__=[], __spec__=spec, __name__=spec.name)

    def exec_module(self, module: Any) -> None:
        """Nothing to run."""


def prepare() -> None:
    """One process group, and a CPU platform that refuses nothing."""
    import torch

    # Chosen by the host's processor otherwise: the answers are those of any machine.
    torch.cpu._is_avx512_bf16_supported = lambda: False
    torch.cpu._is_amx_tile_supported = lambda: False

    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel

    _allow_all()
    with set_current_vllm_config(VllmConfig()):
        place = Path(tempfile.mkdtemp()) / "store"
        init_distributed_environment(1, 0, place.as_uri(), 0, "gloo")
        initialize_model_parallel(1, 1)


def _allow_all() -> None:
    """Take the first choice where nothing suits a CPU, and load models in this process."""
    import torch
    from vllm.model_executor.layers.fused_moe import config as moe
    from vllm.model_executor.layers.fused_moe import unquantized_fused_moe_method as method
    from vllm.model_executor.layers.fused_moe.oracle import unquantized
    from vllm.model_executor.models import registry
    from vllm.platforms.cpu import CpuPlatform
    from vllm.triton_utils import triton

    registry._run_in_subprocess = lambda work: work()
    torch.cuda.Event = torch.cuda.Stream = unittest.mock.MagicMock  # type: ignore[misc]
    triton.set_allocator = lambda _: None
    sys.meta_path.append(_Absent())
    chosen = CpuPlatform.get_attn_backend_cls.__func__  # type: ignore[attr-defined]

    def dense(cls: type, backend: Any, attn_selector_config: Any, num_heads: Any = None) -> Any:
        return chosen(cls, backend, attn_selector_config._replace(use_sparse=False), num_heads)

    CpuPlatform.get_attn_backend_cls = classmethod(dense)  # type: ignore[assignment]
    checked, selected = moe.FusedMoEConfig.__post_init__, method.select_unquantized_moe_backend

    def unchecked(self: Any) -> None:
        with contextlib.suppress(NotImplementedError):
            checked(self)

    def first(moe_config: Any, *rest: Any, **more: Any) -> Any:
        with contextlib.suppress(NotImplementedError):
            return selected(moe_config, *rest, **more)
        backend = unquantized.UnquantizedMoeBackend.CPU
        return backend, unquantized.backend_to_kernel_cls(backend)[0]

    moe.FusedMoEConfig.__post_init__ = unchecked  # type: ignore[method-assign]
    method.select_unquantized_moe_backend = first


def answer(config: dict[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """vLLM's view of one checkpoint, or why it refuses it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"config.json": config, **files}.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content))
        try:
            return _answer(folder, config)
        except (Exception, SystemExit) as error:
            return {"refused": _short(error)}


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.replace("1 validation error for ModelConfig Value error, ", "")[:200]


def _answer(folder: str, config: dict[str, Any]) -> dict[str, Any]:
    import gc

    from vllm.engine.arg_utils import EngineArgs

    _register(str(config.get("model_type", "")))
    arguments = EngineArgs(
        model=folder, skip_tokenizer_init=True, load_format="dummy", enforce_eager=True,
        dtype="bfloat16", enable_prefix_caching=False, language_model_only=True,
    )  # fmt: skip
    asked = arguments.create_engine_config()
    model = asked.model_config
    found = {
        "layers": model.get_total_num_hidden_layers(),
        "heads": model.model_arch_config.total_num_attention_heads,
        "max_model_len": model.max_model_len,
        "runner": model.runner_type,
        "attention_free": model.is_attention_free,
        "hybrid": model.is_hybrid,
        "cache": asked.cache_config.cache_dtype,
    }
    try:
        found["groups"] = _groups(asked)
        found["cache"] = asked.cache_config.cache_dtype
    except Exception as error:
        found["unbuilt"] = _short(error)
    asked.compilation_config.static_forward_context.clear()
    gc.collect()
    return found


def _register(model_type: str) -> None:
    """A class for a family whose own is in its checkpoint: attributes as written."""
    from transformers import AutoConfig, PreTrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from vllm.transformers_utils.config import _CONFIG_REGISTRY

    if model_type and model_type not in CONFIG_MAPPING and model_type not in _CONFIG_REGISTRY:
        made = type("Written", (PreTrainedConfig,), {"model_type": model_type})
        AutoConfig.register(model_type, made)


def _groups(asked: Any) -> list[list[Any]]:
    """Kind, layers, bytes a token, window and bytes of state, for each kind of layer."""
    import torch
    from vllm.config import get_layers_from_vllm_config, set_current_vllm_config
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype

    _without_kernels(asked)
    device = "meta"
    for device in ("meta", "cpu"):  # some classes compute with what they hold
        try:
            with (
                set_current_vllm_config(asked),
                set_default_torch_dtype(asked.model_config.dtype),
                torch.device(device),
            ):
                initialize_model(asked)
            break
        except (NotImplementedError, RuntimeError) as error:
            if "meta" not in str(error) or device == "cpu":
                raise
            asked.compilation_config.static_forward_context.clear()
    asked.cache_config.mamba_block_size = asked.cache_config.mamba_block_size or 16
    asked.cache_config.mamba_page_size_padded = None
    counts: Counter[tuple[Any, ...]] = Counter()
    with set_current_vllm_config(asked):
        for layer in get_layers_from_vllm_config(asked, AttentionLayerBase).values():
            if getattr(layer, "kv_sharing_target_layer_name", None):
                continue
            spec = layer.get_kv_cache_spec(asked)
            if spec:
                counts[_described(spec)] += 1
    return sorted([kind, layers, *rest] for (kind, *rest), layers in counts.items())


def _without_kernels(asked: Any) -> None:
    """Weights in 16 bits: those of the checkpoint may have no kernel here."""
    quantization = asked.quant_config
    if quantization is None:
        return
    if getattr(quantization, "kv_cache_scheme", None) is not None:
        quantization.target_scheme_map.clear()  # compressed-tensors: the scheme stays
        return
    asked.quant_config = None
    asked.model_config.quantization = None
    asked.model_config.hf_config.quantization_config = None


def _described(spec: Any) -> tuple[Any, ...]:
    from vllm.v1 import kv_cache_interface as interface

    kind = interface.get_kv_cache_spec_kind(spec).value
    if kind == "mamba":
        return ("recurrent", 0, 0, spec.real_page_size_bytes)
    window = 0
    if KINDS[kind] == "sliding":
        window = getattr(spec, "sliding_window", 0) or spec.attention_chunk_size
    size = spec.real_page_size_bytes / spec.block_size
    return (KINDS[kind], int(size) if size.is_integer() else size, window, 0)


def asked_lines() -> Iterator[dict[str, Any]]:
    """What standard input asks for."""
    for line in sys.stdin:
        if line.strip():
            yield json.loads(line)


def main() -> None:
    """Answer every line."""
    kept = torchvision_operators()
    import vllm

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints goes to standard error
    if sys.argv[1:] == ["--defaults"]:
        for line in defaults():
            print(json.dumps(line), file=out)
        return
    prepare()
    for asked in asked_lines():
        made = answer(asked["config"], asked.get("files", {}))
        line = {"name": asked["name"], "vllm": vllm.__version__.partition("+")[0]} | made
        print(json.dumps(line), file=out, flush=True)
    del kept


if __name__ == "__main__":
    main()
