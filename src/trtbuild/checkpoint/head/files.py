"""The files in which sentence-transformers stores the head of a model.

Both generations of class names are identified by their last part: ``sentence_transformers.models.
Pooling`` of releases before 6, and ``sentence_transformers.sentence_transformer.modules.pooling.
Pooling`` of 6. Source: sentence-transformers 6.2.0, ``base/model.py`` and ``base/modules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtbuild.checkpoint import families
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems, json_array, json_object
from trtbuild.errors import UnsupportedError

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
COLBERT = "artifact.metadata"


_SERVED = frozenset(
    {
        "Transformer", "MLMTransformer", "Pooling", "Dense", "Normalize", "Dropout",
        "SpladePooling", "LogitScore", "MultiVectorMask",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the chain: the last part of its class name, and its directory."""

    kind: str
    path: str

    @property
    def config_file(self) -> str:
        """The path of its configuration, relative to the checkpoint."""
        return f"{self.path}/config.json" if self.path else "config.json"


@dataclass(frozen=True, slots=True)
class SentenceFiles:
    """The contents of the files.

    Attributes:
        modules: The chain of ``modules.json``; empty without one.
        settings: ``config_sentence_transformers.json``.
        transformer: ``sentence_bert_config.json``, or its older name.
        colbert: ``artifact.metadata`` of a Stanford ColBERT checkpoint.
        model_type: ``SentenceTransformer``, ``CrossEncoder``, ``SparseEncoder``,
            ``MultiVectorEncoder``, PyLate's ``ColBERT``; empty before release 5.
    """

    modules: tuple[Module, ...]
    settings: Mapping[str, Any]
    transformer: Mapping[str, Any]
    colbert: Mapping[str, Any]
    model_type: str

    def of_kind(self, kind: str) -> tuple[Module, ...]:
        """Return the modules of a class."""
        return tuple(module for module in self.modules if module.kind == kind)

    @property
    def is_sparse(self) -> bool:
        """Whether it makes a sparse vector of token weights."""
        return self.model_type == "SparseEncoder" or bool(self.of_kind("SpladePooling"))

    @property
    def is_cross_encoder(self) -> bool:
        """Whether it scores a pair of texts."""
        return self.model_type == "CrossEncoder" or bool(self.of_kind("LogitScore"))

    @property
    def is_multi_vector(self) -> bool:
        """Whether it makes a vector for every token."""
        named = self.model_type in {"MultiVectorEncoder", "ColBERT"}
        return named or bool(self.of_kind("MultiVectorMask"))


def sentence_files(checkpoint: Checkpoint) -> SentenceFiles:
    """Read all of these files that exist.

    Raises:
        UnsupportedError: One of them is invalid.
    """
    settings = _object(checkpoint, SETTINGS)
    model_type = settings.get("model_type")
    return SentenceFiles(
        modules=_modules(checkpoint),
        settings=settings,
        transformer=sentence_settings(checkpoint),
        colbert=_object(checkpoint, COLBERT),
        model_type=model_type if isinstance(model_type, str) else "",
    )


def require_served(files: SentenceFiles, problems: Problems) -> None:
    """Add a problem for each module whose effect on the numbers no head describes."""
    for kind in dict.fromkeys(module.kind for module in files.modules):
        if kind not in _SERVED:
            problems.add(
                f"{MODULES} has a {kind}, which is not served",
                f"served are {', '.join(sorted(_SERVED - {'MLMTransformer'}))}; serve this model "
                "by sentence-transformers in a Python model of your own",
            )


def sentence_settings(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the first of sentence-transformers' files with the tokenizer's settings."""
    names = families.SENTENCE_SETTINGS
    return next((found for name in names if (found := _object(checkpoint, name))), {})


def module_config(checkpoint: Checkpoint, module: Module) -> Mapping[str, Any] | None:
    """Return a module's configuration; None without the file."""
    raw = checkpoint.read_bytes(module.config_file)
    return None if raw is None else json_object(raw, module.config_file)


def _object(checkpoint: Checkpoint, name: str) -> Mapping[str, Any]:
    raw = checkpoint.read_bytes(name)
    return {} if raw is None else json_object(raw, name)


def _modules(checkpoint: Checkpoint) -> tuple[Module, ...]:
    raw = checkpoint.read_bytes(MODULES)
    entries = [] if raw is None else json_array(raw, MODULES)
    return tuple(_module(entry, at) for at, entry in enumerate(entries))


def _module(entry: object, at: int) -> Module:
    named = entry.get("type") if isinstance(entry, dict) else None
    path = entry.get("path", "") if isinstance(entry, dict) else None
    if not isinstance(named, str) or not isinstance(path, str):
        raise UnsupportedError(
            f"{MODULES}: entry {at} has no type and path",
            where=MODULES,
            fix=f"fetch {MODULES} again from where the checkpoint came from",
        )
    return Module(named.rpartition(".")[2], path.strip("/"))
