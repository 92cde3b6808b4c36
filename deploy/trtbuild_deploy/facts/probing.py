"""The request that proves that a model works: one token, or one short text."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import quote

from trtbuild.errors import TrtbuildError
from trtbuild.signature import ServedModel, dialect_of
from trtbuild.signature.requests import GenerateRequest
from trtbuild.wire.kserve import encode_request, generate_body
from trtbuild.wire.tensors import TensorError
from trtbuild_deploy.facts.model import ProbeRequest


def probe_request(model: ServedModel) -> ProbeRequest:
    """Return the cheapest request that the model must answer.

    A model without a request schema, or whose tensors JSON cannot hold (FP16), is only asked
    whether it is ready: the server says so while the model's process hangs.
    """
    name = quote(model.name, safe="")
    ready = ProbeRequest(model.name, f"/v2/models/{name}/ready")
    try:
        dialect = dialect_of(model)
        if dialect is None:
            return ready
        request = dialect.example(model)
        if isinstance(request, GenerateRequest):
            request = replace(request, sampling=replace(request.sampling, max_tokens=1))
        found = dialect.requests(model, request)[0]
        if model.decoupled or isinstance(request, GenerateRequest):
            # Both kinds of model answer here; /generate and /infer refuse several responses.
            path = f"/v2/models/{name}/generate_stream"
            return ProbeRequest(model.name, path, generate_body(found))
        body, _ = encode_request(found, binary=False)
    except (TrtbuildError, TensorError):
        return ready
    return ProbeRequest(model.name, f"/v2/models/{name}/infer", json.loads(body))
