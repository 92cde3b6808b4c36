"""The models that can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from trtbuild.lockfile import Lock
from trtbuild.signature import ServedModel
from trtbuild.wire.failures import WireError
from trtbuild.wire.records import IndexEntry
from trtbuild_gateway.prompts.prompter import Prompter
from trtbuild_gateway.seams import Backend
from trtbuild_gateway.settings import ModelSettings, Settings


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be asked for.

    Attributes:
        name: As clients write it.
        served: Its description.
        backend: What computes for it.
        prompter: Its tokenizer and chat template.
        adapter: A LoRA adapter of ``served``; empty for the model itself.
        created: When the gateway first saw it, in seconds since 1970.
        hidden: Whether it is left out of ``/v1/models``.
    """

    name: str
    served: ServedModel
    backend: Backend
    prompter: Prompter
    adapter: str = ""
    created: int = 0
    hidden: bool = False


@dataclass(slots=True)
class State:
    """What the last look at the servers found."""

    models: dict[str, Model] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)  # why a known model cannot be asked
    indexes: dict[str, list[IndexEntry]] = field(default_factory=dict)  # by server
    failures: dict[str, WireError] = field(default_factory=dict)  # by server
    at: float = 0.0

    def publish(self, models: Sequence[Model], settings: Settings, lock: Lock) -> None:
        """Add models by their names, and by those of aliases and LoRA adapters."""
        self.models |= {model.name: model for model in models}
        for model in models:
            own = settings.models.get(model.name, ModelSettings())
            for alias in own.aliases:
                self.models.setdefault(alias, model)
            locked = lock.models.get(model.served.name)
            for adapter in own.adapters or (tuple(locked.adapters) if locked else ()):
                self.models.setdefault(adapter, replace(model, name=adapter, adapter=adapter))
