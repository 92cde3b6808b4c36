"""The options of an evaluation; the command line makes its flags from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtbuild.cli.fields import option
from trtbuild.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalOptions:
    """What to evaluate, on what, and what is good enough.

    Raises:
        UsageError: An option that cannot be.
    """

    targets: tuple[str, ...] = option(
        (), "What to evaluate; others are compared with the first.", argument=True
    )
    data: Path | None = option(
        None, "A set of your own in BEIR's layout; the default is a small one of trtbuild's."
    )
    split: str = option("", "Judgements to take: the name of a file in qrels/.")
    measure: tuple[str, ...] = option(
        (), "Such as ndcg@10, mrr, recall@100, map; repeatable. Default: ndcg@10 mrr@10 recall@10."
    )
    minimum: tuple[str, ...] = option(
        (), "Fail below this mean, such as ndcg@10=0.6; repeatable.", flag="--min"
    )
    max_drop: tuple[str, ...] = option(
        (),
        "Fail unless the 95 % interval of the difference from the reference is above minus this, "
        "such as ndcg@10=0.02; repeatable.",
    )
    baseline: Path | None = option(
        None, "The reference: a result that --out wrote, instead of the first target."
    )
    depth: int = option(100, "Documents in a ranking; a reranker sorts this many.", min=1)
    candidates: Path | None = option(
        None, "A TREC run file with the documents that rerankers sort; the default is BM25's."
    )
    similarity: str = option("", "cosine or dot; the default is the model's own, or cosine.")
    dimensions: int | None = option(None, "Dimensions of a vector to keep (Matryoshka).", min=1)
    query_prompt: str = option("", "Put this before queries, instead of the model's own prompt.")
    passage_prompt: str = option("", "The same before documents.")
    truncate: str = option("", "Where to cut long texts: end, start or none. Default: end.")
    batch: int = option(64, "Texts of one request.", min=1)
    timeout: float = option(300, "Seconds for one request.", min=0.1)
    url: str = option("", "HOST:PORT of the server, for targets that are only a name.")
    protocol: str = option("grpc", "grpc or http, likewise.")

    def __post_init__(self) -> None:
        choices = {
            "similarity": ("", "cosine", "dot"),
            "truncate": ("", "end", "start", "none"),
            "protocol": ("grpc", "http"),
        }
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise UsageError(
                    f"unknown --{name} {value!r}",
                    fix=f"use one of {', '.join(filter(None, known))}",
                )

    @property
    def prompted(self) -> bool:
        """The caller puts prompts before texts; the model is not to add its own."""
        return bool(self.query_prompt or self.passage_prompt)
