"""The frozen description of a checkpoint, read from its metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from trtbuild.modelspec.head import Head
from trtbuild.modelspec.source import SourceRef
from trtbuild.modelspec.vision import Vision


class Task(StrEnum):
    """What a checkpoint is for."""

    GENERATE = "generate"
    EMBED = "embed"
    RERANK = "rerank"
    CLASSIFY = "classify"
    TOKEN_CLASSIFY = "token-classify"  # noqa: S105 - a task
    IMAGE_CLASSIFY = "image-classify"
    VISION_LANGUAGE = "vision-language"
    TRANSCRIBE = "transcribe"
    AUDIO = "audio"


@dataclass(frozen=True, slots=True)
class Quantization:
    """How weights are quantised, as the checkpoint declares it.

    ``method`` is Hugging Face's name (``fp8``, ``awq``, ``gptq``, ``modelopt``, ``mxfp4``, …);
    ``detail`` the declared settings that decide which engine can load it (bits, algorithm…).
    """

    method: str
    detail: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttentionGroup:
    """Layers with the same kind of cache.

    Attributes:
        kind: ``full`` (MHA, GQA, MQA), ``mla``, ``sliding`` or ``recurrent`` (constant size).
        layers: The number of such layers; a layer with two caches is in two groups, one
            with two MLA blocks counts twice.
        elements_per_token: Cache elements one token adds in one layer:
            ``n_kv * (d_k + d_v)`` for full and sliding attention,
            ``kv_lora_rank + qk_rope_head_dim`` for MLA, 0 for recurrent layers. A fraction where
            several tokens share one entry. ``fixed_bytes`` count as 16-bit elements.
        window: Tokens a sliding layer keeps, 0 when unlimited.
        constant_elements: Elements per sequence that do not grow (recurrent state).
        fixed_bytes: Bytes of ``elements_per_token`` that do not depend on the cache's type (the
            8-bit keys of an indexer).
        wide_elements: Those of ``constant_elements`` that are kept in float32.
        kv_heads: Heads for keys and values, which tensor parallelism splits; 0 if it splits
            nothing.
    """

    kind: Literal["full", "mla", "sliding", "recurrent"]
    layers: int
    elements_per_token: float
    window: int = 0
    constant_elements: int = 0
    fixed_bytes: float = 0
    wide_elements: int = 0
    kv_heads: int = 0

    def token_bytes(self, bytes_per_element: float = 2, share: float = 1) -> float:
        """Return the bytes that one token adds in one layer; ``share`` is the part on this GPU."""
        elements = self.elements_per_token - self.fixed_bytes / 2
        return elements * share * bytes_per_element + self.fixed_bytes

    def state_bytes(self, bytes_per_element: float = 2) -> float:
        """Return the bytes of one layer's constant state, in the computing type or wider."""
        narrow = self.constant_elements - self.wide_elements
        return narrow * max(bytes_per_element, 2) + self.wide_elements * 4


@dataclass(frozen=True, slots=True)
class KVCache:
    """The KV cache a model needs; docs/concepts/memory.md has the formulas."""

    kind: str  # MHA, GQA, MQA, MLA, sliding-window, hybrid, none
    groups: tuple[AttentionGroup, ...] = ()

    def bytes_per_token(self, bytes_per_element: float = 2) -> int:
        """Return the bytes of one more token in all layers, before any window is full."""
        return int(sum(g.layers * g.token_bytes(bytes_per_element) for g in self.groups))

    def bytes_beyond_windows(self, bytes_per_element: float = 2) -> int:
        """Return the bytes of one more token once every window is full."""
        growing = KVCache(self.kind, tuple(g for g in self.groups if not g.window))
        return growing.bytes_per_token(bytes_per_element)

    def bytes_per_sequence(self, tokens: int, bytes_per_element: float = 2) -> int:
        """Return the bytes of a sequence of ``tokens`` tokens, with windows and recurrent state."""
        total = 0.0
        for g in self.groups:
            kept = min(tokens, g.window) if g.window else tokens
            state = g.state_bytes(bytes_per_element)
            total += g.layers * (kept * g.token_bytes(bytes_per_element) + state)
        return int(total)


@dataclass(frozen=True, slots=True)
class TokenizerInfo:
    """Facts of the tokenizer, from its files."""

    kind: str  # the backend: fast (tokenizer.json), sentencepiece, tiktoken, none
    tokenizer_class: str = ""
    vocab_size: int = 0
    chat_template: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything the planner and the builders know of a checkpoint.

    Sizes are counts unless they say bytes. ``context_length`` is in tokens;
    ``dtype`` is the checkpoint's own (``float32``, ``bfloat16``, ``float16``).

    ``remote_code``: it has Python code (``auto_map``); ``code`` lists for what: a
    ``configuration``, a ``model``, a ``tokenizer``, a ``processor``. ``code_wraps``: vLLM can wrap
    its model class. ``spelling`` lists what only transformers 5 reads correctly,
    ``spelling_problem`` is why it cannot be rewritten for transformers 4. ``layout`` is ``mistral``
    for ``params.json`` with ``consolidated`` weights. ``notes`` are for the user.
    For pickles and ONNX (``weights_format``) only the size of the weights is known: no parameters,
    and for ONNX no ``dtype``. ``head`` is set for models that do not generate text, ``vision`` for
    vision-language models.
    """

    source: SourceRef
    architecture: str
    model_type: str
    task: Task
    parameters: int
    bytes_by_dtype: Mapping[str, int]
    dtype: str
    quantization: Quantization | None
    num_layers: int
    hidden_size: int
    num_attention_heads: int
    num_kv_heads: int
    head_size: int
    context_length: int
    vocab_size: int
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    pad_token_id: int | None
    kv_cache: KVCache
    tokenizer: TokenizerInfo
    remote_code: bool
    num_experts: int = 0
    active_parameters: int = 0
    config_digest: str = ""
    code: tuple[str, ...] = ()
    code_wraps: bool = False
    spelling: tuple[str, ...] = ()
    spelling_problem: str = ""
    layout: Literal["hf", "mistral"] = "hf"
    notes: tuple[str, ...] = ()
    weights_format: Literal["safetensors", "pickle", "onnx"] = "safetensors"
    head: Head | None = None
    vision: Vision | None = None

    @property
    def weight_bytes(self) -> int:
        """The bytes of all tensors as stored."""
        return sum(self.bytes_by_dtype.values())
