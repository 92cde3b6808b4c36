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

from onnx import ModelProto

from support.cases import disagreement
from support.onnx_models import config, model
from support.onnx_oracle import Session, verdict
from trtbuild import check, pbtxt
from trtbuild_rules.readers.graphs.onnxfile import OnnxTensor, read_onnx

READERS = "trtbuild_rules.readers.graphs"
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
        with patch(f"{READERS}.onnxfile.read_onnx", _read):
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


def operators(met: Counter[str]) -> Iterator[str]:
    """Where the shapes read from a file are not those of the session, over ONNX's own cases for
    all its operators: as they are, without the shapes of outputs, and with open inputs."""
    from onnx.backend.test.case.node import collect_testcases  # makes all of them

    for case in collect_testcases(None):
        for kind, made in _variants(case.model) if case.model else ():
            try:
                session = Session(made.SerializeToString())
                expected = {kind: session.infos(kind) for kind in ("inputs", "outputs")}
            except Exception:  # ONNX Runtime does not have it, or it is not a tensor
                met["not loaded"] += 1
                continue
            met["models"] += 1
            with patch(f"{READERS}.onnxshapes.apart", lambda work, *given: work(*given)):
                file = read_onnx(made.SerializeToString())
            for which, infos in expected.items():
                has = getattr(file, which)
                if list(has) != list(infos):
                    yield f"{case.name} ({kind}): {list(infos)} are read as {list(has)}"
                    continue
                for name, info in infos.items():
                    met["tensors"] += 1
                    met["vague"] += has[name].is_vague
                    if not _may_be(has[name], tuple(info.dims)):
                        yield f"{case.name} ({kind}): {name} is {info.dims}, read as {has[name]}"


def _may_be(read: OnnxTensor, dims: tuple[int, ...]) -> bool:
    if dims in (read.dims, read.rival) or (read.vague and not read.dims):
        return True
    pairs = zip(read.dims, dims, strict=False)
    return read.vague and len(read.dims) == len(dims) and all(a in (b, -1) for a, b in pairs)


def _variants(model: ModelProto) -> Iterator[tuple[str, ModelProto]]:
    for kind in ("as it is", "no shapes of outputs", "open batch", "open inputs"):
        made = ModelProto()
        made.CopyFrom(model)
        made.ir_version = min(model.ir_version, 13)
        for one in made.graph.output if kind != "as it is" else ():
            if one.type.HasField("tensor_type"):
                one.type.tensor_type.ClearField("shape")
        for one in made.graph.input if kind.startswith("open") else ():
            dims = one.type.tensor_type.shape.dim if one.type.HasField("tensor_type") else []
            for number, dim in enumerate(dims[: 1 if kind == "open batch" else None]):
                dim.dim_param = f"d{number}"
        yield kind, made
