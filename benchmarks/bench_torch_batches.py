#!/usr/bin/env python3
"""CPU time of the served batches of the builder torch, against padded batches in arrival order.

    PYTHON benchmarks/bench_torch_batches.py [--texts 192] [--layers 6] [--rounds 3]

``PYTHON`` has torch, transformers and tokenizers: that of ``trtbuild runtime install export``. The
model is a BERT of random weights with MiniLM's sizes and a tokenizer of characters, the texts are
of mixed lengths. Both ways run in one process, in turns, with the code that is served.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(ROOT / "templates" / part)
    for part in ("text/model", "text/torch", "torch/model", "torch/texts")
]
LONGEST = 256
CLIENTS_BATCH = 32  # texts that the padded batches have


def write_checkpoint(folder: Path, layers: int) -> None:
    """A BERT of random weights, and a tokenizer with one token a character."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(chr, range(33, 127))]
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(letters)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(folder / "tokenizer.json"))
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(letters), hidden_size=384, num_hidden_layers=layers, num_attention_heads=12,
        intermediate_size=1536, max_position_embeddings=512,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def settings() -> dict[str, Any]:
    """Those of the served model."""
    return {
        "head": "dense", "inputs": {"input_ids": 0, "attention_mask": 0}, "pooling": [],
        "graph": {"pooling": ["mean"], "normalize": True, "activation": "identity",
                  "modular": False, "score_words": [], "dense": []},
        "max_tokens": LONGEST, "lower": False, "padding_side": "right", "truncate": "END",
        "truncation": "longest_first", "token_budget": 4096, "prompts": {}, "append": [],
        "pair_template": "", "query_tokens": 0, "document_tokens": 0, "query_expansion": "",
        "expansion_id": None, "skip_words": [], "include_prompt": True, "normalized": True,
    }  # fmt: skip


def lengths(count: int) -> list[int]:
    """Mixed: two short texts to each long one."""
    import random

    chosen = random.Random(3)
    return [chosen.choice((12, 24, 60, 180)) + chosen.randrange(20) for _ in range(count)]


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=192)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import text_rows
    import torch
    from torch_place import place_of
    from torch_texts import Body

    torch.set_num_threads(1)
    said = settings()
    with tempfile.TemporaryDirectory() as name:
        write_checkpoint(Path(name), options.layers)
        body = Body(Path(name), said, place_of({"dtype": "float32"}))
        texts = text_rows.Texts(Path(name), said)
        items = ["a" * size for size in lengths(options.texts)]
        tokens = texts.encode(items, "END", "", "")
    ways = {
        "packed": lambda: text_rows.Rows(said, body).run(tokens),
        "padded": lambda: in_order(text_rows, said, body, tokens),
        "alone": lambda: [text_rows.Rows(said, body).run([one])[0] for one in tokens],
    }
    body({"input_ids": [[2, 5, 3]], "attention_mask": [[1, 1, 1]]})
    taken: dict[str, list[float]] = {way: [] for way in ways}
    rows = {}
    for _ in range(options.rounds):
        for way, run in ways.items():
            start = time.process_time()
            rows[way] = run()
            taken[way].append(1000 * (time.process_time() - start) / len(items))
    off = max(abs(a - b).max() for a, b in zip(rows["packed"], rows["padded"], strict=True))
    medians = {way: round(statistics.median(values), 2) for way, values in taken.items()}
    print(json.dumps({
        "cpu_ms_per_text": medians,
        "padded_over_packed": round(medians["padded"] / medians["packed"], 2),
        "packed_over_alone": round(medians["packed"] / medians["alone"], 2),
        "max_abs_difference": float(off),
        "rounds": taken,
    }))  # fmt: skip


def in_order(text_rows: Any, said: dict[str, Any], body: Any, tokens: list[Any]) -> list[Any]:
    """Batches as they arrive, padded to their longest text."""
    plain = {**said, "token_budget": 1 << 40, "packs": {"ratio": 1e9}}
    rows: list[Any] = []
    for at in range(0, len(tokens), CLIENTS_BATCH):
        rows += text_rows.Rows(plain, body).run(tokens[at : at + CLIENTS_BATCH])
    return rows


if __name__ == "__main__":
    main()
