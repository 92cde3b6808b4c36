"""Checkpoints as sentence-transformers saves them: a few files, headers of a few tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.checkpoints import make_described, write_json, write_sparse

BERT: Mapping[str, Any] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 32,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "vocab_size": 512,
}
"""A configuration; every family differs from it in a few keys."""

# Class names by generation; the last part is what counts.
OLD = "sentence_transformers.models.{}"
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "SpladePooling": "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling",
    "LogitScore": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
}


def modules(*kinds: str, new: bool = False) -> list[dict[str, Any]]:
    """``modules.json`` of a chain: ``Transformer``, ``Pooling``, ``Normalize``…"""
    return [
        {
            "idx": at,
            "name": str(at),
            "path": f"{at}_{kind}" if at else "",
            "type": NEW.get(kind, kind) if new else OLD.format(kind),
        }
        for at, kind in enumerate(kinds)
    ]


def switches(*modes: str, width: int = 32) -> dict[str, Any]:
    """A pooling's configuration in the format of releases before 6."""
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    names += ("weightedmean_tokens", "lasttoken")
    found = {f"pooling_mode_{name}": name in modes for name in names}
    return {"word_embedding_dimension": width, **found, "include_prompt": True}


def make_checkpoint(
    folder: Path,
    config: Mapping[str, Any] | None = None,
    chain: Sequence[str] = ("Transformer", "Pooling", "Normalize"),
    *,
    new: bool = False,
    files: Mapping[str, Any] | None = None,
    tensors: Mapping[str, tuple[int, ...]] | None = None,
) -> Path:
    """``config`` is what differs from :data:`BERT`; ``files`` are JSON values, None leaves one
    out; ``tensors`` of a module are named ``2_Dense/linear.weight``. The chain's pooling is a mean
    unless ``files`` has it."""
    kept = {key: value for key, value in {**BERT, **(config or {})}.items() if value is not None}
    shapes = {"embeddings.word_embeddings.weight": (512, 32), **(tensors or {})}
    make_described(folder, kept, {k: v for k, v in shapes.items() if "/" not in k})
    for directory in {name.rpartition("/")[0] for name in shapes} - {""}:
        inside = {k: v for k, v in shapes.items() if k.startswith(f"{directory}/")}
        (folder / directory).mkdir()
        write_sparse(
            folder / directory / "model.safetensors",
            {name.rpartition("/")[2]: shape for name, shape in inside.items()},
            "F32",
        )
    written: dict[str, Any] = {}
    if chain:
        written["modules.json"] = modules(*chain, new=new)
    if "Pooling" in chain:
        place = f"{chain.index('Pooling')}_Pooling/config.json"
        mean = {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True}
        written[place] = mean if new else switches("mean_tokens")
    for name, value in {**written, **(files or {})}.items():
        if value is not None:
            write_json(folder / name, value)
    return folder
