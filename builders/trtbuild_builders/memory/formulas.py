"""The memory of one GPU: formulas, with their sources in docs/concepts/memory.md."""

from __future__ import annotations

from trtbuild.modelspec import AttentionGroup, KVCache, ModelSpec, Task
from trtbuild.plan import MemoryRow
from trtbuild_builders.memory.load import GIB, MemoryDemand

BLOCK = 16  # tokens in a KV block; vLLM's default on NVIDIA GPUs

# Fixed costs of a process: a CUDA context with its libraries, NCCL's buffers, captured graphs.
# Round estimates; vLLM logs the real ones ("non_torch_memory", "Graph capturing finished ...").
_CONTEXT = 0.5 * GIB
_NCCL = 0.5 * GIB
_GRAPHS = 0.75 * GIB
# vLLM profiles a vision tower with the largest images that fit a step: room for its activations.
_VISION = 1.0 * GIB
# Fragmentation and buffers that the formula for activations leaves out.
_SLACK = 1.25
_SAMPLER_COPIES = 3  # logits, probabilities and their sorted copy, in float32
_INTERMEDIATE = 4  # ratio of MLP width to hidden width: a lower bound for most architectures


def weights(spec: ModelSpec, load: MemoryDemand) -> float:
    """Return bytes of weights: tensor parallelism splits evenly, pipeline by whole layers."""
    layers = max(spec.num_layers, 1)
    share = -(-layers // load.pipeline) / layers
    return max(load.weight_bytes * share / load.tensor - load.offloaded, 0)


def kv_cache(spec: ModelSpec, load: MemoryDemand, *, sequences: int, tokens: int) -> float:
    """Return the KV cache of ``sequences`` sequences of ``tokens`` tokens, in bytes."""
    total = 0.0
    for group in spec.kv_cache.groups:
        layers = -(-group.layers // load.pipeline)
        per_token = group.token_bytes(load.kv_element, _share(spec, load, group))
        held = _blocks(group, load, tokens, sequences) * BLOCK * per_token
        state = group.state_bytes(load.element) / load.tensor * sequences
        total += layers * (held + state)
    return total


def _share(spec: ModelSpec, load: MemoryDemand, group: AttentionGroup) -> float:
    """Return the share of a layer's KV heads on one GPU; heads are repeated if too few."""
    if group.kind == "mla":
        return 1  # one latent for all heads, replicated on every GPU
    heads = group.kv_heads or spec.num_kv_heads or load.tensor
    return -(-heads // load.tensor) / heads


def _blocks(group: AttentionGroup, load: MemoryDemand, tokens: int, sequences: int) -> int:
    """Return the KV blocks of one layer for all sequences.

    A sliding layer keeps its window and one more block. In addition, all tokens of a step are kept
    until the step is done, once for the sequences being prefilled.
    """
    full = -(-tokens // BLOCK)
    if not group.window:
        return full * sequences
    steady = min(full, -(-group.window // BLOCK) + 1)
    prefill = min(full, -(-(group.window - 1 + load.batched_tokens) // BLOCK) + 1)
    return steady * (sequences - 1) + max(prefill, steady) if sequences else 0


def activations(spec: ModelSpec, load: MemoryDemand) -> float:
    """Return peak bytes of one step of ``batched_tokens`` tokens, and of its sampler."""
    hidden = spec.hidden_size
    heads = (spec.num_attention_heads + 2 * spec.num_kv_heads) * spec.head_size
    per_token = 4 * hidden + (3 * _INTERMEDIATE * hidden + heads) / load.tensor
    stream = load.batched_tokens * per_token * load.element
    rows = min(load.max_seqs, load.batched_tokens)
    sampler = rows * spec.vocab_size * 4 * _SAMPLER_COPIES if generates(spec) else 0
    return (max(stream, stream / 4 + sampler)) * _SLACK + _vision(spec, load)


def _vision(spec: ModelSpec, load: MemoryDemand) -> float:
    """Return bytes for images: the encoder's activations and vLLM's encoder cache, which holds the
    vectors of a step's images, at least those of the largest one."""
    if spec.task is not Task.VISION_LANGUAGE:
        return 0
    largest = spec.vision.image_tokens if spec.vision else 0
    return _VISION + max(load.batched_tokens, largest) * spec.hidden_size * load.element


def generates(spec: ModelSpec) -> bool:
    """Whether it samples tokens."""
    return spec.task in {Task.GENERATE, Task.VISION_LANGUAGE}


def overhead(load: MemoryDemand) -> float:
    """Return bytes of CUDA context, communication buffers and captured graphs."""
    return _CONTEXT + (_NCCL if load.world > 1 else 0) + (_GRAPHS if load.graphs else 0)


def fixed(spec: ModelSpec, load: MemoryDemand) -> float:
    """Return the bytes in use before the first sequence."""
    return weights(spec, load) + activations(spec, load) + overhead(load)


def kv_needed(spec: ModelSpec, load: MemoryDemand) -> float:
    """Return the KV cache for the wanted load, and for at least one sequence of full length.

    The second is vLLM's own condition: it refuses to start if a sequence of ``max_model_len`` does
    not fit.
    """
    wanted = kv_cache(spec, load, sequences=load.concurrency, tokens=load.length)
    longest = kv_cache(spec, load, sequences=1, tokens=load.max_model_len)
    return max(wanted, longest)


def needed(spec: ModelSpec, load: MemoryDemand) -> float:
    """Return the bytes that one GPU must give to the engine."""
    return fixed(spec, load) + kv_needed(spec, load)


def max_concurrency(spec: ModelSpec, load: MemoryDemand, usable: float) -> int:
    """Return how many sequences of the wanted length fit at once; 0 if it does not start."""
    free = usable - fixed(spec, load)
    if free < kv_cache(spec, load, sequences=1, tokens=load.max_model_len):
        return 0
    one = kv_cache(spec, load, sequences=1, tokens=load.length)
    if one <= 0:  # without a cache only the step is a limit
        return load.max_seqs if free >= 0 else 0
    if one > free:
        return 0
    more = kv_cache(spec, load, sequences=2, tokens=load.length) - one
    return 1 + int((free - one) / more)


def rows(spec: ModelSpec, load: MemoryDemand, length_name: str) -> tuple[MemoryRow, ...]:
    """Return the rows of the memory table; ``length_name`` is the setting for the length. A model
    without a KV cache, such as an encoder, has no row for it.
    """
    wanted = kv_cache(spec, load, sequences=load.concurrency, tokens=load.length)
    need = kv_needed(spec, load)
    note = f"{load.concurrency} x {load.length:,} tokens"
    if need > wanted:
        note = f"one sequence of {length_name} {load.max_model_len:,} (wanted: {note})"
    cache = (MemoryRow("KV cache", round(need), f"{note}, {_kv_note(spec.kv_cache, load)}"),)
    return (
        MemoryRow("weights", round(weights(spec, load)), _weights_note(spec, load)),
        *(cache if spec.kv_cache.groups else ()),
        MemoryRow(
            "activations",
            round(activations(spec, load)),
            f"steps of {load.batched_tokens:,} tokens, {load.max_seqs} sequences"
            + _images_note(spec),
        ),
        MemoryRow(
            "CUDA context and graphs" if load.graphs else "CUDA context", round(overhead(load))
        ),
    )


def _weights_note(spec: ModelSpec, load: MemoryDemand) -> str:
    bits = load.weight_bytes * 8 / max(spec.parameters, 1)
    split = f", 1/{load.world} of them" if load.world > 1 else ""
    seeing = spec.vision.encoder_parameters if spec.vision else 0
    part = f", {seeing:,} of them in the vision encoder" if seeing else ""
    return f"{spec.parameters:,} parameters at {bits:.3g} bits{split}{part}"


def _images_note(spec: ModelSpec) -> str:
    tokens = spec.vision.image_tokens if spec.vision else 0
    return f", images of up to {tokens:,} tokens" if tokens else ""


def _kv_note(cache: KVCache, load: MemoryDemand) -> str:
    whole = cache.bytes_per_token(load.kv_element)
    if not whole:
        return f"{cache.kind} state"
    beyond = cache.bytes_beyond_windows(load.kv_element)
    later = f", {beyond:,} once windows are full" if beyond != whole else ""
    return f"{cache.kind}: {whole:,} B per token over all layers{later}"
