"""Bypass the environment's proxies for servers on this machine.

``HTTP_PROXY`` is meant for other hosts, and a proxy's 127.0.0.1 is the proxy itself. Without an
entry in ``NO_PROXY``, a client would wait for a local server forever.
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
    """Return the environment's HTTP proxy for ``HOST:PORT``; ``""``: none, or this machine."""
    host = urlsplit(f"//{url}").hostname or ""
    if loopback(url) or urllib.request.proxy_bypass(host):
        return ""
    found = urllib.request.getproxies()
    return found.get("http") or found.get("all") or ""
