"""NVIDIA's inflight_batcher_llm templates by release, rebuilt from what they contain.

Which parameters the engine's model of each tag has, which tensors join the models, and what the
READMEs of these tags fill in (triton-inference-server/tensorrtllm_backend, tags v0.8.0 to v0.18.2,
and NVIDIA/TensorRT-LLM v0.19.0, triton_backend/). What the README leaves out keeps its placeholder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packaging.version import Version

from trtbuild import pbtxt

# tag -> the Triton release that serves it; 0.8 and 0.9 were for releases older than those known
TAGS = {
    "0.8.0": "24.06", "0.9.0": "24.06", "0.10.0": "24.06", "0.12.0": "24.08", "0.14.0": "24.10",
    "0.16.0": "24.12", "0.17.0": "25.01", "0.18.2": "25.04", "0.19.0": "25.05",
}  # fmt: skip
# tag -> the parameters of tensorrt_llm that came with it
PARAMETERS = {
    "0.8.0": (
        "max_beam_width", "FORCE_CPU_ONLY_INPUT_TENSORS", "gpt_model_type", "gpt_model_path",
        "max_tokens_in_paged_kv_cache", "max_attention_window_size", "batch_scheduler_policy",
        "kv_cache_free_gpu_mem_fraction", "enable_trt_overlap", "exclude_input_in_output",
        "enable_kv_cache_reuse", "normalize_log_probs", "enable_chunked_context",
        "gpu_device_ids",
    ),
    "0.9.0": (
        "lora_cache_optimal_adapter_size", "lora_cache_max_adapter_size",
        "lora_cache_gpu_memory_fraction", "lora_cache_host_memory_bytes", "decoding_mode",
        "worker_path",
    ),
    "0.10.0": (
        "sink_token_length", "kv_cache_host_memory_bytes", "kv_cache_onboard_blocks",
        "cancellation_check_period_ms", "stats_check_period_ms", "iter_stats_max_iterations",
        "request_stats_max_iterations", "executor_worker_path", "medusa_choices",
        "gpu_weights_percent",
    ),
    "0.12.0": ("encoder_model_path", "multi_block_mode", "enable_context_fmha_fp32_acc"),
    "0.14.0": ("participant_ids", "cross_kv_cache_fraction"),
    "0.16.0": (
        "cuda_graph_mode", "cuda_graph_cache_size", "eagle_choices",
        "speculative_decoding_fast_logits",
    ),
    "0.19.0": (
        "num_nodes", "lora_prefetch_dir", "lookahead_window_size", "lookahead_ngram_size",
        "lookahead_verification_set_size", "tokenizer_dir", "guided_decoding_backend",
        "xgrammar_tokenizer_info_path",
    ),
}  # fmt: skip
GONE = {"worker_path": "0.10.0"}
_BACKENDS = "/opt/tritonserver/backends/tensorrtllm"
FILLED = {
    "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
    "worker_path": f"{_BACKENDS}/triton_tensorrtllm_worker",
    "executor_worker_path": f"{_BACKENDS}/trtllmExecutorWorker",
    "gpt_model_type": "inflight_fused_batching",
    "gpt_model_path": "/models/tensorrt_llm/1",
    "max_beam_width": "1",
    "max_tokens_in_paged_kv_cache": "2560",
    "max_attention_window_size": "2560",
    "kv_cache_free_gpu_mem_fraction": "0.5",
    "exclude_input_in_output": "True",
    "enable_kv_cache_reuse": "False",
}
_MODEL = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
_BLS = "import triton_python_backend_utils as pb_utils\n" + _MODEL.replace(
    "return []", "return [pb_utils.InferenceRequest(model_name='x').exec() for _ in requests]"
)
# model -> its tensors, inputs before outputs: name, type, dims
_TOKENS = [("REQUEST_INPUT_LEN", "INT32", [1]), ("REQUEST_OUTPUT_LEN", "INT32", [1])]
TENSORS: dict[str, tuple[list[Any], list[Any]]] = {
    "ensemble": (
        [("text_input", "STRING", [1]), ("max_tokens", "INT32", [1])],
        [("text_output", "STRING", [-1])],
    ),
    "preprocessing": (
        [("QUERY", "STRING", [1]), ("REQUEST_OUTPUT_LEN", "INT32", [1])],
        [("INPUT_ID", "INT32", [-1]), *_TOKENS],
    ),
    "tensorrt_llm": (
        [("input_ids", "INT32", [-1]), ("input_lengths", "INT32", [1]),
         ("request_output_len", "INT32", [1])],
        [("output_ids", "INT32", [-1, -1]), ("sequence_length", "INT32", [-1])],
    ),
    "postprocessing": (
        [("TOKENS_BATCH", "INT32", [-1, -1]), ("SEQUENCE_LENGTH", "INT32", [-1])],
        [("OUTPUT", "STRING", [-1])],
    ),
}  # fmt: skip
TENSORS["tensorrt_llm_bls"] = TENSORS["ensemble"]
_STEPS = (
    ("preprocessing", {"QUERY": "text_input", "REQUEST_OUTPUT_LEN": "max_tokens"},
     {"INPUT_ID": "_INPUT_ID", "REQUEST_INPUT_LEN": "_LENGTH", "REQUEST_OUTPUT_LEN": "_OUT_LEN"}),
    ("tensorrt_llm", {"input_ids": "_INPUT_ID", "input_lengths": "_LENGTH",
                      "request_output_len": "_OUT_LEN"},
     {"output_ids": "_TOKENS", "sequence_length": "_SEQUENCE"}),
    ("postprocessing", {"TOKENS_BATCH": "_TOKENS", "SEQUENCE_LENGTH": "_SEQUENCE"},
     {"OUTPUT": "text_output"}),
)  # fmt: skip
_OF_PYTHON: dict[str, dict[str, str]] = {
    "preprocessing": {
        "tokenizer_dir": "/models/preprocessing/1/tokenizer",
        "tokenizer_type": "auto",
        "add_special_tokens": "",
    },
    "postprocessing": {
        "tokenizer_dir": "/models/postprocessing/1/tokenizer",
        "tokenizer_type": "auto",
        "skip_special_tokens": "",
    },
    "tensorrt_llm_bls": {"accumulate_tokens": "", "tensorrt_llm_model_name": ""},
}


def parameters(tag: str) -> dict[str, str]:
    """The parameters of the engine's model of a tag, filled in as its README says."""
    key = Version(tag)
    names = [
        name
        for since, row in PARAMETERS.items()
        for name in row
        if Version(since) <= key < Version(GONE.get(name, "99"))
    ]
    return {name: FILLED.get(name, f"${{{name}}}") for name in names}


def write(repo: Path, tag: str, **changed: str) -> Path:
    """The repository of a tag; ``changed`` over the parameters of its engine's model."""
    _write(repo, "tensorrt_llm", {**parameters(tag), **changed}, backend="tensorrtllm",
           instance_group=[{"count": 1, "kind": "KIND_CPU"}])  # fmt: skip
    for name, given in _OF_PYTHON.items():
        filled = {key: value or f"${{{key}}}" for key, value in given.items()}
        count = 4 if "bls" in name else 1
        _write(repo, name, filled, backend="python",
               instance_group=[{"count": count, "kind": "KIND_CPU"}])  # fmt: skip
        (repo / name / "1/model.py").write_text(_BLS if "bls" in name else _MODEL)
    steps = [
        {"model_name": name, "model_version": -1, "input_map": inputs, "output_map": outputs}
        for name, inputs, outputs in _STEPS
    ]
    _write(repo, "ensemble", {}, platform="ensemble", ensemble_scheduling={"step": steps})
    for name in ("preprocessing", "postprocessing"):
        folder = repo / name / "1/tokenizer"
        folder.mkdir()
        (folder / "tokenizer.model").write_bytes(b"\n\x02")
    return repo


def _write(repo: Path, name: str, given: dict[str, str], **fields: Any) -> None:
    config = pbtxt.model_config(name=name, max_batch_size=4, **fields)
    for part, tensors in zip(("input", "output"), TENSORS[name], strict=True):
        for tensor, kind, dims in tensors:
            made = getattr(config, part).add(
                name=tensor, data_type=pbtxt.data_type(f"TYPE_{kind}"), dims=dims
            )
            if part == "input" and name == "tensorrt_llm" and dims == [1]:
                made.reshape.SetInParent()
    config.model_transaction_policy.decoupled = name == "tensorrt_llm"
    for key, value in given.items():
        config.parameters[key].string_value = value
    (repo / name / "1").mkdir(parents=True)
    (repo / name / "config.pbtxt").write_text(pbtxt.render(config))
