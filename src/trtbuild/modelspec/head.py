"""The head of a model that does not generate text, and how its inputs become tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class HeadKind(StrEnum):
    """The output: vectors, or scores of a pair, a text, each token, an image."""

    DENSE = "dense"
    SPARSE = "sparse"
    MULTI_VECTOR = "multi-vector"
    SCORE = "score"
    LABELS = "labels"
    TOKEN_LABELS = "token-labels"  # noqa: S105 - a kind
    IMAGE_LABELS = "image-labels"


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A linear layer after the pooling; in a multi-vector model, for every token.

    Attributes:
        directory: The directory of its ``model.safetensors``, relative to the checkpoint.
        inputs, outputs: Its sizes.
        bias: Whether it has one (``linear.bias`` beside ``linear.weight``).
        activation: As in :attr:`Head.activation`.
        residual: Its input is added to its output.
    """

    directory: str
    inputs: int
    outputs: int
    bias: bool = True
    activation: str = "tanh"
    residual: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a model, in computing order: pooling, layers, normalization, activation.

    Attributes:
        kind: The kind of output.
        pooling: How tokens become one vector, in sentence-transformers' words: ``cls``, ``max``,
            ``mean``, ``mean_sqrt_len_tokens``, ``weightedmean``, ``lasttoken``; of a sparse head
            ``max`` or ``sum``. Several are concatenated in this order. Empty: none, or inside
            the model.
        include_prompt: Whether a prompt's tokens count in the pooling.
        layers: Dense layers after the pooling.
        normalized: Whether vectors have length 1.
        dimension: Size of a vector, for a sparse one the maximum; 0 for scores and labels.
        truncate_dimension: The reference truncates vectors to this size, after normalization; 0:
            it does not.
        is_matryoshka: Whether vectors were trained to be truncated.
        matryoshka: The dimensions that they were trained for; empty: any.
        similarity: How the reference compares vectors: ``cosine``, ``dot``, ``euclidean``,
            ``manhattan``, ``maxsim``; empty if unknown.
        prompts: Texts put before an input, by the name of their use (``query``, ``document``).
        default_prompt: The name of the prompt for an input without a use; empty for none.
        max_tokens: Tokens of an input, special ones included, beyond which the reference
            truncates; 0 if unknown.
        query_tokens, document_tokens: The same for queries and documents; 0: ``max_tokens``.
        query_expansion: For a multi-vector head: queries are padded to ``query_tokens`` with the
            mask token, to which other tokens attend (``attended``) or not (``masked``); empty:
            no padding.
        skip_words: For a multi-vector head: a document's tokens that get no vector.
        lower_case: Whether texts are lower-cased before the tokenizer.
        truncation: Which text of a pair the reference truncates: ``longest_first``…
        truncation_side: The side at which it truncates.
        padding_side: Where the reference pads a batch.
        append_eos: The reference ends an input with the end-of-text token, and tokenizer.json
            does not.
        pair_template: The template for a query and a document, with ``{query}`` and
            ``{document}``; empty: the tokenizer joins the two.
        score_words: For a generating reranker: the words whose logits decide, the first one means
            yes; with two words the difference counts.
        score_tokens: The same as token ids, if sentence-transformers' LogitScore has them; its
            template then writes all special tokens itself.
        activation: Applied to logits: ``identity``, ``sigmoid``, ``softmax``, ``tanh``…; for a
            sparse head ``relu`` or ``log1p_relu``, before the logarithm.
        labels: A classifier's labels, in the order of its outputs.
        multi_label: Whether a text may have several labels.
    """

    kind: HeadKind = HeadKind.DENSE
    pooling: tuple[str, ...] = ()
    include_prompt: bool = True
    layers: tuple[DenseLayer, ...] = ()
    normalized: bool = False
    dimension: int = 0
    truncate_dimension: int = 0
    is_matryoshka: bool = False
    matryoshka: tuple[int, ...] = ()
    similarity: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str = ""
    max_tokens: int = 0
    query_tokens: int = 0
    document_tokens: int = 0
    query_expansion: Literal["", "masked", "attended"] = ""
    skip_words: tuple[str, ...] = ()
    lower_case: bool = False
    truncation: str = "longest_first"
    truncation_side: Literal["left", "right"] = "right"
    padding_side: Literal["left", "right"] = "right"
    append_eos: bool = False
    pair_template: str = ""
    score_words: tuple[str, ...] = ()
    score_tokens: tuple[int, ...] = ()
    activation: str = "identity"
    labels: tuple[str, ...] = ()
    multi_label: bool = False

    def prompt(self, use: str) -> str:
        """The text before an input of that use, the default one without a use. What OpenAI and
        NVIDIA call a passage is a document to sentence-transformers."""
        use = use or self.default_prompt
        other = {"passage": "document", "document": "passage"}.get(use, use)
        return self.prompts.get(use, self.prompts.get(other, ""))

    @property
    def cuts(self) -> Sequence[int]:
        """Return the sizes that vectors may be truncated to without losing their meaning."""
        sizes = range(1, self.dimension + 1) if self.is_matryoshka else ()
        return self.matryoshka or sizes

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Head:
        """Reverse :func:`dataclasses.asdict`. Unknown keys are ignored, because a newer version
        may have written them.

        Raises:
            AttributeError, TypeError, ValueError: ``value`` is not a head.
        """
        known = {key: value[key] for key in cls.__dataclass_fields__ if key in value}
        for key in ("pooling", "matryoshka", "score_words", "score_tokens", "labels", "skip_words"):
            known[key] = tuple(known.get(key, ()))
        known["kind"] = HeadKind(known.get("kind", HeadKind.DENSE))
        known["layers"] = tuple(_layer(item) for item in known.get("layers", ()))
        return cls(**known)


def _layer(value: Mapping[str, Any]) -> DenseLayer:
    return DenseLayer(**{k: value[k] for k in DenseLayer.__dataclass_fields__ if k in value})
