"""Single values: sizes, names that Kubernetes takes, image references."""

from __future__ import annotations

import re

_UNITS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}  # fmt: skip
QUANTITY = r"(\d{1,18}(?:\.\d{1,9})?)(Ki|Mi|Gi|Ti|k|M|G|T)?"
LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
NAME = r"[a-z]([-a-z0-9]*[a-z0-9])?"  # of a Service, which is a host name of RFC 1035
_ADDRESS = r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:[0-9]{1,5})?"
ADDRESSES = f"{_ADDRESS}(,{_ADDRESS})*"
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
# What the registry's grammar allows, without its finer points.
IMAGE = (
    r"[a-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{64})?"
)
LONGEST_IMAGE = 512  # the registry's grammar: 255 of a name, 128 of a tag, and a digest
# Suffixes are added, and a label has 63 characters.
LONGEST_NAME = 40


def quantity_bytes(text: str) -> int:
    """Return the bytes of a quantity such as ``16Gi``; ValueError for other text."""
    match = re.fullmatch(QUANTITY, text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: write 16Gi, 500Mi or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def bytes_of(text: str) -> str:
    """``text`` when it is a quantity or empty."""
    if text:
        quantity_bytes(text)
    return text


def size_of(text: str) -> str:
    """``text`` when it is a quantity of at least one byte."""
    if not quantity_bytes(text):
        raise ValueError(f"{text!r} is not a size: give one, such as 200M or 1Gi")
    return text


def service_name(text: str) -> str:
    """``text`` when Kubernetes takes it as a Service's name, with room for a suffix, or empty."""
    return _named(text, NAME, "starting with a letter and") if text else text


def dns_label(text: str) -> str:
    """``text`` when it can be a part of a name in Kubernetes."""
    return _named(text, LABEL, "starting and")


def _named(text: str, pattern: str, start: str) -> str:
    if not (re.fullmatch(pattern, text) and len(text) <= LONGEST_NAME):
        raise ValueError(
            f"{text!r} cannot be a name in Kubernetes: use 1 to {LONGEST_NAME} lowercase letters, "
            f"digits and '-', {start} ending with a letter or digit"
        )
    return text


def variable_name(text: str) -> str:
    """``text`` when it can be an environment variable's name."""
    if not re.fullmatch(VARIABLE, text):
        raise ValueError(f"{text!r} cannot be the name of a variable: use letters, digits and '_'")
    return text


def addresses(text: str) -> str:
    """``text`` when it can be HOST:PORT, several of them, or empty."""
    ports = [int(port) for port in re.findall(r":([0-9]+)(?:,|$)", text)]
    if text and not (re.fullmatch(ADDRESSES, text) and all(0 < port < 65536 for port in ports)):
        raise ValueError(
            f"{text!r} is not HOST:PORT: write no scheme, a port from 1 to 65535, and commas "
            "between several"
        )
    return text


def image_reference(text: str) -> str:
    """``text`` when it can be an image reference, or empty."""
    if text and not (re.fullmatch(IMAGE, text) and len(text) <= LONGEST_IMAGE):
        raise ValueError(
            f"{text!r} is not an image: write registry/name:tag or registry/name@sha256:…"
        )
    return text


def name_of(directory: str) -> str:
    """The nearest name that Kubernetes takes; empty when nothing of ``directory`` can stay."""
    found = re.sub(r"[^a-z0-9]+", "-", directory.lower()).strip("-")
    return f"{'models-' * found[:1].isdigit()}{found}"[:LONGEST_NAME].rstrip("-")
