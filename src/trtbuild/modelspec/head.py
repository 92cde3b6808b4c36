"""What a model that does not generate text computes at its end, and from which words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class HeadKind(StrEnum):
    """What comes out: vectors, or scores of a pair, a text, each token, an image."""

    DENSE = "dense"
    SPARSE = "sparse"
    MULTI_VECTOR = "multi-vector"
    SCORE = "score"
    LABELS = "labels"
    TOKEN_LABELS = "token-labels"  # noqa: S105 - a kind
    IMAGE_LABELS = "image-labels"


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A linear layer behind the pooling; of a multi-vector model, behind every token.

    Attributes:
        directory: Where its ``model.safetensors`` lies, relative to the checkpoint.
        inputs, outputs: Its sizes.
        bias: Whether it has one (``linear.bias`` beside ``linear.weight``).
        activation: As :attr:`Head.activation`.
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
    """The end of a model, in the order of computation: pooling, layers, normalization, activation.

    Attributes:
        kind: What comes out.
        pooling: How tokens become one vector, in sentence-transformers' words: ``cls``, ``max``,
            ``mean``, ``mean_sqrt_len_tokens``, ``weightedmean``, ``lasttoken``; of a sparse head
            ``max`` or ``sum``. Several are concatenated in this order. Empty: none, or inside
            the model.
        include_prompt: Whether a prompt's tokens count in the pooling.
        layers: Dense layers behind the pooling.
        normalized: Vectors have length 1.
        dimension: Numbers in a vector, or of a sparse one at most; 0 for scores and labels.
        truncate_dimension: The reference cuts vectors to so many numbers, after normalization; 0:
            it does not.
        is_matryoshka: Vectors were trained to be cut.
        matryoshka: The dimensions that they were trained to be cut to; empty: any.
        similarity: How the reference compares vectors: ``cosine``, ``dot``, ``euclidean``,
            ``manhattan``, ``maxsim``; empty when nothing says it.
        prompts: Texts put before an input, by the name of their use (``query``, ``document``).
        default_prompt: The name of the prompt for an input without a use; empty for none.
        max_tokens: Tokens of an input, special ones included, beyond which the reference
            truncates; 0 when unknown.
        query_tokens, document_tokens: The same for a use of its own; 0: as ``max_tokens``.
        query_expansion: Of a multi-vector head: queries are filled up to ``query_tokens`` with the
            mask token, which other tokens see (``attended``) or not (``masked``); empty: not.
        skip_words: Of a multi-vector head: a document's tokens that get no vector.
        lower_case: Texts are put in lower case whatever the tokenizer does.
        truncation: Which text of a pair the reference cuts: ``longest_first``, ``only_second``…
        truncation_side: The end at which it cuts.
        padding_side: Where the reference pads a batch.
        append_eos: The reference ends an input with the end-of-text token, and tokenizer.json
            does not.
        pair_template: The text that a query and a document are put into, with ``{query}`` and
            ``{document}``; empty: the tokenizer joins the two.
        score_words: Of a generating reranker: the words whose logits decide, the first one means
            yes; of two the difference counts.
        score_tokens: The same as ids of tokens, where a file says them.
        activation: Applied to logits: ``identity``, ``sigmoid``, ``softmax``, ``tanh``…; of a
            sparse head ``relu`` or ``log1p_relu``, before the logarithm.
        labels: Of a classifier, in the order of its outputs.
        multi_label: Labels do not exclude each other.
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
        """The sizes that vectors may be cut to and still mean the same."""
        sizes = range(1, self.dimension + 1) if self.is_matryoshka else ()
        return self.matryoshka or sizes

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Head:
        """The reverse of :func:`dataclasses.asdict`. Unknown keys are ignored: a newer version
        wrote them.

        Raises:
            AttributeError, TypeError, ValueError: ``value`` is no head.
        """
        known = {key: value[key] for key in cls.__dataclass_fields__ if key in value}
        for key in ("pooling", "matryoshka", "score_words", "score_tokens", "labels", "skip_words"):
            known[key] = tuple(known.get(key, ()))
        known["kind"] = HeadKind(known.get("kind", HeadKind.DENSE))
        known["layers"] = tuple(_layer(item) for item in known.get("layers", ()))
        return cls(**known)


def _layer(value: Mapping[str, Any]) -> DenseLayer:
    return DenseLayer(**{k: value[k] for k in DenseLayer.__dataclass_fields__ if k in value})
