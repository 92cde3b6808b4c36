"""``/v1/files`` and ``/v1/batches``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.datastructures import UploadFile

from trtbuild_gateway.batches.lines import ENDPOINTS
from trtbuild_gateway.batches.store import OPEN, Batches, Store
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.http.endpoint import Context, Handler
from trtbuild_gateway.http.forms import form_of
from trtbuild_gateway.routes.asking import check_parameters
from trtbuild_gateway.schema.parameters import Metadata, typed
from trtbuild_gateway.seams import Call

_DAY = 24 * 3600
_WINDOW = "24h"
# Of a page, and how many without a limit. Source: openai-python 3.57.0, types/file_list_params.py
# and types/batch_list_params.py.
_MOST_FILES = 10_000
_MOST_BATCHES, _BATCHES = 100, 20
_LONGEST_NAME = 255
_TIMES = (
    "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at",
    "cancelled_at",
)  # fmt: skip


class _Labels(msgspec.Struct, frozen=True):
    metadata: Metadata | None = None


async def upload(context: Context) -> None:
    """Keep a file."""
    store = _store(context)
    form = await form_of(context.exchange, uploads=True)
    given = form.get("file")
    try:
        check_parameters(context, "files", form)
        if form.get("purpose") != "batch":
            raise invalid("'purpose' must be 'batch'", "purpose")
        if not isinstance(given, UploadFile):
            raise invalid("'file' is missing", "file")
        made = await asyncio.to_thread(
            store.upload,
            given.file,
            (given.filename or "batch.jsonl")[:_LONGEST_NAME],
            _owner(context),
            context.gateway.settings.batches.most_bytes,
        )
    finally:
        if isinstance(given, UploadFile):
            await given.close()
    await _answer(context, made)


async def list_files(context: Context) -> None:
    """List the caller's files."""
    found = await asyncio.to_thread(_store(context).files, _owner(context))
    query = _query(context)
    purpose, order = query.get("purpose"), query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise invalid("'order' must be 'asc' or 'desc'", "order")
    if order == "asc":
        found.reverse()
    listed = [one for one in found if purpose in (None, one["purpose"])]
    await _list(context, listed, _MOST_FILES, _MOST_FILES)


async def one_file(context: Context) -> None:
    """Describe a file."""
    await _answer(context, _store(context).file(_name(context), _owner(context)))


async def content(context: Context) -> None:
    """Send the content of a file."""
    store = _store(context)
    found = store.file(_name(context), _owner(context))
    with store.data_of(found["id"]).open("rb") as stream:
        await context.exchange.send_file(stream, "application/octet-stream")


async def delete_file(context: Context) -> None:
    """Remove a file, unless a batch still needs it."""
    store, owner = _store(context), _owner(context)
    name = store.file(_name(context), owner)["id"]
    for batch in await asyncio.to_thread(store.batches, owner):
        if batch["status"] in OPEN and batch["input_file_id"] == name:
            raise ApiError(
                409, f"the batch {batch['id']} still reads this file", code="file_in_use"
            )
    store.remove_file(name)
    await _answer(context, {"id": name, "object": "file", "deleted": True})


async def create(context: Context) -> None:
    """Create a batch; it is validated and computed afterwards."""
    store, owner = _store(context), _owner(context)
    given = await context.exchange.json()
    check_parameters(context, "batches", given)
    endpoint, window = given.get("endpoint"), given.get("completion_window")
    if endpoint not in ENDPOINTS:
        raise invalid(f"'endpoint' must be one of {', '.join(ENDPOINTS)}", "endpoint")
    if window != _WINDOW:
        raise invalid(f"'completion_window' must be '{_WINDOW}'", "completion_window")
    metadata = typed(given, _Labels).metadata
    name = given.get("input_file_id")
    if not isinstance(name, str):
        raise invalid("'input_file_id' is missing", "input_file_id")
    store.file(name, owner)
    most = context.gateway.settings.batches.most_bytes
    await asyncio.to_thread(store.require_room, owner, most)  # for what it will write
    # A key that may not use the endpoint, or that cannot be found again, is told now.
    gate = context.gateway.gate
    grant = gate.grant(context.call.caller)
    await gate.again(owner, Call(context.call.id, endpoint), grant)
    now = int(time.time())
    made = store.add_batch(
        {
            "endpoint": endpoint,
            "errors": None,
            "input_file_id": name,
            "completion_window": window,
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "expires_at": now + _DAY,
            **dict.fromkeys(_TIMES),
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": metadata,
        },
        owner,
        grant,
    )
    _batches(context).wake()
    await _answer(context, made)


async def list_batches(context: Context) -> None:
    """List the caller's batches."""
    found = await asyncio.to_thread(_store(context).batches, _owner(context))
    await _list(context, found, _MOST_BATCHES, _BATCHES)


async def one_batch(context: Context) -> None:
    """Describe a batch."""
    await _answer(context, _store(context).batch(_name(context), _owner(context)))


async def cancel(context: Context) -> None:
    """Cancel a batch; answers that are there are kept."""
    store, owner = _store(context), _owner(context)
    batch = store.batch(_name(context), owner)
    if batch["status"] not in OPEN:
        raise ApiError(
            409, f"the batch is {batch['status']}, and cannot be cancelled", code="batch_ended"
        )
    if batch["status"] != "finalizing":
        batch |= {"status": "cancelling", "cancelling_at": int(time.time())}
        store.save_batch(batch, owner)
        _batches(context).cancel(batch["id"])
        _batches(context).wake()
    await _answer(context, batch)


def _admitted(handler: Handler) -> Handler:
    """Return a handler whose calls count among those that the caller's limits allow."""

    @wraps(handler)
    async def admitted(context: Context) -> None:
        _batches(context)
        await context.admit()
        await handler(context)

    return admitted


def _batches(context: Context) -> Batches:
    found = context.gateway.batches
    if found is None:
        raise ApiError(
            404,
            "this gateway keeps no files and batches: batches.directory is not set",
            code="batches_off",
        )
    return found


def _store(context: Context) -> Store:
    return _batches(context).store


def _owner(context: Context) -> str:
    return context.call.caller.id


def _name(context: Context) -> str:
    return str(context.exchange.scope["path_params"]["name"])


def _query(context: Context) -> dict[str, str]:
    text = context.exchange.scope.get("query_string", b"").decode("latin-1")
    return {name: values[-1] for name, values in parse_qs(text).items()}


async def _answer(context: Context, value: dict[str, Any]) -> None:
    await context.exchange.respond(msgspec.json.encode(value))


async def _list(context: Context, found: Sequence[dict[str, Any]], most: int, usual: int) -> None:
    """Answer with a page: ``limit`` objects that follow ``after``."""
    query = _query(context)
    limit = query.get("limit", str(usual))
    if not limit.isdecimal() or len(limit) > 9 or not 1 <= int(limit) <= most:
        raise invalid(f"'limit' must be 1 to {most:,}", "limit")
    names = [one["id"] for one in found]
    after = query.get("after")
    if after is not None and after not in names:
        raise invalid("'after' is not in the list", "after")
    first = names.index(after) + 1 if after is not None else 0
    page = found[first : first + int(limit)]
    await _answer(
        context,
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": first + len(page) < len(found),
        },
    )


# A batch may use up the limits of its key, which must be able to watch and to cancel it still.
ROUTES: Mapping[tuple[str, str], Handler] = {
    ("POST", "/v1/files"): _admitted(upload),
    ("GET", "/v1/files"): _admitted(list_files),
    ("GET", "/v1/files/{name}"): one_file,
    ("DELETE", "/v1/files/{name}"): _admitted(delete_file),
    ("GET", "/v1/files/{name}/content"): _admitted(content),
    ("POST", "/v1/batches"): _admitted(create),
    ("GET", "/v1/batches"): _admitted(list_batches),
    ("GET", "/v1/batches/{name}"): one_batch,
    ("POST", "/v1/batches/{name}/cancel"): cancel,
}
