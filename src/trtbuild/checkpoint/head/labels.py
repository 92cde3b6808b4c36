"""The head of a reranker or a classifier: labels, activation, weights.

The activation of a reranker is in up to three files; sources are sentence-transformers 6.2.0
(``cross_encoder/model.py``) and transformers 5.19.0 (``pipelines/text_classification.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.head.activation import activation_name
from trtbuild.checkpoint.head.files import SETTINGS, SentenceFiles, module_config
from trtbuild.checkpoint.head.generating import GeneratingReranker, reranker_of
from trtbuild.checkpoint.head.vectors import dense_layers, pooling_of
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems
from trtbuild.modelspec import Head, HeadKind, Task

_KINDS = {
    Task.RERANK: HeadKind.SCORE,
    Task.CLASSIFY: HeadKind.LABELS,
    Task.TOKEN_CLASSIFY: HeadKind.TOKEN_LABELS,
    Task.IMAGE_CLASSIFY: HeadKind.IMAGE_LABELS,
}
# Source: vLLM 0.32.0, models/qwen2_rm.py, internlm2.py and jina.py.
_FIXED = ("ForRewardModel", "ForProcessRewardModel", "ForRanking")
_MOST_LABELS = 1_000_000
_NUMBER = re.compile(r"[0-9]{1,9}")
_SHOWN = 12
# Names of the last layer's weights, with a row for each label; the first that exists is used.
_LAST = (
    "classifier.out_proj.weight", "classification_head.out_proj.weight", "score.weight",
    "classifier.weight", "classifier.1.weight", "logits_proj.weight",
)  # fmt: skip


def label_count(fields: Fields) -> int:
    """Return the number of labels of a classifier; transformers' default is two."""
    named = fields.get("id2label")
    if isinstance(named, dict) and named:
        return len(named)
    return fields.number("num_labels", 2)


def label_head(
    checkpoint: Checkpoint, fields: Fields, files: SentenceFiles, task: Task, problems: Problems
) -> Head:
    """Return the head of a model that scores each label."""
    if files.of_kind("LogitScore") or (files.is_cross_encoder and files.of_kind("Pooling")):
        return _modular(checkpoint, fields, files, problems)
    row = None if files.modules else reranker_of(checkpoint.ref.text, fields.architecture)
    if row is not None and fields.architecture.endswith("ForCausalLM"):
        return _generating(row)
    if fields.architecture.endswith(_FIXED):
        return _fixed(fields.architecture, task)
    count = label_count(fields)
    labels = _labels(fields, count, problems)
    for name, rows in _last_layer(checkpoint):
        if rows != count:
            problems.add(
                f"config.json names {count} label{'s' if count != 1 else ''}, and {name} has "
                f"{rows} row{'s' if rows != 1 else ''}",
                "correct id2label and num_labels in config.json, or fetch the weights again",
            )
    pooling = fields.text("classifier_pooling")  # ModernBERT
    return Head(
        _KINDS[task],
        pair_template=row.template if row else "",
        pooling=(pooling,) if pooling else (),
        activation=_activation(fields, files, count, problems),
        labels=() if task is Task.RERANK else labels,
        multi_label=fields.text("problem_type") == "multi_label_classification",
    )


def _labels(fields: Fields, count: int, problems: Problems) -> tuple[str, ...]:
    """Return labels in the order of the outputs: by number, not as in the file."""
    named = fields.get("id2label")
    if not isinstance(named, dict) or not named:
        if count > _MOST_LABELS:
            problems.add(
                f"config.json: num_labels is {count:,}, more than {_MOST_LABELS:,}",
                "correct num_labels in config.json",
            )
        return tuple(f"LABEL_{number}" for number in range(min(count, _MOST_LABELS)))
    numbered = {int(key): str(text) for key, text in named.items() if _NUMBER.fullmatch(key)}
    if sorted(numbered) != list(range(count)):
        problems.add(
            f"config.json: id2label has the numbers {_some(named)}, not 0 to {count - 1}",
            "number the labels in id2label from 0, one for each row of the classifier",
        )
    return tuple(numbered[number] for number in sorted(numbered))


def _some(named: Mapping[str, Any]) -> str:
    shown = [key[:_SHOWN] for key in list(named)[:_SHOWN]]
    return ", ".join([*shown, *["…"] * (len(named) > _SHOWN)])


def _last_layer(checkpoint: Checkpoint) -> Iterator[tuple[str, int]]:
    for name in _LAST:
        found = checkpoint.tensors.get(name)
        if found is not None and found.shape:
            yield name, found.shape[0]
            return


def _activation(fields: Fields, files: SentenceFiles, count: int, problems: Problems) -> str:
    """Return the activation from sentence-transformers' files, else by ``problem_type``."""
    problem = fields.text("problem_type")
    marked = _marked(fields, files)
    if marked:
        default = "sigmoid" if count == 1 else "identity"
    elif problem == "regression":
        default = "identity"
    else:
        several = count > 1 and problem != "multi_label_classification"
        default = "softmax" if several else "sigmoid"
    for where, named in marked.items():
        if named:
            return activation_name(named, where, problems, default)
    return default


def _marked(fields: Fields, files: SentenceFiles) -> Mapping[str, Any]:
    """Return what sentence-transformers saved of a cross-encoder, from the first file that has it;
    ``""`` for a model that it did not save."""
    found: dict[str, Any] = {}
    if files.model_type == "CrossEncoder" or "activation_fn" in files.settings:
        found[SETTINGS] = files.settings.get("activation_fn")
    inner = fields.top.get("sentence_transformers")
    if isinstance(inner, dict) and "activation_fn" in inner:
        found["config.json (sentence_transformers)"] = inner["activation_fn"]
    old = "sbert_ce_default_activation_function"
    if old in fields.top:
        found[f"config.json ({old})"] = fields.top[old]
    return found


def _fixed(architecture: str, task: Task) -> Head:
    """Return the head of classes with fixed outputs: a reward, a step score, a similarity."""
    if architecture.endswith("ForProcessRewardModel"):
        steps = ("LABEL_0", "LABEL_1")
        return Head(HeadKind.TOKEN_LABELS, labels=steps, activation="softmax")
    labels = () if task is Task.RERANK else ("LABEL_0",)
    return Head(_KINDS[task], labels=labels, activation="identity")


def _generating(row: GeneratingReranker) -> Head:
    """Return a head of word logits; softmax over two is the sigmoid of their difference."""
    return Head(
        HeadKind.SCORE,
        pooling=("lasttoken",),
        pair_template=row.template,
        score_words=row.words,
        padding_side="left",
        activation="sigmoid",
    )


def _modular(
    checkpoint: Checkpoint, fields: Fields, files: SentenceFiles, problems: Problems
) -> Head:
    """Return the head of a cross-encoder of sentence-transformers 6: a body and modules."""
    pooling, include_prompt, width = pooling_of(checkpoint, fields, files, problems)
    layers = dense_layers(checkpoint, files, width, problems)
    count = layers[-1].outputs if layers else 1
    tokens: tuple[int, ...] = ()
    for module in files.of_kind("LogitScore"):
        config = module_config(checkpoint, module) or {}
        ids = (config.get("true_token_id"), config.get("false_token_id"))
        tokens = tuple(number for number in ids if type(number) is int)
        if type(ids[0]) is not int:
            problems.add(
                f"{module.config_file} has no true_token_id",
                f"fetch {module.config_file} from where the checkpoint came from",
            )
    return Head(
        HeadKind.SCORE if count == 1 else HeadKind.LABELS,
        pooling=() if tokens else pooling,
        include_prompt=include_prompt,
        layers=layers,
        score_tokens=tokens,
        padding_side="left" if tokens else "right",
        activation=_activation(fields, files, count, problems),
        labels=() if count == 1 else _labels(fields, count, problems),
    )
