"""TensorRT-LLM checkpoints as tests ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trtbuild.errors import TrtbuildError
from trtbuild_engine_flow.engines.checkpoint import make_checkpoint


def refused(
    tmp_path: Path, source: str | Path, kind: type[TrtbuildError], **options: Any
) -> TrtbuildError:
    """The error, after making sure that nothing was written."""
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in out.rglob("*")} if out.exists() else None
    with pytest.raises(kind) as caught:
        make_checkpoint(str(source), out, **options)
    after = {path: path.read_bytes() for path in out.rglob("*")} if out.exists() else None
    assert after == before
    assert not list(tmp_path.glob(".out*")), "no scratch folder stays"
    assert caught.value.fix
    return caught.value
