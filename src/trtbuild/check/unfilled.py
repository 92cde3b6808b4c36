"""Template variables that a backend's own templates leave unfilled on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trtbuild.check.context import Model


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A backend that takes the default for a parameter whose value is still a placeholder.

    Attributes:
        backend: Its models may leave every parameter unfilled.
        parameters: Those that models around them, such as a preprocessing, may leave unfilled.
        judged: Whether a rule of the backend reports this parameter of this model itself.
    """

    backend: str
    parameters: Callable[[], frozenset[str]]
    judged: Callable[[Model, str], bool]


UNFILLED: list[Unfilled] = []
"""The backends known; a module of rules adds its own."""
