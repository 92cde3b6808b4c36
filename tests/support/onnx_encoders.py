"""A small encoder as an ONNX graph, and the settings of the model that serves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SETTINGS: dict[str, Any] = {
    "head": "dense", "core": "m_core", "inputs": {"input_ids": 0, "attention_mask": 0},
    "output": "embeddings", "pooling": [], "max_tokens": 40, "lower": True,
    "padding_side": "right", "truncate": "END", "truncation": "longest_first",
    "token_budget": 200, "prompts": {"query": "query: ", "document": "text: "},
    "default_prompt": "", "include_prompt": True, "dimension": 6, "truncate_dimension": 0,
    "matryoshka": [2, 4], "normalized": True, "labels": [], "activation": "identity",
}  # fmt: skip


def write_graph(
    folder: Path,
    name: str = "model.onnx",
    *,
    pooling: str = "mean",
    dense: bool = True,
    unit: bool = True,
) -> None:
    """Word and position embeddings, pooling, a dense layer, normalization."""
    rng = np.random.default_rng(3)
    ids = [
        helper.make_tensor_value_info(given, TensorProto.INT64, ["batch", "sequence"])
        for given in ("input_ids", "attention_mask")
    ]
    tables = {
        "words": rng.normal(size=(256, 6)), "places": rng.normal(size=(64, 6)),
        "matrix": rng.normal(size=(6, 6)), "low": np.array(-1e9),
    }  # fmt: skip
    weights = [numpy_helper.from_array(np.asarray(t, np.float32), n) for n, t in tables.items()]
    for each, value in {"zero": 0, "one": 1}.items():
        weights.append(numpy_helper.from_array(np.array(value, np.int64), each))
    for each, value in {"at1": [1], "at2": [2]}.items():
        weights.append(numpy_helper.from_array(np.array(value, np.int64), each))
    node = helper.make_node
    nodes = [
        node("Gather", ["words", "input_ids"], ["w"]),
        node("Shape", ["input_ids"], ["shape"]),
        node("Gather", ["shape", "one"], ["length"]),
        node("Range", ["zero", "length", "one"], ["steps"]),
        node("Gather", ["places", "steps"], ["p"]),
        node("Add", ["w", "p"], ["states"]),
        node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["kept", "at2"], ["mask"]),
        node("Mul", ["states", "mask"], ["masked"]),
        node("ReduceSum", ["masked", "at1"], ["sum"], keepdims=0),
        node("ReduceSum", ["mask", "at1"], ["count"], keepdims=0),
        node("Div", ["sum", "count"], ["mean"]),
        node("Gather", ["states", "zero"], ["cls"], axis=1),
        node("MatMul", [pooling, "matrix"], ["behind"]),
        node("Tanh", ["behind" if dense else pooling], ["out" if unit is False else "bent"]),
    ]
    if unit:
        nodes.append(node("LpNormalization", ["bent"], ["out"], axis=1, p=2))
    nodes.append(node("Identity", ["out"], ["embeddings"]))
    out = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 6])
    graph = helper.make_graph(nodes, "tiny", ids, [out], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / name)
