"""Check that the weights match the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trtbuild.checkpoint import families
from trtbuild.checkpoint.attention import Heads, heads
from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems
from trtbuild.checkpoint.tokens import FAST
from trtbuild.errors import UnsupportedError
from trtbuild.files.safetensors import TensorInfo

_SHOWN = 12
_FETCH = "fetch the weights and config.json again, from the same revision"
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


def verify_shards(checkpoint: Checkpoint) -> None:
    """Check that every tensor the configuration implies is there with the right shape.

    What headers alone show (missing shards, truncation, overlaps) was checked when the
    checkpoint was opened. Shapes are known for families laid out like Llama
    (:data:`trtbuild.checkpoint.families.LLAMA_LAYOUT`); packed weights are checked for presence
    only. ``tokenizer.json`` must load.

    Raises:
        UnsupportedError: All problems at once.
    """
    problems = Problems()
    fields = Fields(checkpoint.config)
    headers = checkpoint.weights_format == "safetensors"
    if headers and not checkpoint.tensors:
        problems.add("the weights hold no tensors", _FETCH)
    elif fields.family in families.LLAMA_LAYOUT and _named_by_transformers(checkpoint):
        found = list(_mismatches(checkpoint.tensors, fields))
        for what in found[:_SHOWN]:
            problems.add(what, _FETCH)
        if len(found) > _SHOWN:
            problems.add(f"and {len(found) - _SHOWN} tensors more", _FETCH)
    _check_tokenizer(checkpoint, problems)
    problems.raise_if_any(checkpoint.ref.text)


def _named_by_transformers(checkpoint: Checkpoint) -> bool:
    return checkpoint.weights_format == "safetensors" and checkpoint.has("config.json")


@dataclass(frozen=True, slots=True)
class _Expected:
    name: str
    shape: tuple[int, ...]


def _mismatches(tensors: Mapping[str, TensorInfo], fields: Fields) -> Iterator[str]:
    prefix = _prefix(tensors)
    for expected in _expected(fields, heads(fields), prefix):
        info = tensors.get(expected.name)
        stem = expected.name.removesuffix("weight")
        if info is None:
            if not any(f"{stem}{packed}" in tensors for packed in families.PACKED_NAMES):
                yield f"tensor {expected.name!r} is missing"
        elif info.dtype in _FLOATS and info.shape != expected.shape:
            yield (
                f"tensor {expected.name!r} in {info.file} is {list(info.shape)}, but config.json "
                f"implies {list(expected.shape)}"
            )


def _prefix(tensors: Mapping[str, TensorInfo]) -> str:
    """Return the prefix of ``embed_tokens``: mostly ``model.``, longer in multimodal ones."""
    for name in tensors:
        if name.endswith("embed_tokens.weight"):
            return name.removesuffix("embed_tokens.weight")
    return "model."


def _expected(fields: Fields, shape: Heads, prefix: str) -> Iterator[_Expected]:
    hidden, vocab = fields.number(families.HIDDEN), fields.number(families.VOCAB)
    query, key = shape.heads * shape.size, shape.kv_heads * shape.size
    yield _Expected(f"{prefix}embed_tokens.weight", (vocab, hidden))
    yield _Expected(f"{prefix}norm.weight", (hidden,))
    for number in range(shape.layers):
        layer = f"{prefix}layers.{number}."
        yield _Expected(f"{layer}input_layernorm.weight", (hidden,))
        yield _Expected(f"{layer}self_attn.q_proj.weight", (query, hidden))
        yield _Expected(f"{layer}self_attn.k_proj.weight", (key, hidden))
        yield _Expected(f"{layer}self_attn.v_proj.weight", (key, hidden))
        yield _Expected(f"{layer}self_attn.o_proj.weight", (hidden, query))
        if not fields.number(families.EXPERTS):
            yield from _dense(layer, hidden, fields.number("intermediate_size"))
    speaks = not fields.architecture.endswith("Classification")
    if fields.get("tie_word_embeddings") is False and prefix == "model." and speaks:
        yield _Expected("lm_head.weight", (vocab, hidden))


def _dense(layer: str, hidden: int, inner: int) -> Iterator[_Expected]:
    yield _Expected(f"{layer}mlp.gate_proj.weight", (inner, hidden))
    yield _Expected(f"{layer}mlp.up_proj.weight", (inner, hidden))
    yield _Expected(f"{layer}mlp.down_proj.weight", (hidden, inner))


def _check_tokenizer(checkpoint: Checkpoint, problems: Problems) -> None:
    """Check that the tokenizers library can load ``tokenizer.json``."""
    try:
        raw = checkpoint.read_bytes(FAST)
    except UnsupportedError as error:
        problems.take(error)
        return
    if raw is None:
        return
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_buffer(raw)
    except Exception as error:  # the library raises plain Exception
        problems.add(
            f"{FAST} cannot be loaded: {str(error).splitlines()[0][:200]}",
            f"fetch {FAST} again from where the checkpoint came from",
        )
