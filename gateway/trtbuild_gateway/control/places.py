"""The models that can be controlled: those in the repository index of a configured server."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from trtbuild.wire.records import IndexEntry
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.upstream.catalog import Catalog

_MOST_CHARACTERS = 255
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]|^\.|^file:")


class Place(NamedTuple):
    """A model of a server, by its name there."""

    url: str
    model: str


def check_name(name: str) -> None:
    """Raise ApiError for a name that no directory of a repository has."""
    if not name or len(name) > _MOST_CHARACTERS or _UNSAFE.search(name):
        raise invalid(
            f"{name[:_MOST_CHARACTERS]!r} is not the name of a model; give a name that "
            "/v1/model/list shows",
            "model",
            "invalid_model_name",
        )


def rows(catalog: Catalog, place: Place) -> Sequence[IndexEntry]:
    """Return what the server last reported of a model: a row for each version."""
    return [row for row in catalog.indexes.get(place.url, ()) if row.name == place.model]


def places(catalog: Catalog) -> Sequence[Place]:
    """Return every model of every server that answered at the last look."""
    found = (Place(url, row.name) for url in catalog.urls for row in catalog.indexes.get(url, ()))
    return list(dict.fromkeys(found))


async def find(
    catalog: Catalog, name: str, server: str = "", visible: Callable[[str], bool] = lambda _: True
) -> Place:
    """Return the model of a name: its own, or one that clients use.

    Args:
        catalog: The models.
        name: As in the request.
        server: The address of its server, if several have it.
        visible: Whether the caller may control a model; others are as if they were not there.

    Raises:
        ApiError: There is none (404), there are several (400), or its server does not answer.
    """
    check_name(name)
    await catalog.refresh()
    if server and server not in catalog.urls:
        raise invalid(
            f"{server!r} is not a server of this gateway; there is: {', '.join(catalog.urls)}",
            "server",
            "unknown_server",
        )
    every = [place for place in places(catalog) if visible(place.model)]
    found = [
        place
        for place in every
        if (not server or place.url == server)
        and (place.model == name or name in catalog.names(*place))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        urls = ", ".join(dict.fromkeys(place.url for place in found))
        raise invalid(f"several servers have {name!r}; set `server` to one of {urls}", "server")
    failures = [catalog.failures[url] for url in (server, *catalog.urls) if url in catalog.failures]
    if failures:
        raise failures[0]
    known = ", ".join(sorted(place.model for place in every)) or "none"
    perhaps = "" if visible(name) else ", or your key is for others"
    raise ApiError(
        404,
        f"no repository has the model {name!r}{perhaps}; there is: {known}",
        param="model",
        code="model_not_found",
    )
