"""Whether two sets of vectors come from the same model."""

from __future__ import annotations

from trtbuild.progress import Progress
from trtbuild_batch.asking import Embed
from trtbuild_batch.jobs import probing
from trtbuild_batch.jobs import run as running
from trtbuild_batch.output import record
from trtbuild_batch.output.parts import Layout
from trtbuild_batch.refreshing.memory import Generation
from trtbuild_batch.refreshing.options import RefreshOptions
from trtbuild_batch.targets.opening import Address

_SAME = 0.99
"""Cosine of the probe's vectors from which a model is the same one. Other numerics of one model,
such as another batch size or bfloat16 for float16, stay above 0.999."""


async def identify(
    options: RefreshOptions, address: Address, task: Embed, layout: Layout, progress: Progress
) -> Generation:
    """Return the generation that the model's vectors belong to, without a number yet."""
    progress.step(f"asking {address.url} for {address.model}")
    target = running.opened(options, address)
    try:
        identity = {"name": address.model, **await target.open()}
        probe = await probing.vector(target, task, address)
    finally:
        await target.close()
    fingerprint = {
        "model": identity,
        **task.about(),
        "id": layout.id,
        "keep": {name: str(kind or "text") for name, kind in layout.keep.items()},
    }
    return Generation(0, fingerprint, probe.hex())


def differences(old: Generation, new: Generation) -> list[str]:
    """Return why vectors of ``new`` cannot be among those of ``old``; empty if they can."""
    found = list(record.differences(old.fingerprint, new.fingerprint))
    if not found and not _similar(old.probe, new.probe):
        found = ["the model behind this name gives other vectors"]
    return found


def _similar(one: str, other: str) -> bool:
    """Whether two vectors point the same way."""
    import numpy as np

    a, b = (np.frombuffer(bytes.fromhex(text), "<f4").astype("f8") for text in (one, other))
    return len(a) == len(b) and bool(a @ b >= _SAME * np.linalg.norm(a) * np.linalg.norm(b))
