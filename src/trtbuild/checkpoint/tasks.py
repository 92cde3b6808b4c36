"""The task of a checkpoint, from its architecture and its files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from trtbuild import toolchain
from trtbuild.checkpoint import families
from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.head import SentenceFiles, label_count, reranker_of
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems
from trtbuild.modelspec import Task

_HEADS = re.compile(
    r"(For(Sequence|Token|Image)Classification|ForMaskedLM|ForPreTraining|EncoderModel|Model)$"
)
_BODIES = ("{}ForCausalLM", "{}Model", "{}LMHeadModel", "{}EncoderModel")
_ENDINGS = (
    ("ForTokenClassification", Task.TOKEN_CLASSIFY),
    ("ForImageClassification", Task.IMAGE_CLASSIFY),
    ("Classification", Task.CLASSIFY),
    ("ForRewardModel", Task.CLASSIFY),
    ("ForProcessRewardModel", Task.TOKEN_CLASSIFY),
    ("LMHeadModel", Task.GENERATE),
    ("Model", Task.EMBED),
    ("ForMaskedLM", Task.EMBED),
    ("ForPreTraining", Task.EMBED),
    ("ForConditionalGeneration", Task.VISION_LANGUAGE),
)


def task_of(
    checkpoint: Checkpoint,
    fields: Fields,
    files: SentenceFiles,
    own_code: str,
    problems: Problems,
) -> tuple[str, Task]:
    """Return the architecture and its task.

    Args:
        checkpoint: As opened.
        fields: Its configuration.
        files: Those of sentence-transformers.
        own_code: Its own code: none (empty), ``offered`` or ``accepted``.
        problems: Collects an architecture that is unknown or that no server supports.
    """
    named = checkpoint.config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        problems.add(
            "config.json names no architecture",
            'add "architectures": ["…"] as the model\'s authors publish it',
        )
        return "", Task.GENERATE
    architecture = named[0]
    known = _known_task(architecture)
    if known is None and own_code != "accepted":
        problems.add(*_unknown(architecture, own_code))
    task = known or _task_by_ending(architecture)
    if architecture.endswith("ForMaskedLM") and not (files.modules or files.is_sparse):
        problems.add(
            f"{architecture} fills in masked words, which no server is asked for",
            "give a checkpoint that was trained for a task; of a SPLADE model, the one with a "
            "modules.json that names SpladePooling, as sentence-transformers saves it",
        )
    if not files.modules and reranker_of(checkpoint.ref.text, architecture):
        return architecture, Task.RERANK
    return architecture, _refined(fields, files, architecture, task)


# NVIDIA's Eagle models that read images draft for nobody.
_DRAFTS = re.compile(r"Eagle(?!\w*(?:VL|Chat))|Medusa|MLPSpec|MTP|DFlash|DraftModel|Lookahead")


def _unknown(architecture: str, own_code: str) -> tuple[str, str]:
    """What is wrong with an architecture that no table has, and the fix."""
    if _DRAFTS.search(architecture):
        return (
            f"{architecture} drafts tokens for another model and does not work alone",
            "deploy the model that it was trained for, and name it there: --set "
            "speculative_config='{\"model\": …}'",
        )
    what = f"unknown architecture {architecture!r}"
    if own_code:
        return what, "it brings its own code: read that, then accept it with --trust-remote-code"
    close = difflib.get_close_matches(architecture, families.architectures(), 3, 0.75)
    if close:
        return what, f"correct config.json if you meant one of these: {', '.join(close)}"
    return (
        what,
        "docs/reference/sources.md says which are known, and how to add one",
    )


def _known_task(architecture: str) -> Task | None:
    """Return the task from the tables, or from the suffix of a head on a known body."""
    known = families.architectures()
    if architecture in known:
        return known[architecture]
    theirs = toolchain.transformers_architectures()
    if architecture in theirs:
        return Task(theirs[architecture])
    stem = _HEADS.sub("", architecture)
    if stem != architecture and any(b in known or b in theirs for b in _bodies(stem)):
        return _task_by_ending(architecture)
    return None


def _bodies(stem: str) -> Iterator[str]:
    return (body.format(stem) for body in _BODIES)


def _task_by_ending(architecture: str) -> Task:
    found = (task for ending, task in _ENDINGS if architecture.endswith(ending))
    return next(found, Task.GENERATE)


def _refined(fields: Fields, files: SentenceFiles, architecture: str, task: Task) -> Task:
    """Refine the task where the name is not enough: rerankers, embedders, encoder-decoders."""
    if architecture.endswith("ForSequenceClassification"):
        return Task.RERANK if label_count(fields) == 1 else Task.CLASSIFY
    if files.modules and task in {Task.GENERATE, Task.CLASSIFY, Task.EMBED}:
        return Task.RERANK if files.is_cross_encoder else Task.EMBED
    sees = any(fields.top.get(key) is not None for key in families.VISION_KEYS)
    if task is Task.GENERATE and sees:
        return Task.VISION_LANGUAGE
    if task is Task.VISION_LANGUAGE and not sees and _hears(fields):
        return Task.AUDIO
    return task


def _hears(fields: Fields) -> bool:
    return any(fields.top.get(key) is not None for key in families.AUDIO_KEYS)
