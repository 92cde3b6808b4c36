"""An embedding model as sentence-transformers publishes its ONNX export: no safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from support.checkpoints import write_json, write_tokenizer

WIDTH, VOCAB = 8, 320


def make_onnx_bert(folder: Path, *, at: str = "onnx/model.onnx") -> Path:
    """A BERT whose graph looks up embeddings; ``at`` is where the graph lies."""
    folder.mkdir(parents=True)
    write_json(
        folder / "config.json",
        {
            "architectures": ["BertModel"], "model_type": "bert", "hidden_size": WIDTH,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
            "vocab_size": VOCAB, "max_position_embeddings": 32, "torch_dtype": "float32",
        },
    )  # fmt: skip
    write_tokenizer(folder, VOCAB)
    (folder / at).parent.mkdir(exist_ok=True)
    onnx.save(_graph(), folder / at)
    return folder


def _graph() -> onnx.ModelProto:
    table = np.arange(VOCAB * WIDTH, dtype=np.float32).reshape(VOCAB, WIDTH)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "length"])
    out = helper.make_tensor_value_info(
        "last_hidden_state", TensorProto.FLOAT, ["batch", "length", WIDTH]
    )
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["last_hidden_state"]),
    ]
    weights = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([-1], dtype=np.int64), "last"),
    ]
    graph = helper.make_graph(nodes, "bert", [ids, mask], [out], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
