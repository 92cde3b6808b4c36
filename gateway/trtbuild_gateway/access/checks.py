"""Whether what looks like personal data is some: lengths, check digits, ranges of numbers."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

Measure = Callable[[str, int, int], int]
"""Takes text, start and end of a match; returns the true end, or -1 if it is not a match."""

# Lengths by country: the IBAN registry of ISO 13616, which SWIFT keeps.
_IBAN_LENGTHS = {
    15: "NO", 16: "BE", 18: "DK FO FI GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN",
    21: "HR LV LI CH", 22: "BH BG CR GE DE IE ME RS GB VA", 23: "TL GI IQ IL OM SO AE",
    24: "AD CZ MD PK RO SA SK ES SE TN VG", 25: "LY PT ST", 26: "IS TR",
    27: "BI DJ FR GR IT MR MC SM", 28: "AL AZ BY CY DO SV GT HN HU LB NI PL", 29: "BR EG PS QA UA",
    30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_LENGTH_OF = {name: size for size, names in _IBAN_LENGTHS.items() for name in names.split()}

# First four digits of card numbers, and how many digits they have: the ranges of the networks.
_CARDS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (2221, 2720, (16,)), (3000, 3059, (14, 16)), (3095, 3095, (14, 16)), (3400, 3499, (15,)),
    (3528, 3589, (16, 17, 18, 19)), (3600, 3699, (14, 16)), (3700, 3799, (15,)),
    (3800, 3999, (14, 16)), (4000, 4999, (13, 16, 19)), (5000, 5099, (16, 18, 19)),
    (5100, 5599, (16,)), (5600, 5899, (16, 18, 19)), (6000, 6999, (16, 17, 18, 19)),
)  # fmt: skip
_FIRST = (2, 3, 4, 5, 6)


def iban(text: str, start: int, end: int) -> int:
    """Take as many characters as the country's IBANs have; ISO 13616, check digits by ISO 7064."""
    length = _LENGTH_OF.get(text[start : start + 2].upper(), 0)
    found, at = "", start
    while at < end and len(found) < length:
        found += text[at] if text[at].isalnum() else ""
        at += 1
    if not length or len(found) < length or (at < len(text) and text[at].isalnum()):
        return -1
    turned = (found[4:] + found[:4]).upper()
    return at if int("".join(str(int(one, 36)) for one in turned)) % 97 == 1 else -1


def card(text: str, start: int, end: int) -> int:
    """Take the longest number of an issuer's length with a right check digit (Luhn)."""
    if int(text[start]) not in _FIRST:
        return -1
    digits = [(at, int(text[at])) for at in range(start, end) if text[at].isdecimal()]
    head = int("".join(str(digit) for _, digit in digits[:4]))
    lengths = next((sizes for first, last, sizes in _CARDS if first <= head <= last), ())
    for length in sorted(lengths, reverse=True):
        if length > len(digits):
            continue
        after = digits[length - 1][0] + 1
        if after < len(text) and text[after].isdecimal():
            continue
        if _luhn([digit for _, digit in digits[:length]]):
            return after
    return -1


def _luhn(digits: list[int]) -> bool:
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def ip(text: str, start: int, end: int) -> int:
    """Take what is an address and has a digit."""
    found = text[start:end]
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return -1
    # "a::b" is an address, and far more often code.
    return end if any(one.isdecimal() for one in found) else -1


def phone(text: str, start: int, end: int) -> int:
    """Take what has as many digits as a phone number."""
    digits = [one for one in text[start:end] if one.isdecimal()]
    least = 7 if text[start] == "+" else 9
    return end if least <= len(digits) <= 15 and len(set(digits)) > 2 else -1
