"""Warnings about the release and the checkpoint, whatever builder is chosen."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild.toolchain import Toolchain, advisories_as_of, advisories_of, safe_since


def warnings(case: Case) -> tuple[str, ...]:
    """Return warning sentences."""
    return (*_release(case.toolchain), *case.spec.notes)


def _release(toolchain: Toolchain) -> Iterator[str]:
    known = [one for one in advisories_of("triton", toolchain.triton) if one.remote]
    if known:
        worst = max(known, key=lambda one: (one.score, one.published))
        yield (
            f"Triton {toolchain.triton} has known vulnerabilities that clients can use, such as "
            f"{worst.ids[0]} ({worst.what}): prefer --triton {safe_since('triton')} or newer "
            f"(as known on {advisories_as_of()})"
        )
