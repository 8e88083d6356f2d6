"""Addresses of machines: IPv4, IPv6 and MAC."""

import ipaddress
import re

from services.guard.redaction.context import ADDRESS_OF_A_MACHINE, VERSION
from services.guard.redaction.shape import Shape
from services.guard.redaction.stretch import Stretch

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"(?<![0-9A-Za-z.\-]){_OCTET}(?:\.{_OCTET}){{3}}(?![0-9A-Za-z]|\.[0-9]|-[A-Za-z])", re.ASCII)
_IPV4_GLUED = re.compile(rf"(?<=[A-Za-z]){_OCTET}(?:\.{_OCTET}){{3}}(?![0-9A-Za-z]|\.[0-9]|-[A-Za-z])", re.ASCII)
_IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]{2,39}(?:\.\d{1,3}){0,3}(?:%[0-9A-Za-z]{1,8})?(?![0-9A-Za-z:])", re.ASCII
)
_MAC = re.compile(
    r"(?<![0-9A-Za-z:\-])(?:[0-9A-Fa-f]{2}(?P<sign>[:\-])[0-9A-Fa-f]{2}(?:(?P=sign)[0-9A-Fa-f]{2}){4}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![0-9A-Za-z]|[:\-][0-9A-Fa-f])"
)
_FOUR = r"\.[0-9]{1,3}\."
_PAIRS = r"(?:[0-9A-Fa-f]{2}[:\-]){2}|(?:[0-9A-Fa-f]{4}\.){2}"
_MEASURED_IN_FOURS = re.compile("[A-Fa-f]")


def _ipv4(match: re.Match[str], stretch: Stretch) -> str | None:
    before = stretch.before(match.start(), 24)
    if VERSION.search(before):
        return None
    octets = match.group().split(".")
    named = ADDRESS_OF_A_MACHINE.search(before) is not None
    if max(map(len, octets)) == 1 and not named:
        return None  # 1.2.3.4: a section
    return match.group()


def _ipv4_glued(match: re.Match[str], stretch: Stretch) -> str | None:
    """IP10.1.2.3, and no v10.1.2.3."""
    return match.group() if re.search(r"(?:ip|host|addr|server)$", stretch.before(match.start(), 8)) else None


def _ipv6(match: re.Match[str], stretch: Stretch) -> str | None:
    text = match.group()
    if text.count(":") < 2:
        return None
    try:
        ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        return None
    groups = [group for group in text.split(":") if group]
    surely = len(groups) >= 3 and any(len(group) > 2 for group in groups)
    usual = re.match(r"(?:[23][0-9a-f]{3}|f[cdef][0-9a-f]{2}):", text.lower()) is not None
    named = ADDRESS_OF_A_MACHINE.search(stretch.before(match.start(), 24)) is not None
    return text if surely or usual or (named and re.search(r"\d", text)) else None


def _mac(match: re.Match[str], stretch: Stretch) -> str | None:
    if match["sign"] is None and not _MEASURED_IN_FOURS.search(match.group()):
        return None
    return match.group().lower()


NETWORK = (
    Shape("IP_ADDRESS", "ipv4", _IPV4, _ipv4, _FOUR),
    Shape("IP_ADDRESS", "ipv4", _IPV4_GLUED, _ipv4_glued, _FOUR),
    Shape("IP_ADDRESS", "ipv6", _IPV6, _ipv6, screen=":[0-9A-Fa-f]{0,4}:", digits=1),
    Shape("MAC_ADDRESS", "mac", _MAC, _mac, screen=_PAIRS, digits=1),
)
