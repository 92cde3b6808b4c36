"""The sound models that examples of rules differ from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from trtbuild.located.positions import Positions


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link in an example."""

    target: str


Content = str | bytes | Link | Callable[[], bytes] | None
"""Of a file: text, bytes, a link, a function that makes the bytes when they are many; None: no
such file or directory."""


def complete(config: str, fields: Mapping[str, str]) -> str:
    """``config`` with those of ``fields`` (name to line) that it does not have at its end."""
    has = Positions(config).has
    lines = [
        line
        for name, line in fields.items()
        if not has(name) and not (name == "backend" and has("platform"))
    ]
    return "\n".join([*([config.strip()] if config.strip() else []), *lines]) + "\n"


MODEL_PY = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([]) for _ in requests]
"""
MODEL_JSON = """\
{
  "model": "org/name",
  "revision": "0123456789abcdef0123456789abcdef01234567"
}
"""

_PYTHON = {
    "name": 'name: "m"',
    "backend": 'backend: "python"',
    "max_batch_size": "max_batch_size: 8",
    "input": 'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } ]',
    "output": 'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] } ]',
}
_VLLM = {
    "name": 'name: "m"',
    "backend": 'backend: "vllm"',
    "max_batch_size": "max_batch_size: 0",
    "model_transaction_policy": "model_transaction_policy { decoupled: true }",
    "input": 'input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ]',
    "output": 'output [ { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] } ]',
    "instance_group": "instance_group [ { count: 1 kind: KIND_MODEL } ]",
}
_ENSEMBLE = {
    **_PYTHON,
    "backend": 'platform: "ensemble"',
    "ensemble_scheduling": """\
ensemble_scheduling {
  step [
    {
      model_name: "a"
      model_version: -1
      input_map { key: "IN" value: "IN" }
      output_map { key: "OUT" value: "between" }
    },
    {
      model_name: "b"
      model_version: -1
      input_map { key: "IN" value: "between" }
      output_map { key: "OUT" value: "OUT" }
    }
  ]
}""",
}
_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "float32",
    "vocab_size": 4,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
TOKENIZER = """\
{
  "version": "1.0",
  "added_tokens": [],
  "model": {
    "type": "WordLevel",
    "vocab": { "<s>": 0, "</s>": 1, "a": 2, "b": 3 },
    "unk_token": "a"
  }
}
"""


def engine_config(version: str = "1.2.1", **build: object) -> str:
    """The ``config.json`` of a TensorRT-LLM engine for one GPU; ``build`` over its build_config."""
    limits = {"max_batch_size": 8, "max_input_len": 1024, "max_seq_len": 2048}
    sizes = {**limits, "max_num_tokens": 8192, "max_beam_width": 1, **build}
    document = {
        "version": version,
        "pretrained_config": {
            "architecture": "LlamaForCausalLM",
            "dtype": "float16",
            "vocab_size": 4,
            "mapping": {"world_size": 1, "tp_size": 1, "pp_size": 1},
        },
        "build_config": {
            **sizes,
            "kv_cache_type": "PAGED",
            "plugin_config": {"remove_input_padding": True, "use_paged_context_fmha": False},
        },
    }
    return json.dumps(document, indent=2)


ENGINE_KEYS = (
    "gpt_model_type", "tokenizer_dir", "xgrammar_tokenizer_info_path", "guided_decoding_backend",
)  # fmt: skip
"""The parameters without which the C++ backend does not load a model."""


def engine_parameters(**parameters: str) -> str:
    """The ``parameters`` of a model with an engine beside it; ``parameters`` over them."""
    ours = {"gpt_model_type": "inflight_fused_batching", "gpt_model_path": "/models/m/1"}
    given = {**dict.fromkeys(ENGINE_KEYS, ""), **ours, **parameters}
    return "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
        for key, value in given.items()
    )


def onnx_file(
    *, ir: int = 8, opset: int = 13, operator: str = "Identity", domain: str = ""
) -> bytes:
    """An ONNX model that hands ``IN``, FP32[N, 4], on as ``OUT``.

    Written field by field after onnx.proto, so that the examples need no package.
    """
    node = _field(1, b"IN") + _field(2, b"OUT") + _field(4, operator.encode())
    node += _field(7, domain.encode()) if domain else b""
    shape = _field(1, _field(2, b"N")) + _field(1, b"\x08\x04")
    tensor = _field(1, b"\x08\x01" + _field(2, shape))
    value = {name: _field(1, name) + _field(2, tensor) for name in (b"IN", b"OUT")}
    graph = _field(1, node) + _field(2, b"g") + _field(11, value[b"IN"])
    graph += _field(12, value[b"OUT"])
    opsets = _field(8, b"\x10" + bytes([opset]))
    opsets += _field(8, _field(1, domain.encode()) + b"\x10\x01") if domain else b""
    return bytes([0x08, ir]) + _field(7, graph) + opsets


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protobuf message, shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def safetensors(**shapes: tuple[int, ...]) -> bytes:
    """A safetensors file of zeros, float32, by name and shape."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


OPENVINO_XML = """\
<?xml version="1.0"?>
<net name="m" version="11">
  <layers>
    <layer id="0" name="IN" type="Parameter" version="opset1">
      <data shape="1,4" element_type="f32"/>
      <output><port id="0" precision="FP32" names="IN"><dim>1</dim><dim>4</dim></port></output>
    </layer>
    <layer id="1" name="relu" type="ReLU" version="opset1">
      <input><port id="0" precision="FP32"><dim>1</dim><dim>4</dim></port></input>
      <output><port id="1" precision="FP32" names="OUT"><dim>1</dim><dim>4</dim></port></output>
    </layer>
    <layer id="2" name="OUT" type="Result" version="opset1">
      <input><port id="0" precision="FP32"><dim>1</dim><dim>4</dim></port></input>
    </layer>
  </layers>
  <edges>
    <edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
    <edge from-layer="1" from-port="1" to-layer="2" to-port="0"/>
  </edges>
</net>
"""
_WEIGHTS = "m/1/weights/"
_ENGINE = {
    "name": 'name: "m"',
    "backend": 'backend: "tensorrtllm"',
    "max_batch_size": "max_batch_size: 8",
    "model_transaction_policy": "model_transaction_policy { decoupled: true }",
    "input": 'input [ { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] } ]',
    "output": 'output [ { name: "output_ids" data_type: TYPE_INT32 dims: [ -1, -1 ] } ]',
    "instance_group": "instance_group [ { count: 1 kind: KIND_CPU } ]",
}
FIELDS: Mapping[str, Mapping[str, str]] = {
    "python": _PYTHON,
    "vllm": _VLLM,
    "checkpoint": _VLLM,
    "ensemble": _ENSEMBLE,
    "engine": _ENGINE,
    "openvino": {
        **_PYTHON,
        "backend": 'backend: "openvino"',
        "max_batch_size": "max_batch_size: 0",
        "input": 'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1, 4 ] } ]',
        "output": 'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1, 4 ] } ]',
        "instance_group": "instance_group [ { count: 1 kind: KIND_CPU } ]",
    },
    "onnx": {
        **_PYTHON,
        "backend": 'backend: "onnxruntime"',
        "input": 'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]',
        "output": 'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]',
    },
}
BASES: Mapping[str, Mapping[str, Content]] = {
    "": {},
    "python": {"m/1/model.py": MODEL_PY},
    "vllm": {"m/1/model.json": MODEL_JSON},
    "checkpoint": {
        "m/1/model.json": '{\n  "model": "/models/m/1/weights"\n}\n',
        _WEIGHTS + "config.json": json.dumps(_LLAMA, indent=2),
        _WEIGHTS + "generation_config.json": '{ "bos_token_id": 0, "eos_token_id": 1 }',
        _WEIGHTS + "model.safetensors": partial(safetensors, **{"lm_head.weight": (4, 8)}),
        _WEIGHTS + "tokenizer.json": TOKENIZER,
        _WEIGHTS + "tokenizer_config.json": '{ "bos_token": "<s>", "eos_token": "</s>" }',
    },
    "onnx": {"m/1/model.onnx": onnx_file},
    "openvino": {"m/1/model.xml": OPENVINO_XML},
    "engine": {"m/1/config.json": engine_config(), "m/1/rank0.engine": b"engine"},
    "ensemble": {
        "m/1/": "",
        **{f"{name}/1/model.py": MODEL_PY for name in "ab"},
        **{f"{name}/config.pbtxt": complete(f'name: "{name}"', _PYTHON) for name in "ab"},
    },
}
