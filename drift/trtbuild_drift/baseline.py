"""The baseline's file: the numbers of a window, and how they were made. It has no texts."""

from __future__ import annotations

import hashlib
import io
import json
import tokenize
import zipfile
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from trtbuild.errors import UsageError
from trtbuild.files import atomic_write, disk_trouble
from trtbuild_drift.features import BUCKETS
from trtbuild_drift.measured import Measured, Model, Segment
from trtbuild_drift.options import Asking, Columns

_VERSION = 1
_SAME = 0.99  # cosine of the embeddings that two precisions of one model give
_ARRAYS = [one.name for one in fields(Segment)]
# What numpy and zipfile raise for bytes that are not as they were written.
_DAMAGED = (
    ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, NotImplementedError,
    OverflowError, RuntimeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Baseline:
    """What windows are compared with.

    Attributes:
        columns: Of its input, and of every window.
        asking: Its embedding model.
        sample: Most texts of a segment.
        model: What its embeddings were made with.
        segments: Its texts in numbers.
        digest: Of the file.
    """

    columns: Columns
    asking: Asking
    sample: int
    model: Model
    segments: dict[str, Segment]
    digest: str = ""


def write(path: Path, found: Measured, columns: Columns, asking: Asking, sample: int) -> None:
    """Write a baseline at once.

    Raises:
        BuildError: The disk is full, or the directory cannot be written.
    """
    header = {
        "version": _VERSION,
        "columns": asdict(columns),
        "asking": asdict(asking),
        "sample": sample,
        "origin": found.model.origin,
        "dimension": found.model.dimension,
        "segments": list(found.segments),
    }
    arrays: dict[str, Any] = {
        f"{at}.{name}": getattr(segment, name)
        for at, segment in enumerate(found.segments.values())
        for name in _ARRAYS
    }
    content = io.BytesIO()
    np.savez_compressed(
        content,
        allow_pickle=False,
        header=np.array(json.dumps(header, ensure_ascii=False)),
        probes=found.model.probes,
        **arrays,
    )
    with disk_trouble(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content.getvalue())


def read(path: Path) -> Baseline:
    """Return the baseline of a file.

    Raises:
        UsageError: There is none, or it is damaged.
    """
    fix = "make one: trtbuild drift baseline INPUT -o FILE"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no baseline {path}", fix=fix) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", fix=fix) from None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return _parsed(arrays, hashlib.sha256(content).hexdigest())
    except _DAMAGED as error:
        raise UsageError(f"{path} is not a baseline: {error}", fix=fix) from None


def _parsed(arrays: Any, digest: str) -> Baseline:
    header = json.loads(str(arrays["header"]))
    if header["version"] != _VERSION:
        raise ValueError(f"its version is {header['version']!r}")
    segments = {
        name: Segment(*(arrays[f"{at}.{one}"] for one in _ARRAYS))
        for at, name in enumerate(header["segments"])
    }
    dimension = int(header["dimension"])
    for name, one in segments.items():
        if one.histograms.shape != (len(one), BUCKETS) or len(one.languages) != len(one):
            raise ValueError(f"the arrays of {name!r} do not belong together")
    return Baseline(
        Columns(**header["columns"]),
        Asking(**header["asking"]),
        int(header["sample"]),
        Model(header["origin"], dimension, arrays["probes"]),
        segments,
        digest,
    )


def require_same_model(old: Model, new: Model) -> None:
    """Check that two sets of embeddings may be compared.

    Embeddings of two models differ everywhere, which would look like drift of every text.

    Raises:
        UsageError: They have different dimensions, or were made by different models.
    """
    fix = "name the baseline's model, or make a new baseline with the new one"
    if old.dimension != new.dimension:
        raise UsageError(
            f"embeddings have {new.dimension} dimensions, those of the baseline {old.dimension}",
            where=f"model {new.origin.get('model', 'of the input')}",
            fix=fix,
        )
    if old.probes.shape != new.probes.shape:
        raise UsageError("the baseline's embeddings were made in another way", fix=fix)
    if len(old.probes):
        lengths = np.linalg.norm(old.probes, axis=1) * np.linalg.norm(new.probes, axis=1)
        cosines = (old.probes * new.probes).sum(axis=1) / np.maximum(lengths, 1e-12)
        differ = float(cosines.min()) < _SAME
        why = f"the same text has embeddings with a cosine of {cosines.min():.3f}"
    else:
        differ = bool(old.origin and new.origin and old.origin != new.origin)
        why = "the batch jobs that made them differ in model, input type or dimensions"
    if differ:
        raise UsageError(
            "another model than the baseline's made the embeddings", where=why, fix=fix
        )
