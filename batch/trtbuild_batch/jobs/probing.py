"""The vector of a fixed text: it tells the dimension, and whether the model is another one."""

from __future__ import annotations

from trtbuild.errors import ServerError
from trtbuild_batch.asking import Embed
from trtbuild_batch.engine import CallError
from trtbuild_batch.targets import Target
from trtbuild_batch.targets.opening import Address

_PROBE = "trtbuild"


async def vector(target: Target, task: Embed, address: Address) -> bytes:
    """Return the model's vector, as little-endian float32.

    Raises:
        ServerError: The model gives none.
    """
    try:
        found = (await target.ask(task.of(_PROBE))).output
        return found if isinstance(found, bytes) else b""
    except CallError as error:
        raise ServerError(
            f"{address.model!r} gives no vector: {error.message}",
            where=address.url,
            fix="check that it is an embedding model, and --dimensions",
        ) from None
