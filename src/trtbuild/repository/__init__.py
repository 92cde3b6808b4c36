"""Model repositories: write a conversion atomically, list, show and remove models."""

from trtbuild.repository.changes import Transaction, recover, transaction
from trtbuild.repository.listing import (
    ModelSummary,
    list_models,
    remove,
    require_repository,
    unknown_model,
)
from trtbuild.repository.served import served_model
from trtbuild.repository.view import ModelView, TensorView, show
from trtbuild.repository.write import (
    WeightFile,
    intact,
    require_free,
    say_source,
    write_model,
)

__all__ = [
    "ModelSummary",
    "ModelView",
    "TensorView",
    "Transaction",
    "WeightFile",
    "intact",
    "list_models",
    "recover",
    "remove",
    "require_free",
    "require_repository",
    "say_source",
    "served_model",
    "show",
    "transaction",
    "unknown_model",
    "write_model",
]
