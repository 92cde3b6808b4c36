"""Tiny random checkpoints of every family that the builder ``onnx`` serves.

Run by a Python that has torch, transformers and sentence-transformers:

    python torch_families.py DIRECTORY [FAMILY...]

A family named ``bert:1`` has one attention head, of a size that vLLM computes on a CPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SIZE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 128,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
LABELS = {0: "negative", 1: "neutral", 2: "positive"}
NAMES = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
_LONGEST = 64
_LETTERS = [chr(code) for code in range(33, 127)]

Row = Mapping[str, Any]


def embeds(model: str, tokens: str = "wordpiece", *modules: Row, **config: Any) -> Row:
    """A vector of a text: mean and normalization unless ``modules`` say otherwise."""
    chain = modules or ({"Pooling": "mean"}, {"Normalize": None})
    return {"model": model, "tokens": tokens, "modules": chain, "config": {**SIZE, **config}}


def scores(model: str, tokens: str = "wordpiece", **config: Any) -> Row:
    """Logits of a pair; with ``id2label`` those of a text."""
    named = {} if "id2label" in config else {"num_labels": 1}
    return {"model": model, "tokens": tokens, "modules": (), "config": {**SIZE, **named, **config}}


_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
_DENSE = ({"Pooling": "mean"}, {"Dense": (32, 48)}, {"Dense": (48, 24)}, {"Normalize": None})
_LAST = ({"Pooling": "lasttoken"}, {"Normalize": None})
_LOCAL = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}
_MODERN = {"global_attn_every_n_layers": 2, "local_attention": 8}
_DEBERTA = {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"]}
_SHORT = {"max_position_embeddings": 66}  # of RoBERTa: 64 tokens

_PAIRS = (
    "{{ bos_token }}{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)

FAMILIES: Mapping[str, Row] = {
    "bert": embeds("BertModel"),
    "bert-max-cls": embeds("BertModel", "wordpiece", {"Pooling": ["cls", "max"]}),
    "bert-weighted": embeds("BertModel", "wordpiece", {"Pooling": "weightedmean"}),
    "roberta": embeds("RobertaModel", "bytes", **_SHORT),
    "xlm-roberta": embeds(
        "XLMRobertaModel", "unigram", {"Pooling": "cls"}, {"Normalize": None}, **_SHORT
    ),
    "camembert": embeds("CamembertModel", "unigram", **_SHORT),
    "distilbert": embeds("DistilBertModel", **_DISTIL),
    "mpnet": embeds("MPNetModel", **_SHORT),
    "electra": embeds("ElectraModel", embedding_size=16),
    "albert": embeds("AlbertModel", "unigram", embedding_size=16),
    "deberta-v2": embeds("DebertaV2Model", "unigram", **_DEBERTA),
    "modernbert": embeds(
        "ModernBertModel", "wordpiece", {"Pooling": "cls"}, {"Normalize": None}, **_MODERN
    ),
    "nomic-bert": embeds("NomicBertModel"),
    "jina-v3": embeds("JinaEmbeddingsV3Model", "unigram"),
    "eurobert": embeds("EuroBertModel", "bytes", num_key_value_heads=4),
    "t5-encoder": embeds(
        "T5EncoderModel",
        "unigram",
        {"Pooling": "mean"},
        {"Dense": (32, 24)},
        {"Normalize": None},
        **_T5,
    ),
    "gemma3-text": embeds(
        "Gemma3TextModel", "unigram", *_DENSE, use_bidirectional_attention=True, **GROUPED, **_LOCAL
    ),
    "qwen3": embeds("Qwen3Model", "bytes", *_LAST, **GROUPED),
    "qwen2": embeds("Qwen2Model", "bytes", *_LAST, num_key_value_heads=2),
    "mistral": embeds("MistralModel", "bytes", *_LAST, num_key_value_heads=2),
    "llama": embeds("LlamaModel", "bytes", *_LAST, num_key_value_heads=2),
    "bert-score": scores("BertForSequenceClassification"),
    "roberta-score": scores("RobertaForSequenceClassification", "bytes", **_SHORT),
    "xlm-roberta-score": scores("XLMRobertaForSequenceClassification", "unigram", **_SHORT),
    "distilbert-labels": scores("DistilBertForSequenceClassification", **_DISTIL, id2label=LABELS),
    "mpnet-labels": scores("MPNetForSequenceClassification", **_SHORT, id2label=LABELS),
    "electra-score": scores("ElectraForSequenceClassification", embedding_size=16),
    "albert-labels": scores("AlbertForSequenceClassification", "unigram", id2label=LABELS),
    "deberta-v2-score": scores("DebertaV2ForSequenceClassification", "unigram", **_DEBERTA),
    "deberta-v2-labels": scores(
        "DebertaV2ForSequenceClassification", "unigram", id2label=LABELS, **_DEBERTA
    ),
    "modernbert-score": scores(
        "ModernBertForSequenceClassification", classifier_pooling="mean", **_MODERN
    ),
    "qwen3-score": scores("Qwen3ForSequenceClassification", "bytes", **GROUPED),
    "modules-score": embeds(
        "BertModel", "wordpiece", {"Pooling": "cls"}, {"Dense": (32, 16)}, {"Scores": (16, 1)}
    )
    | {"class": "CrossEncoder"},
    "qwen3-reranker": scores(
        "Qwen3ForCausalLM", "long bytes", **{**GROUPED, "max_position_embeddings": 1024}
    ),
    "logit-score": embeds("Qwen3ForCausalLM", "bytes", {"LogitScore": ("yes", "no")}, **GROUPED)
    | {"class": "CrossEncoder"},
    "bert-tokens": scores("BertForTokenClassification", id2label=NAMES, num_hidden_layers=1),
    "roberta-tokens": scores("RobertaForTokenClassification", "bytes", **_SHORT, id2label=NAMES),
    "deberta-v2-tokens": scores(
        "DebertaV2ForTokenClassification", "unigram", id2label=NAMES, **_DEBERTA
    ),
    "distilbert-tokens": scores("DistilBertForTokenClassification", **_DISTIL, id2label=NAMES),
    "bert-sparse": embeds("BertForMaskedLM", "wordpiece", {"Splade": "max"}),
    "distilbert-sparse": embeds("DistilBertForMaskedLM", "wordpiece", {"Splade": "sum"}, **_DISTIL),
    "modernbert-sparse": embeds("ModernBertForMaskedLM", "wordpiece", {"Splade": "max"}, **_MODERN),
    "bert-colbert": embeds(
        "BertModel", "wordpiece", {"Dense": (32, 24)}, {"Mask": ["!", ","]}, num_hidden_layers=1
    ),
    "bert-attends": embeds("BertModel", "wordpiece", {"Dense": (32, 24)}, {"Attends": ["!", ","]}),
    "modernbert-colbert": embeds(
        "ModernBertModel",
        "wordpiece",
        {"Dense": (32, 24)},
        {"Mask": []},
        **{**_MODERN, "local_attention": 64},  # else the mask tokens see nothing
    ),
    "stanford-colbert": embeds("BertModel", "wordpiece", {"Stanford": 24}),
}


def main(directory: str, *names: str) -> None:
    """Write the checkpoints that ``names`` choose, all without one."""
    for text in names or FAMILIES:
        name, _, heads = text.partition(":")
        row = FAMILIES[name]
        write(Path(directory) / name, one_head(row) if heads else row)


def one_head(row: Row) -> Row:
    """The family with one attention head as wide as its states."""
    given = row["config"]
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": given["hidden_size"]}
    return {**row, "config": {**given, **{key: heads[key] for key in heads if key in given}}}


def write(folder: Path, row: Row) -> None:
    """Write one checkpoint: tokenizer, random weights, sentence-transformers' files."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    size, special = _TOKENIZERS[row["tokens"]](folder)
    model = getattr(transformers, row["model"])
    config = model.config_class(**{**row["config"], "vocab_size": size, **special})
    torch.manual_seed(len(folder.name))
    made = model(config).eval()
    for weight in made.parameters():
        # The initial weights are so small that a fault would hide in rounding.
        torch.nn.init.normal_(weight, 1.0 if weight.dim() == 1 else 0.0, 0.2)
    made.save_pretrained(folder)
    if row["modules"]:
        if chats(row):
            (folder / "chat_template.jinja").write_text(_PAIRS, encoding="utf-8")
        _sentence_files(folder, row)


def _sentence_files(folder: Path, row: Row) -> None:
    """As sentence-transformers 6 writes them, or Stanford's ColBERT."""
    import sentence_transformers as library

    modules = {kind: value for module in row["modules"] for kind, value in module.items()}
    if "Stanford" in modules:
        return _stanford(folder, modules["Stanford"])
    name = row.get("class", "SentenceTransformer")
    if "Splade" in modules:
        name = "SparseEncoder"
    elif modules.keys() & {"Mask", "Attends"}:
        name = "MultiVectorEncoder"
    chain = _chain(folder, row["modules"])
    more = {"prompts": {"task": "Judge"}, "default_prompt_name": "task"} if chats(row) else {}
    made = getattr(library, name)(modules=chain, device="cpu", **more)
    made.save(str(folder), create_model_card=False)
    return None


def chats(row: Row) -> bool:
    """Whether a pair becomes a text by a chat template."""
    return "LogitScore" in row["modules"][-1]


def _chain(folder: Path, modules: tuple[Row, ...]) -> list[Any]:
    import torch
    from sentence_transformers.base import modules as base
    from sentence_transformers.multi_vector_encoder import modules as multi
    from sentence_transformers.sentence_transformer import modules as dense
    from sentence_transformers.sparse_encoder import modules as sparse

    last = modules[-1]
    if "LogitScore" in last:
        from sentence_transformers.cross_encoder.modules import LogitScore

        said = {"chat_template": {"add_generation_prompt": True}}
        first = dense.Transformer(
            str(folder), transformer_task="text-generation", processing_kwargs=said
        )
        return [first, LogitScore(*map(first.tokenizer.convert_tokens_to_ids, last["LogitScore"]))]
    if "Splade" in last:
        return [
            dense.Transformer(str(folder), transformer_task="fill-mask"),
            sparse.SpladePooling(last["Splade"]),
        ]
    expansion = {"strategy": "fixed", "attend": "Attends" in last, "length": 16}
    masks = last.keys() & {"Mask", "Attends"}
    more = {"query_expansion": expansion, "document_length": 40} if masks else {}
    chain = [dense.Transformer(str(folder), **more)]
    for module in modules:
        ((kind, value),) = module.items()
        if kind == "Pooling":
            chain.append(dense.Pooling(chain[0].get_embedding_dimension(), value))
        elif kind == "Dense":
            tokens = {"module_input_name": "token_embeddings"} if more else {}
            chain.append(base.Dense(*value, **tokens))
        elif kind == "Scores":
            said = {"activation_function": torch.nn.Identity(), "module_output_name": "scores"}
            chain.append(base.Dense(*value, **said))
        elif kind in masks:
            chain.append(multi.MultiVectorMask(skiplist_words=value))
        else:
            chain.append(base.Normalize())
    return chain


def _stanford(folder: Path, width: int) -> None:
    """The projection beside the body's weights, and the names that ColBERT gives them."""
    import torch
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = {f"bert.{name}": value for name, value in load_file(file).items()}
    weights["linear.weight"] = torch.randn(width, SIZE["hidden_size"]) / 4
    save_file(weights, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["HF_ColBERT"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    said = {"query_maxlen": 16, "doc_maxlen": 40, "dim": width, "mask_punctuation": True}
    (folder / "artifact.metadata").write_text(json.dumps(said), encoding="utf-8")


def _wordpiece(folder: Path) -> tuple[int, Row]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, "[unused0]", "[unused1]", *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    model = models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]")
    made = Tokenizer(model)
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ("pad", "unk", "cls", "sep", "mask")
    _save(folder, made, dict(zip(names, special, strict=True)), "[CLS] $A [SEP]",
          "[CLS] $A [SEP] $B:1 [SEP]:1", types=True)  # fmt: skip
    return len(words), {"pad_token_id": 0}


def _bytes(folder: Path, longest: int = _LONGEST) -> tuple[int, Row]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), "yes", "no"]
    vocabulary = {word: at for at, word in enumerate([*words, "ye"])}
    made = Tokenizer(models.BPE(vocabulary, [("y", "e"), ("ye", "s"), ("n", "o")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return len(vocabulary), _roberta(folder, made, special, longest)


def _unigram(folder: Path) -> tuple[int, Row]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words = [*special, "▁", *_LETTERS, "▁the", "ing"]
    made = Tokenizer(models.Unigram([(word, -float(at)) for at, word in enumerate(words)], 3))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return len(words), _roberta(folder, made, special)


def _roberta(folder: Path, made: Any, special: list[str], longest: int = _LONGEST) -> Row:
    names = ("bos", "pad", "eos", "unk", "mask")
    named = {**dict(zip(names, special, strict=True)), "cls": "<s>", "sep": "</s>"}
    plain = longest > _LONGEST  # a language model's tokenizer adds nothing
    template = ("", "") if plain else ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
    _save(folder, made, named, *template, longest=longest)
    return {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def _save(
    folder: Path,
    made: Any,
    special: Mapping[str, str],
    one: str,
    pair: str,
    *,
    types: bool = False,
    longest: int = _LONGEST,
) -> None:
    from tokenizers import processors

    made.add_special_tokens(list(dict.fromkeys(special.values())))
    ids = [(word, made.token_to_id(word)) for word in dict.fromkeys(special.values())]
    if one:
        template = processors.TemplateProcessing(single=one, pair=pair, special_tokens=ids)
        made.post_processor = template
    made.save(str(folder / "tokenizer.json"))
    inputs = ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest,
        "model_input_names": inputs, **{f"{name}_token": word for name, word in special.items()},
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


_TOKENIZERS: Mapping[str, Callable[[Path], tuple[int, Row]]] = {
    "wordpiece": _wordpiece,
    "bytes": _bytes,
    "long bytes": lambda folder: _bytes(folder, 1024),
    "unigram": _unigram,
}


if __name__ == "__main__":
    main(*sys.argv[1:])
