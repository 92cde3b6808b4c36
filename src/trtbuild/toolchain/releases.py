"""The table of Triton releases (``data/toolchains.toml``)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache

from trtbuild.errors import UsageError
from trtbuild.resources import data_file


@dataclass(frozen=True, slots=True)
class Toolchain:
    """One row: a Triton release and the versions in its images.

    Versions are empty if the release has no such image. ``tensorrt``, ``cuda`` and
    ``python`` are those of the trtllm image, and so are ``driver`` (the GPU driver that belongs to
    its CUDA) and ``image_gb``; ``vllm_cuda``, ``vllm_driver`` and ``vllm_image_gb`` are those of
    the vllm image. A size of 0 is unknown.
    ``engine_flow`` says whether its TensorRT-LLM still compiles engines (1.2.1 and older).
    ``unconfirmed`` lists fields that the server's own sources do not confirm.
    """

    triton: str
    server_version: str
    vllm: str
    vllm_image: str
    vllm_cuda: str
    trtllm: str
    trtllm_image: str
    tensorrt: str
    cuda: str
    python: str
    engine_flow: bool
    unconfirmed: tuple[str, ...] = ()
    vllm_driver: str = ""
    vllm_image_gb: float = 0.0
    driver: str = ""
    image_gb: float = 0.0


BLS_FIXED = "26.07"
"""The first Triton whose Python backend does not deadlock when a decoupled model calls other models
(triton-inference-server/python_backend#439; reported as triton-inference-server/server#8882)."""


@cache
def releases() -> tuple[Toolchain, ...]:
    """Return all known releases, newest first."""
    table = tomllib.loads(data_file("toolchains.toml").read_text(encoding="utf-8"))
    rows = [
        Toolchain(**{**row, "unconfirmed": tuple(row.get("unconfirmed", ()))})
        for row in table["release"]
    ]
    return tuple(sorted(rows, key=lambda row: row.triton, reverse=True))


def newest() -> Toolchain:
    """Return the newest release with all fields confirmed, which is the default."""
    return next(row for row in releases() if not row.unconfirmed)


def load(release: str) -> Toolchain:
    """Return the row of ``release`` (``YY.MM``); UsageError names the known ones."""
    for row in releases():
        if row.triton == release:
            return row
    raise UsageError(f"unknown Triton release {release!r}", fix=_instead(release))


def _instead(release: str) -> str:
    """Return which release to use instead of an unknown one, and what that means."""
    known = [row.triton for row in releases()]
    for row in releases():
        if release.lstrip("rv") in (row.triton, row.server_version):
            return f"Triton {row.server_version} is release {row.triton}: use --triton {row.triton}"
    listed = ", ".join(known)
    if re.fullmatch(r"\d\d\.\d\d", release) and release < known[-1]:
        return (
            f"use --triton {known[-1]}, the oldest known release; differences in older servers are "
            f"then not checked (known: {listed})"
        )
    if re.fullmatch(r"\d\d\.\d\d", release) and release > known[0]:
        return f"use --triton {known[0]}, the newest known release (known: {listed})"
    return f"use one of {listed} (--triton YY.MM)"
