"""Which of several servers gets a request."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

_LARGEST = 2**64


class Choosable(Protocol):
    """What a choice depends on.

    Attributes:
        server: The server's name; a hash of it decides where a key belongs.
        weight: Its share of the requests.
        in_flight: Requests that it has not answered yet.
        turns: Requests that it has got.
    """

    server: str
    weight: float
    in_flight: int
    turns: float


_Server = TypeVar("_Server", bound=Choosable)


def least(servers: Sequence[_Server]) -> _Server:
    """Return the server with the fewest requests in flight for its weight.

    Of equal ones it is the one that has got the fewest, so that requests one after the other
    follow the weights, too.
    """
    return min(servers, key=lambda one: (one.in_flight / one.weight, one.turns / one.weight))


def ranked(servers: Sequence[_Server], key: bytes) -> list[_Server]:
    """Return the servers in the order of preference of a key: weighted rendezvous hashing.

    A server that goes moves only its own keys, each to the next of its order. The score is that
    of Schindelhauer and Schomaker, "Weighted distributed hash tables" (SPAA 2005): the logarithmic
    method.
    """

    def score(one: _Server) -> float:
        digest = hashlib.blake2b(key, digest_size=8, salt=_salt(one.server)).digest()
        return -one.weight / math.log((int.from_bytes(digest, "big") + 1) / (_LARGEST + 2))

    return sorted(servers, key=score, reverse=True)


def bounded(servers: Sequence[_Server], imbalance: float) -> _Server:
    """Return the first server whose load stays below ``imbalance`` times its share of all
    requests: consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2018)."""
    total = 1 + sum(one.in_flight for one in servers)
    weights = sum(one.weight for one in servers)
    for one in servers:
        if one.in_flight + 1 <= math.ceil(imbalance * total * one.weight / weights):
            return one
    return least(servers)


def _salt(server: str) -> bytes:
    return hashlib.blake2b(server.encode(), digest_size=16).digest()
