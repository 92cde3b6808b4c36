"""The least time that a model's steps can take on a device: bytes over bandwidth, work over peak.

Decode step of B sequences: ``max((W + sum of KV) / bandwidth, 2 P B / FLOPS)``; prefill of n
tokens: ``max(W / bandwidth, (2 P n + attention) / FLOPS)``. W are the bytes of weights read, P the
parameters a token passes through. Of a mixture of experts a step of B tokens reads the share
``1 - (1 - active/all)^B`` of the weights, as if each token chose its experts by chance. No bound
counts communication, kernel launches, sampling or detokenisation: what is left is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trtbuild.modelspec import ModelSpec


@dataclass(frozen=True, slots=True)
class Device:
    """What runs the model.

    ``bandwidth`` in bytes/s and ``flops`` in FLOP/s are of all devices together; ``source`` says
    where they are from.
    """

    name: str
    bandwidth: float
    flops: float
    source: str


@dataclass(frozen=True, slots=True)
class StepTime:
    """A bound: ``seconds``, and which of the two makes it."""

    seconds: float
    bound_by: Literal["bandwidth", "compute"]


@dataclass(frozen=True, slots=True)
class Workload:
    """A model as it is run: bytes of its weights, and of an element of its KV cache."""

    spec: ModelSpec
    weight_bytes: float
    kv_element: float = 2.0

    @property
    def active(self) -> float:
        """Parameters that a token passes through."""
        return float(self.spec.active_parameters or self.spec.parameters)

    def weights_read(self, tokens: float) -> float:
        """Bytes of weights that a step of ``tokens`` tokens reads."""
        share = self.active / max(self.spec.parameters, 1)
        return (
            self.weight_bytes * (1 - (1 - share) ** max(tokens, 1))
            if share < 1
            else (self.weight_bytes)
        )


def decode_step(work: Workload, device: Device, sequences: float, context: int) -> StepTime:
    """One token more for each of ``sequences`` sequences that hold ``context`` tokens."""
    kv = work.spec.kv_cache.bytes_per_sequence(context, work.kv_element) * sequences
    memory = (work.weights_read(sequences) + kv) / device.bandwidth
    compute = 2 * work.active * sequences / device.flops
    return _step(memory, compute)


def prefill(work: Workload, device: Device, tokens: int) -> StepTime:
    """A prompt of ``tokens`` tokens.

    Attention: scores and values are ``2 n^2`` multiply-adds for each unit of width, half of them
    masked, so ``2 n^2 x heads x head size`` FLOP a layer.
    """
    spec = work.spec
    width = spec.num_attention_heads * spec.head_size
    attention = 2 * tokens**2 * width * spec.num_layers
    memory = work.weights_read(tokens) / device.bandwidth
    return _step(memory, (2 * work.active * tokens + attention) / device.flops)


def _step(memory: float, compute: float) -> StepTime:
    if memory >= compute:
        return StepTime(memory, "bandwidth")
    return StepTime(compute, "compute")
