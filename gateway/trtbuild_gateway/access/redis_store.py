"""What keys have used, counted in Redis by all replicas together.

One script checks and takes everything at once, by Redis's own clock, so that the limits hold
exactly however many gateways there are and whatever their clocks say. A gateway that dies cannot
free its places; they expire on their own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trtbuild.errors import RecipeError, UsageError
from trtbuild_gateway.access.counting import SLOTS, Reservation, Row, StoreError, Wanted
from trtbuild_gateway.access_settings import RedisSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis

PASSWORD = "TRTBUILD_REDIS_PASSWORD"  # noqa: S105 - the name of the variable
_UNLIMITED = -1
_CONNECTIONS = 32
_QUEUE = 10  # times the seconds of an answer that a request waits for a connection

# KEYS: the open requests, then one hash from slot to amount for each limit.
# ARGV: the most open requests, the lease, its milliseconds; amount, most and span of each limit.
# Returns whether too many are open, then slot, used, wait and reset of each limit.
_RESERVE = f"""
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer, granted = {{0}}, true
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local most_open = tonumber(ARGV[1])
if most_open >= 0 and redis.call('ZCARD', KEYS[1]) >= most_open then
  answer[1], granted = 1, false
end
for i = 2, #KEYS do
  local at = 3 * i - 2
  local amount, most, width = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2] / {SLOTS}
  local slot, used, held = math.floor(now / width), 0, {{}}
  local entries = redis.call('HGETALL', KEYS[i])
  for j = 1, #entries, 2 do
    local number = tonumber(entries[j])
    if number < slot - {SLOTS} then
      redis.call('HDEL', KEYS[i], entries[j])
    else
      used = used + entries[j + 1]
      held[#held + 1] = {{number, tonumber(entries[j + 1])}}
    end
  end
  table.sort(held, function(a, b) return a[1] < b[1] end)
  local wait, last, excess = 0, slot, used + amount - most
  if excess > 0 then
    granted = false
    last = #held > 0 and held[#held][1] or slot
    local freeing = last
    for _, entry in ipairs(held) do
      excess = excess - entry[2]
      if excess <= 0 then freeing = entry[1] break end
    end
    wait = math.max(1, math.ceil((freeing + {SLOTS + 1}) * width - now))
  end
  local reset = math.max(1, math.ceil((last + {SLOTS + 1}) * width - now))
  for _, value in ipairs({{slot, used, wait, reset}}) do answer[#answer + 1] = value end
end
if granted then
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  for i = 2, #KEYS do
    redis.call('HINCRBY', KEYS[i], answer[4 * i - 6], ARGV[3 * i - 2])
    redis.call('PEXPIRE', KEYS[i], 2 * ARGV[3 * i])
  end
end
return answer
"""
# KEYS as above. ARGV: the lease, then slot and change of each limit.
_SETTLE = """
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 2, #KEYS do
  local slot, change = ARGV[2 * i - 2], tonumber(ARGV[2 * i - 1])
  local held = redis.call('HGET', KEYS[i], slot)
  if held and change ~= 0 then
    redis.call('HINCRBY', KEYS[i], slot, math.max(change, -tonumber(held)))
  end
end
return 0
"""


class RedisStore:
    """Counts in Redis; a :class:`~trtbuild_gateway.access.counting.Store`.

    Args:
        settings: Where it is.
        lease_seconds: After which an open request no longer counts, if its gateway never says so.

    Raises:
        UsageError: The client library is not installed.
        RecipeError: The address is none.
    """

    def __init__(self, settings: RedisSettings, *, lease_seconds: float) -> None:
        self._client = _client(settings)
        self._prefix = settings.prefix
        self._lease = round(lease_seconds * 1000)
        self._reserve = self._client.register_script(_RESERVE)
        self._settle = self._client.register_script(_SETTLE)

    async def reserve(
        self, owner: str, wanted: Sequence[Wanted], most_open: int | None, lease: str
    ) -> Reservation:
        """See :class:`~trtbuild_gateway.access.counting.Store`."""
        args: list[Any] = [_UNLIMITED if most_open is None else most_open, lease, self._lease]
        for one in wanted:
            args += (one.amount, one.most, one.span)
        full, *values = await self._run(self._reserve, self._names(owner, wanted), args)
        rows = [Row(*values[at : at + 4]) for at in range(0, len(values), 4)]
        return Reservation(rows, bool(full))

    async def settle(
        self, owner: str, wanted: Sequence[Wanted], slots: Sequence[int], lease: str
    ) -> None:
        """See :class:`~trtbuild_gateway.access.counting.Store`."""
        args: list[Any] = [lease]
        for one, slot in zip(wanted, slots, strict=True):
            args += (slot, one.amount)
        await self._run(self._settle, self._names(owner, wanted), args)

    def _names(self, owner: str, wanted: Sequence[Wanted]) -> list[str]:
        # The braces keep the keys of one owner on one node of a cluster.
        base = f"{self._prefix}:{{{owner}}}"
        return [f"{base}:open", *(f"{base}:{one.name}" for one in wanted)]

    async def _run(self, script: Any, keys: list[str], args: list[Any]) -> Any:
        from redis.exceptions import RedisError

        try:
            return await script(keys=keys, args=args)
        except (RedisError, OSError) as error:
            raise StoreError(f"Redis cannot be reached: {error}") from None

    async def close(self) -> None:
        """See :class:`~trtbuild_gateway.access.counting.Store`."""
        await self._client.aclose()


def _client(settings: RedisSettings) -> Redis:
    try:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise UsageError(
            "counting in Redis needs its client library",
            fix="pip install 'trtbuild-gateway[redis]', or leave out access.redis",
        ) from None
    try:
        pool = BlockingConnectionPool.from_url(
            settings.url,
            max_connections=_CONNECTIONS,
            timeout=_QUEUE * settings.seconds,
            socket_timeout=settings.seconds,
            socket_connect_timeout=settings.seconds,
            retry=Retry(NoBackoff(), 1),  # once more, on a new connection
            **({"password": os.environ[PASSWORD]} if PASSWORD in os.environ else {}),
        )
    except ValueError as error:
        raise RecipeError(
            f"access.redis.url is invalid: {error}", fix="write redis://HOST:6379/0"
        ) from None
    return Redis.from_pool(pool)
