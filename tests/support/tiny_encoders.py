"""Tiny random encoders as sentence-transformers publishes them, with the traps of real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from support.checkpoints import write_json

WIDTH, LAYERS, INNER, POSITIONS, TOKENS, DIMENSION = 32, 2, 48, 64, 40, 24
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def make_embedder(folder: Path, heads: int = 4) -> Path:
    """A BERT with prompts, a Dense layer, normalization and Matryoshka dimensions.

    Its tokenizer.json cuts and pads to 16 tokens while the model takes 40, and its texts are put in
    lower case although the tokenizer does not.
    """
    rng = np.random.default_rng(7)
    size = _tokenizer(folder)
    _write(
        folder, _bert(rng, size), "BertModel", size, matryoshka_dimensions=[8, 16],
        num_attention_heads=heads,
    )  # fmt: skip
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    places = ("", "1_Pooling", "2_Dense", "3_Normalize")
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate(zip(kinds, places, strict=True))
    ]
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": TOKENS, "do_lower_case": True}
    )
    prompts = {"query": "query: ", "passage": "passage: "}
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
    for place in places[1:]:
        (folder / place).mkdir()
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}
    write_json(folder / "1_Pooling/config.json", pooling | {"pooling_mode_cls_token": False})
    dense = {"in_features": WIDTH, "out_features": DIMENSION, "bias": True}
    write_json(
        folder / "2_Dense/config.json",
        dense | {"activation_function": "torch.nn.modules.activation.Tanh"},
    )
    weights = {
        "linear.weight": _random(rng, DIMENSION, WIDTH),
        "linear.bias": _random(rng, DIMENSION),
    }
    save_file(weights, folder / "2_Dense/model.safetensors", metadata={"format": "pt"})
    return folder


def _tokenizer(folder: Path) -> int:
    """The files of a WordPiece tokenizer of characters; the size of its vocabulary."""
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(33, 127)]
    words = [*_SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    made = Tokenizer(
        models.WordPiece(
            vocab={word: at for at, word in enumerate(words)},
            unk_token="[UNK]",
            max_input_chars_per_word=100,
        )
    )
    made.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made.add_special_tokens(list(_SPECIAL))
    made.enable_truncation(16)
    made.enable_padding(length=16)
    made.save(str(folder / "tokenizer.json"))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    special = dict(zip(names, _SPECIAL, strict=True))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": 512,
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            **special,
        },
    )
    return len(words)


def _write(
    folder: Path,
    weights: dict[str, np.ndarray[Any, Any]],
    architecture: str,
    size: int,
    **more: Any,
) -> None:
    write_json(
        folder / "config.json",
        {
            "architectures": [architecture], "model_type": "bert", "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": INNER,
            "vocab_size": size, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
            "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
            "torch_dtype": "float32", **more,
        },
    )  # fmt: skip
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _bert(rng: np.random.Generator, size: int, prefix: str = "") -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a BertModel without its pooler."""
    found = {
        "embeddings.word_embeddings.weight": _random(rng, size, WIDTH),
        "embeddings.position_embeddings.weight": _random(rng, POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": _random(rng, 2, WIDTH),
        **_norm(rng, "embeddings.LayerNorm"),
        **_linear(rng, "pooler.dense", WIDTH, WIDTH),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            found |= _linear(rng, f"{at}.attention.{name}", WIDTH, WIDTH)
        found |= _norm(rng, f"{at}.attention.output.LayerNorm")
        found |= _linear(rng, f"{at}.intermediate.dense", INNER, WIDTH)
        found |= _linear(rng, f"{at}.output.dense", WIDTH, INNER)
        found |= _norm(rng, f"{at}.output.LayerNorm")
    return {prefix + name: value for name, value in found.items()}


def _linear(rng: np.random.Generator, name: str, out: int, into: int) -> dict[str, Any]:
    return {f"{name}.weight": _random(rng, out, into), f"{name}.bias": _random(rng, out)}


def _norm(rng: np.random.Generator, name: str) -> dict[str, Any]:
    return {f"{name}.weight": 1 + _random(rng, WIDTH), f"{name}.bias": _random(rng, WIDTH)}


def _random(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return rng.normal(0, 0.2, shape).astype(np.float32)


def make_classifier(folder: Path, labels: tuple[str, ...], heads: int = 4) -> Path:
    """A BERT with a row of its head for each label; one label makes a reranker."""
    rng = np.random.default_rng(len(labels))
    size = _tokenizer(folder)
    weights = _bert(rng, size, "bert.") | _linear(rng, "classifier", len(labels), WIDTH)
    names = dict(enumerate(labels))
    _write(
        folder, weights, "BertForSequenceClassification", size,
        id2label={str(at): name for at, name in names.items()},
        label2id={name: at for at, name in names.items()},
        num_attention_heads=heads,
    )  # fmt: skip
    return folder
