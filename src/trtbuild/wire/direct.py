"""No proxy of the environment stands between us and a server of this machine.

``HTTP_PROXY`` is there for the world outside, and a proxy's 127.0.0.1 is the proxy's own. Go's
and curl's users write it into ``NO_PROXY``; whoever forgets that would wait for a server forever.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from urllib.parse import urlsplit


def loopback(url: str) -> bool:
    """Whether ``HOST:PORT`` is this machine."""
    host = urlsplit(f"//{url}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str) -> str:
    """The environment's HTTP proxy for ``HOST:PORT``; empty: none, or this machine."""
    host = urlsplit(f"//{url}").hostname or ""
    if loopback(url) or urllib.request.proxy_bypass(host):
        return ""
    found = urllib.request.getproxies()
    return found.get("http") or found.get("all") or ""
