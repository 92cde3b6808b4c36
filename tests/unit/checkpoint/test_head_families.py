"""Heads of well-known models, by the small files that they are published with.

What sentence-transformers 6.2.0 and transformers 5.19.0 do with these files is what is right.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.sentence_files import make_checkpoint, switches
from trtbuild.checkpoint import inspect, open_checkpoint
from trtbuild.errors import ExitCode, UnsupportedError
from trtbuild.modelspec import DenseLayer, Head, HeadKind, ModelSpec, Task

IDENTITY = "torch.nn.modules.linear.Identity"


def spec_of(folder: Path, config: Mapping[str, Any], *arguments: Any, **more: Any) -> ModelSpec:
    made = make_checkpoint(folder / "m", config, *arguments, **more)
    return inspect(open_checkpoint(str(made)))


def head_of(folder: Path, config: Mapping[str, Any], *arguments: Any, **more: Any) -> Head:
    head = spec_of(folder, config, *arguments, **more).head
    assert head is not None
    return head


def named(architecture: str, model_type: str, **more: Any) -> dict[str, Any]:
    return {"architectures": [architecture], "model_type": model_type, **more}


def pooled(mode: str, **more: Any) -> dict[str, Any]:
    return {"1_Pooling/config.json": switches(mode), **more}


ROBERTA = {"max_position_embeddings": 514, "pad_token_id": 1}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_size": None,
              "num_hidden_layers": None, "num_attention_heads": None}  # fmt: skip
T5 = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "hidden_size": None,
      "max_position_embeddings": None}  # fmt: skip
GEMMA = {"head_dim": 8, "num_key_value_heads": 1, "use_bidirectional_attention": True,
         "max_position_embeddings": 2048}  # fmt: skip
LIMIT = {"tokenizer_config.json": {"model_max_length": 512}}
NO_LIMIT = {"tokenizer_config.json": {"model_max_length": 10**30}}


@pytest.mark.parametrize(
    ("config", "files", "pooling", "longest"),
    [
        (named("BertModel", "bert"), pooled("mean_tokens", **LIMIT), "mean", 512),
        (named("RobertaModel", "roberta", **ROBERTA), pooled("mean_tokens"), "mean", 512),
        (named("RobertaForMaskedLM", "roberta", **ROBERTA), pooled("mean_tokens", **NO_LIMIT),
         "mean", 512),
        (named("XLMRobertaModel", "xlm-roberta", max_position_embeddings=8194, pad_token_id=1),
         pooled("cls_token", **{"sentence_bert_config.json": {"max_seq_length": 8192}}),
         "cls", 8192),
        (named("XLMRobertaModel", "xlm-roberta", **ROBERTA), pooled("mean_tokens", **LIMIT),
         "mean", 512),
        (named("DistilBertModel", "distilbert", **DISTILBERT), pooled("mean_tokens"), "mean", 512),
        (named("MPNetForMaskedLM", "mpnet", **ROBERTA),
         pooled("mean_tokens", **{"sentence_bert_config.json": {"max_seq_length": 384}}),
         "mean", 384),
        (named("MPNetModel", "mpnet", **ROBERTA), pooled("mean_tokens"), "mean", 512),
        (named("ModernBertModel", "modernbert", max_position_embeddings=8192),
         pooled("cls_token"), "cls", 8192),
        (named("NomicBertModel", "nomic_bert", max_position_embeddings=2048),
         pooled("mean_tokens"), "mean", 2048),
        (named("DebertaV2Model", "deberta-v2"), pooled("mean_tokens"), "mean", 512),
        (named("ElectraModel", "electra"), pooled("mean_tokens"), "mean", 512),
        (named("AlbertModel", "albert"), pooled("mean_tokens"), "mean", 512),
        (named("T5EncoderModel", "t5", **T5), pooled("mean_tokens", **LIMIT), "mean", 512),
        (named("Qwen3ForCausalLM", "qwen3", max_position_embeddings=32768),
         pooled("lasttoken", **{"tokenizer_config.json": {"model_max_length": 131072}}),
         "lasttoken", 32768),
        (named("Qwen3Model", "qwen3"), pooled("lasttoken"), "lasttoken", 512),
        (named("MistralModel", "mistral"), pooled("lasttoken"), "lasttoken", 512),
        (named("Gemma3TextModel", "gemma3_text", **GEMMA), pooled("mean_tokens"), "mean", 2048),
    ],
)  # fmt: skip
def test_dense_retrievers(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], pooling: str, longest: int
) -> None:
    spec = spec_of(tmp_path, config, files=files)
    assert spec.task is Task.EMBED
    assert spec.head is not None
    assert (spec.head.kind, spec.head.pooling) == (HeadKind.DENSE, (pooling,))
    assert (spec.head.dimension, spec.head.normalized) == (32, True)
    assert spec.head.max_tokens == longest


@pytest.mark.parametrize("name", ["BertModel", "T5EncoderModel", "Gemma3TextModel"])
def test_an_encoder_keeps_no_cache(tmp_path: Path, name: str) -> None:
    types = {"BertModel": "bert", "T5EncoderModel": "t5", "Gemma3TextModel": "gemma3_text"}
    spec = spec_of(tmp_path, named(name, types[name], **(T5 if "T5" in name else GEMMA)))
    assert spec.kv_cache.kind == "none"


def test_embeddinggemma(tmp_path: Path) -> None:
    def layer(inputs: int, outputs: int) -> dict[str, Any]:
        return {"in_features": inputs, "out_features": outputs, "bias": False,
                "activation_function": IDENTITY}  # fmt: skip

    prompts = {"query": "task: search result | query: ", "document": "title: none | text: "}
    head = head_of(
        tmp_path,
        named("Gemma3TextModel", "gemma3_text", **GEMMA),
        ("Transformer", "Pooling", "Dense", "Dense", "Normalize"),
        files={
            "2_Dense/config.json": layer(32, 128),
            "3_Dense/config.json": layer(128, 32),
            "config_sentence_transformers.json": {"prompts": prompts, "default_prompt_name": None},
        },
        tensors={"2_Dense/linear.weight": (128, 32), "3_Dense/linear.weight": (32, 128)},
    )
    assert [(layer.inputs, layer.outputs) for layer in head.layers] == [(32, 128), (128, 32)]
    assert (head.prompts, head.default_prompt, head.dimension) == (prompts, "", 32)


def test_qwen3_embedding(tmp_path: Path) -> None:
    instruct = "Instruct: Given a web search query…\nQuery:"
    head = head_of(
        tmp_path,
        named("Qwen3ForCausalLM", "qwen3"),
        files=pooled(
            "lasttoken",
            **{
                "config_sentence_transformers.json": {
                    "prompts": {"query": instruct, "document": ""},
                    "similarity_fn_name": "cosine",
                },
                "tokenizer_config.json": {"padding_side": "left"},
            },
        ),
    )
    assert (head.prompt("query"), head.prompt("document")) == (instruct, "")
    assert (head.similarity, head.padding_side, head.append_eos) == ("cosine", "left", False)


@pytest.mark.parametrize(
    ("processor", "appends"),
    [
        (None, True),
        ({"type": "TemplateProcessing",
          "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<|endoftext|>"}}]}, False),
        ({"type": "Sequence", "processors": [
            {"type": "ByteLevel"},
            {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}]},
        ]}, True),
    ],
)  # fmt: skip
def test_an_end_of_text_that_the_tokenizer_does_not_append(
    tmp_path: Path, processor: object, appends: bool
) -> None:
    config = named("Qwen2ForCausalLM", "qwen2")
    files = pooled("lasttoken", **{"tokenizer_config.json": {"add_eos_token": True}})
    folder = make_checkpoint(tmp_path, config, files=files)
    tokenizer = json.loads((folder / "tokenizer.json").read_bytes())
    changed = json.dumps({**tokenizer, "post_processor": processor})
    (folder / "tokenizer.json").write_text(changed, encoding="utf-8")
    head = inspect(open_checkpoint(str(folder))).head
    assert head is not None
    assert head.append_eos is appends


# --- sparse and multi-vector ---------------------------------------------------------------


def test_splade(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        named("BertForMaskedLM", "bert"),
        ("Transformer", "SpladePooling"),
        new=True,
        files={"1_SpladePooling/config.json": {"pooling_strategy": "max",
                                               "activation_function": "relu",
                                               "word_embedding_dimension": None}},
    )  # fmt: skip
    assert spec.task is Task.EMBED
    assert spec.head is not None
    assert (spec.head.kind, spec.head.pooling) == (HeadKind.SPARSE, ("max",))
    assert (spec.head.activation, spec.head.dimension) == ("relu", 512)


def test_a_sparse_encoder_without_modules(tmp_path: Path) -> None:
    settings = {"config_sentence_transformers.json": {"model_type": "SparseEncoder"}}
    config = named("DistilBertForMaskedLM", "distilbert", **DISTILBERT)
    head = head_of(tmp_path, config, (), files=settings)
    assert (head.kind, head.pooling) == (HeadKind.SPARSE, ("max",))


@pytest.mark.parametrize("name", ["BertForMaskedLM", "RobertaForMaskedLM", "MPNetForMaskedLM"])
def test_a_masked_model_is_no_embedder_by_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsupportedError, match="fills in masked words") as raised:
        spec_of(tmp_path, named(name, "bert"), ())
    assert raised.value.exit_code is ExitCode.UNSUPPORTED
    assert "SpladePooling" in raised.value.fix


def test_a_colbert_checkpoint(tmp_path: Path) -> None:
    metadata = {"query_maxlen": 32, "doc_maxlen": 180, "query_token_id": "[unused0]",
                "doc_token_id": "[unused1]", "attend_to_mask_tokens": False}  # fmt: skip
    head = head_of(
        tmp_path,
        named("HF_ColBERT", "bert"),
        (),
        files={"artifact.metadata": metadata},
        tensors={"linear.weight": (16, 32)},
    )
    assert head.kind is HeadKind.MULTI_VECTOR
    assert head.layers == (DenseLayer("", 32, 16, bias=False, activation="identity"),)
    assert head.prompts == {"query": "[unused0] ", "document": "[unused1] "}
    assert (head.query_tokens, head.document_tokens) == (32, 180)
    assert (head.query_expansion, head.normalized, head.dimension) == ("masked", True, 16)
    assert head.skip_words == tuple(string.punctuation)


def dense_head_files(**more: Any) -> dict[str, Any]:
    layer = {"in_features": 32, "out_features": 16, "bias": False, "activation_function": IDENTITY}
    return {"1_Dense/config.json": layer, **more}


def test_a_pylate_checkpoint(tmp_path: Path) -> None:
    settings = {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ",
                "query_length": 48, "document_length": 300, "skiplist_words": ["!", "?"],
                "attend_to_expansion_tokens": True}  # fmt: skip
    head = head_of(
        tmp_path,
        named("ModernBertModel", "modernbert"),
        ("Transformer", "Dense"),
        files=dense_head_files(**{"config_sentence_transformers.json": settings}),
        tensors={"1_Dense/linear.weight": (16, 32)},
    )
    assert (head.kind, head.dimension, head.similarity) == (HeadKind.MULTI_VECTOR, 16, "maxsim")
    assert head.prompts == {"query": "[Q] ", "document": "[D] "}
    assert (head.query_tokens, head.document_tokens) == (48, 300)
    assert (head.query_expansion, head.skip_words) == ("attended", ("!", "?"))


def test_a_multi_vector_encoder(tmp_path: Path) -> None:
    files = dense_head_files(**{
        "config_sentence_transformers.json": {
            "model_type": "MultiVectorEncoder", "prompts": {"query": "[Q] ", "document": "[D] "},
        },
        "sentence_bert_config.json": {
            "document_length": 300,
            "query_expansion": {"strategy": "fixed", "attend": False, "length": 32},
        },
        "3_MultiVectorMask/config.json": {"skiplist_words": ["."]},
    })  # fmt: skip
    head = head_of(
        tmp_path,
        named("BertModel", "bert"),
        ("Transformer", "Dense", "Normalize", "MultiVectorMask"),
        new=True,
        files=files,
        tensors={"1_Dense/linear.weight": (16, 32)},
    )
    assert (head.kind, head.prompt("query")) == (HeadKind.MULTI_VECTOR, "[Q] ")
    assert (head.query_tokens, head.document_tokens) == (32, 300)
    assert (head.query_expansion, head.skip_words) == ("masked", (".",))


# --- scores and labels ---------------------------------------------------------------------

ONE = {"id2label": {"0": "LABEL_0"}}
NLI = {"id2label": {"2": "neutral", "0": "contradiction", "1": "entailment"}}
RERANKER = "BertForSequenceClassification"
IDENTITY_BY_NAME = {"config_sentence_transformers.json": {
    "model_type": "CrossEncoder", "activation_fn": IDENTITY}}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "files", "activation"),
    [
        ({}, {}, "sigmoid"),  # bge-reranker-v2-m3
        ({"problem_type": "regression"}, {}, "identity"),
        ({"sbert_ce_default_activation_function": IDENTITY}, {}, "identity"),
        ({"sbert_ce_default_activation_function": None}, {}, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": IDENTITY}}, {}, "identity"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"},
          "sbert_ce_default_activation_function": IDENTITY}, {}, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}},
         IDENTITY_BY_NAME, "identity"),
        ({}, {"config_sentence_transformers.json": {"model_type": "CrossEncoder"}}, "sigmoid"),
        # sentence-transformers 6 writes a modules.json for a cross-encoder, too
        ({}, {**IDENTITY_BY_NAME, "modules.json": [
            {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}]},
         "identity"),
        # not torch's: code of the checkpoint, which sentence-transformers does not import
        ({"sbert_ce_default_activation_function": "own.module.Act"}, {}, "sigmoid"),
    ],
)  # fmt: skip
def test_the_activation_of_a_reranker(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], activation: str
) -> None:
    spec = spec_of(tmp_path, named(RERANKER, "bert", **ONE, **config), (), files=files)
    assert spec.task is Task.RERANK
    assert spec.head is not None
    assert (spec.head.kind, spec.head.labels) == (HeadKind.SCORE, ())
    assert spec.head.activation == activation
    assert spec.head.truncation == "longest_first"


@pytest.mark.parametrize(
    ("architecture", "model_type"),
    [
        ("XLMRobertaForSequenceClassification", "xlm-roberta"),
        ("ElectraForSequenceClassification", "electra"),
        ("ModernBertForSequenceClassification", "modernbert"),
        ("Qwen3ForSequenceClassification", "qwen3"),
    ],
)
def test_rerankers(tmp_path: Path, architecture: str, model_type: str) -> None:
    config = named(architecture, model_type, **ONE, classifier_pooling="mean")
    spec = spec_of(tmp_path, config, (), tensors={"classifier.weight": (1, 32)})
    assert spec.task is Task.RERANK
    assert spec.head is not None
    assert (spec.head.kind, spec.head.activation) == (HeadKind.SCORE, "sigmoid")
    assert spec.head.pooling == (("mean",))


@pytest.mark.parametrize(
    ("config", "files", "activation", "several"),
    [
        ({}, {}, "softmax", False),
        ({"problem_type": "single_label_classification"}, {}, "softmax", False),
        ({"problem_type": "multi_label_classification"}, {}, "sigmoid", True),
        ({"problem_type": "regression"}, {}, "identity", False),
        # a cross-encoder with several labels answers with logits
        ({}, {"config_sentence_transformers.json": {"model_type": "CrossEncoder"}},
         "identity", False),
    ],
)  # fmt: skip
def test_classifiers(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], activation: str, several: bool
) -> None:
    spec = spec_of(
        tmp_path, named("DebertaV2ForSequenceClassification", "deberta-v2", **NLI, **config), (),
        files=files, tensors={"classifier.weight": (3, 32)},
    )  # fmt: skip
    assert spec.task is Task.CLASSIFY
    assert spec.head is not None
    assert spec.head.labels == ("contradiction", "entailment", "neutral")
    assert (spec.head.activation, spec.head.multi_label) == (activation, several)


@pytest.mark.parametrize(
    ("architecture", "model_type"),
    [
        ("BertForTokenClassification", "bert"),
        ("DistilBertForTokenClassification", "distilbert"),
        ("XLMRobertaForTokenClassification", "xlm-roberta"),
        ("ModernBertForTokenClassification", "modernbert"),
    ],
)
def test_token_classifiers(tmp_path: Path, architecture: str, model_type: str) -> None:
    more = DISTILBERT if model_type == "distilbert" else {}
    labels = {"id2label": {"0": "O", "1": "B-PER", "2": "I-PER"}}
    spec = spec_of(
        tmp_path, named(architecture, model_type, **labels, **more), (),
        tensors={"classifier.weight": (3, 32)},
    )  # fmt: skip
    assert spec.task is Task.TOKEN_CLASSIFY
    assert spec.head is not None
    assert (spec.head.kind, spec.head.labels) == (HeadKind.TOKEN_LABELS, ("O", "B-PER", "I-PER"))


@pytest.mark.parametrize(
    ("architecture", "kind", "labels", "activation"),
    [
        ("Qwen2ForRewardModel", HeadKind.LABELS, ("LABEL_0",), "identity"),
        ("InternLM2ForRewardModel", HeadKind.LABELS, ("LABEL_0",), "identity"),
        ("Qwen2ForProcessRewardModel", HeadKind.TOKEN_LABELS, ("LABEL_0", "LABEL_1"), "softmax"),
        ("JinaForRanking", HeadKind.SCORE, (), "identity"),
    ],
)
def test_classes_that_fix_their_outputs(
    tmp_path: Path, architecture: str, kind: HeadKind, labels: tuple[str, ...], activation: str
) -> None:
    spec = spec_of(tmp_path, named(architecture, "qwen2"), ())
    assert spec.head is not None
    head = spec.head
    assert (head.kind, head.labels, head.activation) == (kind, labels, activation)
    assert (spec.task is Task.TOKEN_CLASSIFY) == (kind is HeadKind.TOKEN_LABELS)


@pytest.mark.parametrize(
    ("architecture", "kind", "dimension"),
    [
        ("CLIPModel", HeadKind.DENSE, 512),
        ("ColPaliForRetrieval", HeadKind.MULTI_VECTOR, 32),
        ("ColQwen3", HeadKind.MULTI_VECTOR, 32),
        ("HF_ColBERT", HeadKind.MULTI_VECTOR, 32),
        ("BertSpladeSparseEmbeddingModel", HeadKind.SPARSE, 512),
    ],
)
def test_classes_that_pool_themselves(
    tmp_path: Path, architecture: str, kind: HeadKind, dimension: int
) -> None:
    sees = {"vision_config": {"hidden_size": 8}, "projection_dim": 512}
    more = sees if architecture == "CLIPModel" else {}
    spec = spec_of(tmp_path, named(architecture, "bert", **more), ())
    assert spec.head is not None
    assert (spec.head.kind, spec.head.dimension) == (kind, dimension)
    assert not spec.notes


def test_labels_without_names_are_numbered(tmp_path: Path) -> None:
    head = head_of(tmp_path, named(RERANKER, "bert", num_labels=3), ())
    assert head.labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_a_generating_reranker(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        named("Qwen3ForCausalLM", "qwen3"),
        ("Transformer", "LogitScore"),
        new=True,
        files={"1_LogitScore/config.json": {"true_token_id": 9693, "false_token_id": 2152}},
    )
    assert spec.task is Task.RERANK
    assert spec.head is not None
    assert (spec.head.kind, spec.head.score_tokens) == (HeadKind.SCORE, (9693, 2152))
    assert (spec.head.padding_side, spec.head.activation) == ("left", "sigmoid")


PAIR = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
PARTS = "{% for m in messages %}<{{ m.role }}>{{ m.content[0].text }}{% endfor %}"
VOCABULARY = {"model": {"vocab": {"no": 1, "yes": 2}}}


@pytest.mark.parametrize(
    ("template", "said", "tokenizer", "pair", "words"),
    [
        (PAIR, {}, VOCABULARY, "<system>J<query>{query}<document>{document}", ("yes", "no")),
        (PARTS, {}, VOCABULARY, "<system>J<query>{query}<document>{document}", ("yes", "no")),
        (
            PAIR + "{% if add_generation_prompt %}A{% endif %}{{ more }}",
            {"chat_template": {"add_generation_prompt": True, "more": "!"}},
            {"model": {"vocab": [["<unk>", 0.0], ["no", -1.0], ["yes", -2.0]]}},
            "<system>J<query>{query}<document>{document}A!",
            ("yes", "no"),
        ),
        ("{{ messages[1].content }}", {}, VOCABULARY, "", ("yes", "no")),
        ("{{ messages[2].content }} {{ messages[1].content }}", {}, VOCABULARY, "", ("yes", "no")),
        ("{query}" + PAIR, {}, VOCABULARY, "", ("yes", "no")),
        ("{{ raise_exception('roles') }}", {}, {"model": {"vocab": {"no": 1}}}, "", ()),
        (PAIR, {}, {}, "<system>J<query>{query}<document>{document}", ()),
    ],
)
def test_the_template_of_a_pair_is_the_chat_template(
    tmp_path: Path, template: str, said: Any, tokenizer: Any, pair: str, words: Any
) -> None:
    spec = spec_of(
        tmp_path,
        named("Qwen3ForCausalLM", "qwen3"),
        ("Transformer", "LogitScore"),
        new=True,
        files={
            "1_LogitScore/config.json": {"true_token_id": 2, "false_token_id": 1},
            "sentence_bert_config.json": {"processing_kwargs": said},
            "config_sentence_transformers.json": {
                "model_type": "CrossEncoder", "prompts": {"j": "J"}, "default_prompt_name": "j",
            },
            "chat_template.json": {"chat_template": template},
            "tokenizer.json": tokenizer,
        },
    )  # fmt: skip
    assert spec.head is not None
    assert (spec.head.pair_template, spec.head.score_words) == (pair, words)


@pytest.mark.parametrize(
    ("name", "architecture", "words", "start", "end"),
    [
        ("Qwen3-Reranker-0.6B", "Qwen3ForCausalLM", ("yes", "no"), "<|im_start|>system\nJudge",
         "<think>\n\n</think>\n\n"),
        ("Qwen3-Reranker-0.6B-seq-cls", "Qwen3ForSequenceClassification", (),
         "<|im_start|>system\nJudge", "<think>\n\n</think>\n\n"),
        ("bge-reranker-v2-gemma", "GemmaForCausalLM", ("Yes",), "A: {query}\nB: {document}\n",
         "either 'Yes' or 'No'."),
        ("mxbai-rerank-base-v2", "Qwen2ForCausalLM", ("1", "0"), "<|im_start|>system\nYou are",
         "<|im_start|>assistant\n"),
    ],
)  # fmt: skip
def test_language_models_that_rerank(
    tmp_path: Path, name: str, architecture: str, words: tuple[str, ...], start: str, end: str
) -> None:
    kind = architecture.partition("For")[0].lower()
    folder = make_checkpoint(tmp_path / name, {**named(architecture, kind), **ONE}, ())
    spec = inspect(open_checkpoint(str(folder)))
    assert spec.task is Task.RERANK
    assert spec.head is not None
    assert (spec.head.kind, spec.head.score_words) == (HeadKind.SCORE, words)
    assert spec.head.pair_template.startswith(start)
    assert spec.head.pair_template.endswith(end)
    assert spec.head.pair_template.count("{query}") == 1
    assert spec.head.pair_template.count("{document}") == 1


def test_another_name_is_a_language_model(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "Qwen3-0.6B", named("Qwen3ForCausalLM", "qwen3"), ())
    assert inspect(open_checkpoint(str(folder))).task is Task.GENERATE


def test_a_cross_encoder_of_modules(tmp_path: Path) -> None:
    layer = {"in_features": 32, "out_features": 1, "activation_function": IDENTITY,
             "module_output_name": "scores"}  # fmt: skip
    spec = spec_of(
        tmp_path,
        named("ModernBertModel", "modernbert"),
        ("Transformer", "Pooling", "Dense"),
        new=True,
        files={**IDENTITY_BY_NAME, "2_Dense/config.json": layer},
        tensors={"2_Dense/linear.weight": (1, 32), "2_Dense/linear.bias": (1,)},
    )
    assert spec.task is Task.RERANK
    assert spec.head is not None
    assert (spec.head.kind, spec.head.pooling) == (HeadKind.SCORE, ("mean",))
    assert [layer.outputs for layer in spec.head.layers] == [1]


@pytest.mark.parametrize(
    ("config", "tensors", "what"),
    [
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, {"classifier.weight": (2, 32)},
         "config.json names 3 labels, and classifier.weight has 2 rows"),
        ({"num_labels": 1}, {"classifier.out_proj.weight": (3, 32), "classifier.dense.weight":
                             (32, 32)},
         "config.json names 1 label, and classifier.out_proj.weight has 3 rows"),
        ({"id2label": {"1": "a", "2": "b"}}, {}, "id2label has the numbers 1, 2, not 0 to 1"),
        ({"id2label": {"a": 0, "b": 1}}, {}, "id2label has the numbers a, b, not 0 to 1"),
        ({"id2label": {"9" * 5000: "a", "1": "b"}}, {}, "id2label has the numbers 999"),
        ({"id2label": {str(n + 1): "a" for n in range(20)}}, {}, "11, 12, …, not 0 to 19"),
        ({"num_labels": 10**12}, {}, "num_labels is 1,000,000,000,000, more than 1,000,000"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.GLU"}}, {},
         "names an activation that is not served"),
    ],
)  # fmt: skip
def test_labels_that_do_not_match(
    tmp_path: Path, config: dict[str, Any], tensors: dict[str, tuple[int, ...]], what: str
) -> None:
    with pytest.raises(UnsupportedError) as raised:
        spec_of(tmp_path, named(RERANKER, "bert", **config), (), tensors=tensors)
    assert what in raised.value.what
    assert raised.value.fix
    assert raised.value.exit_code is ExitCode.UNSUPPORTED


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("ViTForImageClassification", {"model_type": "vit", "image_size": 224, "patch_size": 16}),
        ("ResNetForImageClassification",
         {"model_type": "resnet", "hidden_sizes": [8, 16], "depths": [1, 1],
          "hidden_size": None, "num_hidden_layers": None, "num_attention_heads": None}),
    ],
)  # fmt: skip
def test_image_classifiers(tmp_path: Path, architecture: str, config: dict[str, Any]) -> None:
    labels = {"id2label": {"0": "cat", "1": "dog"}}
    folder = make_checkpoint(
        tmp_path, {"architectures": [architecture], **config, **labels, "vocab_size": None}, ()
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    spec = inspect(open_checkpoint(str(folder)))
    assert spec.task is Task.IMAGE_CLASSIFY
    assert spec.head == Head(HeadKind.IMAGE_LABELS, labels=("cat", "dog"), activation="softmax")
    assert spec.kv_cache.kind == "none"


def test_a_transcriber_is_described(tmp_path: Path) -> None:
    config = named(
        "WhisperForConditionalGeneration", "whisper", d_model=32, decoder_layers=2,
        decoder_attention_heads=4, encoder_layers=2, max_target_positions=448,
        max_position_embeddings=None,
    )  # fmt: skip
    spec = spec_of(tmp_path, config, ())
    assert (spec.task, spec.head, spec.context_length) == (Task.TRANSCRIBE, None, 448)
