"""What a backend refuses of a configuration, as problems of a rule."""

from __future__ import annotations

from collections.abc import Iterable

from trtbuild.check.context import CONFIG, Model
from trtbuild.check.engine import Problem, Problems
from trtbuild.check.model import Severity
from trtbuild.located.positions import NOWHERE
from trtbuild_rules.readers.graphs.filetensors import Refusal


def refused(model: Model, file: str, refusals: Iterable[Refusal]) -> Problems:
    """A problem for each refusal of the model's ``file``: at the field of the configuration that
    it is about, else at the file; a warning where another size could still fit.

    :mod:`trtbuild.explain.sentences` sees that it passes ``server`` on: it looks for the server's
    words of a rule that calls it in the module that makes the refusals.
    """
    for refusal in refusals:
        yield Problem(
            refusal.message.replace("the file", file, 1),
            model.at(*refusal.path) if refusal.path else NOWHERE,
            file=CONFIG if refusal.path else file,
            server=refusal.server,
            fix=refusal.fix,
            severity=None if refusal.sure else Severity.WARNING,
        )
