"""Forms that a text must have: a pattern for programs, words and an example for people."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

_PART = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_PART}(\.{_PART})*"
_LOGIN = re.compile(r"//[^/?#]*@")
_WORD = r"[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?"
_SEGMENT = r"\.{0,2}[^/.\s][^/\s]*"


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a text in ``Annotated[str, Form(…)]``.

    Attributes:
        pattern: The whole text, as a regular expression that Go and JavaScript know, too.
        words: What the text must be, with an example.
        longest: Characters at most.
        empty: Whether it may be left empty.
        fits: What no expression can tell.
        login: What to do instead of a login in an address.
    """

    pattern: str
    words: str
    longest: int = 1024
    empty: bool = True
    fits: Callable[[str], bool] = bool
    login: str = "leave it out"

    def check(self, text: str) -> str:
        """``text`` when it has the form; the error says what it must be."""
        if not text and self.empty:
            return text
        if re.fullmatch(self.pattern, text) and len(text) <= self.longest and self.fits(text):
            return text
        if _LOGIN.search(text):
            said = "has a login, which everybody who reads the files would see: {instead}"
            raise PydanticCustomError("hidden", said, {"instead": self.login})
        raise PydanticCustomError("form", "Input should be {words}", {"words": self.words})

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        pattern = f"^({self.pattern}){'?' * self.empty}$"
        return {**handler(schema), "pattern": pattern, "maxLength": self.longest}


def _is_address(text: str) -> bool:
    """Whether host and port of an address can be read, and no login is in it."""
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        return False


def _is_ip(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _is_repository(text: str) -> bool:
    """Whether an address of Git holds no login; SSH's user is none."""
    return not text.startswith(("http://", "https://")) or _is_address(text)


Cpu = Annotated[
    str, Form(r"[0-9]+(\.[0-9]+)?m?", "a number of CPUs, such as 4, 0.5 or 250m", empty=False)
]
ObjectName = Annotated[
    str, Form(_SUBDOMAIN, "a name in Kubernetes, such as chat-models or registry.example.org", 253)
]
Namespace = Annotated[str, Form(_PART, "a namespace of Kubernetes, such as team-a", 63)]
SecretKey = Annotated[
    str, Form(r"[-._a-zA-Z0-9]+", "a key of a Secret, such as api-key", 253, empty=False)
]
LabelKey = Annotated[
    str,
    Form(
        rf"({_SUBDOMAIN}/)?{_WORD}", "a label, such as example.org/pool or pool", 317, empty=False
    ),
]
LabelValue = Annotated[str, Form(_WORD, "the value of a label, such as gpu-large", 63)]
HostName = Annotated[
    str,
    Form(
        rf"(\*\.)?{_SUBDOMAIN}",
        "a host name in lowercase, such as chat.example.org or *.example.org",
        253,
        empty=False,
    ),
]
_WEB = r"https?://[^\s@/?#]+([/?#]\S*)?"
_URL = "a URL with http or https, such as http://tempo.traces:4318"
WebAddress = Annotated[str, Form(_WEB, _URL, fits=_is_address)]
GivenAddress = Annotated[str, Form(_WEB, _URL, fits=_is_address, empty=False)]
Api = Annotated[
    str,
    Form(
        _WEB,
        _URL,
        fits=_is_address,
        login="put the API key into the Secret, and name its variable with --api-key-env in "
        "'worker.args'",
    ),
]
IpAddress = Annotated[
    str,
    Form(r"[0-9A-Fa-f.:]+", "an IP address without a port, such as 127.0.0.1 or ::", fits=_is_ip),
]
Repository = Annotated[
    str,
    Form(
        r"\S+",
        "a Git repository, such as https://example.org/team/deploy.git",
        fits=_is_repository,
    ),
]
_BELOW = rf"{_SEGMENT}(/{_SEGMENT})*/?"
InRepository = Annotated[
    str,
    Form(
        rf"\.|(\./)?{_BELOW}",
        "a directory of the repository, without '..' and spaces, such as deploy/argo or .",
        empty=False,
    ),
]
Directory = Annotated[
    str,
    Form(
        _BELOW,
        "a directory below the root, without '..' and spaces, such as models/chat",
    ),
]
