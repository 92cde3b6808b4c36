"""Fetch a file that a client names, without becoming its way into the private network.

Only ``https``, and only addresses that are public. The address that was checked is the one that is
connected to, so a name cannot change in between; redirects are checked like the first address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from urllib.parse import SplitResult, urljoin, urlsplit

from trtbuild.wire.failures import MalformedError, TooLargeError
from trtbuild.wire.pool import host_of
from trtbuild.wire.response import Parser, Response
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.settings import MediaSettings

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3
_PIECE = 64 * 1024

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


async def fetch(url: str, param: str, settings: MediaSettings) -> bytes:
    """Return the content of a URL.

    Raises:
        ApiError: It may not be fetched, or cannot be.
    """
    if not settings.fetch:
        raise invalid("the gateway fetches no addresses: send the file as a data URL", param)
    try:
        async with asyncio.timeout(settings.seconds):
            for _ in range(_MOST_REDIRECTS + 1):
                response = await _fetch_once(url, param, settings)
                if response.status not in _REDIRECTS or not response.location:
                    return _content(response, url, param)
                url = _joined(url, response.location, param)
    except TimeoutError:
        raise _failed(url, param, f"it took longer than {settings.seconds:g} s") from None
    raise _failed(url, param, f"it redirects more than {_MOST_REDIRECTS} times")


def _joined(url: str, location: str, param: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise _failed(url, param, "it redirects to something that is not a URL") from None


def _content(response: Response, url: str, param: str) -> bytes:
    if not response.good:
        raise _failed(url, param, f"it answers with status {response.status}")
    return response.body


def _failed(url: str, param: str, why: str) -> ApiError:
    host = urlsplit(url).hostname or url[:40]
    return invalid(f"the file at {host!r} cannot be fetched: {why}", param, "invalid_url")


def _checked(url: str, param: str, settings: MediaSettings) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname and host_of(parts), parts.port
    except ValueError:
        raise invalid("the address is not a URL", param, "invalid_url") from None
    if parts.scheme != "https" or not host or "@" in parts.netloc:
        raise invalid(
            "an address must be a data URL, or https without a password", param, "invalid_url"
        )
    if any(char <= " " or char == "\x7f" for char in url):
        raise invalid("the address has a space or control character", param, "invalid_url")
    if settings.hosts and host not in settings.hosts:
        raise _failed(url, param, "its host is not one of those that gateway.yaml allows")
    if port is not None and port != 443 and not settings.private:
        raise _failed(url, param, "only port 443 is allowed")
    return parts


async def _fetch_once(url: str, param: str, settings: MediaSettings) -> Response:
    parts = _checked(url, param, settings)
    assert parts.hostname is not None
    host = (
        parts.hostname.encode("idna").decode() if not parts.hostname.isascii() else parts.hostname
    )
    port = parts.port or 443
    address = await _public_address(host, port, url, param, settings)
    try:
        reader, writer = await asyncio.open_connection(
            address, port, ssl=ssl.create_default_context(), server_hostname=host
        )
    except OSError as error:
        raise _failed(url, param, error.strerror or type(error).__name__) from None
    try:
        writer.write(_request(parts, host))
        return await _response(reader, settings.most_bytes)
    except TooLargeError:
        raise _failed(url, param, f"it is larger than {settings.most_bytes:,} bytes") from None
    except (OSError, MalformedError) as error:
        raise _failed(url, param, str(error) or type(error).__name__) from None
    finally:
        writer.transport.abort()


def _request(parts: SplitResult, host: str) -> bytes:
    path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "User-Agent: trtbuild-gateway",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode("latin-1", "replace")


async def _response(reader: asyncio.StreamReader, limit: int) -> Response:
    parser = Parser(None, limit)
    while data := await reader.read(_PIECE):
        if parser.feed(time.perf_counter(), data):
            return parser.response
    if not parser.finish(time.perf_counter()):
        raise MalformedError("the answer is cut off")
    return parser.response


async def _public_address(
    host: str, port: int, url: str, param: str, settings: MediaSettings
) -> str:
    """Return an address of a host, all of whose addresses are public."""
    loop = asyncio.get_running_loop()
    try:
        rows = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _failed(url, param, "there is no such host") from None
    addresses = [str(row[4][0]) for row in rows]
    if not settings.private and not all(map(public, addresses)):
        raise _failed(url, param, "it is on a private network")
    return addresses[0]


def public(address: str) -> bool:
    """Whether an address is on the public internet, also inside the forms that wrap another."""
    found: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if wrapped:
            return public(str(wrapped))
        if found in _NAT64:
            return public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        if found not in _UNICAST or found in _DOCUMENTATION:
            return False
    return found.is_global and not found.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# All that is allocated to the internet. Outside lie more forms that wrap an IPv4 address, and the
# prefix of a network's own NAT64. Source: IANA's IPv6 Address Space and Special-Purpose registries.
_UNICAST = ipaddress.ip_network("2000::/3")
_DOCUMENTATION = ipaddress.ip_network("3fff::/20")  # which ipaddress of Python 3.11 does not know
