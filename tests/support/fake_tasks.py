"""A Python model for Triton that embeds, reranks or classifies by the lengths of texts."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs = {item["name"] for item in config["input"]}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = {t.name(): t.as_numpy().reshape(-1) for t in request.inputs()}
        asked = json.loads(request.parameters() or "{}")
        if "query" in self.inputs:
            return self.rerank(given["query"], given["passage"])
        lengths = [[len(text.decode())] for text in given["text"]]
        if self.inputs == {"text"}:
            return self.embed(lengths, asked)
        scores = np.array([[1 / n, 1 - 1 / n] for (n,) in lengths], dtype=np.float32)
        best = np.array([[b"short" if n == 1 else b"long"] for (n,) in lengths], dtype=np.object_)
        tensors = [pb_utils.Tensor("scores", scores), pb_utils.Tensor("label", best)]
        return pb_utils.InferenceResponse(tensors)

    def embed(self, lengths, asked):
        if asked.get("input_type") == "wrong":
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("no such input_type"))
        width = asked.get("dimensions", 3)
        vectors = np.array([n * width for n in lengths], dtype=np.float32)
        counts = np.array(lengths, dtype=np.int32)
        tensors = [pb_utils.Tensor("embeddings", vectors), pb_utils.Tensor("token_count", counts)]
        return pb_utils.InferenceResponse(tensors)

    def rerank(self, queries, passages):
        logits = [[-abs(len(q) - len(p))] for q, p in zip(queries, passages, strict=True)]
        tensors = [pb_utils.Tensor("logit", np.array(logits, dtype=np.float32))]
        return pb_utils.InferenceResponse(tensors)
