"""Pairs of an ONNX model and a configuration: does the validator say what the backend says?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from support.cases import disagreement
from support.onnx_models import config, model
from support.onnx_oracle import Session, verdict
from trtbuild import check, pbtxt
from trtbuild.check.onnxfile import read_onnx

_read = lru_cache(maxsize=1)(read_onnx)  # once for both modes


@dataclass(frozen=True)
class Pair:
    """A model's file, what ONNX Runtime makes of it, and a configuration."""

    number: int
    content: bytes
    session: Session
    config: Any

    @property
    def doubtful(self) -> bool:
        """Whether the validator says itself that ONNX Runtime may infer more of an output."""
        outputs = _read(self.content, optimized=True).outputs.values()
        return any(one.is_vague for one in outputs)


def pairs(first: int, count: int) -> Iterator[Pair]:
    """``count`` pairs, made from the numbers from ``first`` on; a number whose model ONNX Runtime
    does not load makes none."""
    number = first
    while count:
        random = Random(number)
        try:
            content = model(random).SerializeToString()
            session = Session(content)
            made = config(random, session)
        except Exception:  # no session, or a sequence that the configuration cannot be made from
            session = None
        if session is not None:
            count -= 1
            yield Pair(number, content, session, made)
        number += 1


def compare(pair: Pair, repo: Path, met: Counter[str]) -> Iterator[str]:
    """Where both differ, in either mode. A warning of TRT622 is neither yes nor no, and so is a
    yes where the validator does not know all that is inferred; an error must be right."""
    folder = repo / "m" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(pair.content)
    (repo / "m" / "config.pbtxt").write_text(pbtxt.render(pair.config))
    for auto_complete in (False, True):
        said = verdict(pair.session, pair.config, auto_complete=auto_complete)
        with patch("trtbuild.check.onnxmodel.read_onnx", _read):
            report = check.validate(repo, auto_complete=auto_complete, gpus=0)
        met["verdicts"] += 1
        met["refused"] += bool(said)
        doubted = [f for f in report.findings if f.rule == "TRT622" and f.severity == "warning"]
        if report.ok and (doubted or (said and pair.doubtful)):
            met["undecided"] += 1
            continue
        differs = disagreement({"m": said}, report, of_backends=True)
        if said and not report.ok and (doubted or pair.doubtful):
            met["unquoted"] += bool(differs)
        elif differs:
            mode = "completing" if auto_complete else "strict"
            yield f"{pair.number} ({mode}): {differs}"
